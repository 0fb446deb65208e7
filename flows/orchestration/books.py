"""The books that `r1 audit` proves, read from a checkout: its graph and lock, parameters, commit and working tree."""

from pathlib import Path

from flows.orchestration.lineage import Lineage, Record, md5_of_folder
from tasks.provenance.audit.books import Books, Stage


def books_of(root: Path) -> Books:
    """The working tree of `root`; ParamsError where it is no checkout."""
    lineage = Lineage.at(root)
    stages = {name: _stage(lineage, record) for name, record in lineage.records.items()}
    return Books(root, stages, lineage.values, lineage.commit, lineage.dirty, md5_of_folder)


def _stage(lineage: Lineage, record: Record) -> Stage:
    return Stage(
        record.stage, record.name, record.item, record.desc,
        inputs={path: item.md5 for path, item in record.deps.items()},
        outs={path: item.md5 for path, item in record.writes.items()},
        params=record.params,
        upstream=lineage.upstream(record.stage),
        changes=tuple(lineage.changes(record.stage)),
    )  # fmt: skip
