"""LeetCode as rllm publishes it (LeetCodeDataset): a statement with the method to fill in, a solution, a `check`.

The statement says already that the answer is a fenced block with `class Solution`. Programs get what LeetCode gives
them: the usual imports, linked lists and binary trees.
"""

from tasks.prompts.formats.found import BadRow, Found, parsed, text_of
from tasks.prompts.formats.programs import fenced

DOMAIN = "code"
COLUMNS = ("problem", "tests")

IMPORTS = """
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
NODES = '''
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


def convert(row: dict) -> Found:
    tests, solution = parsed(row["tests"]), row.get("solutions")
    if not isinstance(tests, dict) or not isinstance(tests.get("functional"), str):
        raise BadRow("tests holds no `functional` test")
    meta = {"prelude": IMPORTS + NODES, "tests": {"kind": "asserts", "code": tests["functional"]}}
    if isinstance(solution, str):
        meta["solution"] = solution
    return Found(text_of(row, "problem"), None, fenced(solution) if isinstance(solution, str) else None, meta)
