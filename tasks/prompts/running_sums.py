"""The tiny model's own family: running sums of single digits, each step labelled so that it can be copied.

`Compute 34 A-1 B+3 C-9` has the gold 27 and the chain of thought
`First A-1=33. Then B+3=36. Then C-9=27.`. Unlabelled sums did not train within the CPU budget: copying the
operand of the next step is the bottleneck, and labels make it a lookup.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

LABELS = "ABCDEFGH"
LIMIT = 50  # no running total leaves 0..LIMIT: each sum is then seen often enough to be learnt from little text
CONNECTIVES = {
    "en": {"first": ("First", "Start"), "then": ("Then", "Next")},
    "zh": {"first": ("首先", "开始"), "then": ("然后", "接着")},
}
CHECK = {"en": "Wait, let me check again.", "zh": "等等，让我再检查一遍。"}
MATCHES = {"en": "Good, it matches.", "zh": "很好，结果一致。"}
DIFFERS = {"en": "That was wrong.", "zh": "刚才错了。"}
SUMMARY = {"en": "The result is {}.", "zh": "结果是 {}。"}
CHECK_REQUEST = " and check"  # asks directly for reflection and verification (cold-start route 2)
RECHECK = re.compile("check again|再检查")
_SKIP = re.compile(r"[A-H][+-]\d [A-H][+-]\d")
_STEP = re.compile(r"[A-H][+-]\d+=")


@dataclass(frozen=True)
class Problem:
    start: int  # 1..40
    steps: tuple[tuple[str, int], ...]  # (operator, digit 1..9)

    @property
    def question(self) -> str:
        return f"Compute {self.start}" + "".join(f" {LABELS[i]}{op}{d}" for i, (op, d) in enumerate(self.steps))

    @property
    def value(self) -> int:
        return self.start + sum(d if op == "+" else -d for op, d in self.steps)


@dataclass(frozen=True)
class Item:
    """What a procedural family hands to the prompt bank."""

    text: str
    gold: str | None
    solution: str | None
    index: int
    domain: str | None = None
    language: str = "en"


def draw(rng: random.Random, low: int = 3, high: int = 5) -> Problem:
    """A random problem of `low` to `high` steps."""
    start = rng.randint(1, 9) if rng.random() < 0.5 else rng.randint(10, 40)
    total, steps = start, []
    for _ in range(rng.randint(low, high)):
        op, digit = rng.choice("+-"), rng.randint(1, 9)
        if not 0 <= (total + digit if op == "+" else total - digit) <= LIMIT:
            op = "-" if op == "+" else "+"
        total += digit if op == "+" else -digit
        steps.append((op, digit))
    return Problem(start, tuple(steps))


def work(problem: Problem, rng: random.Random, error: float = 0.0, group: int = 1) -> tuple[list[str], int]:
    """Steps like `A-1=53`, `group` operations each, and the total they end in; a step is wrong with probability `error`."""
    total, lines = problem.start, []
    for i in range(0, len(problem.steps), group):
        part = problem.steps[i : i + group]
        total += sum(d if op == "+" else -d for op, d in part)
        if rng.random() < error:
            total = max(0, total + rng.choice((-10, -2, -1, 1, 2, 10)))
        lines.append(" ".join(f"{LABELS[i + j]}{op}{d}" for j, (op, d) in enumerate(part)) + f"={total}")
    return lines, total


def _language(rng: random.Random, mode: str) -> str:
    return rng.choice(("en", "zh")) if mode == "mix" else mode


def say(lines: list[str], rng: random.Random, mode: str) -> str:
    """Steps in words; `mode` is "en", "zh" or "mix" (each sentence in a language of its own)."""
    words = []
    for i, line in enumerate(lines):
        words.append(rng.choice(CONNECTIVES[_language(rng, mode)]["then" if i else "first"]) + f" {line}.")
    return " ".join(words)


def reason(
    problem: Problem, rng: random.Random, mode: str = "en", error: float = 0.0, group: int = 1, check: bool = False
) -> tuple[str, int]:
    """A chain of thought and the total it ends in; with `check` it works the sum out a second time."""
    lines, total = work(problem, rng, error, group)
    text = say(lines, rng, mode)
    if check:
        again, second = work(problem, rng, 0.02 if error else 0.0)
        verdict = (MATCHES if second == total else DIFFERS)[_language(rng, mode)]
        text += f" {CHECK[_language(rng, mode)]} {say(again, rng, mode)} {verdict}"
        total = second
    return text, total


def respond(think: str, answer: int | str, summary: str | None = "en") -> str:
    """The readable pattern of the cold start: reasoning, then a summary that holds the answer."""
    sentence = f" {SUMMARY[summary].format(answer)} " if summary else ""
    return f"<think> {think} </think>{sentence}<answer>{answer}</answer>"


def problems(seed: int, count: int) -> Iterator[Item]:
    """`count` different problems of 3 to 5 steps, each with its gold and a reference chain of thought in English."""
    rng, seen = random.Random(seed), set()
    while len(seen) < count:
        problem = draw(rng)
        if problem.question in seen:
            continue
        seen.add(problem.question)
        think, total = reason(problem, random.Random(problem.question))
        yield Item(problem.question, str(total), respond(think, total), len(seen) - 1)


def readable(text: str) -> str:
    """R1-Zero's words made readable: Chinese connectives and remarks put into English, sentence by sentence."""
    for kind in ("first", "then"):
        for zh, en in zip(CONNECTIVES["zh"][kind], CONNECTIVES["en"][kind], strict=True):
            text = text.replace(zh, en)
    for table in (CHECK, MATCHES, DIFFERS):
        text = text.replace(table["zh"], table["en"])
    return text


def style(text: str) -> str:
    """How a response reasons: "untagged", "direct" (no step), "skip" (steps merged), "check" (works it out twice), "cot"."""
    if "<think>" not in text:
        return "untagged"
    think = text.split("</think>")[0]
    if RECHECK.search(think):
        return "check"
    if _SKIP.search(think):
        return "skip"
    return "cot" if _STEP.search(think) else "direct"
