"""Whatever a model or a data set writes gets a typed verdict, quickly, and never stops a batch."""

import json
import time

import pyarrow as pa
import pytest

from tasks.prompts.bank import build
from tasks.prompts.sources import RawRow, Reading, Source
from tasks.rows import VERDICT
from tasks.verification.verify import DOMAINS, gold_problems, verify_all

ADD = {"kind": "call", "entry": "add", "cases": [{"args": [1, 2], "expected": 3}]}
PROMPTS = {
    "maths": ("\\frac{1}{2}", None),
    "logic": ("A is a knight", {"puzzle": "knights-and-knaves", "people": ["A"]}),
    "choice": ("B", {"options": {"A": "one", "B": "two", "C": "three"}}),
    "quantity": ("9.81 m/s^2", {"unit": "m/s^2", "tolerance": 0.01, "absolute": None}),
    "instructions": (
        None,
        {
            "instruction_ids": ["punctuation:no_comma", "keywords:existence"],
            "kwargs": [{}, {"keywords": ["tea"]}],
            "strict": True,
        },
    ),
    "code": (None, {"language": "python", "tests": ADD, "time_s": 2}),
}
MEGABYTES = 1_000_000
TEXTS = {
    "null": None,
    "a number": 7,
    "a list": ["<answer>7</answer>"],
    "empty": "",
    "spaces": " \n\t\u3000\u200b",
    "NUL": "\0",
    "NUL in the answer": "<answer>1\0/2</answer>",
    "lone surrogate": "\ud800",
    "lone surrogates in the answer": "<answer>\udfff\ud800 1/3</answer>",
    "surrogates in a think block": "<think>\udcff</think> \\boxed{1/3}",
    "control characters": "<answer>" + "".join(map(chr, range(32))) + "</answer>",
    "right to left": "<answer>\u202e2/1\u202c</answer>",
    "combining": "<answer>1" + "\u0301" * 900 + "</answer>",
    "emoji": "<answer>\U0001f468\u200d\U0001f469\u200d\U0001f467</answer>",
    "odd digits": "<answer>\u0661\u00b2\u2167\u1369/\u0968</answer>",
    "broken frac": "<answer>\\frac{1}{</answer>",
    "broken commands": "<answer>\\frac\\sqrt[\\left(^_^\\right.</answer>",
    "closing braces": "<answer>}}}}{{{{</answer>",
    "unclosed box": "\\boxed{\\frac{1}{2}",
    "backslashes": "<answer>" + "\\" * 999 + "</answer>",
    "unknown commands": "<answer>\\foo{\\bar}[\\baz]</answer>",
    "not a number": "<answer>nan</answer>",
    "infinite": "<answer>-\\infty</answer>",
    "division by zero": "<answer>\\frac{1}{0}</answer>",
    "huge exponent": "<answer>1e999999999</answer>",
    "huge integer": "<answer>" + "9" * 999 + "</answer>",
    "format strings": "<answer>{0.__class__} %s %n ${x}</answer>",
    "markup": "<answer><script>&lt;</script><!--</answer>",
    "JSON": '<answer>{"a": [1, {"b": null}]}</answer>',
    "megabytes of text": "so " * (MEGABYTES // 3),
    "megabytes in the answer": "<answer>" + "1" * MEGABYTES + "</answer>",
    "megabytes of unclosed boxes": "\\boxed{" * (MEGABYTES // 7),
    "megabytes of boxes": "\\boxed{1}" * (MEGABYTES // 9),
    "megabytes of nested boxes": "\\boxed{" * 60_000 + "1" + "}" * 60_000,
    "megabytes of braces": "<answer>" + "{" * MEGABYTES,
    "megabytes of answer tags": "<answer>" * (MEGABYTES // 8),
    "megabytes of answers": "<answer>1</answer>" * (MEGABYTES // 18),
    "megabytes of think tags": "<think>" * (MEGABYTES // 14) + "</think>" * (MEGABYTES // 16),
    "megabytes of spaces": "<answer>" + " " * MEGABYTES + "1/3</answer>",
    "megabytes of lines": "\n" * MEGABYTES + "x",
    "megabytes of backticks": "`" * MEGABYTES,
    "megabytes of code fences": "```python\n" * (MEGABYTES // 10),
    "megabytes of options": "(A) " * (MEGABYTES // 4),
    "megabytes of digits and commas": "1," * (MEGABYTES // 2),
    "megabytes of dollars": "$" * MEGABYTES,
}
SECONDS = 15.0  # of CPU time in this process for all texts (2 are usual); one quadratic reading takes hours


def prompt(domain: str) -> dict:
    gold, meta = PROMPTS[domain]
    return {"id": f"a {domain} prompt", "domain": domain, "text": "?", "gold": gold, "meta": meta and json.dumps(meta)}


def test_every_domain_is_here():
    assert set(PROMPTS) == set(DOMAINS)
    assert gold_problems([prompt(d) for d in DOMAINS]) == [None] * len(DOMAINS)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_typed_verdict_on_every_text(domain):
    start = time.process_time()
    verdicts = verify_all([prompt(domain)] * len(TEXTS), list(TEXTS.values()))
    assert time.process_time() - start < SECONDS, "a text of megabytes is not read in linear time"
    for name, verdict in zip(TEXTS, verdicts, strict=True):
        passes = domain == "instructions" and verdict.status == "ok"  # text without a comma may well do as it was told
        assert passes or verdict.status in ("wrong", "unparsable"), (
            name,
            verdict.status,
            verdict.method,
            verdict.detail[:200],
        )
        assert len(verdict.detail) <= 1000
    assert all(v.status == "unparsable" for v in verdicts[:3])
    rows = [v.row("c", "p") for v in verdicts]
    assert pa.Table.from_pylist(rows, VERDICT).num_rows == len(TEXTS), "Parquet holds no lone surrogate"
    json.dumps(rows, ensure_ascii=False).encode()


GOLDS = ["proof", "Proof.", "notfound", "not found", "N/A", "", "  ", None, "\\frac{1}{", "}{", "\0", "\ud800"]


def test_golds_that_cannot_be_compared_with_are_told():
    rows = [prompt("maths") | {"gold": gold} for gold in GOLDS]
    problems = gold_problems(rows)
    assert all(problems), list(zip(GOLDS, problems))
    json.dumps(problems, ensure_ascii=False).encode()


BROKEN_META = ["{", "[]", "7"]
EMPTY_META = [None, "", "{}", '{"tests": {"kind": "stdio", "cases": []}, "options": {}, "instruction_ids": []}']


@pytest.mark.parametrize(
    "domain, meta",
    [(d, m) for d in DOMAINS if PROMPTS[d][1] for m in BROKEN_META + (EMPTY_META if d != "quantity" else [])],
)
def test_meta_that_says_nothing_is_told_and_stops_nothing(domain, meta):
    """A quantity may go without: its gold can hold the unit."""
    bad = prompt(domain) | {"meta": meta}
    assert gold_problems([bad])[0]
    good = prompt(domain)
    verdicts = verify_all([bad, good], ["<answer>x</answer>"] * 2)
    assert verdicts[0].status == "infra" and f"a {domain} prompt" in verdicts[0].detail
    assert verdicts[1].status != "infra"


def test_verdicts_against_a_gold_that_is_no_answer_are_typed():
    rows = [prompt("maths") | {"gold": gold} for gold in GOLDS]
    for text in ("<answer>proof</answer>", "<answer>7</answer>", "<answer>1/3</answer>"):
        accepted = {gold for gold, verdict in zip(GOLDS, verify_all(rows, [text] * len(rows))) if verdict.ok}
        assert accepted <= ({"proof", "Proof."} if "proof" in text else set())


def test_bad_golds_are_rejected_and_counted_where_prompts_are_made():
    source = Source(name="s", path="x.jsonl", columns={"text": "q", "gold": "a"}, licence="MIT", domain="maths")
    golds = ["1", *GOLDS]
    rows = [RawRow(f"question {i}", gold, None, "maths", "en", f"x.jsonl:{i}") for i, gold in enumerate(golds)]
    bank = build([Reading(source, rows)], gold_problems, 0.05, 0.1, 50, 0.5)
    assert [row["gold"] for row in bank.rows] == ["1"]
    assert len(bank.decisions) == len(GOLDS) and {d["rule"] for d in bank.decisions} == {"gold"}
    assert "proof" in bank.decisions[0]["evidence"] and "x.jsonl:1" in bank.decisions[0]["evidence"]
