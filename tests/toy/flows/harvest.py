"""The report: two outs that are a file and a folder, no metrics."""

import json

from flows.orchestration.stage import Run, stage
from tasks.settings import Settings


class Params(Settings):
    best: str


def body(p: Params, run: Run) -> dict:
    heights = {
        f.stem: json.loads(f.read_text())["height"] for f in sorted((run.input_path("metrics") / "grow").glob("*.json"))
    }
    rows = "\n".join(f"| {name} | {height} |" for name, height in heights.items())
    run.outs["report.md"].write_text(
        f"# {run.recipe}\n<!-- main table -->\n| plant | height |\n{rows}\n<!-- /main table -->\n"
    )
    (run.outs["figures"] / "best.txt").write_text(p.best)
    return {}


if __name__ == "__main__":
    stage(body, Params)
