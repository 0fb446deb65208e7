"""Between the DAG's rows and curation: candidates joined with prompts and verdicts, kept candidates as SFT examples."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.curation.errors import CurationError
from tasks.curation.examples import example

BATCH = 4096  # rows held at a time


def join_candidates(candidates: Path, verdicts: Path, prompts: Sequence[Path], out: Path) -> int:
    """Write `out`, a Parquet file of candidates for `curate`, and return its rows; texts pass through in batches.

    In: files of COMPLETION, VERDICT and PROMPT rows. CurationError where a candidate's prompt is unknown.
    """
    import duckdb
    import pyarrow.parquet as pq

    files = {"candidates": str(candidates), "verdicts": str(verdicts), "prompts": [str(p) for p in prompts]}
    wanted = pq.read_metadata(candidates).num_rows
    query = Path(__file__).with_name("reasoning.sql").read_text(encoding="utf-8")
    with duckdb.connect(":memory:", config={"threads": 1}) as db:
        batches = db.sql(query, params=files).to_arrow_reader(BATCH)
        with pq.ParquetWriter(out, batches.schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
    rows = pq.read_metadata(out).num_rows
    if rows != wanted:
        raise CurationError(
            f"{wanted} candidates in {candidates}, {rows} with their prompts: the prompts of some are not in {files['prompts']}, "
            "or a candidate has two verdicts; rebuild `candidates` and `verdicts` with `r1 run`"
        )
    return rows


def kept_examples(kept: Path, prompts: dict[str, dict]) -> Iterator[dict]:
    """SFT_EXAMPLE rows of kept.parquet, in its order; `prompts` are the PROMPT rows by id."""
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(kept).iter_batches(BATCH, columns=["id", "prompt_id", "text"]):
        for row in batch.to_pylist():
            yield example(prompts[row["prompt_id"]], row["text"], row["id"], "candidates")
