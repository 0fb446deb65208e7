r"""The final answer of a response, by a written rule, and the fast path that decides most maths without a parser.

The rule:
1. Only the summary counts: what follows the last `</think>`. A think block that never closes has no summary.
2. The content of `<answer>…</answer>`. Several answer tags must agree; different answers are no answer (a model
   that lists candidates is not rewarded for hitting one). A `\boxed{}` inside the tag is unwrapped.
3. Without an answer tag, the last `\boxed{…}` with balanced braces.
4. Nothing else is an answer: a bare number in the text is not.
An answer of several lines that differ is no maths answer either, unless it is one LaTeX environment.

The fast path accepts on equality after normalisation and rejects only integer against different integer; everything
else goes to a real parser. It imports nothing and takes microseconds: RL calls it for every rollout.
"""

import re

MAX_ANSWER_CHARS = 1000  # a longer "answer" is prose; also bounds what the parser is given
_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")
_THOUSANDS = re.compile(r"[^,()\[\]{}]*?(?<![\d.])\d{1,3}(?:,\d{3})+(?!\d)[^,()\[\]{}]*")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_PRESENTATION = re.compile(r"\\left(?![a-zA-Z])|\\right(?![a-zA-Z])|\\[!,;: ]|\\\$|\$|\\displaystyle(?![a-zA-Z])")
_FRACTION = re.compile(r"\\[dt]frac(?![a-zA-Z])")
_SPACE = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])")


class NoAnswer(Exception):
    """The response holds no final answer, or more than one; the message says which."""


def final_answer(text: str, multiline: bool = False) -> str:
    """The final answer of a response; raises NoAnswer. `multiline`: answers are grids and lists, lines may differ."""
    summary = text.rpartition("</think>")[2]
    if "<think>" in summary:
        raise NoAnswer("the think block never closes")
    tagged = _tagged(summary)
    if tagged:
        answers = [_unboxed(a) for a in tagged]
        if len({normalise(a) for a in answers}) > 1:
            raise NoAnswer(f"{len(answers)} answer tags that differ")
        answer = answers[-1]
    else:
        boxes = boxed(summary)
        if not boxes:
            raise NoAnswer("no closed answer tag and no \\boxed{} after the think block")
        answer = boxes[-1]
    answer = answer.strip()
    if not answer:
        raise NoAnswer("the answer is empty")
    if len(answer) > MAX_ANSWER_CHARS:
        raise NoAnswer(f"the answer has {len(answer)} characters, more than {MAX_ANSWER_CHARS}")
    if "\n" in answer and not multiline and "\\begin" not in answer:
        lines = [line for line in answer.splitlines() if line.strip()]
        if len({normalise(line) for line in lines}) > 1:
            raise NoAnswer(f"the answer has {len(lines)} lines that differ")
        answer = lines[-1].strip()
    return answer


def _tagged(summary: str) -> list[str]:
    """Contents of the closed answer tags; an opening tag inside another starts over."""
    out, start = [], summary.find("<answer>")
    while start >= 0 and (end := summary.find("</answer>", start)) >= 0:
        out.append(summary[start + 8 : end].rpartition("<answer>")[2])
        start = summary.find("<answer>", end)
    return out


def _unboxed(answer: str) -> str:
    if "\\" not in answer:
        return answer
    boxes = boxed(answer)
    if len({normalise(b) for b in boxes}) > 1:
        raise NoAnswer(f"{len(boxes)} boxed answers that differ inside the answer tag")
    return boxes[-1] if boxes else answer


def boxed(text: str) -> list[str]:
    """Contents of every `\\boxed{…}` with balanced braces, in order; escaped braces do not count."""
    out = []
    for match in _BOXED.finditer(text):
        depth, i = 1, match.end()
        while i < len(text) and depth:
            if text[i] == "\\":
                i += 1
            elif text[i] in "{}":
                depth += 1 if text[i] == "{" else -1
            i += 1
        if depth == 0:
            out.append(text[match.end() : i - 1])
    return out


def normalise(answer: str) -> str:
    """An answer without what is only presentation: spaces, dollar signs, \\left, thousands commas, a final full stop.

    Commas are thousands separators only inside the one, unspaced number of an answer without brackets, and a space
    between two letters or digits stays:
    `1, 234` is no `1234` and `1 1/2` is no `11/2`.
    """
    answer = answer.strip()
    if answer.isascii() and answer.isdigit():
        return answer
    answer = answer.replace("\u2212", "-").replace("{,}", ",")
    if "," in answer and _THOUSANDS.fullmatch(answer):
        answer = answer.replace(",", "")
    if "\\" in answer or "$" in answer:
        answer = _FRACTION.sub(r"\\frac", _PRESENTATION.sub("", answer))
    answer = _SPACE.sub("", " ".join(answer.split()))
    return answer.removesuffix(".")


def integer(normalised: str) -> int | None:
    return int(normalised) if _INTEGER.fullmatch(normalised) else None


def fast(gold: str, answer: str) -> bool | None:
    """True on normalised equality, False on integer against another integer, None: ask a parser."""
    gold, answer = normalise(gold), normalise(answer)
    if gold == answer:
        return True
    a, b = integer(gold), integer(answer)
    return None if a is None or b is None else a == b
