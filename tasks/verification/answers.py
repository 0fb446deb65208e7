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

from tasks.verification.maths_normalise import integer, normalise

MAX_ANSWER_CHARS = 1000  # a longer "answer" is prose; also bounds what the parser is given
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)


class NoAnswer(Exception):
    """The response holds no final answer, or more than one; the message says which."""


def final_answer(text: str, multiline: bool = False, limit: int = MAX_ANSWER_CHARS) -> str:
    """The final answer of a response of at most `limit` characters; raises NoAnswer.

    `multiline`: answers are grids and lists, lines may differ.
    """
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
        boxes = _boxes(summary)
        if not boxes:
            raise NoAnswer("no closed answer tag and no \\boxed{} after the think block")
        answer = summary[slice(*boxes[-1])]
    answer = answer.strip()
    if not answer:
        raise NoAnswer("the answer is empty")
    if len(answer) > limit:
        raise NoAnswer(f"the answer has {len(answer)} characters, more than {limit}")
    if "\n" in answer and not multiline and "\\begin" not in answer:
        lines = [line for line in answer.splitlines() if normalise(line)]  # a line of `\[` says nothing
        if len({normalise(line) for line in lines}) > 1:
            raise NoAnswer(f"the answer has {len(lines)} lines that differ")
        answer = lines[-1].strip() if lines else ""
    return answer


def _tagged(summary: str) -> list[str]:
    """Contents of the closed answer tags; an opening tag inside another starts over."""
    out, start = [], summary.find("<answer>")
    while start >= 0 and (end := summary.find("</answer>", start)) >= 0:
        out.append(summary[start + 8 : end].rpartition("<answer>")[2])
        start = summary.find("<answer>", end)
    return out


def _unboxed(answer: str) -> str:
    if "\\" not in answer or len(answer) > 4 * MAX_ANSWER_CHARS:
        return answer
    boxes = boxed(answer)
    if len({normalise(b) for b in boxes}) > 1:
        raise NoAnswer(f"{len(boxes)} boxed answers that differ inside the answer tag")
    return boxes[-1] if boxes else answer


def boxed(text: str) -> list[str]:
    """Contents of every `\\boxed{…}` with balanced braces, in order; escaped braces do not count."""
    return [text[start:end] for start, end in _boxes(text)]


def _boxes(text: str) -> list[tuple[int, int]]:
    """Where the contents of the boxes start and end, in one pass over the text."""
    first = _BOXED.search(text)
    if not first:
        return []
    found: list[tuple[int, int]] = []
    stack: list[int | None] = []  # where a box starts, or None for any other brace
    for match in _BRACES.finditer(text, first.start()):
        mark = match[0]
        if mark == "{" or len(mark) > 2:
            stack.append(match.end() if len(mark) > 2 else None)
        elif mark == "}" and stack and (start := stack.pop()) is not None:
            found.append((start, match.start()))
    return sorted(found)


def fast(gold: str, answer: str) -> bool | None:
    """True on normalised equality, False on integer against another integer, None: ask a parser."""
    gold, answer = normalise(gold), normalise(answer)
    if gold == answer:
        return True
    a, b = integer(gold), integer(answer)
    return None if a is None or b is None else a == b
