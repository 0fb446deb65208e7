"""One response, one verdict: the verifier is chosen by the prompt's domain.

A domain is one module that exposes NAME, LIBRARIES, RUNS, `start`, `work`, `gold_problem`, `ready` where it needs more
than Python, and `gold` where its rows have none; it is loaded when the first prompt of its domain comes along. A domain
of your own is such a module and one line in DOMAINS.
"""

import functools
import hashlib
import importlib
import json
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from pathlib import Path

from tasks.verification import workers
from tasks.verification.verdict import MAX_DETAIL, Decided, Verdict, VerificationError, writable

__all__ = [
    "DOMAINS",
    "Effort",
    "VerificationError",
    "gold_problems",
    "require",
    "verifier_version",
    "verify",
    "verify_all",
    "verify_stream",
]

DOMAINS = {
    "maths": "tasks.verification.maths",
    "logic": "tasks.verification.logic",
    "choice": "tasks.verification.choices",
    "quantity": "tasks.verification.quantities",
    "instructions": "tasks.verification.instructions.domain",
    "code": "tasks.verification.code.domain",
}
WINDOW = 4096  # rows a stream holds at most: verdicts come in order, so one slow row holds back those behind it
WINDOW_CHARS = 64 << 20  # of their texts
MEMO = 16_384  # decisions kept, so that a repeated (gold, answer) pair is checked once
SLOWEST = 5  # items that a report on time names
_ROOT = Path(__file__).resolve().parents[2]
_COMMON = ("verdict.py", "verify.py", "workers.py", "worker_process.py")
_log = logging.getLogger(__name__)
_memo: OrderedDict[bytes, Future] = OrderedDict()
_lock = threading.Lock()


@dataclass
class Effort:
    """Where the time of a batch went; give one to `verify_stream` or `verify_all` and read it afterwards."""

    asked: int = 0  # jobs that went to a worker; the other rows were decided at once or repeated a job
    seconds: float = 0.0  # of all jobs, wall time of their workers
    unreached: int = 0  # rows without a verdict because the budget was spent
    slowest: list[tuple[float, str]] = field(default_factory=list)  # (seconds, which item), the slowest first

    def add(self, seconds: float, item: str) -> None:
        self.asked, self.seconds = self.asked + 1, self.seconds + seconds
        self.slowest = sorted([*self.slowest, (seconds, item)], reverse=True)[:SLOWEST]

    def __str__(self) -> str:
        return "; ".join(f"{seconds:.1f} s: {item}" for seconds, item in self.slowest)


@dataclass
class _Row:
    """A row on its way through a stream."""

    prompt: dict
    extracted: str | None
    decision: Decided | None
    future: Future | None = None
    mine: bool = False  # this row's job is not one that an earlier row asked for
    chars: int = 0


def module_of(domain: str):
    """The module of a domain; raises VerificationError where no rule can verify it."""
    if domain not in DOMAINS:
        raise VerificationError(
            f"domain {domain!r} is one that no rule can verify (only {', '.join(DOMAINS)}): "
            "leave its source out of `sources` here, or score it with a preference reward"
        )
    return importlib.import_module(DOMAINS[domain])


def require(domains: Iterable[str]) -> None:
    """Raises VerificationError where a domain has no verifier, or this machine lacks what it needs (a sandbox)."""
    for domain in sorted(set(domains)):
        getattr(module_of(domain), "ready", lambda: None)()


@functools.cache
def verifier_version(*domains: str) -> str:
    """16 hex digits that change with the verification code of these domains (default: all) or the libraries it asks."""
    if len(domains) != 1:
        parts = [verifier_version(d) for d in sorted(domains or DOMAINS)]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()
    module = module_of(domains[0])
    digest = hashlib.blake2b(digest_size=8)
    for file in _files(Path(module.__file__)):
        digest.update(file.read_bytes())
    digest.update(json.dumps([[name, _version(name)] for name in module.LIBRARIES]).encode())
    return digest.hexdigest()


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _files(start: Path) -> list[Path]:
    """What decides a domain's verdicts: its module, all modules of tasks/ it imports, its package, the common ones."""
    here = Path(__file__).parent
    todo = [start, *(here / name for name in _COMMON if name != "verify.py")]
    if start.parent != here:
        todo += [p for p in start.parent.rglob("*") if p.is_file() and p.suffix not in (".pyc", "")]
    seen: set[Path] = {Path(__file__).resolve()}  # its imports are all the domains'
    while todo:
        file = todo.pop().resolve()
        if file not in seen:
            seen.add(file)
            todo += _imports(file) if file.suffix == ".py" else []
    return sorted(seen)


def _imports(file: Path) -> list[Path]:
    import ast

    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    paths = [_ROOT.joinpath(*name.split(".")).with_suffix(".py") for name in names if name.startswith("tasks.")]
    return [path for path in paths if path.is_file()]


