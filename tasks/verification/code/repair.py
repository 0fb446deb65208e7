"""Bug-fixing prompts: a program that fails its hidden tests, to be repaired; the same tests judge the repair.

The failing programs are mutants of a solution: one operator, constant or condition changed. A mutant is shown only
after
the tests have rejected it, so handing back the program as it was is wrong.
"""

import ast
import copy
import json
import random
from collections.abc import Iterator

from tasks.prompts.formats.bug_fixing import QUESTION

TRIES = 12  # mutants tried for one prompt
_SWAPS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.And: ast.Or, ast.Or: ast.And, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


def mutants(program: str, seed: int) -> Iterator[str]:
    """Programs that differ from this one in one place, in an order that the seed decides."""
    tree = ast.parse(program)
    places = list(range(sum(1 for _ in _changes(tree))))
    random.Random(seed).shuffle(places)
    for place in places:
        changed = copy.deepcopy(tree)
        for i, change in enumerate(_changes(changed)):
            if i == place:
                change()
                break
        yield ast.unparse(ast.fix_missing_locations(changed))


def _changes(tree: ast.AST) -> Iterator:
    """A function for each place that can be changed; calling it changes the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
            yield lambda n=node: n.ops.__setitem__(0, _SWAPS[type(n.ops[0])]())
        elif isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in _SWAPS:
            yield lambda n=node: setattr(n, "op", _SWAPS[type(n.op)]())
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            yield lambda n=node: setattr(n, "value", n.value + 1)
        elif isinstance(node, (ast.If, ast.While)):
            yield lambda n=node: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))


def repair_prompt(prompt: dict, solution: str, seed: int) -> dict | None:
    """A bug-fixing prompt out of a Python code prompt and its solution; None where the tests reject no mutant of it."""
    from tasks.verification.code import domain

    meta = json.loads(prompt["meta"])
    for _, broken in zip(range(TRIES), mutants(solution, seed)):
        if domain.work({"meta": meta, "program": broken})[0] == "wrong":
            language = meta.get("language", "python")
            text = QUESTION.format(text=prompt["text"], program=broken, language=language)
            return prompt | {"text": text, "meta": json.dumps(meta | {"broken": broken, "solution": solution})}
    return None
