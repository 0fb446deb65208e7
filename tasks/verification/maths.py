"""Maths: the final answer against the gold, by the fast path where that is safe, else in a worker process."""

from tasks.verification.answers import NoAnswer, fast, final_answer

Decided = tuple[str, str, str]  # status, method, detail


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


def decided(reply: dict) -> Decided:
    """A worker's reply as a decision: a fired limit is a timeout, a crash is infra and gives no reward."""
    if "limit" in reply:
        return "timeout", "worker", f"stopped at {reply['limit']}"
    if "error" in reply:
        return "infra", "worker", reply["error"]
    return reply["status"], reply["method"], reply["detail"]
