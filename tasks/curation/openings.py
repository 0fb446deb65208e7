"""How summaries open: what follows </think>, or the whole text, against a list of refused openings."""

from collections.abc import Sequence

import numba
import numpy as np
import pyarrow as pa

HEAD = 400  # bytes of a summary in which an opening is looked for
CLOSE = np.frombuffer(b"</think>", np.uint8)


def openings_of(text: pa.Array, closings: pa.Array, openings: Sequence[str]) -> pa.Array:
    """The opening, any case, that each summary begins with; null where none. `closings`: the </think> of each text."""
    if not openings or not len(text):
        return pa.nulls(len(text), pa.string())
    offsets = np.frombuffer(text.buffers()[1], np.int64 if pa.types.is_large_string(text.type) else np.int32)
    offsets = offsets[text.offset : text.offset + len(text) + 1]
    data = np.frombuffer(text.buffers()[2] or b"", np.uint8)
    folded = tuple(opening.casefold() for opening in openings)
    first = np.zeros(256, np.bool_)  # bytes that a summary with such an opening can begin with
    first[128:] = True  # by itself in another script, or a letter that folds to an ASCII one
    for opening in folded:
        first[[ord(c) for c in (opening[0], opening[0].upper()) if ord(c) < 128]] = True
    starts = _starts(data, offsets, closings.to_numpy(zero_copy_only=False).astype(np.int64), first)
    found: list[str | None] = [None] * len(text)
    for i in np.flatnonzero(starts >= 0).tolist():
        head = data[starts[i] : min(offsets[i + 1], starts[i] + HEAD)].tobytes().decode(errors="ignore")
        head = head.lstrip().casefold()
        if head.startswith(folded):
            found[i] = next(opening for opening, f in zip(openings, folded) if head.startswith(f))
    return pa.array(found, pa.string())


@numba.njit(cache=True, nogil=True)
def _closes(data, at):
    for k in range(len(CLOSE)):
        if data[at + k] != CLOSE[k]:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _starts(data, offsets, closings, first):
    """Where each summary starts, -1 where its first byte beside ASCII white space is none of `first`."""
    found = np.full(len(closings), -1, np.int64)
    for i in range(len(closings)):
        start, stop = offsets[i], offsets[i + 1]
        if closings[i] > 0:
            # a single one is sought from the end, where it is near
            at, step = (stop - len(CLOSE), -1) if closings[i] == 1 else (start, 1)
            while start <= at <= stop - len(CLOSE) and (data[at] != CLOSE[0] or not _closes(data, at)):
                at += step
            start = min(max(start, at + len(CLOSE)), stop)
        stop = min(stop, start + HEAD)
        at = start
        while at < stop and (data[at] == 32 or 9 <= data[at] <= 13 or 28 <= data[at] <= 31):
            at += 1
        if at < stop and first[data[at]]:
            found[i] = start
    return found
