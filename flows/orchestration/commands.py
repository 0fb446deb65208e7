"""Commands that a run from the UI starts: their output becomes its log, their answer its artifacts, and they end with it."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flows.orchestration import guard, in_force, mend, tracking
from flows.orchestration.child import GRACE
from flows.orchestration.experiment import branched_off, compared
from flows.orchestration.params import Top, check, read_yaml, scalars

SHOWN = 200  # rows of a table in the UI


@contextmanager
def ending(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` however the block ends, by SIGTERM too: that is how a run is cancelled."""

    def terminated(*_) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    mine = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, terminated) if mine else None
    try:
        yield
    finally:
        stop()
        if mine:
            signal.signal(signal.SIGTERM, previous)


def lines(root: Path, words: list[str], env: dict[str, str], heard: Callable[[str], None]) -> int:
    """Run a command in a process group of its own, line by line to `heard`; its exit status. It never outlives us."""
    process = subprocess.Popen(
        [sys.executable, *words], cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip

    def stop() -> None:
        for sig in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sig)
                process.wait(GRACE)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass

    with ending(stop):
        for line in process.stdout:
            heard(line.rstrip("\n"))
        return process.wait()


def experiment(root: Path, words: list[str], parent: str) -> tuple[int, str]:
    """`dvc exp run` with its stages shown under `parent`; exit status and the experiment's name."""
    threads = check(Top, scalars(read_yaml(root / "params.yaml")), "params.yaml").threads
    found = ""
    with ExitStack() as until_branched:
        until_branched.enter_context(in_force.changing(root))
        mend.mend(root)

        def heard(line: str) -> None:
            nonlocal found
            if branched_off(line):
                until_branched.close()
            if line.startswith("Ran experiment(s): "):
                found = line.removeprefix("Ran experiment(s): ").strip()
            if line.strip() and "It won't be created" not in line:
                print(line)

        env = _environment(threads) | {tracking.PARENT: parent, guard.STARTER: str(os.getpid())}
        return lines(root, ["-m", "flows.orchestration.guard", *words], env, heard), found


def show_comparison(root: Path, name: str, changed: dict) -> None:
    """The experiment's metrics beside those in force, as a table of the run."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    rows = compared(_dvc(root, "metrics", "diff", "--json", name))
    create_table_artifact(rows[:SHOWN] or [{"metric": "no metric differs"}], key="experiment-metrics",
                          description=f"metrics of {name} beside those in force")  # fmt: skip
    values = "\n".join(f"- `{key}` = `{value}`" for key, value in changed.items())
    words = f"# {name}\n\n{values}\n\n`dvc exp show` compares it, `dvc exp apply {name}` puts it in force.\n"
    create_markdown_artifact(words, key="experiment", description="what was tried")


def audit(root: Path) -> int:
    """`r1 audit` and its findings as a table; its exit status."""
    from prefect.artifacts import create_markdown_artifact

    status, answer = _json(root, "audit", "--json")
    page = root / "report" / "audit.html"
    words = f"# The books are {'in order' if status == 0 else 'NOT in order'}\n\n{_checks(answer)}"
    words += f"\n\nThe page with search: `{page}`\n" if page.is_file() else ""
    create_markdown_artifact(words, key="audit", description="r1 audit")
    return status


def contamination(root: Path, a: str, b: str, ngram: int) -> int:
    """`r1 contamination` with its table as an artifact and the texts side by side in a page under work/; exit status."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    page = root / "work" / "contamination.html"
    page.parent.mkdir(exist_ok=True)
    status, answer = _json(root, *contamination_words(a, b, ngram, page))
    if answer:
        create_table_artifact(answer["table"], key="contamination", description=f"what {a} has of {b}")
        found = "\n".join(f"| {o['a']} | {o['b']} | {o['coverage']:.0%} |" for o in answer["overlaps"][:SHOWN])
        words = (
            f"# {len(answer['overlaps']):,} overlaps\n\n| row of A | item of B | coverage |\n|---|---|---:|\n{found}\n"
        )
        create_markdown_artifact(f"{words}\nTexts side by side: `{page}`\n", key="contamination-overlaps")
    return status


def contamination_words(a: str, b: str, ngram: int, page: Path) -> list[str]:
    """The command; what was typed into the form comes last, so that none of it is read as an option."""
    return ["contamination", "--ngram", str(ngram), "--html", str(page), "--json", "--", a, b]


def _checks(answer: dict) -> str:
    """The checks of `r1 audit --json`, and below them what was found, as Markdown."""
    checks = answer.get("checks", [])
    rows = [f"| {'✓' if c['passed'] else '✗'} | {c['check']} | {c['proves']} |" for c in checks]
    found = [f"- {c['check']}, {f['level']}: `{f['where']}` {f['problem']}" for c in checks for f in c["findings"]]
    return "\n".join(["| | check | what it proves |", "|---|---|---|", *rows, "", *found[:SHOWN]]) if rows else ""


def _json(root: Path, *words: str) -> tuple[int, dict]:
    """An r1 command's exit status and the JSON it printed, {} where it printed none; other lines go to the log."""
    said: list[str] = []
    threads = check(Top, scalars(read_yaml(root / "params.yaml")), "params.yaml").threads
    status = lines(root, ["-m", "flows.cli.main", *words], _environment(threads), said.append)
    start = next((i for i, line in enumerate(said) if line.startswith("{")), len(said))
    for line in said[:start]:
        print(line)
    try:
        return status, json.loads("\n".join(said[start:]) or "{}")
    except ValueError:
        print("\n".join(said[start:]))
        return status, {}


def _dvc(root: Path, *words: str) -> dict:
    command = [sys.executable, "-m", "dvc", *words]
    asked = subprocess.run(command, cwd=root, env=_environment(1), capture_output=True, text=True, check=False)
    try:
        return json.loads(asked.stdout)
    except ValueError:
        return {}


def _environment(threads: int) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in tracking.PRIVATE} | guard.environment(threads)
