"""Maths: the final answer against the gold, by the fast path where that is safe, else in a worker process.

`start` decides without any library: it accepts equality of normal forms and rejects only an integer against another
integer. Everything else is a job for `work`, which may run away and so belongs into a process that can be killed.
"""

from tasks.verification.answers import MAX_ANSWER_CHARS, NoAnswer, boxed, fast, final_answer
from tasks.verification.copied import copied
from tasks.verification.maths_normalise import integer, normalise
from tasks.verification.maths_text import non_answer
from tasks.verification.verdict import Decided, VerificationError

NAME = "maths"
LIBRARIES = ("math-verify", "latex2sympy2_extended", "sympy", "mpmath")
RUNS = "process"


def start(prompt: dict, text: str | None) -> tuple[str | None, Decided | None, dict | None]:
    """(extracted answer, decision, job): a decision where that is safe without a library, else a job."""
    gold = prompt.get("gold")
    if not (gold or "").strip():
        raise VerificationError(
            f"prompt {prompt.get('id')} of domain 'maths' has no gold: leave it out, or give the answer in `gold`"
        )
    gold = unboxed(gold)
    extracted, decision = quick(gold, text or "")
    if decision is None and copied(prompt.get("text"), extracted):
        decision = "wrong", "maths/copied", "it is the question said again"
    return extracted, decision, None if decision else job(gold, extracted)


def unboxed(gold: str) -> str:
    r"""A gold without the sentence around its `\boxed{}`, as some data sets publish them."""
    boxes = boxed(gold) if "boxed" in gold else []
    return boxes[-1] if boxes else gold


def quick(gold: str, text: str) -> tuple[str | None, Decided | None]:
    """(extracted answer, decision) without any library; decision None where a parser must be asked."""
    try:
        answer = final_answer(text)
    except NoAnswer as reason:
        return None, ("unparsable", "maths/extraction", str(reason))
    equal = fast(gold, answer)
    if equal is None:
        return answer, None
    return answer, ("ok" if equal else "wrong", "maths/fast", "")


def job(gold: str, answer: str) -> dict:
    """What a worker is asked; gold and prediction are never swapped."""
    return {"kind": "maths", "gold": gold, "answer": answer}


def work(job: dict) -> Decided | dict:
    """Answers a job: an opinion on an answer, or {"problem": what is wrong with a gold, or None}."""
    from tasks.verification.equivalence import check_gold, compare

    if job["kind"] == "gold":
        return {"problem": check_gold(job["gold"])}
    return compare(job["gold"], job["answer"])


def warm() -> None:
    """Fills the caches of the libraries (the parser's tables take 0.3 s), so that no job is charged for them."""
    work(job("|x| < 2", "|x| < 3"))


def gold_problem(prompt: dict) -> tuple[str | None, dict | None]:
    """(what is wrong with the row's gold or None, a job that says more or None)."""
    gold = unboxed((prompt.get("gold") or "").strip())
    if not gold:
        return "empty", None
    if len(gold) > MAX_ANSWER_CHARS:
        return f"longer than any answer may be ({MAX_ANSWER_CHARS} characters)", None
    if non_answer(gold):
        return f"{gold[:40]!r} stands for no answer", None
    if integer(normalise(gold)) is not None:
        return None, None
    return None, {"kind": "gold", "gold": gold}
