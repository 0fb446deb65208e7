"""Stage-level lineage: which code, parameters and data made which artifact, now or at any commit.

    books = Lineage.at(root)                      # the working tree;  Lineage.at(root, "HEAD~3"): that commit
    record = books.find("data/13_sft_data")       # a stage, an artifact or a file of one
    books.upstream(record.stage), books.folder("data/13_sft_data")

Everything is derived from git, dvc.yaml, dvc.lock and params.yaml. dvc.lock says what an artifact was made from;
`changes` compares that with what stands there.
"""

import configparser
import contextlib
import difflib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from flows.orchestration import git, run_book
from flows.orchestration.dag import CODE_FOLDERS, Dag, Node, load_dag, lookup, short_name
from flows.orchestration.params import ParamsError, read_yaml

BOOKS = ("dvc.yaml", "dvc.lock", "params.yaml")


@dataclass(frozen=True)
class Item:
    """A file or folder as dvc.lock has it; `md5` ends in .dir for a folder and is None where nothing is locked."""

    path: str
    md5: str | None = None
    size: int | None = None  # bytes
    files: int | None = None  # in a folder


@dataclass(frozen=True)
class Record:
    """One stage: what dvc.yaml states, with what dvc.lock says it was last made from and gave."""

    stage: str  # distill@qwen
    name: str  # distill
    item: str | None  # qwen
    desc: str
    cmd: str
    code: dict[str, Item] = field(hash=False)
    deps: dict[str, Item] = field(hash=False)  # all that is no code
    params: dict[str, Any] = field(hash=False)  # dotted key -> value it was made with
    outs: dict[str, Item] = field(hash=False)  # data
    metrics: dict[str, Item] = field(hash=False)
    plots: dict[str, Item] = field(hash=False)
    meta: dict = field(hash=False)
    built: bool = True  # False: dvc.lock does not know it, `params` are those in force

    @property
    def writes(self) -> dict[str, Item]:
        return self.outs | self.metrics | self.plots


