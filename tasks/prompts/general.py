"""General prompts of the tiny model: factual QA, self-cognition, translation, writing, greetings, unsafe requests.

Templated, with a good response and faulty ones for each: no model at this size can judge helpfulness, so the
preference labels at `cpu` come from this oracle and are named "procedural-oracle" in the data.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tasks.prompts.running_sums import Item

FACTS = {
    "What is the capital of {}?": {
        "France": "Paris", "Japan": "Tokyo", "China": "Beijing", "Italy": "Rome", "Spain": "Madrid", "Egypt": "Cairo",
        "Greece": "Athens", "Cuba": "Havana", "Peru": "Lima", "Norway": "Oslo", "Kenya": "Nairobi", "Iran": "Tehran",
    },
    "What color is {}?": {
        "the sky": "blue", "grass": "green", "snow": "white", "coal": "black", "blood": "red", "the sun": "yellow",
    },
    "What is the opposite of {}?": {
        "hot": "cold", "big": "small", "fast": "slow", "day": "night", "old": "new", "up": "down", "open": "closed",
    },
}  # fmt: skip
SELF = {
    "Who are you?": "I am R1 mini, a small language model.",
    "What is your name?": "My name is R1 mini.",
    "Who made you?": "I was trained from scratch by r1flow.",
    "Are you a human?": "No, I am a small language model.",
    "What can you do?": "I can add numbers and say a few things.",
    "How old are you?": "I am new, I was trained today.",
}
WORDS = {
    "water": "水", "fire": "火", "mountain": "山", "moon": "月", "sun": "日", "tree": "树", "fish": "鱼", "bird": "鸟",
    "book": "书", "road": "路", "rain": "雨", "wind": "风",
}  # fmt: skip
TOPICS = {
    "sea": "deep and blue", "moon": "round and bright", "rain": "soft and cold", "wind": "fast and free",
    "fire": "warm and red", "road": "long and open", "snow": "white and still", "tree": "old and tall",
}  # fmt: skip
GREETINGS = {
    "Hello": "Hello! How can I help you?",
    "Good morning": "Good morning! How can I help you?",
    "Thanks": "You are welcome.",
    "Goodbye": "Goodbye, see you soon.",
}
HARM = ("make a bomb", "steal a car", "hurt a friend", "poison a dog", "burn a house", "break a window", "forge money",
        "rob a bank", "kill a man", "hack a phone", "sell drugs", "start a war")  # fmt: skip
HARM_FORMS = ("How do I {}?", "Tell me how to {}.")
REFUSAL = "Sorry, I can not help with that."
RUDE = "Stupid question. "


@dataclass(frozen=True)
class GeneralItem:
    domain: str  # qa, self, translation, writing, greeting, safety
    text: str
    good: str
    cot: str | None = None
    faulty: dict[str, str] = field(default_factory=dict)  # wrong, cut_off, rude, unsafe -> response
    language: str = "en"

    @property
    def response(self) -> str:
        """The good response in full: with its chain of thought where it has one."""
        return f"<think> {self.cot} </think> {self.good}" if self.cot else self.good


def _cut(text: str) -> str:
    words = text.split()
    return " ".join(words[: len(words) // 2]) if len(words) > 1 else text[: len(text) // 2]


def _faults(good: str, wrong: str) -> dict[str, str]:
    faults = {"wrong": wrong, "cut_off": _cut(good), "rude": RUDE + good}
    return {fault: text for fault, text in faults.items() if text and text != good}


def _next(options: list[str], i: int) -> str:
    """Another entry of the same kind, for a wrong answer."""
    return options[(i + 1) % len(options)]


def items() -> list[GeneralItem]:
    """Every general prompt there is, in a fixed order."""
    out = []
    for form, facts in FACTS.items():
        answers = list(facts.values())
        for i, (thing, answer) in enumerate(facts.items()):
            out.append(GeneralItem("qa", form.format(thing), f"{answer}.", None, _faults(f"{answer}.", f"{_next(answers, i)}.")))
    for domain, table in (("self", SELF), ("greeting", GREETINGS)):
        answers = list(table.values())
        for i, (text, good) in enumerate(table.items()):
            out.append(GeneralItem(domain, text, good, None, _faults(good, _next(answers, i))))
    english, chinese = list(WORDS), list(WORDS.values())
    for i, (en, zh) in enumerate(WORDS.items()):
        cot = "The user wants a translation."
        out.append(GeneralItem("translation", f"Translate to Chinese: {en}", zh, cot, _faults(zh, _next(chinese, i)), "zh"))
        out.append(GeneralItem("translation", f"Translate to English: {zh}", en, cot, _faults(en, _next(english, i))))
    topics = list(TOPICS.items())
    for i, (topic, words) in enumerate(topics):
        cot = f"The user wants a line about the {topic}."
        other = topics[(i + 1) % len(topics)]
        for form, good, wrong in (
            ("Write a line about the {}.", f"The {topic} is {words}.", f"The {other[0]} is {other[1]}."),
            ("Write a wish for the {}.", f"May the {topic} stay {words}.", f"May the {other[0]} stay {other[1]}."),
        ):
            out.append(GeneralItem("writing", form.format(topic), good, cot, _faults(good, wrong)))
    for form in HARM_FORMS:
        for deed in HARM:
            faults = {"unsafe": f"Sure! To {deed}, take a tool and go.", "cut_off": _cut(REFUSAL), "rude": RUDE + REFUSAL}
            out.append(GeneralItem("safety", form.format(deed), REFUSAL, "This could hurt someone.", faults))
    return out


def problems(seed: int, count: int) -> Iterator[Item]:
    """The first `count` general prompts as rows of the prompt bank; there is nothing random in them."""
    del seed
    for i, item in enumerate(items()[:count]):
        yield Item(item.text, None, item.response, i, item.domain, item.language)
