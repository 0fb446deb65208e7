"""Maths: the final answer against the gold, by the fast path where that is safe, else in a worker process."""

from tasks.verification.answers import NoAnswer, fast, final_answer, integer, normalise
from tasks.verification.verdict import Decided, VerificationError

NAME = "maths"
LIBRARIES = ("math-verify", "latex2sympy2_extended", "sympy", "mpmath")
RUNS = "process"


def start(prompt: dict, text: str) -> tuple[str | None, Decided | None, dict | None]:
    """(extracted answer, decision, job): a decision without any library, else the job for a worker."""
    gold = prompt["gold"]
    if gold is None:
        raise VerificationError(f"prompt {prompt.get('id')} of domain 'maths' has no gold")
    try:
        answer = final_answer(text)
    except NoAnswer as reason:
        return None, ("unparsable", "maths/extraction", str(reason)), None
    equal = fast(gold, answer)
    if equal is None:
        return answer, None, {"gold": gold, "answer": answer}  # never swapped
    return answer, ("ok" if equal else "wrong", "maths/fast", ""), None


def work(job: dict) -> Decided | dict:
    """Answers a job in a worker process."""
    from tasks.verification.equivalence import check_gold, compare

    if "answer" not in job:
        return {"problem": check_gold(job["gold"])}
    return compare(job["gold"], job["answer"])


def warm() -> None:
    """Fills the parser's caches before the workers are forked."""
    from tasks.verification.equivalence import compare

    compare(r"\frac{1}{2}", "0.5")


def gold_problem(prompt: dict) -> tuple[str | None, dict | None]:
    """What is wrong with a gold, or the job that says so."""
    gold = (prompt["gold"] or "").strip()
    if not gold:
        return "empty", None
    return None, None if integer(normalise(gold)) is not None else {"gold": gold}
