"""A slow stage that keeps its state in the work folder and can be told to fail in several ways."""

import json
import os
import time

from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.provenance.artifacts import read_rows
from tasks.settings import Settings


class Plant(Settings):
    steps: int = Field(ge=1, le=1000, description="steps of growth")
    seconds: float = Field(0.1, ge=0, description="of each step")
    fail_at: int | None = Field(None, description="step at which the body raises")
    blob: int = Field(0, ge=0, description="bytes to write at the end")


class Params(Settings):
    plants: dict[str, Plant]


def body(p: Params, run: Run) -> dict:
    plant = p.plants[run.item]
    numbers = [r["value"] for r in read_rows(run.input("numbers"), "numbers")]
    state = run.work / "state.json"
    heights = json.loads(state.read_text()) if state.exists() else []
    run.log(f"from step {len(heights)}, process {os.getpid()}, hash seed {os.environ['PYTHONHASHSEED']}")
    while len(heights) < plant.steps:
        if len(heights) == plant.fail_at:
            raise ValueError("the frost came")
        time.sleep(plant.seconds)
        heights.append((heights or [run.seed % 10])[-1] + numbers[len(heights) % len(numbers)])
        new = state.with_suffix(".new")
        new.write_text(json.dumps(heights))
        new.replace(state)
        run.progress(len(heights), plant.steps, note=f"height {heights[-1]}")
    (run.out / "plant.json").write_text(json.dumps(heights))
    if plant.blob:
        (run.out / "blob.bin").write_bytes(bytes(plant.blob))
    run.curve([{"step": i, "height": h} for i, h in enumerate(heights)])
    return {"height": heights[-1], "pass_at_1": heights[-1] / 1000}


if __name__ == "__main__":
    stage(body, Params)