class Lineage:
    """The books of one state of the repository. `commit` is None outside git; `rev` is None for the working tree."""

    def __init__(self, root: Path, dag: Dag, lock: dict, values: dict, rev: str | None, commit: str | None):
        self.root, self.dag, self.values, self.rev, self.commit = root, dag, values, rev, commit
        self.records = {s: _record(n, lock.get(s), values) for s, n in dag.nodes.items()}
        self._made = {path: s for s, r in self.records.items() for path in r.writes}

    @classmethod
    def at(cls, root: Path, rev: str | None = None) -> "Lineage":
        """The working tree of `root`, or any commit, tag, branch or DVC experiment; ParamsError where it has no books."""
        if rev is None:
            values, lock = read_yaml(root / "params.yaml"), root / "dvc.lock"
            stages = _lock(lock.read_text(encoding="utf-8"), str(lock)) if lock.is_file() else {}
            return cls(root, load_dag(root, values), stages, values, None, git.head(root))
        commit = git.commit_of(root, rev)
        with tempfile.TemporaryDirectory() as folder:
            then = Path(folder)
            for name in BOOKS:
                if (text := git.show(root, commit, name)) is not None:
                    (then / name).write_bytes(text)
            try:
                values, lock = read_yaml(then / "params.yaml"), then / "dvc.lock"
                stages = _lock(lock.read_text(encoding="utf-8"), f"{rev}:dvc.lock") if lock.is_file() else {}
                return cls(root, load_dag(then, values), stages, values, rev, commit)
            except ParamsError as exc:
                raise ParamsError(f"at {rev}: {str(exc).replace(f'{then}/', '')}") from None

    @cached_property
    def dirty(self) -> tuple[str, ...]:
        """Paths of the working tree that differ from the commit; none of a past commit."""
        return git.dirty(self.root) if self.rev is None else ()

    def maker(self, path: str) -> Record | None:
        """The stage that writes this path, a folder above it, or (a dep such as `metrics`) nothing."""
        path = path.strip("/")
        while path and path != ".":
            if path in self._made:
                return self.records[self._made[path]]
            path = os.path.dirname(path)
        return None

    def find(self, name: str) -> tuple[Record, str | None]:
        """(record, path) of a stage (`distill@qwen`; path None), an artifact (`sft_data`, data/13_sft_data, metrics/r1.json)
        or a file inside one; ParamsError with near matches."""
        if name in self.records:
            return self.records[name], None
        path = _inside(self.root, name)
        short = {short_name(p): p for p in self._made if p.startswith("data/")}
        for shorter in (path, *map(str, Path(path).parents)):  # sft_data, and sft_data/examples.parquet
            if found := shorter if shorter in self._made else short.get(shorter):
                record = self.records[self._made[found]]
                self._check_inside(record.writes[found], path[len(shorter) + 1 :])
                return record, found
        near = difflib.get_close_matches(name, dict.fromkeys([*self.records, *self._made, *short]), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"stages: {', '.join(self.records)}"
        raise ParamsError(f"no stage is called `{name}`, and none writes it; {hint}")

    def _check_inside(self, item: Item, name: str) -> None:
        """ParamsError where the artifact is known not to hold a file or folder of this name."""
        if not name or item.md5 is None:
            return
        names = set((self.manifest(item.path) or {}).get("files", {})) | set(self._cached_listing(item) or ())
        if names and not any(n == name or n.startswith(f"{name}/") for n in names):
            near = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.5) or sorted(names)[:5]
            raise ParamsError(f"{item.path} holds no `{name}`; it holds {', '.join(near)}")

    def upstream(self, stage: str, every: bool = False) -> tuple[str, ...]:
        """Stages whose outputs it reads; with `every` also all before those, in an order in which they can run."""
        return tuple(s for s in self.dag.select([stage]) if s != stage) if every else self.dag.upstream[stage]

    def downstream(self, stage: str, every: bool = False) -> tuple[str, ...]:
        """Stages that read its outputs; with `every` also all after those."""
        return (
            tuple(s for s in self.dag.select([stage], downstream=True) if s != stage)
            if every
            else self.dag.downstream[stage]
        )

    def committed(self, path: str) -> git.Commit | None:
        """The commit that recorded the present content of this artifact in dvc.lock; None where none has yet."""
        record = self.maker(path)
        item = record.writes.get(path) if record else None
        return (
            git.introduced(self.root, item.md5, "dvc.lock", self.commit) if item and item.md5 and self.commit else None
        )

    def changes(self, stage: str) -> list[str]:
        """Why the artifact is not what the books in force would give, one line each; empty: it is.

        Compares dvc.lock with code, parameters and the outputs of other stages, and with what stands here of its own (by
        `stands`). Only files that no stage makes are hashed.
        """
        record, node = self.records[stage], self.dag[stage]
        if not record.built:
            return ["it was never built: dvc.lock does not know it"]
        if record.cmd != node.cmd:
            return [f"its command was `{record.cmd}`, dvc.yaml now says `{node.cmd}`"]
        changed = [
            f"{path} here is not what dvc.lock has: `dvc checkout {path}`"
            for path in record.outs
            if not self.stands(path)
        ]
        return [*changed, *self._changed_params(record, node), *self._changed_deps(record, node)]

    def stands(self, path: str) -> bool:
        """Whether what is here of an output is, for all that a look without hashing tells, what dvc.lock has.

        A folder by its files' number and bytes and by its manifest, which vouches for them, against DVC's listing where
        that is in the cache; a file by its md5. True of what is not here, or of a past commit. `r1 audit` hashes all.
        """
        item, here = self.records[self._made[path]].writes[path], self.root / path
        if self.rev is not None or item.md5 is None or not here.exists():
            return True
        if not here.is_dir():
            return md5_of(here) == item.md5
        sizes = [p.stat().st_size for p in here.rglob("*") if p.is_file()]
        if (item.files or len(sizes), item.size or sum(sizes)) != (len(sizes), sum(sizes)):
            return False
        locked = (self._cached_listing(item) or {}).get("manifest.json")
        return locked is None or locked == md5_of(here / "manifest.json")

    def _changed_params(self, record: Record, node: Node) -> Iterator[str]:
        for key in node.params:
            now = _value(self.values, key)
            if key not in record.params:
                yield f"parameter {key} is new in dvc.yaml"
            elif record.params[key] != now:
                yield f"parameter {key} differs from the one it was made with"
        yield from (f"parameter {key} is no longer in dvc.yaml" for key in record.params if key not in node.params)

    def _changed_deps(self, record: Record, node: Node) -> Iterator[str]:
        locked = record.code | record.deps
        for path in node.deps:
            if locked[path].md5 is None:
                yield f"{path} is new in dvc.yaml"
            elif (now := self._md5_now(path)) != locked[path].md5:
                yield f"{path} {'is missing' if now is None else 'has changed'}"

    def _md5_now(self, path: str) -> str | None:
        """md5 of a dep as it stands: in dvc.lock for an output, of the content for anything else.

        Of a past commit, a folder of several outputs is put together from their listings in the DVC cache.
        """
        if path in self._made:
            return self.records[self._made[path]].writes[path].md5
        if self.rev is None:
            return md5_of(self.root / path)
        inside = [
            i for r in self.records.values() for i in r.writes.values() if i.path.startswith(path + "/") and i.md5
        ]
        if not inside:
            return self._committed_md5s.get(path) or md5_of_folder(_below(self._committed_md5s, path))
        files = {}
        for item in inside:
            below = item.path[len(path) + 1 :]
            files |= {f"{below}/{name}".rstrip("/"): md5 for name, md5 in self._listing(item).items()}
        return md5_of_folder(files)

    @cached_property
    def _committed_md5s(self) -> dict[str, str]:
        """md5 of every file of the commit that is, or lies in, a dependency."""
        return git.md5s(self.root, self.commit, {dep for node in self.dag.nodes.values() for dep in node.deps})

    def folder(self, path: str) -> Path:
        """The content of an artifact, a folder or a file: the working tree's, or for a past commit the DVC cache's.

        Of a past commit it is laid out as links under work/lineage/<md5>. ParamsError, with the remedy, where it is not here.
        """
        record = self.maker(path)
        item = record.writes.get(path) if record else None
        if item is None:
            raise ParamsError(f"no stage writes {path}; artifacts: {', '.join(self._made)}")
        if self.rev is None:
            if not (self.root / path).exists():
                raise ParamsError(
                    f"{path} is not here; fetch it with `dvc pull {path}` or make it: `r1 run {record.stage}`"
                )
            return self.root / path
        if item.md5 is None:
            raise ParamsError(f"{path} had not been made at {self.rev}: its dvc.lock has no {record.stage}")
        place = self.root / "work" / "lineage" / item.md5 / Path(path).name
        if not place.exists():
            self._lay_out(item, place)
        return place

    def _lay_out(self, item: Item, place: Path) -> None:
        sources = {name: self._cached(md5, item) for name, md5 in self._listing(item).items()}
        place.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new", dir=place.parent))
        try:
            for name, source in sources.items():
                (link := new / Path(item.path).name / name).parent.mkdir(parents=True, exist_ok=True)
                if isinstance(source, Path):
                    link.symlink_to(source)
                else:
                    link.write_bytes(source)
            with contextlib.suppress(OSError):  # somebody else was first: theirs is the same
                os.rename(new / Path(item.path).name, place)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _listing(self, item: Item) -> dict[str, str]:
        """Name inside the artifact -> md5; "" for a file."""
        if not item.md5.endswith(".dir"):
            return {"": item.md5}
        listing = self._cached(item.md5, item)
        entries = json.loads(listing.read_bytes())
        bad = [e["relpath"] for e in entries if Path(e["relpath"]).is_absolute() or ".." in Path(e["relpath"]).parts]
        if bad:
            raise ParamsError(f"{listing} is no listing of DVC's: it names {bad[0]!r}, which lies outside the artifact")
        return {e["relpath"]: e["md5"] for e in entries}

    def _cached_listing(self, item: Item) -> dict[str, str] | None:
        """Name inside the artifact -> md5, where DVC's listing of this folder is in the cache."""
        return self._listing(item) if item.md5.endswith(".dir") and self._place(item.md5).is_file() else None

    def _place(self, md5: str) -> Path:
        return self._cache / "files" / "md5" / md5[:2] / md5[2:]

    def _cached(self, md5: str, item: Item) -> Path | bytes:
        """The cached file with this checksum; metrics and plots, which DVC does not cache, come from git."""
        place = self._place(md5)
        if place.is_file():
            return place
        text = git.show(self.root, self.commit, item.path)
        if text is not None and hashlib.md5(text).hexdigest() == md5:
            return text
        raise ParamsError(
            f"{item.path} of {self.rev} ({item.md5}) is not in the DVC cache ({place} is missing); fetch it with "
            f"`dvc fetch --all-commits {item.path}`, or build it: `git worktree add ../then {self.rev}` and `r1 run` there"
        )

    @cached_property
    def _cache(self) -> Path:
        config = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
        config.read([self.root / ".dvc" / "config", self.root / ".dvc" / "config.local"])
        return self.root / ".dvc" / config.get("cache", "dir", fallback="cache")

    def book(self, stage: str) -> dict | None:
        """The run book of this very artifact, where it was made here: user, host, seconds, commit (run_book.py)."""
        book = run_book.read(self.root, stage)
        if book is None or not self.records[stage].built or not all(map(self.stands, self.records[stage].outs)):
            return None
        try:
            outs = {path: self.folder(path) for path in self.records[stage].outs}
        except ParamsError:
            return None
        return book if run_book.is_about(book, outs) else None

    def manifest(self, path: str) -> dict | None:
        """manifest.json of an artifact; None where it has none, is not here, or what is here is not what dvc.lock has."""
        with contextlib.suppress(ParamsError, OSError, ValueError):
            if path not in self._made or self.stands(path):
                return json.loads((self.folder(path) / "manifest.json").read_bytes())
        return None


