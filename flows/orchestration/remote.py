"""What one stage made, to DVC's remote and from there: how artifacts travel between machines, dvc.lock left to DVC.

An entry of DVC's run cache says: this command, on these inputs, with these parameters, gave these outputs.
`dvc push --run-cache` sends the entries, but of what they name only the outputs that DVC keeps in its cache: metrics
and plots with `cache: false` stay behind (DVC 3.67), so that no other checkout can restore such a stage. `send` sends
one stage's objects, those included, and the entry last: an entry on the remote is a promise that all it names is
there. After `fetch` elsewhere `dvc repro` restores the stage and writes dvc.lock itself.

Every transfer is tried again where it fails. DVC skips what has arrived, so trying again is going on.
DVC's locks are held by process: one call at a time in a process, never beside a `dvc` of its own threads.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

DELAYS = (1.0, 5.0, 20.0)  # seconds before the second attempt, the third, …
RUNS = "runs"  # folder of the run cache on the remote
T = TypeVar("T")


class RemoteError(Exception):
    """The remote is not set up, or a transfer failed as often as it was tried; the message says what to do."""


def again(what: str, attempt: Callable[[], T]) -> T:
    """`attempt()`, tried anew after each of DELAYS while it raises; RemoteError after the last."""
    for tried, delay in enumerate((*DELAYS, None), 1):
        try:
            return attempt()
        except RemoteError:
            raise
        except Exception as exc:
            reason = f"{type(exc).__name__}: {exc}".strip()
            if delay is None:
                raise RemoteError(
                    f"{what} failed {tried} times ({reason}). What has arrived stays: "
                    "put the remote right and run it again, it goes on from there"
                ) from exc
            print(f"{what} failed ({reason}); attempt {tried + 1} in {delay:g} s", flush=True)
            time.sleep(delay)
    raise AssertionError("unreachable")


def push(root: Path, paths: list[str]) -> None:
    """`dvc push` of these outputs."""
    if paths:
        with _repo(root) as repo:
            _remote(repo)
            again(f"dvc push {' '.join(paths)}", lambda: repo.push(targets=[str(root / p) for p in paths]))


def pull(root: Path, paths: list[str]) -> None:
    """`dvc pull` of these outputs, as dvc.lock states them."""
    if paths:
        with _repo(root) as repo:
            _remote(repo)
            again(f"dvc pull {' '.join(paths)}", lambda: repo.pull(targets=[str(root / p) for p in paths], force=True))


def send(root: Path, stage: str) -> str:
    """What the stage made here, to the remote: every object, then the entry. Name of the entry."""
    from dvc.stage.cache import _get_cache_hash
    from dvc.stage.serialize import to_single_stage_lockfile

    with _repo(root) as repo:
        remote, built = _remote(repo), _stage(repo, stage)
        key, value = _key(repo, built), _get_cache_hash(to_single_stage_lockfile(built))
        here = repo.stage_cache._get_cache_path(key, value)
        if not os.path.exists(here):
            raise RemoteError(
                f"{stage}: DVC's run cache does not hold what dvc.lock states; `dvc repro {stage}` brings them together"
            )
        made = repo.stage_cache._create_stage(repo.stage_cache._load_cache(key, value))
        if not made.outs_cached():
            raise RemoteError(f"{stage}: DVC's cache lacks some of what it made; `dvc repro --force {stage}` makes it")
        again(f"sending what {stage} made", lambda: _complete(repo.cloud.push(_objects(made))))
        there = remote.fs.join(remote.path, RUNS, key[:2], key, value)
        again(f"sending the run-cache entry of {stage}", lambda: _copy(repo, here, remote.fs, there))
    return value


def fetch(root: Path, stage: str, value: str | None = None) -> bool:
    """Into this checkout's cache what any machine made of the stage's present inputs; False where nothing is there.

    Args:
        value: the entry that must be there, as named by `send`; `dvc repro` then restores this one.

    An entry of whose outputs the remote lacks some, after a `dvc gc --cloud` for one, counts as none.

    Raises:
        RemoteError: the entry `value` is missing, or something of what it names; or a transfer failed.
    """
    with _repo(root) as repo:
        key = _key(repo, _stage(repo, stage, save=True))
        remote = _remote(repo)
        folder = remote.fs.join(remote.path, RUNS, key[:2], key)
        names = again(f"asking for {stage}", lambda: _names(remote.fs, folder))
        if value is not None and value not in names:
            raise RemoteError(
                f"{stage} was built elsewhere, but not of this checkout's inputs: did something change here "
                "meanwhile? Run it again"
            )
        found = False
        for name in [value] if value else names:
            whole = _fetch(repo, remote.fs, remote.fs.join(folder, name), stage, key, name)
            if value and not whole:
                raise RemoteError(f"{stage} was built elsewhere, but the remote lacks some of it: run it again")
            found |= whole
    return found


def _fetch(repo: "Repo", fs: Any, there: str, stage: str, key: str, name: str) -> bool:
    """The objects, then the entry: DVC must never find one without the other. False where some are not there."""
    from dvc.utils.serialize import load_yaml

    here = repo.stage_cache._get_cache_path(key, name)
    fresh = f"{here}.new"
    try:
        again(f"fetching the run-cache entry of {stage}", lambda: _get(fs, there, fresh))
        made = repo.stage_cache._create_stage(load_yaml(fresh))
        again(f"fetching what {stage} made", lambda: _complete(repo.cloud.pull(_objects(made))))
        if not made.outs_cached():  # DVC has only warned of what the remote lacks
            print(f"{stage}: the remote lacks some of what its run-cache entry {name[:8]} names", flush=True)
            return False
        os.replace(fresh, here)
        os.utime(here)  # of several, DVC restores the newest
        return True
    finally:
        with suppress(FileNotFoundError):
            os.unlink(fresh)


def forget(root: Path, stage: str) -> None:
    """Have DVC take the stage for changed, so that `dvc repro` restores the newest entry of the run cache."""
    with _repo(root) as repo:
        found = _stage(repo, stage)
        with repo.lock:
            found.dvcfile._lockfile.remove_stage(found)


@contextmanager
def _repo(root: Path) -> Iterator["Repo"]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with chdir(root), Repo(str(root), _wait_for_lock=True) as repo:  # DVC takes some paths from the folder it is in
            yield repo
    except DvcException as exc:
        raise RemoteError(f"{root}: DVC says: {exc}") from exc


def _stage(repo: "Repo", stage: str, save: bool = False) -> "Stage":
    """The stage as dvc.lock states it; with `save`, with the hashes of its inputs as they are in the working tree."""
    with repo.lock:
        found = repo.stage.load_one(path=os.path.join(repo.root_dir, "dvc.yaml"), name=stage)
        if save:
            found.save_deps()
    return found


def _key(repo: "Repo", stage: "Stage") -> str:
    from dvc.stage.cache import _can_hash, _get_stage_hash

    if not _can_hash(stage):
        raise RemoteError(
            f"{stage.addressing} cannot travel: DVC's run cache takes only stages with a command, hashed inputs and "
            "outputs inside the repository; run `dvc repro` of what is before it first"
        )
    return _get_stage_hash(stage)


def _remote(repo: "Repo") -> Any:
    """The remote's file system and path, `.fs` and `.path`."""
    from dvc.config import NoRemoteError

    try:
        return repo.cloud.get_remote(command="push")
    except NoRemoteError:
        raise RemoteError(
            f"{repo.root_dir} has no DVC remote, by which artifacts travel: `dvc remote add -d NAME URL`"
        ) from None


def _objects(made: "Stage") -> set:
    """Hashes of all that a run-cache entry names; the files of folders come along."""
    return {found for objects in made.get_used_objs().values() for found in objects}


def _complete(result: Any) -> None:
    if result.failed:
        raise OSError(f"{len(result.failed)} of {len(result.failed) + len(result.transferred)} objects not transferred")


def _names(fs: Any, folder: str) -> list[str]:
    return sorted(fs.name(path) for path in fs.find(folder)) if fs.exists(folder) else []


def _copy(repo: "Repo", here: str, fs: Any, there: str) -> None:
    from dvc.fs import generic, localfs

    if not fs.exists(there):
        generic.copy(localfs, here, fs, there)


def _get(fs: Any, there: str, here: str) -> None:
    from dvc.fs import generic, localfs

    os.makedirs(os.path.dirname(here), exist_ok=True)
    generic.copy(fs, there, localfs, here)
