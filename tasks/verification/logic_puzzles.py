"""Knights & Knaves and zebra puzzles: an answer read into facts and compared with the solution, fact by fact.

Knights & Knaves. An answer is a list of statements in one of two forms: people, then their role (`Ann and Bob are
knights, Cat is a knave`, `(1) Ann is a knight`, `{"Ann": "knight"}`), or roles, then the people (`Knights: Ann, Bob;
Knaves: Cat`). `not` turns a role round. What is no such list is unparsable: words that hedge (if, or, either, maybe),
a role without a person, one person in both roles. A person left out is a wrong answer.

Zebra. An answer is a grid: JSON (`{"House 1": {"Name": "Eric", …}, …}`, also under a key `solution`, the `header` and
`rows` of the gold, or a list of rows), or a table whose cells are parted by `|`. Case and spaces do not count. One
wrong or missing cell makes the whole wrong; a cell given twice with different content is unparsable.
"""

import json
import re

from tasks.verification.verdict import Decided, VerificationError

ROLES = ("knight", "knave")
_HEDGES = re.compile(
    r"\b(?:if|or|either|neither|nor|may|maybe|might|perhaps|possibly|could|would|unless|whether|assum\w+|suppos\w+"
    r"|says?|said|claim\w*|contradict\w*|but not both|same|opposite)\b",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^```\w*\s*\n(.*?)\n?```$", re.DOTALL)


class Unreadable(Exception):
    """An answer that is no solution of the puzzle's form; the message says why."""


def solved(meta: dict, gold: str, answer: str) -> Decided:
    """(status, method, detail) of an answer to the puzzle that `meta` describes."""
    kind = meta["puzzle"]
    method = f"logic/{kind}"
    if problem := gold_problem(meta, gold):
        raise VerificationError(f"the gold of a {kind} puzzle cannot be used: {problem}")
    try:
        found = _facts(meta, answer)
    except Unreadable as reason:
        return "unparsable", method, str(reason)
    truth = _facts(meta, gold)
    extra = sorted(found.keys() - truth.keys())
    wrong = sorted(key for key in truth if found.get(key) != truth[key])
    unit = "people" if kind == "knights-and-knaves" else "cells"
    detail = f"{len(truth) - len(wrong)} of {len(truth)} {unit}"
    if wrong:
        return "wrong", method, f"{detail}; first wrong or missing: {' '.join(_listed(wrong[0]))}"
    if extra:
        return "wrong", method, f"{detail}; not in the puzzle: {' '.join(_listed(extra[0]))}"
    return "ok", method, detail


def gold_problem(meta: dict, gold: str) -> str | None:
    """What is wrong with the puzzle's meta or gold, or None."""
    kind = meta["puzzle"]
    if kind == "knights-and-knaves":
        people = meta.get("people")
        if not (isinstance(people, list) and people and all(isinstance(p, str) and p.strip() for p in people)):
            return "meta.people is no list of names"
        if len({_plain(p) for p in people}) < len(people):
            return "meta.people names somebody twice"
        roles = meta.get("roles", list(ROLES))
        if not (isinstance(roles, list) and len(roles) == 2 and all(isinstance(r, str) and r for r in roles)):
            return "meta.roles is no pair of words"
    elif kind == "zebra":
        try:
            truth = _grid_of(meta.get("solution"))
        except Unreadable as reason:
            return f"meta.solution: {reason}"
    else:
        return f"meta.puzzle is {kind!r}, not knights-and-knaves or zebra"
    try:
        facts = _facts(meta, gold)
    except Unreadable as reason:
        return str(reason)
    if kind == "zebra":
        return None if facts == truth else "gold and meta.solution differ"
    missing = [p for p in people if _plain(p) not in facts]
    return f"nothing is said about {missing[0]}" if missing else None


def _facts(meta: dict, answer: str) -> dict:
    if meta["puzzle"] == "zebra":
        return grid(answer)
    return roles(answer, meta["people"], tuple(meta.get("roles", ROLES)))


def _listed(key) -> tuple:
    return key if isinstance(key, tuple) else (key,)


def _plain(text: object) -> str:
    return " ".join(str(text).casefold().replace("_", " ").split()).strip("`*\"' .")


def roles(answer: str, people: list[str], words: tuple[str, str] = ROLES) -> dict[str, str]:
    """Who is what, as `{person: role}`; raises Unreadable."""
    if hedge := _HEDGES.search(answer):
        raise Unreadable(f"it hedges: {hedge[0]!r}")
    name = "|".join(re.escape(p.strip()) for p in sorted(people, key=len, reverse=True))
    role = "|".join(re.escape(w) for w in words)
    token = re.compile(
        rf"\b(?:(?P<name>{name})|(?P<role>{role})(?:e?s)?|(?P<no>not|isn['’]t|aren['’]t))\b", re.IGNORECASE
    )
    tokens = [(m.lastgroup, _plain(m[m.lastgroup]), m.start(), m.end()) for m in token.finditer(answer)]
    kinds = [kind for kind, *_ in tokens]
    if "name" not in kinds or "role" not in kinds:
        raise Unreadable("it names no person with a role")
    lists = kinds.index("role") < kinds.index("name")
    found: dict[str, str] = {}
    for person, what in _roles_first(tokens, answer) if lists else _people_first(tokens, words):
        if found.setdefault(person, what) != what:
            raise Unreadable(f"{person} is given both roles")
    return found


def _people_first(tokens: list, words: tuple[str, str]):
    pending: list[str] = []
    turned = False
    for kind, value, *_ in tokens:
        if kind == "name":
            pending.append(value)
        elif kind == "no":
            turned = not turned
        elif not pending:
            raise Unreadable(f"the role {value!r} is given to nobody in the puzzle")
        else:
            a, b = (w.casefold() for w in words)
            what = value if not turned else b if value == a else a
            yield from ((person, what) for person in pending)
            pending, turned = [], False
    if pending:
        raise Unreadable(f"{pending[0]} has no role")


def _roles_first(tokens: list, answer: str):
    what = None
    last = ("", "", 0, 0)
    for token in tokens:
        kind, value, begin, _ = token
        if kind == "no":
            raise Unreadable("a `not` in a list of roles")
        if kind == "role":
            if last[0] == "name" and re.search(r"\b(?:is|are)\b|[:=]", answer[last[3] : begin]):
                raise Unreadable("it mixes people before roles with roles before people")
            what = value
        else:
            yield value, what
        last = token
    # A role after which nobody is named, as in `Knaves: none`, says nothing.


def grid(answer: str) -> dict[tuple[str, str], str]:
    """The cells of a zebra answer as `{(house, attribute): value}`; raises Unreadable."""
    answer = answer.strip()
    if fence := _FENCE.match(answer):
        answer = fence[1].strip()
    if answer[:1] in ("{", "["):
        try:
            found = json.loads(answer, object_pairs_hook=_no_repeats)
        except (json.JSONDecodeError, RecursionError) as error:
            raise Unreadable(f"it is no JSON: {error}") from error
        return _grid_of(found)
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in answer.splitlines() if "|" in line
    ]
    rows = [row for row in rows if not all(re.fullmatch(r":?-*:?", cell) for cell in row)]
    if len(rows) < 2:
        raise Unreadable("it is neither JSON nor a table")
    return _grid_of({"header": rows[0], "rows": rows[1:]})


