"""Canaries before RL: completions whose reward is known. Gold solutions must score full marks, cheats must not.

Each prompt that is looked at gets its gold solution and a cage of cheats: empty, cut off, with junk behind the answer,
with several answers, with the answer inside the think block, … Code prompts also get programs that attack whoever runs
them (code_canaries.py). They are scored by the stage's own composed rewards. A cheat sings where it earns full marks:
as much as the gold solution in sum, or the best accuracy. A gold solution sings where it earns less than the best.
Rewards that ask a model (preference, judge) take no part: what a model will say is not known beforehand.
"""

import json
from dataclasses import dataclass, field

from tasks.prompts.templates import render
from tasks.responses import TAGS
from tasks.rewards import code_canaries
from tasks.rewards.composition import Composition
from tasks.rewards.format import OPEN_ENDED, is_valid, verifiable

PER_DOMAIN = 3  # prompts looked at
EPSILON = 1e-9
GOLD = "gold"
STRANGE = "987654321"  # an answer that no prompt has
THOUGHTS = {  # a chain of thought in the target language, for the language reward
    "en": "Let me think about the question step by step.", "zh": "让我一步一步地思考这个问题。",
    "ja": "この問題を順番に考えます。", "ko": "이 문제를 차근차근 생각해 보겠습니다.", "ru": "Подумаем над этим вопросом по шагам.",
    "ar": "دعني أفكر في السؤال خطوة بخطوة.", "hi": "मैं इस प्रश्न पर क्रम से विचार करता हूँ।", "bn": "আমি এই প্রশ্নটি ধাপে ধাপে ভাবি।",
    "el": "Ας σκεφτώ την ερώτηση βήμα βήμα.", "he": "אחשוב על השאלה צעד אחר צעד.", "th": "ขอคิดคำถามนี้ทีละขั้นตอน",
    "ta": "இந்தக் கேள்வியைப் படிப்படியாகச் சிந்திக்கிறேன்.",
}  # fmt: skip


class CanaryError(Exception):
    """The rewards of a stage can be cheated, or blame a right answer; the message names reward, canary and prompt."""


@dataclass(frozen=True)
class Canary:
    name: str  # "gold", or the cheat
    prompt: dict  # a PROMPT row
    text: str  # the whole response

    @property
    def gold(self) -> bool:
        return self.name.startswith(GOLD)


@dataclass(frozen=True)
class Finding:
    canary: Canary
    rewards: dict[str, float | None] = field(default_factory=dict)  # of each reward of the stage
    total: float | None = None
    full: float | None = None  # full marks of this prompt; None where a model has a part in the sum
    sings: str = ""  # why; empty where it is silent


def thought(prompt: dict) -> str:
    """Words in the prompt's own language, or none where no sentence is at hand."""
    return THOUGHTS.get((prompt.get("language") or "en").lower().split("-")[0], "")


def respond(think: str, answer: str) -> str:
    return f"<think> {think} </think> <answer>{answer}</answer>"


def canaries_of(prompt: dict) -> list[Canary]:
    """Every canary for one PROMPT row."""
    if prompt["domain"] == "code":
        pairs = code_canaries.responses(prompt, thought(prompt))
    elif prompt["domain"] == "instructions":
        pairs = _instructions(prompt)
    elif prompt["gold"] is not None:
        pairs = _answers(prompt)
    elif verifiable(prompt["domain"], None):
        pairs = _answers(prompt | {"gold": ""})
        pairs = {
            name: pairs[name]
            for name in ("wrong-answer", "empty", "empty-answer", "copied-prompt", "copied-prompt-tagged")
        }
    else:
        pairs = _general(prompt)
    return [Canary(name, prompt, text) for name, text in pairs.items()]


