r"""The shape of a maths answer: list, tuple, set, interval, union, matrix, ratio, or a single expression (leaf).

Only commas, semicolons, `and`, `or`, `\cup`, `:` and relations outside every bracket give an answer its shape.
`1 \pm \sqrt{2}` is a list of two, `2 < x \le 3` the interval (2, 3], `x \in S` and `f(x) = …` what stands on the right.
"""

import re
from dataclasses import dataclass, replace

from tasks.verification.maths_normalise import normalise

MAX_ITEMS = 200
_AND = re.compile(
    r"\s*,?\s*(?:\\(?:text|mbox|textrm|mathrm)\s*\{\s*,?\s*(?:and|or|AND|OR|And|Or)\s*,?\s*\}|(?<![A-Za-z\\])(?:and|or|AND|OR)(?![A-Za-z]))\s*,?\s*"
)
_MIXED = re.compile(r"[+-]?\d+ and \d+/\d+")
_TO = re.compile(r"^(\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)$")
_RELATION = re.compile(r"\\le(?![a-z])|\\ge(?![a-z])|\\ne(?![a-z])|<=|>=|<|>")
_VARIABLE = r"(?:\\?[A-Za-z]+'?(?:_(?:\{[^{}]*\}|\w))?'?)"
_LEFT = re.compile(  # what may stand left of an assignment: a name, f(x), a tuple of names, |AB|, \angle ABC
    rf"(?:{_VARIABLE}(?:\({_VARIABLE}(?:,{_VARIABLE})*\))?|\({_VARIABLE}(?:,{_VARIABLE})*\)|\|[A-Za-z]+\|"
    r"|\\(?:angle|text|overline|mathrm)\s*\{?[A-Za-z ]+\}?)"
)
_COMMANDS = re.compile(
    r"\\(?:sqrt|frac|pi|sin|cos|tan|cot|sec|csc|ln|log|exp|infty|binom|cup|cap)(?![a-z])|sqrt|(?<![a-z])pi(?![a-z])"
)
_MATRIX = re.compile(r"\\begin\{([pbBv]?matrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}", re.DOTALL)
_MEMBER = re.compile(rf"({_VARIABLE}|\({_VARIABLE}(?:,{_VARIABLE})*\))\\in\s*(.+)")
_CONSTANTS = frozenset({"e", "i", r"\pi"})
_FLIP = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne"}
_PAIRS = {"(": ")", "[": "]"}


@dataclass(frozen=True)
class Node:
    kind: str  # leaf, list, tuple, set, interval, union, matrix, ratio, other-than
    text: str
    items: tuple["Node", ...] = ()
    name: str = ""  # what the answer calls it: `x` of `x = 5`
    open: tuple[bool, bool] = (False, False)  # of an interval
    width: int = 0  # columns of a matrix


def parse(answer: str) -> Node:
    """The shape of an answer; an answer with more than MAX_ITEMS parts stays one leaf."""
    if _MIXED.fullmatch(answer.strip()):
        return Node("leaf", normalise(answer))
    answer = _TO.sub(r"\1:\2", answer.strip())
    return _parse(normalise(_AND.sub(", ", answer).strip(" ,")), 0)


def _parse(text: str, depth: int) -> Node:
    text = bare(text.strip())
    if depth > 8 or text.count(",") > MAX_ITEMS:
        return Node("leaf", text)
    if french := _french(text):
        return _interval(french, text, depth)
    for mark, kind in ((";", "list"), (r"\cup", "union"), (",", "list")):
        parts = split(text, mark)
        if len(parts) > 1:
            items = _flat([_parse(part, depth + 1) for part in parts if part.strip()], kind)
            return Node(kind, text, items) if len(items) > 1 else items[0] if items else Node("leaf", text)
    if node := _bracketed(text, depth) or _matrix(text, depth):
        return node
    if node := _member(text, depth) or _assigned(text, depth) or _related(text, depth):
        return node
    parts = split(text, ":")
    if len(parts) > 1 and all(part.strip() for part in parts) and "mid" not in text:
        return Node("ratio", text, tuple(_parse(part, depth + 1) for part in parts))
    if r"\pm" in text or r"\mp" in text:
        return _plus_minus(text, depth)
    return Node("leaf", text)