def verify(prompt: dict, text: str | None) -> Verdict:
    """Verdict on one response to a PROMPT row; raises VerificationError without a verifier or a usable gold."""
    require([prompt["domain"]])
    return next(verify_stream([(prompt, text)], strict=True))


def verify_all(
    prompts: list[dict],
    texts: list[str | None],
    progress: Callable[[int, int], None] | None = None,
    processes: int | None = None,
    budget: float | None = None,
    effort: Effort | None = None,
) -> list[Verdict]:
    """Verdicts on `texts[i]` as a response to `prompts[i]`, in order.

    A domain without a verifier, or a machine without a sandbox, is an error before anything runs. Any other fault costs
    only its own row: an `infra` verdict says what is missing. `processes`: worker processes, by default one a core.
    """
    if len(prompts) != len(texts):
        raise ValueError(f"{len(prompts)} prompts for {len(texts)} responses")
    require(prompt["domain"] for prompt in prompts)
    out: list[Verdict] = []
    for verdict in verify_stream(zip(prompts, texts), processes, budget, effort, window=len(prompts)):
        out.append(verdict)
        if progress and (len(out) % 64 == 0 or len(out) == len(prompts)):
            progress(len(out), len(prompts))
    return out


def verify_stream(
    rows: Iterable[tuple[dict, str | None] | Verdict | Future | None],
    processes: int | None = None,
    budget: float | None = None,
    effort: Effort | None = None,
    window: int = WINDOW,
    strict: bool = False,
) -> Iterator[Verdict]:
    """Verdicts in the order of the rows (prompt, response), read as they are needed.

    A Verdict among the rows passes through, a Future of one is waited for; None says that the next row will take a
    while: what has been read is finished first.

    `budget`: seconds of wall time for the whole stream; rows not decided by then are infra, and a warning names the
    slowest items. `strict`: raise VerificationError instead of the `infra` verdict on a prompt that cannot be verified.
    """
    pool, effort = workers.pool(processes), effort or Effort()
    deadline = time.monotonic() + budget if budget else None
    waiting: deque[_Row | Verdict | Future] = deque()
    chars = 0
    try:
        for row in rows:
            if row is None:
                while waiting:
                    yield _finish(waiting.popleft(), effort, deadline, budget)
                chars = 0
                continue
            held = row if isinstance(row, (Verdict, Future)) else _begin(pool, *row, strict, deadline)
            waiting.append(held)
            chars += getattr(held, "chars", 0)
            while waiting and (_ready(waiting[0]) or len(waiting) > window or chars > WINDOW_CHARS):
                chars -= getattr(waiting[0], "chars", 0)
                yield _finish(waiting.popleft(), effort, deadline, budget)
        while waiting:
            yield _finish(waiting.popleft(), effort, deadline, budget)
    finally:
        for held in waiting:  # whoever listened has stopped
            if isinstance(held, _Row) and held.mine:
                held.future.cancel()
        if effort.unreached:
            _log.warning("%d rows were not reached in %g s; slowest items: %s", effort.unreached, budget, effort)


def _begin(pool: workers.Pool, prompt: dict, text: str | None, strict: bool, deadline: float | None) -> _Row:
    """Decides at once or asks the pool, unless the same job has been asked before."""
    if not isinstance(text, str):
        what = "the completion is null" if text is None else f"the completion is a {type(text).__name__}, no text"
        return _Row(prompt, None, ("unparsable", "input", what))
    try:
        module, prompt = module_of(prompt["domain"]), _typed(prompt)
        extracted, decision, job = module.start(prompt, text)
    except VerificationError as error:
        if strict:
            raise
        return _Row(prompt, None, ("infra", "input", str(error)))
    except Exception as error:  # a fault of ours must not stop a batch
        return _Row(prompt, None, ("infra", "verifier", f"{type(error).__name__}: {error}"))
    if decision is not None:
        return _Row(prompt, extracted, decision)
    if deadline and time.monotonic() > deadline:
        return _Row(prompt, extracted, None)
    future, mine = _ask(pool, module.__name__, job)
    return _Row(prompt, extracted, None, future, mine, len(text))


def _typed(prompt: dict) -> dict:
    """The row with `gold` as text and `meta` as JSON text, as the domains read them; an object is welcome as `meta`."""
    gold, meta = prompt.get("gold"), prompt.get("meta")
    if gold is not None and not isinstance(gold, str):
        raise VerificationError(f"prompt {prompt.get('id')}: gold is a {type(gold).__name__}: give the answer as text")
    if isinstance(meta, dict):
        return prompt | {"meta": json.dumps(meta)}
    if meta is not None and not isinstance(meta, str):
        what = type(meta).__name__
        raise VerificationError(f"prompt {prompt.get('id')}: meta is a {what}: give an object, or the JSON text of one")
    return prompt


