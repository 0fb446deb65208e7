"""Curation at the paper's scale: candidates with planted truth through `r1 curate`, with every rule switched on.

    .venv/bin/python benchmarks/curation_scale.py --data DIR [--rows 300k,1M,3M] [--workers 2] [--memory 4G]

Generates what is missing of the largest size in DIR (3M rows: 18 GB of text in 7 GB of Parquet), then for each size
reads the files once (the plain scan), curates them, and holds the decisions against the planted truth. A size that was
measured is not measured again: delete `DIR/measured-ROWS.json`. Without --data, 20,000 rows in a temporary folder.

Peak memory is the sum over the process tree, sampled twice a second: resident, and with shared pages
counted once (PSS).
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.candidates import SHARD_ROWS, count, generate  # noqa: E402

# recipes/selection/r1.yaml with the rules switched on that its source leaves open, so that every step has work.
CHANGES = {
    "filters": {
        "well_formed": True, "min_tokens": 50, "max_tokens": 20_000, "max_repeated_ngrams": 0.3,
        "max_repeated_paragraphs": 0.3, "min_language_share": 0.9,
        "refused_openings": [
            "I'm sorry, but I can", "I cannot assist", "As an AI language model", "Sorry, I can't", "很抱歉", "对不起"
        ],
    },
    "deduplication": {"exact_scope": "all", "within_prompt": 0.8, "across_prompts": 0.8},
    "decontamination": {"prompt_ngram": 8, "text_ngram": 13, "text_coverage": 0.5, "max_document_frequency": 10},
    "selection": {"per_prompt": 5},
}  # fmt: skip
# Planted kind -> (rule that must find it, least value that must be found); and the kinds that justify a rule.
FOUND_BY = {
    "mixed_language": ("mixed_language", 0.12), "long_paragraph": ("long_paragraph", 0),
    "code_fence": ("code_block", 0), "truncated": ("truncated", 0), "malformed": ("bad_format", 0),
    "loop": ("repeated_ngrams", 0.31), "refusal": ("refusal", 0), "contaminated_prompt": ("prompt_ngram", 0),
    "contaminated_text": ("text_coverage", 0.6),
}  # fmt: skip
JUSTIFIED = {
    "bad_format": ("malformed", "truncated"), "no_thought": ("malformed", "truncated"),
    "repeated_paragraphs": ("loop",),
}  # fmt: skip
DUPLICATE_RULES = ("exact_duplicate", "normal_duplicate", "near_within_prompt", "near_across_prompts")
DUPLICATE_KINDS = ("exact_duplicate", "normalised_duplicate", "near_duplicate_within", "near_duplicate_across")
BANDS = ((0.0, 0.79), (0.81, 0.85), (0.85, 0.9), (0.9, 0.96), (1.0, 1.01))  # of the planted Jaccard


class Watch(threading.Thread):
    """Peak memory of a process and all below it, and of a folder on the disk."""

    def __init__(self, pid: int, folder: Path):
        super().__init__(daemon=True)
        self.pid, self.folder, self.stopped = pid, folder, threading.Event()
        self.rss = self.pss = self.disk = 0

    def run(self) -> None:
        turn = 0
        while not self.stopped.wait(0.5):
            sizes = [_memory(pid) for pid in _tree(self.pid)]
            self.rss = max(self.rss, sum(rss for rss, _ in sizes))
            self.pss = max(self.pss, sum(pss for _, pss in sizes))
            if turn % 20 == 0:
                self.disk = max(self.disk, _size(self.folder))
            turn += 1


def _tree(pid: int) -> list[int]:
    out = [pid]
    for parent in out:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                out += map(int, Path(f"/proc/{parent}/task/{task}/children").read_text().split())
        except OSError:  # it ended meanwhile
            pass
    return out


def _memory(pid: int) -> tuple[int, int]:
    """(resident, proportional) bytes; zeros for a process that ended meanwhile."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("Rss:", "Pss:"))}
    return found.get("Rss", 0), found.get("Pss", 0)


def _cpu(pid: int) -> float:
    """CPU-seconds of a process and all below it so far, ended children included."""
    ticks = 0
    for each in _tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            pass
    return total


def scan(files: list[Path], workers: int) -> tuple[float, float]:
    """Wall and CPU-seconds of reading every column of the files."""
    import pyarrow.parquet as pq

    def read(file: Path) -> int:
        batches = pq.ParquetFile(file).iter_batches(4096, use_threads=False)
        return sum(len(batch) for batch in batches)

    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(read, files))
    return time.perf_counter() - wall, time.process_time() - cpu


def write_policy(name: str, path: Path) -> str:
    """The path of the benchmark's policy, or the name of another one."""
    if name != "all":
        return name
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe")
    policy = yaml.load(ROOT / "recipes" / "selection" / "r1.yaml")
    for section, values in CHANGES.items():
        policy[section] = {**policy.get(section, {}), **values}
    yaml.dump(policy, path)
    return str(path)


