"""One response, one verdict: the verifier is chosen by the prompt's domain."""

import functools
import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from tasks.verification import answers, maths, workers
from tasks.verification.verdict import Verdict

VERIFIED = ("maths", "logic")  # domains whose answers are checked by rule
_LIBRARIES = ("math-verify", "latex2sympy2_extended", "sympy", "reasoning_gym")
_CODE = ("verdict.py", "answers.py", "equivalence.py", "worker_process.py", "workers.py", "maths.py", "verify.py")


class VerificationError(Exception):
    """A prompt cannot be verified at all; the message names the prompt and what is missing."""


@functools.cache
def verifier_version() -> str:
    """16 hex digits that change with the verification code or the libraries it asks."""
    digest = hashlib.blake2b(digest_size=8)
    for name in _CODE:
        digest.update(Path(__file__).with_name(name).read_bytes())
    digest.update(json.dumps([[name, version(name)] for name in _LIBRARIES]).encode())
    return digest.hexdigest()


def verify(prompt: dict, text: str) -> Verdict:
    """Verdict on one response to a PROMPT row; raises VerificationError without a verifier or a gold."""
    extracted, decision, job = _start(prompt, text)
    if decision is None:
        decision = maths.decided(workers.shared.ask(job))
    return _verdict(prompt, extracted, decision)


def verify_all(
    prompts: list[dict], texts: list[str], progress: Callable[[int, int], None] | None = None, processes: int = 1
) -> list[Verdict]:
    """Verdicts on `texts[i]` as a response to `prompts[i]`, in order; a repeated (gold, answer) pair is checked once."""
    if len(prompts) != len(texts):
        raise ValueError(f"{len(prompts)} prompts for {len(texts)} responses")
    started = [_start(prompt, text) for prompt, text in zip(prompts, texts)]
    jobs: dict[str, dict] = {}
    for _, decision, job in started:
        if decision is None:
            jobs.setdefault(_key(job), job)
    total, quick = len(started), sum(decision is not None for _, decision, _ in started)
    done = (lambda n: progress(quick + round(n * (total - quick) / len(jobs)), total)) if progress else None
    if progress:
        progress(quick, total)
    replies = dict(zip(jobs, workers.ask_all(list(jobs.values()), processes, done)))
    return [
        _verdict(prompt, extracted, decision or maths.decided(replies[_key(job)]))
        for prompt, (extracted, decision, job) in zip(prompts, started)
    ]


def gold_problems(rows: list[dict], processes: int = 1) -> list[str | None]:
    """For each row (domain, gold, meta): None where its verifier can use the gold, else what is wrong with it."""
    out: list[str | None] = [None] * len(rows)
    jobs: dict[str, dict] = {}
    wanted: dict[int, str] = {}
    for i, row in enumerate(rows):
        if row["domain"] not in VERIFIED:
            continue
        if not (row["gold"] or "").strip():
            out[i] = "empty"
        elif row["domain"] == "logic":
            try:
                job = _logic_job(row, row["gold"])
            except VerificationError as error:
                out[i] = str(error)
                continue
            jobs.setdefault(_key(job), job)
            wanted[i] = _key(job)
        elif answers.integer(answers.normalise(row["gold"])) is None:
            job = {"kind": "gold", "gold": row["gold"]}
            jobs.setdefault(_key(job), job)
            wanted[i] = _key(job)
    replies = dict(zip(jobs, workers.ask_all(list(jobs.values()), processes)))
    for i, key in wanted.items():
        out[i] = _gold_problem(replies[key])
    return out


def _gold_problem(reply: dict) -> str | None:
    if "problem" in reply:
        return reply["problem"]
    status, _, detail = maths.decided(reply)
    return None if status == "ok" else f"its own scorer says {status}: {detail}" if status == "wrong" else detail


def _start(prompt: dict, text: str) -> tuple[str | None, maths.Decided | None, dict | None]:
    """(extracted, decision, job): a decision where no worker is needed, else the job for one."""
    domain, gold = prompt["domain"], prompt["gold"]
    if domain not in VERIFIED:
        raise VerificationError(
            f"prompt {prompt.get('id')} is of domain {domain!r}, which no rule can verify "
            f"(only {', '.join(VERIFIED)}): "
            "leave its source out of `sources` here, or score it with a preference reward"
        )
    if gold is None:
        raise VerificationError(f"prompt {prompt.get('id')} of domain {domain!r} has no gold")
    if domain == "maths":
        extracted, decision = maths.quick(gold, text)
        return extracted, decision, None if decision else maths.job(gold, extracted)
    try:
        extracted = answers.final_answer(text, multiline=True)
    except answers.NoAnswer as reason:
        return None, ("unparsable", "logic/extraction", str(reason)), None
    if extracted == gold:  # the scorer was shown every gold when the prompt bank was built
        return extracted, ("ok", "logic/exact", ""), None
    return extracted, None, _logic_job(prompt, extracted)


def _logic_job(prompt: dict, answer: str) -> dict:
    meta = json.loads(prompt.get("meta") or "{}")
    if not (meta.get("gym") and "entry" in meta):
        raise VerificationError(
            f"prompt {prompt.get('id')} of domain 'logic' has no reasoning-gym entry in `meta`: logic prompts come from "
            "a source with `gym: <task>`"
        )
    return {"kind": "logic", "task": meta["gym"], "entry": meta["entry"], "answer": answer}


def _key(job: dict) -> str:
    return json.dumps(job, sort_keys=True)


def _verdict(prompt: dict, extracted: str | None, decision: maths.Decided) -> Verdict:
    status, method, detail = decision
    return Verdict(status, extracted, prompt["gold"], method, detail, verifier_version())
