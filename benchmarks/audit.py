"""`r1 audit` at the paper's scale: every check, the page with its sample, and pages of the browser, timed one by one.

    .venv/bin/python benchmarks/dag_tables.py DIR --candidates 3000000     # 800,000 examples
    .venv/bin/python benchmarks/audit.py DIR --candidates 3000000

Completes the tables in DIR with what they need to be books in order; a violation is an error here. Without DIR, 30,000
candidates in a temporary folder.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.dag_tables import SMALL, generate
from tasks.provenance.audit import NAMES, audit
from tasks.provenance.audit.browse import Browser
from tasks.reporting import audit_page
from tests.provenance.audit import made_books

PAGES = (  # set, words sought, filters, first row; -1: an eighth before the last of the page above
    ("13_sft_data/examples", "", {}, 0), ("13_sft_data/examples", "", {}, -1),
    ("13_sft_data/examples", "the 1234th word", {}, 0), ("13_sft_data/examples", "", {"domain": "qa"}, 1000),
    ("09_candidates/candidates", "", {"outcome": "text_coverage"}, 0),
)  # fmt: skip


class Clock:
    """Wall and CPU seconds since the last lap."""

    def __init__(self):
        self.wall, self.cpu, self.laps = time.monotonic(), time.process_time(), {}

    def lap(self, name: str) -> None:
        wall, cpu = time.monotonic(), time.process_time()
        self.laps[name] = {"wall": round(wall - self.wall, 2), "cpu": round(cpu - self.cpu, 2)}
        print(f"{name:60} {self.laps[name]['wall']:8.2f} s   {self.laps[name]['cpu']:8.2f} CPU-s", flush=True)
        self.wall, self.cpu = wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="that dag_tables.py made; without it a temporary one")
    parser.add_argument("--candidates", type=int, help=f"in the folder's tables; in a temporary one {SMALL:,}")
    options = parser.parse_args()
    if options.folder and not options.candidates:
        parser.error(f"--candidates: how many did dag_tables.py make in {options.folder}?")
    candidates = options.candidates or SMALL
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not options.folder:
            generate(folder, candidates, 500)
        if not (folder / "metrics").is_dir():
            made_books.complete(folder, candidates)
        measure(made_books.books(folder))


def measure(books) -> None:
    clock = Clock()
    checks = []
    for name in NAMES:
        checks += audit(books, [name])
        clock.lap(f"check: {name}")
    if broken := [f for c in checks for f in c.violations]:
        sys.exit(f"the books do not hold: {broken[:3]}")
    browser = Browser(books)
    page = audit_page.render([c.as_json() for c in checks], browser.sets(), browser.samples(8), 8, None)
    clock.lap(f"page of {len(page):,} characters")
    whole = {key: round(sum(lap[key] for lap in clock.laps.values()), 1) for key in ("wall", "cpu")}
    found = {"total": 0}
    for name, query, filters, offset in PAGES:
        offset = offset if offset >= 0 else found["total"] * 7 // 8
        found = browser.page(name, query, filters, offset)
        clock.lap(f"{name} {query!r} {filters} from {offset:,}: {found['total']:,}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"audit": whole, "peak_gib": round(peak, 2), "laps": clock.laps}))


if __name__ == "__main__":
    main()