def _no_repeats(pairs: list) -> dict:
    out = dict(pairs)
    if len(out) < len(pairs) and any(out[k] != v for k, v in pairs):
        raise Unreadable("a key is given twice with different values")
    return out


def _grid_of(found: object) -> dict[tuple[str, str], str]:
    if isinstance(found, dict) and "solution" in found:
        found = found["solution"]
    if isinstance(found, dict) and "header" in found and "rows" in found:
        header, rows = found["header"], found["rows"]
        if not (isinstance(header, list) and isinstance(rows, list) and all(isinstance(r, list) for r in rows)):
            raise Unreadable("header and rows are no lists")
        if any(len(row) != len(header) for row in rows):
            raise Unreadable("a row has more or fewer cells than the header")
        found = [dict(zip(map(str, header), row)) for row in rows]
    if isinstance(found, list):
        found = _by_house(found)
    if not (isinstance(found, dict) and found and all(isinstance(v, dict) for v in found.values())):
        raise Unreadable("it is no grid of houses and attributes")
    out: dict[tuple[str, str], str] = {}
    for house, cells in found.items():
        number = re.fullmatch(r"(?:house\s*)?#?(\d+)", _plain(house))
        if not number:
            raise Unreadable(f"{str(house)[:40]!r} is no house")
        for attribute, value in cells.items():
            key = (str(int(number[1])), _plain(attribute))
            if key[1] == "house":
                continue
            if isinstance(value, list) and len(value) == 1:
                value = value[0]
            if isinstance(value, (dict, list)):
                raise Unreadable(f"the cell of house {key[0]}, {key[1]} is no single value")
            if out.setdefault(key, _plain(value)) != _plain(value):
                raise Unreadable(f"house {key[0]}, {key[1]} is given twice")
    return out


def _by_house(rows: list) -> dict:
    out: dict[str, dict] = {}
    for row in rows:
        house = next((v for k, v in row.items() if _plain(k) == "house"), None) if isinstance(row, dict) else None
        if house is None or str(house) in out:
            raise Unreadable("a row without its house, or a house twice")
        out[str(house)] = row
    return out