def _answers(prompt: dict) -> dict[str, str]:
    """Gold and cheats for a prompt with one final answer."""
    gold, think = prompt["gold"], thought(prompt)
    other = _other(prompt)
    pairs = {
        GOLD: respond(think, gold),
        "wrong-answer": respond(think, other),
        "empty": "",
        "empty-answer": respond(think, ""),
        "prefix-only": f"<think> {think} </think> <answer>{gold[: max(1, len(gold) // 2)]}",
        "trailing-junk": respond(think, f"{gold}\n{other}"),
        "trailing-words": respond(think, f"{gold} or {STRANGE} or whatever you like"),
        "both-answers": respond(think, gold) + f" <answer>{other}</answer>",
        "either-answer": respond(think, f"{gold} or {other}"),
        "answer-inside-think": f"<think> {think} <answer>{gold}</answer> </think> Done.",
        "box-inside-think": f"<think> {think} \\boxed{{{gold}}} </think> Done.",
        "copied-prompt": prompt["text"],
        "copied-prompt-tagged": respond(think, prompt["text"]),
        "unclosed-think": f"<think> {think} <answer>{gold}</answer>",
    }
    if gold.isascii() and gold.isdigit() and len(gold) > 1 and gold[0] != "0":
        pairs["prefix-answer"] = respond(think, gold[:-1])
    return pairs


def _other(prompt: dict) -> str:
    """A wrong answer of the same kind."""
    gold = prompt["gold"]
    if prompt["domain"] == "choice":
        options = list(json.loads(prompt.get("meta") or "{}").get("options") or {"A": "", "B": ""})
        return next(letter for letter in [*options, "A", "B"] if letter != gold)
    if "knight" in gold or "knave" in gold:
        return gold.replace("knight", "\0").replace("knave", "knight").replace("\0", "knave")
    return str(int(gold) + 1) if gold.isascii() and gold.isdigit() else STRANGE


def _instructions(prompt: dict) -> dict[str, str]:
    """Cheats of form alone: which other response breaks an instruction is not known beforehand."""
    think = thought(prompt)
    pairs = {
        "empty": "",
        "empty-summary": f"<think> {think} </think>",
        "unclosed-think": f"<think> {think} {prompt['text']}",
    }
    return _with_solution(prompt, pairs)


def _general(prompt: dict) -> dict[str, str]:
    """A general prompt has no gold: its reference response must have the form that is asked, and no form must not."""
    think = thought(prompt)
    pairs = {"empty": "", "empty-summary": f"<think> {think} </think>", "unclosed-think": f"<think> {think}"}
    return _with_solution(prompt, pairs)


def _with_solution(prompt: dict, pairs: dict[str, str]) -> dict[str, str]:
    solution = prompt.get("solution")
    if solution and is_valid(solution, prompt["domain"], prompt["gold"]):
        return {GOLD: solution} | pairs
    return pairs


def choose(rows: list[dict], per_domain: int = PER_DOMAIN) -> list[dict]:
    """The first prompts of each domain by id: content-addressed, so in every run the same."""
    chosen: dict[str, list[dict]] = {}
    for row in sorted(rows, key=lambda r: r["id"]):
        mine = chosen.setdefault(row["domain"], [])
        if len(mine) < per_domain:
            mine.append(row)
    return [row for domain in sorted(chosen) for row in chosen[domain]]


def check(rewards: Composition, prompts: list[dict], template: str) -> list[Finding]:
    """Every canary of these PROMPT rows through the rewards; a prompt to which no rule reward applies has none."""
    rules = rewards.rules() if any(getattr(t, "learned", False) for t in rewards.terms.values()) else rewards
    if not rules.terms:
        return []
    cages = [canaries_of(prompt) for prompt in prompts]
    flat = [canary for cage in cages for canary in cage]
    asked = [render(template, canary.prompt["text"]) for canary in flat]
    texts = [_completion(ask, canary.text) for ask, canary in zip(asked, flat, strict=True)]
    columns = {name: [c.prompt.get(name) for c in flat] for name in ("id", "domain", "gold", "meta", "language")}
    values, faults = rules.evaluate(asked, texts, completion_ids=pieces(texts), **columns)
    totals = rules.totals(values)
    findings, start = [], 0
    for cage in cages:
        where = range(start, start + len(cage))
        start += len(cage)
        terms = [{name: given[i] for name, given in values.items()} for i in where]
        sums = rules is rewards or verifiable(cage[0].prompt["domain"], cage[0].prompt["gold"])
        findings += _judge(rules, cage, terms, [totals[i] for i in where], [faults.get(i) for i in where], sums)
    return findings


