"""ZeroEval records (WildEval): a question, and what a model answered as JSON with `reasoning` and `answer`.

As an output the JSON becomes the R1 pattern: the reasoning in think tags, the answer in answer tags. CRUX records are
refused: their golds are Python literals, which no domain verifies.
"""

import json
import re

from tasks.prompts.formats.found import BadRow, Found, Output, text_of

DOMAIN = "maths"
COLUMNS = ("question", "answer", "output", "generator")

_FIELD = re.compile(r'"answer"\s*:\s*(?:"((?:[^"\\]|\\.)*)"|([^"\s,}\]][^,}\n]*))')
_REASONING = re.compile(r'"reasoning"\s*:\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)


def convert(row: dict) -> Found:
    if row.get("dataset") == "crux":
        raise BadRow("a CRUX record: its gold is a Python literal, which no domain verifies")
    return Found(text_of(row, "question"), text_of(row, "answer").lstrip("# ").strip())


def outputs(row: dict) -> list[Output]:
    configs = row.get("configs") or {}
    settings = {key: configs[key] for key in ("temperature", "top_p", "max_tokens") if configs.get(key) is not None}
    return [Output(_pattern(text), row["generator"], settings=settings) for text in row["output"]]


def answer_field(output: str) -> str:
    """The last `answer` of a JSON reply, "" where there is none; replies need not be valid JSON."""
    found = _FIELD.findall(output)
    return _unescaped((found[-1][0] or found[-1][1]).strip()) if found else ""


def _pattern(output: str) -> str:
    reasoning, answer = _REASONING.search(output), answer_field(output)
    if not reasoning or not answer:
        return output
    return f"<think>\n{_unescaped(reasoning[1])}\n</think>\n\n<answer>{answer}</answer>"


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except json.JSONDecodeError:
        return text