def _lock(text: str, name: str) -> dict:
    try:
        return (yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}).get("stages") or {}
    except yaml.YAMLError as exc:
        raise ParamsError(f"{name} is no valid YAML: {exc}; `git checkout dvc.lock`, or resolve the merge") from None


def _record(node: Node, locked: dict | None, values: dict) -> Record:
    entries = {e["path"]: e for key in ("deps", "outs") for e in (locked or {}).get(key, ())}

    def items(paths) -> dict[str, Item]:
        return {p: _item(p, entries.get(p, {})) for p in paths}

    if locked:
        params = {k: v for section in (locked.get("params") or {}).values() for k, v in section.items()}
    else:
        params = {key: _value(values, key) for key in node.params}
    used = list(dict.fromkeys([*node.deps, *(e["path"] for e in (locked or {}).get("deps", ()))]))
    code = [p for p in used if p.startswith(CODE_FOLDERS)]
    return Record(
        node.stage, node.name, node.item, node.desc, (locked or {}).get("cmd", node.cmd), items(code),
        items(p for p in used if p not in code), params, items(node.outs), items(node.metrics), items(node.plots),
        node.meta, locked is not None,
    )  # fmt: skip


def _item(path: str, entry: dict) -> Item:
    return Item(path, entry.get("md5"), entry.get("size"), entry.get("nfiles"))


def _value(values: dict, key: str) -> Any:
    try:
        return lookup(values, key)
    except KeyError:
        return None


def _inside(root: Path, name: str) -> str:
    """A path as dvc.yaml writes it, from one relative to the root or to the current folder, or absolute."""
    if (path := Path(name)).is_absolute() or name.startswith("."):
        path = Path(os.path.abspath(path))
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else name
    return Path(name.strip("/")).as_posix()


def md5_of(path: Path) -> str | None:
    """DVC's md5 of a file or (with .dir) a folder, without what .dvcignore leaves out; None where there is nothing."""
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    if not path.is_dir():
        return None
    files = (p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".pyc")
    return md5_of_folder({p.relative_to(path).as_posix(): md5_of(p) for p in files})


def md5_of_folder(files: dict[str, str]) -> str | None:
    """md5 of DVC's listing of a folder: JSON of md5 and relpath, by relpath (dvc_data.hashfile.tree); None for none."""
    if not files:
        return None
    listing = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def _below(files: dict[str, str], folder: str) -> dict[str, str]:
    return {name[len(folder) + 1 :]: md5 for name, md5 in files.items() if name.startswith(f"{folder}/")}