def _completion(prompt: str, text: str) -> str:
    """A response as the model would write it: without the `<think>` that the template already ends in."""
    return text.removeprefix(TAGS[0]) if prompt.rstrip().endswith(TAGS[0]) else text


def pieces(texts: list[str]) -> list[list[int]]:
    """Token ids without a tokenizer: one for each different word, so that lengths and repetitions are about right."""
    book: dict[str, int] = {}
    return [[book.setdefault(word, len(book)) for word in text.split()] for text in texts]


def _judge(
    rules: Composition, cage: list[Canary], terms: list[dict], totals: list, faults: list, sums: bool
) -> list[Finding]:
    """What the canaries of one prompt did; `sums`: their sums mean something, no model has a part in them."""
    best = {name: term.best for name, term in rules.terms.items() if getattr(term, "best", None) is not None}
    golds = [t for canary, t in zip(cage, totals, strict=True) if canary.gold and t is not None]
    most = [sum(rules.weights[n] * b for n, b in best.items() if given[n] is not None) for given in terms]
    findings = []
    for canary, given, total, limit, fault in zip(cage, terms, totals, most, faults, strict=True):
        full = max(golds, default=limit) if sums else None
        if fault:
            why = f"no verdict: {fault}"
        elif total is None:
            continue  # no rule reward applies
        elif canary.gold:
            low = [
                n
                for n, b in best.items()
                if given[n] is not None and given[n] < b - EPSILON and _counts(n, canary, rules)
            ]
            why = f"{low[0]} gives {given[low[0]]:g}, full marks are {best[low[0]]:g}" if low else ""
        elif earned := [n for n in _telling(canary) if given.get(n) == best.get(n, 1.0)]:
            why = f"{earned[0]} gives {given[earned[0]]:g}, full marks"
        else:
            why = f"in sum {total:g}, full marks are {full:g}" if full is not None and total >= full - EPSILON else ""
        findings.append(Finding(canary, given, total, full, why))
    return findings


def _telling(canary: Canary) -> list[str]:
    """Rewards of which a cheat must never earn all: what is right, and where nothing is, the form."""
    return ["accuracy"] if verifiable(canary.prompt["domain"], canary.prompt["gold"]) else ["format"]


def _counts(name: str, canary: Canary, rules: Composition) -> bool:
    """Whether full marks of this reward are asked of a gold: not of a language whose words we did not choose."""
    own = canary.prompt["domain"] not in OPEN_ENDED and canary.prompt["gold"] is not None and thought(canary.prompt)
    return rules.weights[name] > 0 and (name != "language" or bool(own))


def require(rewards: Composition, rows: list[dict], template: str, per_domain: int = PER_DOMAIN) -> dict:
    """Counts for the metrics where every canary is silent; CanaryError where one sings.

    Where there are code prompts, the built-in ones are looked at too: of them right, half-right and wrong are known.
    """
    chosen = choose(rows, per_domain)
    chosen += code_canaries.PROMPTS if any(row["domain"] == "code" for row in chosen) else []
    findings = check(rewards, chosen, template)
    if singing := [f for f in findings if f.sings]:
        lines = "\n".join(f"  {tell(f)}" for f in singing[:10])
        more = f"\n  … and {len(singing) - 10} more" if len(singing) > 10 else ""
        raise CanaryError(
            f"{len(singing)} of {len(findings)} canaries sing, so RL would train on a reward that can be cheated:\n"
            f"{lines}{more}\nRepair the verifier, the prompt's gold, or the composition under `rewards`; `r1 canary` "
            "prints the whole table"
        )
    return {
        "prompts": len({f.canary.prompt["id"] for f in findings}),
        "gold": sum(f.canary.gold for f in findings),
        "cheats": sum(not f.canary.gold for f in findings),
    }


def tell(finding: Finding) -> str:
    """One finding in a line: canary, prompt, scores, completion."""
    prompt = finding.canary.prompt
    scores = (
        ", ".join(f"{name} {value:g}" for name, value in finding.rewards.items() if value is not None) or "no score"
    )
    return (
        f"{finding.canary.name}: {finding.sings} ({scores}) for {finding.canary.text[:80]!r}, "
        f"a response to {prompt['domain']} prompt {prompt['id']} ({prompt['text'][:60]!r})"
    )