def curate(files: list[Path], data: Path, out: Path, options) -> dict:
    """Run the command; wall, CPU-seconds, peaks, and both by step as its progress tells them."""
    work = out.with_name(f"{out.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    against = [] if options.policy != "all" else ["--against", f"{data / 'benchmark.jsonl'}:text"]
    command = [sys.executable, "-m", "flows.cli.main", "curate", *map(str, files), "--out", str(out),
               "--work", str(work), "--policy", write_policy(options.policy, data / "policy.yaml"), *against,
               "--threads", str(options.workers), "--memory", options.memory]  # fmt: skip
    begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    watch = Watch(process.pid, work)
    watch.start()
    marks: dict[str, tuple[float, float]] = {"starting": (0.0, 0.0)}
    said = []
    for line in process.stderr:
        said.append(line)
        step = line.partition(":")[0]
        if " of " in line and step not in marks:
            marks[step] = time.perf_counter() - begun, _cpu(process.pid)
        print(f"\r  {time.perf_counter() - begun:6.0f} s  {line.strip():60.60}", end="", file=sys.stderr, flush=True)
    code = process.wait()
    wall = time.perf_counter() - begun
    watch.stopped.set()
    watch.join()
    print("\r" + " " * 72 + "\r", end="", file=sys.stderr)
    if code:
        sys.exit(f"r1 curate ended with {code}:\n{''.join(said[-15:])}")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    ends = [*list(marks.values())[1:], (wall, cpu)]
    steps = {step: [b - a for a, b in zip(start, end)] for (step, start), end in zip(marks.items(), ends)}
    shutil.rmtree(work, ignore_errors=True)
    return {"wall": wall, "cpu": cpu, "rss": watch.rss, "pss": watch.pss, "work_disk": watch.disk, "steps": steps}


def recovered(data: Path, out: Path) -> dict:
    """How much of the planted truth each rule found, and how much of what it found was planted."""
    import duckdb

    with duckdb.connect(config={"memory_limit": "3GB", "temp_directory": str(out.with_name("spill"))}) as con:
        con.execute(
            "CREATE TABLE failed AS SELECT row_id AS id, rule FROM read_parquet($file) "
            "WHERE NOT keep AND stage <> 'selection'",
            {"file": str(out / "decisions.parquet")},
        )
        con.execute(
            "CREATE TABLE truth AS SELECT t.* FROM read_parquet($truth) t SEMI JOIN read_parquet($all) USING (id)",
            {"truth": str(data / "truth.parquet"), "all": str(out / "outcomes.parquet")},
        )
        rules = {kind: _rule(con, kind, *by) for kind, by in FOUND_BY.items()}
        return {"rules": rules, "duplicates": _duplicates(con, out)}


def _rule(con, kind: str, rule: str, least: float) -> list:
    """[rule, planted, found of them, failing the rule, planted among those]."""
    kinds = list(JUSTIFIED.get(rule, (kind,)))
    planted, found = con.execute(
        "SELECT count(*), count(f.id) FROM (SELECT DISTINCT id FROM truth WHERE kind = $kind AND value >= $least) t "
        "LEFT JOIN (SELECT id FROM failed WHERE rule = $rule) f USING (id)",
        {"kind": kind, "rule": rule, "least": least},
    ).fetchall()[0]  # fmt: skip
    failing, right = con.execute(
        "SELECT count(*), count(t.id) FROM (SELECT id FROM failed WHERE rule = $rule) f "
        "LEFT JOIN (SELECT DISTINCT id FROM truth WHERE list_contains($kinds, kind)) t USING (id)",
        {"rule": rule, "kinds": kinds},
    ).fetchall()[0]  # fmt: skip
    return [rule, planted, found, failing, right]


def _duplicates(con, out: Path) -> dict:
    """By band of the planted Jaccard [pairs, pairs of which a row is removed]; removed rows, those of a family."""
    con.execute(
        "CREATE TABLE gone AS SELECT DISTINCT id FROM failed WHERE list_contains($rules, rule)",
        {"rules": list(DUPLICATE_RULES)},
    )
    bands = []
    for low, high in BANDS:
        row = con.execute(
            "SELECT count(*), count(*) FILTER (id IN (FROM gone) OR of IN (FROM gone)) FROM truth "
            "WHERE list_contains($kinds, kind) AND value >= $low AND value < $high",
            {"kinds": list(DUPLICATE_KINDS), "low": low, "high": high},
        ).fetchall()[0]  # fmt: skip
        bands.append([low, high, *row])
    con.execute(
        "CREATE TABLE source AS SELECT id, of FROM truth WHERE list_contains($kinds, kind)",
        {"kinds": list(DUPLICATE_KINDS)},
    )
    pairs, right, error = con.execute(
        "SELECT count(*), count(*) FILTER (coalesce(a.of, d.id) = coalesce(b.of, d.kept_id)), "
        "max(abs(d.jaccard - t.value)) FILTER (d.kind = 'near') "
        "FROM read_parquet($file) d LEFT JOIN source a ON a.id = d.id LEFT JOIN source b ON b.id = d.kept_id "
        "LEFT JOIN truth t ON t.id = d.id AND t.of = d.kept_id AND list_contains($kinds, t.kind)",
        {"file": str(out / "near_duplicates.parquet"), "kinds": list(DUPLICATE_KINDS)},
    ).fetchall()[0]  # fmt: skip
    return {"bands": bands, "pairs": pairs, "right": right, "error": error}


def measure(rows: int, data: Path, options) -> dict:
    """One size: scan, curate, compare with the truth; kept in a file."""
    book = data / f"measured-{rows}.json"
    if book.exists():
        return json.loads(book.read_text())
    files = sorted((data / "shards").glob("shard-*.parquet"))[: -(-rows // SHARD_ROWS)]
    out = data / f"out-{rows}"
    shutil.rmtree(out, ignore_errors=True)
    wall, cpu = scan(files, options.workers)
    found = curate(files, data, out, options) | {"scan_wall": wall, "scan_cpu": cpu}
    funnel = json.loads((out / "funnel.json").read_text())
    found |= {
        "rows": funnel["in"], "kept": funnel["kept"], "parquet": sum(f.stat().st_size for f in files),
        "out": _size(out),
    }  # fmt: skip
    if options.policy == "all":
        found |= recovered(data, out)
    book.write_text(json.dumps(found, indent=1))
    return found


def report(found: dict, text_bytes: float) -> None:
    size = text_bytes * found["rows"]
    peak, resident = found["pss"] / 2**30, found["rss"] / 2**30
    slower = found["wall"] / found["scan_wall"], found["cpu"] / found["scan_cpu"]
    print(
        f"\n{found['rows']:,} candidates, {size / 1e9:.1f} GB of text, {found['parquet'] / 1e9:.2f} GB of Parquet: "
        f"{found['kept']:,} kept\n"
        f"  wall {found['wall']:.0f} s, CPU {found['cpu']:.0f} s, {size / found['wall'] / 1e6:.0f} MB/s; "
        f"peak memory {peak:.2f} GiB ({resident:.2f} with shared pages counted in each process)\n"
        f"  work folder up to {found['work_disk'] / 1e9:.2f} GB, result {found['out'] / 1e9:.2f} GB\n"
        f"  plain scan of the same files: wall {found['scan_wall']:.1f} s, CPU {found['scan_cpu']:.1f} s; "
        f"curation takes {slower[0]:.1f} x its wall time, {slower[1]:.1f} x its CPU time\n"
        "  seconds by step, wall (CPU): "
        + ", ".join(f"{step} {wall:.0f} ({cpu:.0f})" for step, (wall, cpu) in found["steps"].items())
    )
    if "rules" not in found:
        return
    print(f"  {'planted':22}{'rows':>8}   {'rule':20}{'recall':>8}{'precision':>11}")
    for kind, (rule, planted, hits, failing, right) in found["rules"].items():
        print(f"  {kind:22}{planted:8}   {rule:20}{hits / max(1, planted):8.4f}{right / max(1, failing):11.4f}")
    told = found["duplicates"]
    bands = [f"J {low:.2f}-{min(high, 1):.2f}: {gone} of {pairs}" for low, high, pairs, gone in told["bands"]]
    print(f"  planted pairs with a row removed (for any reason), by Jaccard: {'; '.join(bands)}")
    print(
        f"  duplicates named: {told['pairs']} pairs, {told['right'] / max(1, told['pairs']):.5f} of one planted "
        f"family; Jaccard at most {told['error']:.4f} from the planted one"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="kept folder; without it a temporary one")
    parser.add_argument("--rows", default=None, help="sizes, as 300k,1M,3M")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory", default="4G", help="what r1 curate is allowed")
    parser.add_argument("--policy", default="all", help="all: r1 with every rule switched on; else a name or a file")
    options = parser.parse_args()
    sizes = [count(s) for s in (options.rows or ("300k,1M,3M" if options.data else "20k")).split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        data = options.data or Path(temporary)
        made = generate(data, max(sizes), seed=0, workers=options.workers)
        if made["made"]:
            print(f"generated {made['bytes'] / 1e9:.2f} GB of text in {made['seconds']:.0f} s")
        measured = []
        for rows in sorted(sizes):
            measured.append(measure(rows, data, options))
            report(measured[-1], _text_bytes(data))
            for other in sorted(sizes):  # only the largest result so far stays, for benchmarks/row_story.py
                if other < rows:
                    shutil.rmtree(data / f"out-{other}", ignore_errors=True)
        if len(measured) > 1:
            first, last = measured[0], measured[-1]
            print(f"\n{last['rows'] / first['rows']:.1f} x the rows took {last['wall'] / first['wall']:.1f} x the time")


def _text_bytes(data: Path) -> float:
    """Mean bytes of a text, from the first shard."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    text = pq.read_table(data / "shards" / "shard-00000.parquet", columns=["text"])["text"]
    return pc.mean(pc.binary_length(text)).as_py()


if __name__ == "__main__":
    main()
