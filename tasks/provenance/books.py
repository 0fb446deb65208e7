"""The tables of a checkout as books: read by id, and an id found in them, however it was given."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from tasks.provenance.row_index import RowIndex, key_of, keys_of
from tasks.provenance.rows_at import Files
from tasks.provenance.tables import Table, manifests, tables_of
from tasks.provenance.weights import weights
from tasks.rows import row_id

OWNERS = ("prompt", "completion", "sft_example", "preference_pair", "safety_label")  # kinds whose `id` is a row's own
NEAR = 5  # near ids that are offered


class UnknownRow(Exception):
    """No row has this id: what was searched, and which ids come near."""

    def __init__(self, id: str, searched: list[Table], near: list[str]):
        self.id, self.searched, self.near = id, searched, near
        rows, folders = sum(t.rows for t in searched), len({t.artifact for t in searched})
        hint = f"; near it: {', '.join(near)}" if near else "; no id comes near it"
        super().__init__(
            f"no row has the id {id!r} among {rows:,} rows of {len(searched)} tables in {folders} artifacts{hint}"
        )


class Books:
    """The tables of a checkout, found and read by id."""

    def __init__(
        self,
        root: Path,
        cache: Path,
        readers: Mapping[str, Iterable[str]] | None = None,
        outs: Iterable[str] = ("data",),
    ):
        """`cache`: folder of the row index. `readers`: artifact -> artifacts whose stage reads it, as in dvc.yaml.

        `outs`: what the stages write; a folder that a stage of the past left behind is no book.
        """
        self.root, self.readers = Path(root), readers or {}
        found = manifests(self.root / out for out in outs)
        self.manifests = {self.name(folder): manifest for folder, manifest in found}
        self.tables = [t for name, manifest in self.manifests.items() for t in tables_of(self.root / name, manifest)]
        self.index, self.files = RowIndex(self.tables, cache), Files()

    def name(self, folder: Path) -> str:
        return folder.relative_to(self.root).as_posix()

    def rows(
        self, key: str, value: str | None, *kinds: str, columns: list[str] | None = None, having: str | None = None
    ) -> Iterator[tuple[Table, dict]]:
        """(table, row) of every row, in tables of these kinds that have the column `having`, in which `key` is `value`."""
        if value is None:
            return
        for table, runs in self.index.find(key, value, *kinds):
            if having and having not in table.columns:
                continue
            wanted = columns and [c for c in columns if c in table.columns]
            for row in self.files.rows(table.file, (n for run in runs for n in run), wanted):
                if key in ("name", "kept_name") or row[key] == value:
                    yield table, row

    @cached_property
    def checkpoints(self) -> dict[str, tuple[str, str | None]]:
        """sha256 of the weights -> (folder of the checkpoint, stage that made it)."""
        return {
            sha: (folder, manifest.get("stage"))
            for artifact, manifest in self.manifests.items()
            for folder, sha in weights(artifact, manifest).items()
        }

    def is_checkpoint(self, artifact: str) -> bool:
        return bool(weights(artifact, self.manifests.get(artifact, {})))

    @cached_property
    def annotations(self) -> list[dict]:
        """What people said of responses (tasks/curation/annotation.py), each with its file, line and row id."""
        from tasks.provenance.reviewed import reviewed

        found = []
        for path in sorted(
            {s["annotations"] for a in self.manifests for s in self.sections(a) if s.get("annotations")}
        ):
            for number, a in enumerate(reviewed(self.root / path), 1):
                id = row_id("annotation", of=a.id, annotator=a.annotator, response=a.response)
                found.append(asdict(a) | {"row_id": id, "response": a.response, "file": path, "line": number})
        return found

    def sections(self, artifact: str) -> list[dict]:
        """The sections of params.yaml that the artifact was made with."""
        return [v for v in self.manifests.get(artifact, {}).get("params", {}).values() if isinstance(v, dict)]


def resolve(books: Books, given: str) -> str:
    """The id that is meant: given in full, by its first digits, or as `SOURCE ORIGIN` of a prompt; else UnknownRow."""
    for key, kinds in (("id", OWNERS), ("row_id", ("decision",)), ("completion_id", ())):
        if next(books.rows(key, given, *kinds), None):
            return given
    if reviewed := next((a for a in books.annotations if given in (a["id"], a["row_id"])), None):
        return reviewed["row_id"]
    source, _, origin = given.partition(" ")
    for _, row in books.rows("name", given, "prompt"):
        if (row["source"], row["origin"]) == (source, origin):
            return row["id"]
    dropped = row_id("row", source=source, origin=origin)
    if origin and next(books.rows("row_id", dropped, "decision"), None):
        return dropped
    if len(begun := list(dict.fromkeys(_begin_with(books, given)))) == 1:
        return begun[0]
    raise UnknownRow(given, [t for t in books.tables if keys_of(t)], begun[:NEAR] or _near(books, given))


def _ids(books: Books, pick) -> Iterator[str]:
    """Ids that rows have themselves, at the places that `pick` takes of each index."""
    for table in books.tables:
        key = "id" if table.kind in OWNERS else "row_id" if table.kind == "decision" else None
        if key and key in keys_of(table):
            numbers = [run[0] for run in pick(books.index.runs(table, key)) if run]
            yield from (row[key] for row in books.files.rows(table.file, numbers, [key]) if row[key])


def _begin_with(books: Books, given: str) -> Iterator[str]:
    kind, _, digits = given.rpartition("_")
    if len(digits) < 4 or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
        return
    low, high = (int(digits[:16].ljust(16, fill), 16) for fill in "0f")
    for id in _ids(books, lambda runs: runs.between(low, high, NEAR + 1)):
        if id.startswith(given) or (not kind and id.rpartition("_")[2].startswith(digits)):
            yield id


def _near(books: Books, given: str) -> list[str]:
    """Ids with most of the first digits in common, three at least."""
    digits = given.rpartition("_")[2]

    def common(id: str) -> int:
        other = id.rpartition("_")[2]
        return next((i for i, (a, b) in enumerate(zip(digits, other)) if a != b), min(len(digits), len(other)))

    found = dict.fromkeys(_ids(books, lambda runs: runs.around(key_of(_padded(given)), 1)))
    near = sorted(found, key=lambda id: (-common(id), id))[:NEAR]
    least = max(3, common(near[0]) // 2) if near else 0  # beside a typing error at the end, the others are chance
    return [id for id in near if common(id) >= least]


def _padded(given: str) -> str:
    """As an id of 32 digits, so that a cut or mistyped one falls among its neighbours."""
    head, _, digits = given.rpartition("_")
    kept = digits[: next((i for i, d in enumerate(digits) if d not in "0123456789abcdef"), len(digits))]
    return f"{head}_{kept[:32].ljust(32, '0')}"
