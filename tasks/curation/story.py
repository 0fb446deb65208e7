"""The story of one row of a finished run: why it was kept or rejected, by which rule, against which other row.

Files are in the order of ids, so the row groups that can hold an id are known from their smallest and largest values.
"""

from bisect import bisect_left, bisect_right
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

import tasks.provenance.artifacts  # noqa: F401, spares pyarrow the import of pandas
from tasks.curation.errors import CurationError
from tasks.rows import DECISION

FILES = ("decisions.parquet", "outcomes.parquet", "prompts.parquet", "near_duplicates.parquet", "kept.parquet")


def story(folder: Path, id: str) -> dict:
    """Everything about one id.

    Keys: id, prompt_id, kept, stage, rule (of the first reason); decisions; row (all columns, None where rejected);
    duplicate_of and duplicates (near_duplicates of it and by it, with what came of the other row); siblings (outcomes
    of the other candidates of its prompt).
    """
    folder = Path(folder)
    for name in FILES:
        if not (folder / name).is_file():
            raise CurationError(f"{folder / name} is missing: {folder} is no result of `r1 curate`")
    outcome = _where(folder / "outcomes.parquet", "id", id)
    if not outcome:
        raise CurationError(f"no candidate has the id {id!r} in {folder}")
    found = outcome[0]
    rows = _where(folder / "kept.parquet", "id", id) if found["kept"] else []
    return found | {
        "decisions": [
            {k: v for k, v in d.items() if k != "row_id"}
            for d in _where(folder / "decisions.parquet", DECISION.names[0], id)
        ],
        "row": rows[0] if rows else None,
        "duplicate_of": _others(folder, "id", "kept_id", id),
        "duplicates": _others(folder, "kept_id", "id", id),
        "siblings": [
            o for o in _where(folder / "prompts.parquet", "prompt_id", found["prompt_id"]) if o["id"] != id
        ],
    }


def _others(folder: Path, mine: str, theirs: str, id: str) -> list[dict]:
    pairs = _where(folder / "near_duplicates.parquet", mine, id)
    others = {o["id"]: o for o in _where(folder / "outcomes.parquet", "id", *(pair[theirs] for pair in pairs))}
    made = []
    for pair in pairs:
        other = others[pair[theirs]]
        facts = {name: pair[name] for name in ("kind", "scope", "jaccard")}
        made.append(facts | {name: other[name] for name in ("id", "kept", "stage", "rule")})
    return made


def _where(path: Path, column: str, *values: str | None) -> list[dict]:
    """Rows of a file in which a text column has one of the values; other columns are read only where one has."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, memory_map=True, pre_buffer=False)
    place = file.schema_arrow.get_field_index(column)
    sought = sorted({value for value in values if value is not None})
    rows: list[dict] = []
    for group in range(file.num_row_groups):
        statistics = file.metadata.row_group(group).column(place).statistics
        if statistics is not None and statistics.has_min_max:
            first, last = statistics.min, statistics.max
            if bisect_left(sought, first) == bisect_right(sought, last):
                continue
        cells = file.read_row_group(group, [column], use_threads=False)[column]
        hits = pc.is_in(cells, pa.array(sought, pa.string()))
        if pc.any(hits).as_py():
            rows += file.read_row_group(group).filter(hits).to_pylist()
    return rows
