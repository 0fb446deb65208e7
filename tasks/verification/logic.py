r"""Logic: reasoning-gym's tasks by reasoning-gym's own scorers, Knights & Knaves and zebra puzzles by our reading.

Which one is meant stands in `meta`:
- `{"gym": task, "entry": entry}`: the scorer of that task; only its full score is right. Asked in a worker process.
- `{"puzzle": "knights-and-knaves", "people": […], "roles": ["knight", "knave"]}` (`roles` may be left out) and
- `{"puzzle": "zebra", "solution": {"header": […], "rows": […]}}`: decided here (logic_puzzles.py); only the whole
  solution is right, the detail says how much of it was.

Two things stand between an answer and a scorer of reasoning-gym:
- Some scorers hand the answer to `eval`, or to sympy's `parse_expr`, which is `eval` with every Python builtin in
  reach. An answer to one of those must be built from the characters and names such an answer needs; any other is
  `unparsable` and never reaches the scorer. A worker process is no sandbox.
- Eight accept too much (`nan`, a prefix of the digits, any text at all): logic_second_opinions.py looks again.
A scorer that raises on an answer, but gives full marks to its own gold, could not read the answer: `unparsable`.
A few tasks (graph_color, rush_hour, boxnet, propositional_logic) come without a gold: their scorers check any solution.
"""

import functools
import json
import re

from tasks.verification.answers import NoAnswer, final_answer
from tasks.verification.logic_second_opinions import LOOKED_AT_AGAIN, more_than_the_gold
from tasks.verification.verdict import Decided, VerificationError

NAME = "logic"
LIBRARIES = ("reasoning_gym", "sympy")
RUNS = "process"
FIRST_SECONDS = 0.1  # of CPU time

MAX_CHARS = 8000  # of an answer: lists of moves and large grids are long
_ARITHMETIC = re.compile(r"[\d\s+\-*/().]*")
_LITERAL = re.compile(r"""(?:[\d\s\[\](),.+\-]|"[^"\\\n]*"|'[^'\\\n]*')*""")
_BOARD = re.compile(rf"[Q_\s]*|{_LITERAL.pattern}")
_WORD = re.compile(rf"[A-Za-z]*|{_LITERAL.pattern}")
_ALGEBRA = re.compile(r"[\w\s+\-*/^().,|]*", re.ASCII)
_NAMES = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ATTRIBUTE = re.compile(r"\.\s*[A-Za-z_]")  # `x.func` reaches into objects; `.5` and `2.x` do not arise from maths
_FUNCTIONS = re.compile(r"(?:arc|a)?(?:sin|cos|tan|cot|sec|csc)h?|exp|log|ln|sqrt|[Aa]bs|[Pp]i|erf|Si|Ci|Ei|li|gamma")
# What an answer may be made of where the scorer runs it as Python. tests/verification/test_logic.py compares the
# keys with reasoning-gym's source.
EVALUATED = {
    "countdown": _ARITHMETIC,
    "puzzle24": _ARITHMETIC,
    "binary_matrix": _LITERAL,
    "n_queens": _BOARD,
    "spiral_matrix": _LITERAL,
    "string_insertion": _WORD,
    "intermediate_integration": _ALGEBRA,
    "polynomial_multiplication": _ALGEBRA,
    "simple_integration": _ALGEBRA,
}
_GRIDS_OF_TUPLES = ("arc_agi", "rearc")  # compared with tuples, which JSON does not keep


def start(prompt: dict, text: str) -> tuple[str | None, Decided | None, dict | None]:
    """(extracted answer, decision, job): puzzles are decided at once, a gym task mostly by its scorer."""
    meta = _meta(prompt)
    gold = _gold(prompt, meta)
    try:
        extracted = final_answer(text, multiline=True, limit=MAX_CHARS)
    except NoAnswer as reason:
        return None, ("unparsable", "logic/extraction", str(reason)), None
    if "gym" not in meta:
        return extracted, _solved(meta, gold, extracted), None
    if extracted == gold:  # the scorer was shown every gold when the prompt bank was built
        return extracted, ("ok", "logic/exact", ""), None
    if refused := refusal(meta["gym"], extracted):
        return extracted, ("unparsable", "logic/refused", refused), None
    return extracted, None, _job(meta, extracted)


