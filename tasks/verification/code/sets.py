"""Rows of public code sets as `meta` of a code prompt, and the program that each row gives as its solution.

One function per set, from a row as published to (meta, solution); a solution of None is one that the set does not have.
"""

import ast
import json
import re

Converted = tuple[dict, str | None]

# What LeetCode gives to every Python submission.
LEETCODE_IMPORTS = """
import bisect, collections, copy, datetime, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import *
from collections import *
from copy import *
from functools import *
from heapq import *
from itertools import *
from math import *
from operator import *
from random import *
from string import *
from typing import *
from builtins import *
"""
LEETCODE = (
    LEETCODE_IMPORTS
    + '''
class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next

class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right

def list_node(values):
    """A linked list of these values, None for none."""
    head = None
    for value in reversed(values or []):
        head = ListNode(value, head)
    return head

def is_same_list(a, b):
    while a and b and a.val == b.val:
        a, b = a.next, b.next
    return a is None and b is None

def tree_node(values):
    """A binary tree from LeetCode's level order, where None is a missing child."""
    if not values or values[0] is None:
        return None
    root = TreeNode(values[0])
    level, rest = deque([root]), iter(values[1:])
    while level:
        node = level.popleft()
        for side in ("left", "right"):
            value = next(rest, None)
            if value is not None:
                setattr(node, side, TreeNode(value))
                level.append(getattr(node, side))
    return root

def is_same_tree(a, b):
    if a is None or b is None:
        return a is None and b is None
    return a.val == b.val and is_same_tree(a.left, b.left) and is_same_tree(a.right, b.right)
'''
)


def humaneval(row: dict) -> Converted:
    """The helpers that a prompt defines before its function belong to the test as well: not the program's own copy."""
    entry, prompt = row["entry_point"], row["prompt"]
    solution = prompt + row["canonical_solution"]
    before = [n for n in ast.parse(solution).body if getattr(n, "name", None) != entry]
    prelude = "\n".join(ast.unparse(node) for node in before)
    return {"prelude": prelude, "tests": {"kind": "asserts", "entry": entry, "code": row["test"]}}, solution


def mbpp(row: dict) -> Converted:
    code = "\n".join([row["test_setup_code"], *row["test_list"], *row["challenge_test_list"]]).replace("\r\n", "\n")
    solution = row["code"].replace("\r\n", "\n")
    defined = [n.name for n in ast.parse(solution).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    entry = next(name for name in reversed(defined) if f"{name}(" in code)
    return {"prelude": "import math\n", "tests": {"kind": "asserts", "code": code, "entry": entry}}, solution


def mbpp_plus(row: dict) -> Converted:
    """The base asserts; the further inputs come without outputs, which are the canonical solution's."""
    tests = {"kind": "asserts", "code": row["assertion"], "entry": row["entry_point"]}
    return {"prelude": "import math\n", "tests": tests}, row["canonical_solution"]


def leetcode(row: dict) -> Converted:
    return {"prelude": LEETCODE, "tests": {"kind": "asserts", "code": row["tests"]["functional"]}}, row["solutions"]


def code_contests(row: dict) -> Converted:
    pairs = zip(row["tests"]["inputs"], row["tests"]["outputs"], strict=True)
    return {"tests": {"kind": "stdio", "cases": [{"input": i, "output": o} for i, o in pairs]}}, None


def codeforces(row: dict) -> Converted:
    meta = {"tests": {"kind": "stdio", "cases": [{k: case[k] for k in ("input", "output")} for case in row["tests"]]}}
    if seconds := re.search(r"Time Limit: (\d+) ms", row["problem"]):
        meta["time_s"] = int(seconds[1]) / 1000
    if megabytes := re.search(r"Memory Limit: (\d+) MB", row["problem"]):
        meta["memory_mb"] = max(256, int(megabytes[1]))
    return meta, None


def livecodebench(row: dict) -> list[tuple[dict, str, str | None]]:
    """Of a graded submission (tests, program, error): the examples of its statement and, where it failed, the hidden
    test that it failed, as far as the record holds it whole.

    `error` is what the record says of that hidden test; the examples come with None.
    """
    program = row["code_list"][0]
    out = []
    examples = (_leetcode_examples if row["starter_code"] else _samples)(row)
    if examples:
        out.append((examples, program, None))
    record = json.loads(row["metadata"][0])
    inputs, expected = record.get("inputs"), record.get("expected")
    if not row["graded_list"][0] and inputs and expected and "...(truncated)" not in inputs + expected:
        if hidden := _hidden(row, inputs, expected):
            out.append((hidden, program, record["error_message"]))
    return out


def _entry(row: dict) -> str:
    return "Solution()." + re.search(r"def (\w+)\(self", row["starter_code"])[1]


def _called(row: dict, cases: list[dict]) -> dict:
    return {"prelude": LEETCODE_IMPORTS, "tests": {"kind": "call", "entry": _entry(row), "cases": cases}}


def _hidden(row: dict, inputs: str, expected: str) -> dict | None:
    if not row["starter_code"]:
        return {"tests": {"kind": "stdio", "cases": [{"input": inputs, "output": expected}]}}
    try:
        return _called(row, [{"args": json.loads(inputs), "expected": json.loads(expected)}])
    except ValueError:
        return None


def _samples(row: dict) -> dict | None:
    """AtCoder's numbered samples; an example that a remark follows ends at the first empty line."""
    text = row["question_content"]
    cases = []
    for match in re.finditer(r"Sample Input (\d+)\n\n(.*?)\n\nSample Output \1\n\n(.*?)(?:\n\n|\Z)", text, re.DOTALL):
        output = "" if match[3].startswith("\n") else match[3]  # an empty output, and a remark below it
        cases.append({"input": match[2] + "\n", "output": output + "\n"})
    return {"tests": {"kind": "stdio", "cases": cases}} if any(c["output"].strip() for c in cases) else None


def _leetcode_examples(row: dict) -> dict | None:
    cases = []
    for match in re.finditer(r"^Input: (.*?)\nOutput: (.*?)\n", row["question_content"], re.MULTILINE):
        names = [(m.start(), m[1]) for m in re.finditer(r"(?:^|, )(\w+) = ", match[1])]
        try:
            call = ast.parse(f"f({match[1].replace('true', 'True').replace('false', 'False')})", mode="eval").body
            kwargs = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
            if names and len(kwargs) == len(names):
                cases.append({"args": [], "kwargs": kwargs, "expected": json.loads(match[2])})
        except (SyntaxError, ValueError):
            continue
    return _called(row, cases) if cases else None
