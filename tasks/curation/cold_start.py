"""The cold-start set's collection routes (paper 2.3.1) and the screen every collected response must pass."""

from dataclasses import dataclass

from tasks.prompts import running_sums
from tasks.prompts.templates import render
from tasks.responses import language_share, parse, reasoning_language_share

ROUTES = ("few_shot", "direct", "r1_zero", "human")


@dataclass(frozen=True)
class Threshold:
    """A rule of the screen: the value of a response must reach the threshold."""

    rule: str
    at_least: float
    why: str


RULES = (
    Threshold("correct", 1, "the verdict of its final answer is ok"),
    Threshold("well_formed", 1, "one think block, then one answer"),
    Threshold("complete", 1, "the model ended it by itself"),
    Threshold("one_language", 0.999, "share of target-language words in the chain of thought"),
    Threshold("summary", 1, "share of target-language words in the sentence around the answer"),
)


def few_shot(template: str, example: dict, question: str) -> str:
    """Route 1: a long chain of thought as an example (a PROMPT row with its solution), then the question."""
    return render(template, example["text"]) + example["solution"] + "\n" + render(template, question)


def direct(template: str, question: str) -> str:
    """Route 2: asks directly for an answer with reflection and verification."""
    return render(template, question + running_sums.CHECK_REQUEST)


def refine(text: str, procedural: bool) -> str:
    """A sampled response made readable: one language, and a summary around the answer (S: a V3 model refines)."""
    if not procedural:
        return text
    text = running_sums.readable(text)
    response = parse(text)
    if not response.well_formed:
        return text
    return running_sums.respond(response.think.strip(), response.answer)


def values(text: str, language: str, finish: str, correct: bool) -> dict[str, float]:
    """The value of every rule of the screen for one response."""
    response = parse(text)
    summary = language_share(response.summary.split("<answer>")[0], language)
    share = reasoning_language_share(text, language)
    return {
        "correct": float(correct),
        "well_formed": float(response.well_formed),
        "complete": float(finish != "length"),
        "one_language": share if share is not None else 0.0,
        "summary": summary if summary is not None else 0.0,
    }


def screen(row_id: str, measured: dict[str, float], evidence: str = "") -> list[dict]:
    """DECISION rows of one response: every rule, kept or not."""
    return [
        {
            "row_id": row_id,
            "stage": "cold_start",
            "rule": rule.rule,
            "value": measured[rule.rule],
            "threshold": rule.at_least,
            "keep": measured[rule.rule] >= rule.at_least,
            "evidence": evidence,
        }
        for rule in RULES
    ]


def first_reason(decisions: list[dict]) -> str | None:
    """The first rule that rejects, in the order of RULES; None where the row is kept."""
    return next((d["rule"] for d in decisions if not d["keep"]), None)


def take(prompts: list[dict], share: dict[str, float], rows: int, asked: int) -> dict[str, tuple[int, list[dict]]]:
    """Route -> (rows wanted, prompts to ask): different prompts for each route, `asked` for each row wanted."""
    out, start = {}, 0
    for route, part in share.items():
        wanted = round(rows * part)
        count = 0 if route == "human" else wanted * asked
        out[route] = wanted, prompts[start : start + count]
        start += count
    return out
