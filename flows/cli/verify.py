"""`r1 verify`: verdicts on JSONL rows, for use beside any other pipeline."""

import json
import os
import select
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.verify_judge import Judging, settings_of

MAX_LINE = 64 << 20  # bytes; a longer line is a bad row and is not kept in memory
READ = 1 << 20
GRACE = 5.0  # seconds from an interrupt to the end at the latest
JUDGE, BAD = "judge", "bad lines"  # domains that no rule decides
REPORT = ("status", "extracted", "method", "detail", "verifier")


class BadRow(Exception):
    """A line that is no row; the message says why and what to do."""


def register(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    file: Annotated[
        Path | None, typer.Argument(help="JSONL; standard input where it is left out or -", show_default=False)
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="worker processes; by default one for each core")] = None,
    budget: Annotated[
        float | None,
        typer.Option(min=0.001, help="seconds of wall time for everything; rows not decided by then are infra"),
    ] = None,
    judge_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint, up to and including /v1")] = None,
    judge_model: Annotated[str | None, typer.Option(help="the judge's name at the endpoint")] = None,
    endpoint: Annotated[
        Path | None, typer.Option(help="YAML with all settings of the endpoint: url, model, key_variable, …")
    ] = None,
    judge_cache: Annotated[Path | None, typer.Option(help="folder that keeps the judge's replies")] = None,
    agreement: Annotated[
        bool,
        typer.Option("--agreement", help="put every answer also to the judge; print how far it agrees with the rules"),
    ] = False,
) -> None:
    """Verify completions: JSONL rows in, one verdict a line out, in the same order.

    A row is {"domain", "prompt", "gold" | "tests", "completion"}, with "meta" for what else the domain's verifier needs
    (docs/verification.md) and "id", which comes back. Domains: maths, logic, choice, quantity, instructions, code,
    and judge, which puts question, gold and final answer to the model that --judge-url and --judge-model (or --endpoint) name.

    A verdict is {"status", "extracted", "method", "detail", "verifier"}: status is ok, wrong, unparsable, timeout or
    infra (no verdict, the detail says why); verifier is the hash of the code and libraries that decided. A bad line
    gives an infra verdict that names the line, and the rest goes on. Blank lines are skipped. Standard error shows
    progress and a summary.

    Exit status: 0 every row has a verdict, whatever it is; 1 at least one is infra; 2 wrong usage, such as a file that
    is not there; 3 the verdicts could not be written, as on a full disk; 130 interrupted.
    """
    settings = settings_of(endpoint, judge_url, judge_model)
    if agreement and settings is None:
        raise typer.BadParameter(
            "it needs a judge: give --judge-url and --judge-model, or --endpoint FILE", param_hint="--agreement"
        )
    if file is None or str(file) == "-":
        descriptor = sys.stdin.fileno()
    else:
        try:
            descriptor = os.open(file, os.O_RDONLY)
            os.read(descriptor, 0)
        except OSError as error:
            raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from None
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    judging = Judging(settings, judge_cache, agreement)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupted)
    try:
        failed = run(descriptor, processes, budget, judging)
    except KeyboardInterrupt:
        leave(130)
    except BrokenPipeError:  # `r1 verify | head`
        leave(141)
    except OSError as error:
        print(f"r1 verify: {error.strerror or error}: verdicts are missing; make room and run it again", file=sys.stderr)
        leave(3)
    finally:
        judging.close()
    raise typer.Exit(1 if failed else 0)


def interrupted(*_) -> None:
    """Ctrl-C. Where the exception gets lost in somebody's callback, the command ends all the same."""
    watch = threading.Timer(GRACE, leave, (130,))
    watch.daemon = True
    watch.start()
    raise KeyboardInterrupt


def leave(status: int) -> None:
    """Ends at once: the workers end with this process, and nobody waits for a job that hangs."""
    sys.stderr.flush()
    os._exit(status)


def run(descriptor: int, processes: int | None, budget: float | None, judging: Judging) -> bool:
    """Verdicts of the rows behind a file descriptor, written as they come; whether any is infra."""
    from tasks.verification.verify import Effort, verify_stream

    effort, asked, tally = Effort(), deque(), Tally()
    for verdict in verify_stream(rows(descriptor, asked, tally, judging), processes, budget, effort):
        prompt, known_as = asked.popleft()
        line = known_as | {name: getattr(verdict, name) for name in REPORT}
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        tally.add(prompt["domain"], verdict.status)
        if prompt["domain"] not in (JUDGE, BAD):
            judging.second(prompt, verdict)
    tally.summary(effort)
    judging.summary()
    return tally.statuses["infra"] > 0


def rows(descriptor: int, asked: deque, tally: "Tally", judging: Judging) -> Iterator:
    """What `verify_stream` reads; `asked` gets (prompt, {"id": …} or nothing) of each row."""
    from tasks.verification.verdict import Verdict

    for numbered in lines(descriptor):
        if numbered is None:
            yield None
            continue
        number, line = numbered
        if line is not None and not line.strip():
            tally.blank += 1
            continue
        try:
            prompt, completion, known_as = row_of(number, line)
            asked.append((prompt, known_as))
            yield judging.row(prompt, completion) if prompt["domain"] == JUDGE else (prompt, completion)
        except BadRow as error:
            tally.bad += 1
            asked.append(({"domain": BAD}, {}))
            yield Verdict("infra", None, None, "input", f"line {number}: {error}", "")