def _plus_minus(text: str, depth: int) -> Node:
    both = [
        normalise(re.sub(r"\\mp(?![a-z])\s*", b, re.sub(r"\\pm(?![a-z])\s*", a, text)))
        for a, b in (("+", "-"), ("-", "+"))
    ]
    return Node("list", text, tuple(_parse(one, depth + 1) for one in both))


def split(text: str, mark: str) -> list[str]:
    """The parts of a text between the marks that stand outside every bracket."""
    out, depth, start, i = [], 0, 0, 0
    while i < len(text):
        if (
            depth == 0
            and text.startswith(mark, i)
            and not (mark[0] == "\\" and text[i + len(mark) : i + len(mark) + 1].isalpha())
        ):
            out.append(text[start:i])
            start = i = i + len(mark)
            continue
        if text[i] == "\\":
            word = re.match(r"\\(?:[A-Za-z]+|.)", text[i:], re.DOTALL)
            step = word[0] if word else "\\"
            depth += (step in (r"\{", r"\begin", r"\langle", r"\lfloor", r"\lceil")) - (
                step in (r"\}", r"\end", r"\rangle", r"\rfloor", r"\rceil")
            )
            i += len(step)
            continue
        depth += (text[i] in "([{") - (text[i] in ")]}")
        i += 1
    out.append(text[start:])
    return out