def work(job: dict) -> Decided:
    """reasoning-gym's own scorer on one answer."""
    task, entry, answer = job["task"], job["entry"], job["answer"]
    score_answer = _scorer(task)
    if task in _GRIDS_OF_TUPLES:
        entry = entry | {"metadata": _tuples(entry["metadata"])}
    try:
        score = float(score_answer(answer=answer, entry=entry))
    except (ArithmeticError, AttributeError, LookupError, NameError, SyntaxError, TypeError, ValueError) as error:
        control = entry.get("answer")  # without a gold, an answer that any scorer can read as no answer
        if float(score_answer(answer=control or "", entry=entry)) < (control is not None):
            raise
        return "unparsable", "logic/scorer", f"the scorer cannot read it: {type(error).__name__}: {error}"[:300]
    for look in (more_than_the_gold, LOOKED_AT_AGAIN.get(task)) if score == 1.0 else ():
        if look and (reason := look(answer, entry)):
            return "wrong", "logic/second-opinion", reason
    return ("ok" if score == 1.0 else "wrong"), "logic/scorer", f"score {score:g}"


def gold_problem(prompt: dict) -> tuple[str | None, dict | None]:
    """What is wrong with a row's gold or meta, else for a gym task the job that scores its gold."""
    try:
        meta = _meta(prompt)
        gold = _gold(prompt, meta)
        if gold is None:
            return None, None
        if "gym" in meta:
            refused = refusal(meta["gym"], gold)
            return refused, None if refused else _job(meta, gold)
        from tasks.verification import logic_puzzles

        return logic_puzzles.gold_problem(meta, gold), None
    except VerificationError as error:
        return str(error), None


def refusal(task: str, answer: str) -> str | None:
    """Why an answer is kept from a scorer that would run it as Python, or None."""
    allowed = EVALUATED.get(task)
    if allowed is None:
        return None
    if not allowed.fullmatch(answer):
        return f"the scorer of {task} evaluates answers, and this holds more than such an answer needs"
    if allowed is _ALGEBRA:
        odd = [name for name in _NAMES.findall(answer) if len(name) > 1 and not _FUNCTIONS.fullmatch(name)]
        if odd or _ATTRIBUTE.search(answer):
            return f"the scorer of {task} evaluates answers, and this names {odd[0] if odd else 'an attribute'!r}"
    return None


def _meta(prompt: dict) -> dict:
    try:
        meta = json.loads(prompt.get("meta") or "{}")
    except json.JSONDecodeError as error:
        raise VerificationError(f"prompt {prompt.get('id')}: meta is no JSON: {error}") from error
    if isinstance(meta, dict) and (meta.get("gym") and isinstance(meta.get("entry"), dict) or meta.get("puzzle")):
        return meta
    raise VerificationError(
        f"prompt {prompt.get('id')} of domain 'logic' has neither a reasoning-gym entry nor a `puzzle` in `meta`: "
        "logic prompts come from a source with `gym: <task>`, or have `puzzle: knights-and-knaves` or `zebra` in it"
    )


def _gold(prompt: dict, meta: dict) -> str | None:
    """The gold of a row; None where reasoning-gym has none either, for its scorer checks any solution."""
    gold = (prompt.get("gold") or "").strip()
    if not gold and not ("gym" in meta and meta["entry"].get("answer") is None):
        raise VerificationError(f"prompt {prompt.get('id')} of domain 'logic' has no gold")
    return gold or None


def _job(meta: dict, answer: str) -> dict:
    return {"task": meta["gym"], "entry": meta["entry"], "answer": answer}


def _solved(meta: dict, gold: str, answer: str) -> Decided:
    from tasks.verification import logic_puzzles

    return logic_puzzles.solved(meta, gold, answer)


@functools.cache
def _scorer(task: str):
    import reasoning_gym

    return reasoning_gym.get_score_answer_fn(task)


def _tuples(value: object) -> object:
    if isinstance(value, dict):
        return {key: _tuples(part) for key, part in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