def lines(descriptor: int) -> Iterator[tuple[int, bytes | None] | None]:
    """(number, line) of each line, None for one that is too long; a bare None: there is nothing to read right now."""
    number, parts, size = 1, [], 0
    while True:
        if not select.select([descriptor], [], [], 0)[0]:
            yield None
        more = os.read(descriptor, READ)
        *complete, rest = more.split(b"\n")
        for part in complete:
            size += len(part)
            yield number, b"".join([*parts, part]) if size <= MAX_LINE else None
            number, parts, size = number + 1, [], 0
        size += len(rest)
        parts = [*parts, rest] if size <= MAX_LINE else []
        if not more:
            if size:
                yield number, b"".join(parts) if size <= MAX_LINE else None
            return


def row_of(number: int, line: bytes | None) -> tuple[dict, str | None, dict]:
    """(prompt row, completion, {"id": …} where the row has one) of a line; raises BadRow."""
    from tasks.verification.verify import DOMAINS

    row = parsed(line)
    domain = row.get("domain")
    if not isinstance(domain, str) or domain not in (*DOMAINS, JUDGE):
        what = "key 'domain' is missing" if "domain" not in row else f"no verifier for domain {domain!r:.60}"
        raise BadRow(f"{what}: give one of {', '.join((*DOMAINS, JUDGE))}")
    if "completion" not in row:
        raise BadRow("key 'completion' is missing: it holds the response as the model wrote it")
    name = str(row["id"]) if row.get("id") is not None else f"line {number}"
    prompt = {"id": name, "domain": domain, "text": row.get("prompt"), "gold": gold_of(row), "meta": meta_of(row)}
    return prompt, row["completion"], {"id": row["id"]} if "id" in row else {}


def parsed(line: bytes | None) -> dict:
    if line is None:
        raise BadRow(f"is longer than {MAX_LINE >> 20} MiB")
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadRow(f"is no UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise BadRow(f"is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise BadRow(f"is a JSON {type(row).__name__}, no object")
    return row


def gold_of(row: dict) -> str | None:
    gold = row.get("gold")
    if gold is None or isinstance(gold, str):
        return gold
    if isinstance(gold, bool):
        raise BadRow("key 'gold' is true or false: give the answer as text")
    return json.dumps(gold, ensure_ascii=False)


def meta_of(row: dict) -> str | None:
    """`meta` as JSON, with the `tests` of a code row where its verifier looks for them."""
    meta = row.get("meta")
    if isinstance(meta, str):
        try:
            meta = json.loads(meta)
        except (ValueError, RecursionError) as error:
            raise BadRow(f"key 'meta' is text that is no JSON: {error}") from None
    if meta is not None and not isinstance(meta, dict):
        raise BadRow(f"key 'meta' is a {type(meta).__name__}: give an object, or the JSON text of one")
    if (tests := row.get("tests")) is not None:
        if isinstance(tests, list) and all(isinstance(t, dict) and {"input", "output"} <= set(t) for t in tests):
            tests = {"kind": "stdio", "cases": tests}
        if not isinstance(tests, dict):
            raise BadRow("key 'tests' is neither an object with `kind` and `cases` nor a list of {input, output}")
        meta = (meta or {}) | {"tests": tests}
    return None if meta is None else json.dumps(meta)


class Tally:
    """Counts for standard error: a line of progress now and then, a summary at the end."""

    def __init__(self):
        self.statuses, self.domains = Counter(), {}
        self.bad = self.blank = 0
        self.start = self.shown = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def add(self, domain: str, status: str) -> None:
        self.statuses[status] += 1
        self.domains.setdefault(domain, Counter())[status] += 1
        if time.monotonic() - self.shown > (1 if self.terminal else 30):
            self.shown = time.monotonic()
            print(f"{self.line()}", end="\r" if self.terminal else "\n", file=sys.stderr, flush=True)

    def line(self) -> str:
        from tasks.rows import STATUSES

        rows, seconds = self.statuses.total(), max(1e-9, time.monotonic() - self.start)
        counts = ", ".join(f"{self.statuses[s]:,} {s}" for s in STATUSES)
        return f"{rows:,} rows in {seconds:.1f} s ({rows / seconds:,.0f}/s): {counts}"

    def summary(self, effort) -> None:
        print(self.line(), file=sys.stderr)
        for domain, statuses in sorted(self.domains.items()) if len(self.domains) > 1 else ():
            print(f"  {domain}: {', '.join(f'{n:,} {s}' for s, n in statuses.most_common())}", file=sys.stderr)
        if self.bad or self.blank:
            print(f"  {self.bad:,} bad lines, {self.blank:,} blank ones skipped", file=sys.stderr)
        if effort.slowest and effort.slowest[0][0] >= 1:
            print(f"  slowest: {effort}", file=sys.stderr)