def bare(text: str) -> str:
    """Without braces that enclose everything, and without `=` or `\approx` in front."""
    text = re.sub(r"^(?:=|\\approx(?![a-z])|\\therefore|:)\s*", "", text)
    while text.startswith("{") and _closing(text, 0) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def _closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` closes (any kind of bracket, so that [0, 1) closes), or -1."""
    depth, i = 0, start
    while i < len(text):
        if text[i] == "\\" and text[i + 1 : i + 2] not in ("{", "}"):
            i += 2
            continue
        i += text[i] == "\\"
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if depth == 0:
            return i
        i += 1
    return -1


def _french(text: str) -> tuple[str, bool, bool] | None:
    """]0, 1[ and its relatives."""
    if not (re.fullmatch(r"[\[\]][^\[\]]+[\[\]]", text) and (text[0] == "]" or text[-1] == "[")):
        return None
    return text[1:-1], text[0] == "]", text[-1] == "["


def _interval(bounds: tuple[str, bool, bool], text: str, depth: int) -> Node | None:
    parts = split(bounds[0], ";")
    parts = parts if len(parts) == 2 else split(bounds[0], ",")
    if len(parts) != 2:
        return Node("leaf", text)
    low, high = (_parse(part, depth + 1) for part in parts)
    return Node(
        "interval", text, (low, high), open=(bounds[1] or "infty" in low.text, bounds[2] or "infty" in high.text)
    )


def _bracketed(text: str, depth: int) -> Node | None:
    if text.startswith(r"\{") and text.endswith(r"\}") and _closing(text, 0) == len(text) - 1:
        inside = text[2:-2]
        builder = re.split(r"\\mid(?![a-z])|\||:", inside, maxsplit=1)
        if len(builder) == 2 and re.fullmatch(_VARIABLE + r"(?:\\in\\mathbb\{R\})?", builder[0].strip()):
            return _parse(builder[1], depth + 1)
        items = _flat([_parse(part, depth + 1) for part in split(inside, ",") if part.strip()], "set")
        return Node("set", text, items)
    if text.startswith(r"\langle") and text.endswith(r"\rangle"):
        return Node("tuple", text, tuple(_parse(part, depth + 1) for part in split(text[7:-7], ",")))
    if not text or text[0] not in _PAIRS or text[-1] not in ")]" or _closing(text, 0) != len(text) - 1:
        return None
    inside = text[1:-1]
    parts = split(inside, ";") if len(split(inside, ";")) > 1 else split(inside, ",")
    if len(parts) == 1:
        inner = _parse(inside, depth + 1)
        return inner if text[0] == "(" or inner.kind == "leaf" else None
    if text[0] == "[" and all(part.strip()[:1] == "[" and part.strip()[-1:] == "]" for part in parts):
        return _matrix_of([split(part.strip()[1:-1], ",") for part in parts], text, depth)  # [[1, 2], [3, 4]]
    if len(parts) == 2 and (text[0] == "[" or text[-1] == "]"):
        return _interval((inside, text[0] == "(", text[-1] == ")"), text, depth)
    if text[-1] != _PAIRS[text[0]]:
        return None
    return Node("tuple", text, tuple(_parse(part, depth + 1) for part in parts))


def _matrix(text: str, depth: int) -> Node | None:
    match = _MATRIX.fullmatch(text)
    if not match or match[1].startswith("v"):  # a determinant is a number
        return None
    return _matrix_of([row.split("&") for row in re.split(r"\\\\", match[2]) if row.strip()], text, depth)


def _matrix_of(rows: list[list[str]], text: str, depth: int) -> Node | None:
    if len({len(row) for row in rows}) != 1:
        return None
    return Node("matrix", text, tuple(_parse(cell, depth + 1) for row in rows for cell in row), width=len(rows[0]))


def _member(text: str, depth: int) -> Node | None:
    match = _MEMBER.fullmatch(text)
    if not match or match[2].startswith(r"\mathbb"):
        return None
    node = _parse(match[2], depth + 1)
    return node if node.kind in ("set", "interval", "tuple", "union") else None


def _assigned(text: str, depth: int) -> Node | None:
    parts = [part.strip() for part in re.split(r"\\equiv(?![a-z])|\\approx(?![a-z])|:=|(?<![<>!:])=", text)]
    if (
        len(parts) != 2
        or r"\pmod" in text
        or r"\bmod" in text
        or len(split(text, "=")) + len(split(text, ":=")) == 2
        and ("=" in text)
    ):
        return None
    left, right = parts
    if re.search(_RELATION, right) or not right:
        return None
    if _names(right) and not _names(left):
        left, right = right, left  # 5 = x
    if not _names(left):
        return None
    return replace(_parse(right, depth + 1), name=left)


def _names(left: str) -> bool:
    return bool(_LEFT.fullmatch(left)) and not _COMMANDS.search(left) and left not in _CONSTANTS


def _related(text: str, depth: int) -> Node | None:
    """One variable between bounds as an interval; `x \ne 1` as everything other than 1; other relations stay leaves."""
    marks = [re.sub("<=", r"\\le", m[0]).replace(">=", r"\ge") for m in _RELATION.finditer(text)]
    parts = [part.strip() for part in _RELATION.split(text)]
    if not marks or len(parts) > 3 or not all(parts) or "=" in re.sub("[<>]=", "", text):
        return None
    if len(parts) == 2:
        left, right = parts
        mark = marks[0]
        if not _name(left) and _name(right):
            left, right, mark = right, left, _FLIP[mark]
        if not _name(left) or re.search(rf"(?<![A-Za-z\\]){re.escape(left)}(?![a-z])", right):
            return None
        bound = _parse(right, depth + 1)
        if mark == r"\ne":
            return Node("other-than", text, (bound,), name=left)
        up = mark in (">", r"\ge")
        infinite = Node("leaf", r"\infty" if up else r"-\infty")
        ends = (mark in "<>", True) if up else (True, mark in "<>")
        return Node("interval", text, (bound, infinite) if up else (infinite, bound), name=left, open=ends)
    (low, name, high), (first, second) = parts, marks
    if (
        not _name(name)
        or first[-1:] == "e"
        and first == r"\ne"
        or (first in ("<", r"\le")) != (second in ("<", r"\le"))
    ):
        return None
    ends = (first in "<>" or "infty" in low, second in "<>" or "infty" in high)
    if first in (">", r"\ge"):
        low, high, ends = high, low, ends[::-1]
    return Node("interval", text, (_parse(low, depth + 1), _parse(high, depth + 1)), name=name, open=ends)


def _name(text: str) -> bool:
    return (
        bool(re.fullmatch(rf"{_VARIABLE}(?:\({_VARIABLE}\))?", text))
        and not _COMMANDS.search(text)
        and text not in _CONSTANTS
    )


def _flat(nodes: list[Node], kind: str) -> tuple[Node, ...]:
    r"""Lists that a plus-minus made inside a list or set belong to it; `x = 1 \pm 2` gives its name to both."""
    out: list[Node] = []
    for node in nodes:
        if node.kind == "list" and kind != "tuple":
            out += [replace(item, name=item.name or node.name) for item in node.items]
        else:
            out.append(node)
    return tuple(out)
