"""Verdicts as `r1 verify` writes them, one a line, for candidates from JSON lines that have none of their own."""

import json
from dataclasses import dataclass
from pathlib import Path

from tasks.curation.errors import CurationError
from tasks.provenance.artifacts import sha256
from tasks.rows import STATUSES


@dataclass(frozen=True)
class Verdicts:
    """A file of verdicts: in the order of the only file of candidates (`in_order`), else found by `id`."""

    path: str
    sha256: str
    in_order: bool

    @classmethod
    def of(cls, path: str | Path, inputs: list[str]) -> "Verdicts":
        """Those for the input files; CurationError where they are not all JSON lines."""
        if not Path(path).is_file():
            raise CurationError(f"{path}: no such file of verdicts")
        if tables := [name for name in inputs if name.endswith(".parquet")]:
            raise CurationError(f"{tables[0]}: verdicts are joined to JSON lines; give a column `verdict` in the table")
        return cls(str(path), sha256(Path(path)), len(inputs) == 1)

    def read(self) -> list[tuple[str | None, str]]:
        """(id as text, status) of each line."""
        found = []
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    verdict = json.loads(line)
                    name, status = verdict.get("id"), verdict["status"]
                except (ValueError, KeyError, AttributeError):
                    raise CurationError(f"{self.path}:{number} is no verdict: run `r1 verify` again") from None
                if status not in STATUSES:
                    raise CurationError(f"{self.path}:{number}: status {status!r} is none of {', '.join(STATUSES)}")
                found.append((None if name is None else str(name), status))
        return found


class Judged:
    """Statuses of the candidates of one file, as its lines are read."""

    def __init__(self, verdicts: Verdicts, path: str):
        self.verdicts, self.path, self.lines = verdicts, path, 0
        self.found = verdicts.read()
        self.by_id: dict[str, str] = {}
        for name, status in [] if verdicts.in_order else self.found:
            if name is None and status != "infra":  # a line that was no row has none
                raise CurationError(f"{verdicts.path}: verdicts for several files need ids: give rows a key `id`")
            if name is not None and self.by_id.setdefault(name, status) != status:
                raise CurationError(f"{verdicts.path}: id {name!r} has two different verdicts")

    def line(self) -> None:
        """Another line that is not blank."""
        self.lines += 1

    def status(self, id: object, number: int) -> str:
        """That of the candidate of the present line; `number` counts the blank ones too."""
        if not self.verdicts.in_order:
            if str(id) not in self.by_id:
                raise CurationError(f"{self.path}:{number}: {self.verdicts.path} has no verdict for id {id!r}")
            return self.by_id[str(id)]
        if self.lines > len(self.found):
            raise CurationError(f"{self.path}:{number}: {self.verdicts.path} ends before, after {len(self.found):,}")
        name, status = self.found[self.lines - 1]
        if name is not None and name != str(id):
            raise CurationError(
                f"{self.path}:{number} has id {id!r}, but line {self.lines} of {self.verdicts.path} is of {name!r}: "
                "verdicts stand in the order of their rows"
            )
        return status

    def end(self) -> None:
        if self.verdicts.in_order and self.lines != len(self.found):
            raise CurationError(
                f"{self.path} has {self.lines:,} lines and {self.verdicts.path} {len(self.found):,} verdicts: "
                "verify that file again"
            )
