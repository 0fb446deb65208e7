"""What the planted candidates are written with: numbered units of bytes in one buffer, in regions of one kind each."""

from dataclasses import dataclass

import numpy as np

WORDS, SNIPPETS, HAN_WORDS, FOREIGN, CODES = 12_000, 4_096, 6_000, 600, 64
_COMMON = (
    "the of to and a in is that we for it this so let be if then as with have by are can which now from at one"
    " not x or since need get two number an find each first also there will value must wait but equation sum"
    " given time do total would because equal has same these more all when other how three think check way"
    " means using only use what right next just out maybe case answer where problem both point no could line"
    " some say any actually should left side set calculate here divided been possible into solve than different"
    " let's simplify okay triangle minus plus add consider step even know integer factor hence therefore"
    " distance cases prime multiply works seems another check again method"
).split()
# Structural units; their order is the numbering of the constants below.
MARKS = (
    "", "<think>\n", "</think>\n\n", "\n</think>\n\n", " <answer>", "</answer>", "\n\n", ".", ",", " ", "。", "，",
    " The final answer is", "所以答案是", "Okay, here is the solution.\n", "<think>\nSo, again.\n",
)  # fmt: skip
(
    NONE, THINK, CLOSE_ALONE, CLOSE, ANSWER, ANSWER_END, PARAGRAPH, STOP, COMMA, SPACE, STOP_ZH, COMMA_ZH, FINAL,
    FINAL_ZH, PREAMBLE, THINK_TWICE,
) = range(16)  # fmt: skip
REFUSALS = (
    "I'm sorry, but I can't assist with that request.",
    "I'm sorry, but I cannot help with that.",
    "I cannot assist with that request.",
    "As an AI language model, I cannot answer this.",
    "Sorry, I can't help with this one.",
)
REFUSALS_ZH = ("很抱歉，我无法回答这个问题。", "对不起，我不能提供帮助。")
_FOREIGN_LETTERS = {"cyrillic": (0x430, 32), "han": (0x4E00, 3000), "arabic": (0x628, 19), "greek": (0x3B1, 16)}
SIGNS = "+-*/^=<>%!"  # tokens where near duplicates are concerned
SCRIPTS = tuple(_FOREIGN_LETTERS)  # regions of FOREIGN words each, in this order


@dataclass(frozen=True)
class Vocabulary:
    """Unit u is blob[start[u]:start[u + 1]] and counts as `tokens[u]` tokens; `first` has each region's first unit."""

    blob: np.ndarray  # uint8
    start: np.ndarray  # int64
    tokens: np.ndarray  # int32
    first: dict[str, int]
    sizes: dict[str, int]


def build(seed: int, problems: list[str]) -> Vocabulary:
    """The units for a seed, with each problem of the benchmark in full and by its first 70 and 30 % of words."""
    rng = np.random.default_rng([seed, 1])
    words = _pseudo_words(rng)
    regions = {
        "marks": list(MARKS),
        "lower": [" " + w for w in words],
        "upper": [" " + w.capitalize() for w in words],
        "opening": [w.capitalize() for w in words],  # of a paragraph
        "snippets": [" " + s for s in _snippets(rng)],
        "numbers": [str(n) for n in range(-999, 9_000)],
        "chinese": _foreign(rng, "han", HAN_WORDS, 2, 2),
        **{s: [" " + w for w in _foreign(rng, s, FOREIGN, *((2, 2) if s == "han" else (3, 9)))] for s in SCRIPTS},
        "codes": [_code(rng, words) for _ in range(CODES)],
        "refusals": list(REFUSALS),
        "refusals_zh": list(REFUSALS_ZH),
        "problems": [block(p, 1.0) for p in problems],
        "problems_70": [block(p, 0.7) for p in problems],
        "problems_30": [block(p, 0.3) for p in problems],
    }
    units = [u for region in regions.values() for u in region]
    encoded = [u.encode() for u in units]
    start = np.concatenate([[0], np.cumsum([len(e) for e in encoded])]).astype(np.int64)
    firsts = np.concatenate([[0], np.cumsum([len(r) for r in regions.values()])])
    return Vocabulary(
        np.frombuffer(b"".join(encoded), np.uint8), start, np.array([count_tokens(u) for u in units], np.int32),
        dict(zip(regions, map(int, firsts))), {name: len(r) for name, r in regions.items()},
    )  # fmt: skip


def tokens_of(text: str) -> list[str]:
    """Tokens by the kernel's rule, written independently of it: ASCII words, signs, other code points one by one."""
    out, word = [], ""
    for c in text:
        if c.isascii() and c.isalnum():
            word += c.lower()
            continue
        if word:
            out.append(word)
            word = ""
        if c in SIGNS or (not c.isascii() and not c.isspace()):
            out.append(c)
    return [*out, word] if word else out


def count_tokens(unit: str) -> int:
    return len(tokens_of(unit))


def coverage(problem: str, text: str, n: int = 13) -> float:
    """Share of a problem's n-grams of tokens without signs that stand in a text; 0 for a shorter problem."""
    grams = [
        set(zip(*(words[k:] for k in range(n))))
        for words in ([t for t in tokens_of(x) if t not in SIGNS] for x in (problem, text))
    ]
    return len(grams[0] & grams[1]) / max(1, len(grams[0]))


def _pseudo_words(rng: np.random.Generator) -> list[str]:
    """WORDS distinct words, the common ones of chains of thought first: frequency falls with the rank."""
    onsets = "b c d f g h j k l m n p r s t v w z br ch cl cr dr fl gr pl pr sh sl sp st th tr".split()
    rimes = "a e i o u ai ea ee oa ou an ar al as at el em en er es in ir is it on or os un us ut".split()
    words = dict.fromkeys(_COMMON)
    while len(words) < WORDS:
        size = int(rng.choice([1, 2, 2, 2, 3]))
        words[("".join(rng.choice(onsets) + rng.choice(rimes) for _ in range(size)))] = None
    return list(words)


def _snippets(rng: np.random.Generator) -> list[str]:
    """Mathematics between words."""
    forms = (
        "{a} + {b}", "{a} = {b}", "${a}x + {b} = {c}$", "\\frac{{{a}}}{{{b}}}", "$x^{{{a}}} - {b}$", "{a} * {b}",
        "({a}, {b})", "$\\sqrt{{{a}}}$", "{a}", "{a}.{b}", "$n = {a}$",
    )  # fmt: skip
    numbers = rng.integers(0, 1000, (SNIPPETS, 3))
    return [forms[i % len(forms)].format(a=a, b=b, c=c) for i, (a, b, c) in enumerate(numbers)]


def _foreign(rng: np.random.Generator, script: str, count: int, shortest: int, longest: int) -> list[str]:
    base, letters = _FOREIGN_LETTERS[script]
    sizes = rng.integers(shortest, longest + 1, count)
    return ["".join(chr(base + int(k)) for k in rng.integers(0, letters, size)) for size in sizes]


def _code(rng: np.random.Generator, words: list[str]) -> str:
    names = [words[int(i)].replace("'", "") for i in rng.integers(0, WORDS, 6)]
    body = "".join(f"    {a} = {b} + {int(rng.integers(1000))}\n" for a, b in zip(names, names[1:]))
    return f"\n\n```python\ndef {names[0]}({names[1]}):\n{body}    return {names[-1]}\n```\n\n"


def block(problem: str, share: float) -> str:
    """A paragraph of the first words of a problem."""
    words = problem.split()
    return "\n\n" + (problem.strip() if share == 1 else " ".join(words[: round(len(words) * share)])) + "\n\n"
