"""Near-duplicate prompts, by the search that curation uses for texts: MinHash bands, then exact Jaccard."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.curation.policy import Deduplication

BATCH = 4096  # texts


def near_duplicates(
    texts: list[str], threshold: float, work: Path, threads: int
) -> list[tuple[int, float, float] | None]:
    """For each text, in the order of preference, None or (place of the kept text it nearly equals, Jaccard, threshold).

    Jaccard is that of the sets of word 5-grams; a text of fewer than five words has none. `work`: folder for temporary
    files, which are gone afterwards.
    """
    import duckdb

    from tasks.curation.kernel import Spec, banding, sketch
    from tasks.curation.near_duplicates import deduplicate

    found: list[tuple[int, float, float] | None] = [None] * len(texts)
    if not texts:
        return found
    policy = Deduplication(exact=False, across_prompts=threshold)
    bands, rows = banding(threshold, policy.permutations)
    spec = Spec(policy.shingle, policy.permutations, bands, rows)
    column = pa.array(texts, pa.large_string())
    with duckdb.connect(config={"threads": threads}) as con:
        con.register("measures", _measured(column, spec, sketch))
        con.execute("CREATE TABLE measured AS FROM measures ORDER BY row")
        con.unregister("measures")

        def stream(wanted: np.ndarray) -> Iterator[tuple[np.ndarray, pa.Array]]:
            for start in range(0, len(wanted), BATCH):
                part = wanted[start : start + BATCH]
                yield part, column.take(pa.array(part))

        work.mkdir(parents=True, exist_ok=True)
        deduplicate(con, policy, stream, work)
        for row, kept, jaccard in con.sql("SELECT row, kept_row, jaccard FROM duplicates").fetchall():
            found[row] = kept, jaccard, threshold
    return found


def _measured(texts: pa.Array, spec, sketch) -> pa.Table:
    """The table that `deduplicate` reads; every text is a prompt of its own, its place is its rank."""
    measures = pa.Table.from_batches([sketch(texts.slice(i, BATCH), spec) for i in range(0, len(texts), BATCH)])
    place = pa.array(np.arange(len(texts), dtype=np.int32))
    names = pa.array([f"{i:09}" for i in range(len(texts))])
    own = {"row": place, "id": names, "prompt_id": names, "index": place, "passes": pa.array(np.ones(len(texts), bool))}
    return pa.table(own | {name: measures[name] for name in measures.column_names})