def _ask(pool: workers.Pool, module: str, job: dict) -> tuple[Future, bool]:
    """The future of this job, and whether it is new."""
    key = hashlib.blake2b(f"{module} {json.dumps(job, sort_keys=True)}".encode(), digest_size=16).digest()
    with _lock:
        known = _memo.get(key)
        if known is not None and not known.cancelled() and not (known.done() and "error" in known.result()):
            _memo.move_to_end(key)
            return known, False
        future = _memo[key] = pool.submit(module, job)
        if len(_memo) > MEMO:
            _memo.popitem(last=False)
        return future, True


def _after_fork() -> None:
    """In a forked child nobody will answer what the parent asked."""
    global _lock
    _lock = threading.Lock()
    _memo.clear()


os.register_at_fork(after_in_child=_after_fork)


def _ready(held: _Row | Verdict | Future) -> bool:
    future = held if isinstance(held, Future) else getattr(held, "future", None)
    return future is None or future.done()


def _finish(held: _Row | Verdict | Future, effort: Effort, deadline: float | None, budget: float | None) -> Verdict:
    if isinstance(held, Verdict):
        return held
    if isinstance(held, Future):
        try:
            return held.result(max(0.0, deadline - time.monotonic()) if deadline else None)
        except (TimeoutError, CancelledError):
            held.cancel()
            effort.unreached += 1
            return Verdict("infra", None, None, "workers/budget", f"not decided within the budget of {budget:g} s", "")
    decision = held.decision
    if decision is None and held.future is not None:
        try:
            reply = held.future.result(max(0.0, deadline - time.monotonic()) if deadline else None)
            decision = decided(reply)
            if held.mine:
                effort.add(reply["seconds"], f"{_name(held)} ({decision[0]}: {decision[2]})")
        except (TimeoutError, CancelledError):
            if (
                not held.future.cancel() and held.mine and held.future.running()
            ):  # it runs: perhaps it is what took the budget
                effort.add(time.monotonic() - held.future.started, f"{_name(held)} (still running)")
    if decision is None:
        effort.unreached += 1
        decision = "infra", "workers/budget", f"not decided within the budget of {budget:g} s; slowest so far: {effort}"
    return _verdict(held, decision)


def _name(row: _Row) -> str:
    answer = (row.extracted or "")[:60]
    return f"prompt {row.prompt.get('id')}, answer {answer!r}"


def decided(reply: dict) -> Decided:
    """A worker's reply as a decision: a fired limit is a timeout, a failure of ours is infra and gives no reward."""
    if "limit" in reply:
        return "timeout", "worker", f"stopped at {reply['limit']}"
    if "error" in reply:
        return "infra", "worker", reply["error"]
    status, method, detail = reply["reply"]
    return status, method, detail


def _verdict(row: _Row, decision: Decided) -> Verdict:
    status, method, detail = decision
    prompt = row.prompt
    gold = prompt.get("gold")
    if gold is None and (made := getattr(_known(prompt["domain"]), "gold", None)):
        gold = made(prompt)
    gold = gold if gold is None or isinstance(gold, str) else str(gold)
    return Verdict(
        status, writable(row.extracted), writable(gold), method, writable(detail[:MAX_DETAIL]),
        _hash(prompt["domain"]),
    )  # fmt: skip


def _known(domain: str):
    """The module of a domain, or None where it has none: the verdict is infra and says so."""
    try:
        return module_of(domain)
    except (VerificationError, ImportError):
        return None


def _hash(domain: str) -> str:
    return verifier_version(domain) if _known(domain) else ""


def gold_problems(rows: list[dict], processes: int | None = None) -> list[str | None]:
    """For each row (domain, gold, meta): None where its verifier can use the gold, else what is wrong with it."""
    require({row["domain"] for row in rows} & set(DOMAINS))
    out: list[str | None] = [None] * len(rows)
    pool = workers.pool(processes)
    futures: dict[int, Future] = {}
    for i, row in enumerate(rows):
        if row["domain"] not in DOMAINS:
            continue
        module = module_of(row["domain"])
        try:
            out[i], job = module.gold_problem(_typed(row))
        except VerificationError as error:
            out[i], job = str(error), None
        except Exception as error:  # odd golds are rejected, they do not stop a batch
            out[i], job = f"cannot be checked: {type(error).__name__}: {error}", None
        if out[i] is None and job is not None:
            futures[i] = _ask(pool, module.__name__, job)[0]
    for i, future in futures.items():
        out[i] = _gold_problem(future.result())
    return out


def _gold_problem(reply: dict) -> str | None:
    if isinstance(reply.get("reply"), dict):
        return reply["reply"]["problem"]
    status, _, detail = decided(reply)
    return None if status == "ok" else f"its own scorer says {status}: {detail}" if status == "wrong" else detail
