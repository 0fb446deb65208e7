"""Numbers, and some of them held out."""

import random

import pyarrow as pa
from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.provenance.artifacts import write_rows
from tasks.settings import Settings

NUMBER = pa.schema([("value", pa.int64())])


class Params(Settings):
    count: int = Field(ge=1, le=1000, description="how many numbers")
    largest: int = Field(100, ge=1, description="upper bound")


def body(p: Params, run: Run) -> dict:
    rng = random.Random(run.seed)
    rows = [{"value": rng.randint(1, p.largest)} for _ in range(p.count)]
    write_rows(run.outs["numbers"], "numbers", rows[2:], NUMBER)
    write_rows(run.outs["held_out"], "numbers", rows[:2], NUMBER)
    return {"rows": len(rows), "sum": sum(r["value"] for r in rows)}


if __name__ == "__main__":
    stage(body, Params)
