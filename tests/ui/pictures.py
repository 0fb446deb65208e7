"""The pictures of docs/ui.md, from a UI that is up: `python -m tests.ui.pictures http://127.0.0.1:4200`.

Forms always; the newest run of the whole pipeline and the newest finished stage below it where there are any.
"""

import json
import sys
import time
import urllib.request
from pathlib import Path

from tests.ui.browser import Browser, browser

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "img"


def ask(url: str, path: str, data: dict) -> list[dict]:
    request = urllib.request.Request(
        f"{url}/api/{path}", json.dumps(data).encode(), {"content-type": "application/json"}
    )
    return json.load(urllib.request.urlopen(request, timeout=60))


def save(page: Browser, name: str, width: int, height: int) -> None:
    """The window at this size, with at most 64 colours: pages are flat."""
    from io import BytesIO

    from PIL import Image

    page.driver.set_window_size(width, height + 143)  # Chromium counts its toolbar
    time.sleep(2)
    picture = Image.open(BytesIO(page.driver.get_screenshot_as_png())).convert("RGB")
    file = FOLDER / f"ui_{name}.png"
    picture.crop((0, 0, width, min(height, picture.height))).quantize(64).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def forms(page: Browser, url: str) -> None:
    made = {d["name"]: d["id"] for d in ask(url, "deployments/filter", {})}
    page.open("/deployments", "whole pipeline")
    save(page, "deployments", 1200, 620)
    page.open(f"/deployments/deployment/{made['whole pipeline']}/run", "Stages to bring up to date")
    page.choose(page.field("targets"), "sft_data", "evaluate@r1", close=False)
    save(page, "form", 1200, 780)
    page.open(f"/deployments/deployment/{made['experiment']}/run", "section r1 of params.yaml")
    page.fill(page.field("name"), "more-language")
    page.fill(page.field("changes", "r1", "rewards", "language"), "0.3")
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", page.field("changes", "r1", "rewards"))
    save(page, "experiment", 1200, 780)


def runs(page: Browser, url: str) -> None:
    newest = {"sort": "EXPECTED_START_TIME_DESC"}
    found = ask(url, "flow_runs/filter", newest)
    pipeline = next((r for r in found if r["name"].startswith("pipeline") and r["start_time"]), None)
    stage = next((r for r in found if r["parent_task_run_id"] and r["state_type"] == "COMPLETED"), None)
    if pipeline:
        page.open(f"/runs/flow-run/{pipeline['id']}", pipeline["name"])
        time.sleep(4)
        save(page, "pipeline", 1200, 900)
    if stage:
        page.open(f"/runs/flow-run/{stage['id']}", stage["name"])
        page.find(".p-tab", "Artifacts").click()
        time.sleep(3)
        save(page, "stage", 1200, 900)


if __name__ == "__main__":
    with browser(sys.argv[1]) as site:
        for part in (forms, runs):
            if part.__name__ in (sys.argv[2:] or ["forms", "runs"]):
                part(site, sys.argv[1])
