"""Bytes on disk that a recipe takes, and whether there is room for the stages that are about to run."""

import configparser
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.orchestration.forecast.work import Step
from flows.orchestration.params import ParamsError

SPARE = 100e6  # bytes for logs, metrics, indexes and what else a run leaves behind


class DiskError(ParamsError):
    """The disk will not hold what the forecast says is needed."""


@dataclass(frozen=True)
class Disk:
    """Bytes by what they are for."""

    artifacts: float  # data/, checkpoints left out
    checkpoints: float  # data/, models
    cache: float  # DVC's copy of both
    work: float  # resumable state at its largest
    downloads: float  # the Hub's cache

    @property
    def total(self) -> float:
        return self.artifacts + self.checkpoints + self.cache + self.work + self.downloads

    def as_json(self) -> dict[str, float]:
        return {f"{name}_gb": size / 1e9 for name, size in asdict(self).items()}


def disk_of(steps: Iterable[Step], at_once: int = 1, linked: bool = False) -> Disk:
    """What these stages leave and need; `at_once` of them train side by side.

    `linked`: DVC's cache and data/ are links to the same bytes (see `is_linked`).
    """
    steps = list(steps)
    models = sum(s.artifact for s in steps if s.shape and (s.trained or s.download))
    tables = sum(s.artifact for s in steps) - models
    states = sorted((s.state for s in steps), reverse=True)[:at_once]
    return Disk(tables, models, 0.0 if linked else tables + models, sum(states), sum(s.download for s in steps))


def room(root: Path, need: Disk, stages: int, recipe: str) -> None:
    """DiskError that says by how much, where a file system has less room than will be written to it.

    data/, work/, DVC's cache and the Hub's may lie on file systems of their own.
    """
    wanted: dict[int, list[tuple[str, Path, float]]] = {}
    places = (
        ("artifacts and work", root, need.artifacts + need.checkpoints + need.work + SPARE),
        ("DVC's cache", cache_folder(root), need.cache),
        ("the Hub's cache", _hub_folder(), need.downloads),
    )
    for name, folder, size in places:
        if size:
            wanted.setdefault(_standing(folder).stat().st_dev, []).append((name, _standing(folder), size))
    for parts in wanted.values():
        free, size = shutil.disk_usage(parts[0][1]).free, sum(p[2] for p in parts)
        if size > free:
            for_what = ", ".join(f"{amount(s)} for {name}" for name, _, s in parts)
            raise DiskError(
                f"recipe {recipe} needs about {amount(size)} on the file system of {parts[0][1]} for the stages that are "
                f"to run, {stages} of them ({for_what}), and {amount(free)} are free: {amount(size - free)} too few. Free some, put DVC's "
                "cache on another disk (`dvc cache dir`), or say --ignore-disk; `r1 plan` says what takes how much"
            )


def cache_folder(root: Path) -> Path:
    """DVC's cache: where .dvc/config.local or .dvc/config put it."""
    folder = _setting(root, "dir")
    return root / ".dvc" / (Path(folder).expanduser() if folder else "cache")


def is_linked(root: Path) -> bool:
    """Whether `cache.type` makes data/ links into the cache. DVC's default, reflink or else copy, is taken for a copy."""
    return (_setting(root, "type") or "copy").split(",")[0].strip() in ("hardlink", "symlink")


def _setting(root: Path, key: str) -> str | None:
    for name in ("config.local", "config"):
        config = configparser.ConfigParser(strict=False, interpolation=None)
        try:
            config.read(root / ".dvc" / name)
        except configparser.Error as exc:
            raise ParamsError(f"{root / '.dvc' / name}: {exc.message.splitlines()[0]}") from None
        if value := config.get("cache", key, fallback=None):
            return value
    return None


def _hub_folder() -> Path:
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def _standing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def amount(size: float) -> str:
    for scale, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{size / 1e3:,.1f} kB"
