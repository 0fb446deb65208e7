"""Pretraining text of the tiny model: clean chains of thought first, then a noisy, web-like mixture.

In the mixture chains of thought are mixed-language, wrong in places, badly tagged and often missing: what RL then
elicits and sharpens is in there, but it is not what the model says by default.
"""

import random
import re
from dataclasses import dataclass

from tasks.prompts import general
from tasks.prompts import running_sums as sums
from tasks.prompts.split import held_out
from tasks.prompts.templates import TEMPLATES
from tasks.responses import TAGS

STYLES = {"direct": 0.04, "direct_tag": 0.26, "plain_cot": 0.04, "skip": 0.22, "cot": 0.34, "check": 0.10}
CLEAN_STYLES = {"direct": 0.02, "direct_tag": 0.03, "plain_cot": 0.38, "cot": 0.42, "skip": 0.08, "check": 0.07}
LANGUAGES = {"en": 0.3, "zh": 0.2, "mix": 0.5}


@dataclass(frozen=True)
class Document:
    prompt: str  # no loss here
    response: str  # loss here, and on the end of sequence


def _choose(rng: random.Random, weights: dict[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _answer(problem: sums.Problem, rng: random.Random, style: str, mode: str, noise: float) -> str:
    """One response to a running sum in `style`; `noise` scales every error rate (0: clean)."""
    language = rng.choice(("en", "zh")) if mode == "mix" else mode
    if style in ("direct", "direct_tag"):
        value = problem.value
        if rng.random() < 0.3 * noise:
            value = max(0, value + rng.choice((-3, -2, -1, 1, 2, 3)))
        return str(value) if style == "direct" else f"<think> </think><answer>{value}</answer>"
    if style == "plain_cot":
        think, total = sums.reason(problem, rng, mode, 0.10 * noise)
        return f"{think} {sums.SUMMARY[language].format(total)}"
    group, error = (2, 0.15) if style == "skip" else (1, 0.12)
    think, total = sums.reason(problem, rng, mode, error * noise, group, style == "check")
    broken = rng.random()
    if noise and broken < 0.05:
        return f"<think> {think} </think> {total}"
    if noise and broken < 0.10:
        return f"<think> {think} <answer>{total}</answer>"
    return sums.respond(think, total, language if rng.random() < 0.5 else None)


def _sum_document(rng: random.Random, noise: float, template: str, shots: int = 1) -> Document:
    """One solved problem, or several in one style and language (what few-shot prompting builds on)."""
    style = _choose(rng, STYLES if noise else CLEAN_STYLES)
    mode = _choose(rng, LANGUAGES)
    text, prompt, response = "", "", ""
    for _ in range(shots):
        text += prompt + response + ("\n" if response else "")
        problem = sums.draw(rng)
        while held_out(problem.question):
            problem = sums.draw(rng)
        request = sums.CHECK_REQUEST if style == "check" and rng.random() < 0.8 else ""
        prompt = template.replace("{question}", problem.question + request)
        response = _answer(problem, rng, style, mode, noise)
    return Document(text + prompt, response)


def _general_document(rng: random.Random, items: list, noise: float, template: str) -> Document:
    item = rng.choice(items)
    response = item.response
    if noise and item.faulty and rng.random() < 0.5:
        response = rng.choice(sorted(item.faulty.values()))
    return Document(template.replace("{question}", item.text), response)


def _facts_document(rng: random.Random) -> Document:
    parts = [sums.draw(rng, 1, 1) for _ in range(rng.randint(3, 8))]
    return Document("", " ".join(f"{p.start}{p.steps[0][0]}{p.steps[0][1]}={p.value}." for p in parts))


def _repeat_document(rng: random.Random) -> Document:
    """A sequence said twice or three times: copying heads form early on these."""
    problem = sums.draw(rng, 3, 8)
    while held_out(problem.question):
        problem = sums.draw(rng, 3, 8)
    expression = problem.question.removeprefix("Compute ")
    word = rng.choice(("Compute", "First", "Then", "首先", "然后"))
    return Document("", " ".join([f"{word} {expression}"] * rng.randint(2, 3)))


# Shares of documents by phase; the rest are sums. A chain of thought teaches one addition in eight tokens, a fact one
# in five: with few of them the step from copying to adding comes late, or never, depending on the seed.
KINDS = {
    "clean": {"general": 0.05, "facts": 0.15, "repeat": 0.12, "shots": 0.03},
    "noisy": {"general": 0.05, "facts": 0.04, "repeat": 0.03, "shots": 0.03},
}


def documents(seed: int, count: int, phase: str, template: str) -> list[Document]:
    """`count` documents from one seed and phase; `template` holds `{question}` (tasks/prompts/templates.py)."""
    rng = random.Random(seed)
    items = [item for item in general.items() if not held_out(item.text)]
    noise = 1.0 if phase == "noisy" else 0.0
    kinds = {**KINDS[phase], "sum": 1 - sum(KINDS[phase].values())}
    out = []
    for _ in range(count):
        match _choose(rng, kinds):
            case "general":
                out.append(_general_document(rng, items, noise, template))
            case "facts":
                out.append(_facts_document(rng))
            case "repeat":
                out.append(_repeat_document(rng))
            case "shots":
                out.append(_sum_document(rng, noise, template, shots=2))
            case "sum":
                out.append(_sum_document(rng, noise, template))
    return out


@dataclass(frozen=True)
class PretrainingSet:
    """What a base is pretrained on, and the held-out examples its progress is probed with."""

    template: str
    tags: tuple[str, ...] = TAGS

    def documents(self, seed: int, count: int, phase: str) -> list[Document]:
        return documents(seed, count, phase, self.template)

    def tokenizer_texts(self, seed: int = 1, count: int = 3000) -> list[str]:
        """Text without tags; the tokenizer of every base here is trained on the same one, whatever the run's seed."""
        strip = re.compile("|".join(map(re.escape, self.tags)))
        docs = self.documents(seed, count, "clean") + self.documents(seed, count, "noisy")
        return [strip.sub(" ", d.prompt + d.response) for d in docs]

    def probe_examples(self, seed: int = 77, count: int = 64) -> list[tuple[str, str]]:
        """Clean chains of thought on held-out problems, as (prompt, response)."""
        rng, out = random.Random(seed), []
        while len(out) < count:
            problem = sums.draw(rng)
            if held_out(problem.question):
                think, total = sums.reason(problem, rng)
                out.append((self.template.replace("{question}", problem.question), sums.respond(think, total, None)))
        return out


def pretraining_set(template: str) -> PretrainingSet:
    """The corpus asked in the wording of a named template."""
    return PretrainingSet(TEMPLATES[template])
