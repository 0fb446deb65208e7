"""Columns that a policy's selection names: which of the files' they are, and as what they are measured."""

from collections.abc import Iterator

import pyarrow as pa

from tasks.curation.columns import INTERNAL, MEASURES, OPTIONAL, REQUIRED
from tasks.curation.errors import CurationError
from tasks.curation.selection import DERIVED
from tasks.curation.selection_policy import Selection

OURS = {"id", "prompt_id", *OPTIONAL, *MEASURES}  # there for every candidate


def named_columns(selection: Selection, schema: pa.Schema) -> tuple[tuple[str, str], ...]:
    """((column of the files, Arrow type to measure it as), …); `schema` is that of all files together.

    The type is one for all files, so that nothing depends on their order. CurationError where a name is no column,
    could be two, or is no number although one is needed. A file's own `samples` or `pass_rate` goes before ours.
    """
    made: dict[str, str] = {}
    for name, number in _wanted(selection):
        _refuse_unclear(name, schema)
        if name in OURS or name in DERIVED and name not in schema.names:
            if number and name in OURS - {"index", *MEASURES}:
                raise CurationError(f"selection: the policy needs {name!r} as a number, but it is text")
            continue
        made[name] = _kind(name, schema.field(name).type, number)
    folded = sorted(made, key=str.casefold)
    for a, b in zip(folded, folded[1:]):
        if a.casefold() == b.casefold():
            raise CurationError(f"selection: the policy names columns {a!r} and {b!r}, alike but for case: rename one")
    return tuple(sorted(made.items()))


def _wanted(selection: Selection) -> Iterator[tuple[str, bool]]:
    """(name, whether a number is needed) as the policy has them; what its own words stand for is left out."""
    yield from ((band.column, True) for band in selection.bands)
    yield from ((bin.column, True) for bin in selection.bins)
    bins = {bin.name for bin in selection.bins}
    for cap in selection.caps:
        yield from ((key.removeprefix("-"), True) for key in cap.order)
        if cap.by is not None and cap.by not in bins:
            yield cap.by, False


def _refuse_unclear(name: str, schema: pa.Schema) -> None:
    same = [theirs for theirs in schema.names if theirs.casefold() == name.casefold()]
    if name in MEASURES and same:
        raise CurationError(
            f"selection: the policy names {name!r}, a measure of the text, but the files have a column {same[0]!r} "
            "too: rename that column"
        )
    if name in OURS or name in DERIVED and not same:
        return
    if name.casefold() in {*OURS, *INTERNAL}:
        raise CurationError(f"selection: the policy names {name!r}, which stands for something else here: rename it")
    if name not in schema.names or name in REQUIRED:
        has = ", ".join(sorted({*schema.names, *MEASURES, *DERIVED} - {"prompt", "text"} - set(INTERNAL)))
        raise CurationError(
            f"selection: the policy names {name!r}, which the candidates lack: add it, or use one of {has}"
        )


def _kind(name: str, found: pa.DataType, number: bool) -> str:
    if pa.types.is_boolean(found) or pa.types.is_integer(found):
        return str(found)
    if pa.types.is_floating(found) or pa.types.is_decimal(found) or pa.types.is_null(found):
        return "double"
    if number or not pa.types.is_string(found):
        wanted = "a number" if number else "text or a number"
        raise CurationError(f"selection: the policy needs {name!r} as {wanted}, but it is {found}: convert it")
    return "string"
