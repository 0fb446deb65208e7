import random

import pyarrow as pa
import pytest

from tasks.curation.reasoning import RULES, filter_candidates
from tasks.rows import COMPLETION, VERDICT

GOOD = "<think> First A-1=53. Then B+3=56. </think> The result is 56. <answer>56</answer>"
LIMITS = {"min_language_share": 0.9, "max_paragraph_chars": 200, "max_per_prompt": 2}


def candidate(i, text, prompt="p0", finish="stop"):
    return {"id": f"c{i}", "prompt_id": prompt, "model": "m", "engine": "e", "settings": "{}", "index": i, "text": text,
            "tokens": 9, "finish": finish, "logprob": -1.0}  # fmt: skip


def verdict(row, status="ok"):
    return {"completion_id": row["id"], "prompt_id": row["prompt_id"], "status": status, "extracted": "56", "gold": "56",
            "method": "maths/fast", "detail": "", "verifier": "v"}  # fmt: skip


def run(rows, statuses=None, **limits):
    statuses = statuses or ["ok"] * len(rows)
    verdicts = [verdict(r, s) for r, s in zip(rows, statuses) if s]
    languages = {r["prompt_id"]: "en" for r in rows}
    tables = pa.Table.from_pylist(rows, schema=COMPLETION), pa.Table.from_pylist(verdicts, schema=VERDICT)
    return filter_candidates(*tables, languages, **{**LIMITS, **limits})


def first_rules(result, rows):
    """First failing rule of each candidate, read back from the decisions."""
    failing = {}
    for d in result.decisions.to_pylist():
        if not d["keep"]:
            failing.setdefault(d["row_id"], d["rule"])
    return [failing.get(r["id"]) for r in rows]


@pytest.mark.parametrize(
    "text, finish, status, rule",
    [
        (GOOD, "stop", "ok", None),
        (GOOD, "stop", "wrong", "verdict"),
        (GOOD, "stop", "infra", "verdict"),
        (GOOD, "stop", None, "verdict"),
        (GOOD, "length", "ok", "truncated"),
        ("The result is <answer>56</answer>", "stop", "ok", "well_formed"),
        (GOOD.replace("Then", "然后"), "stop", "ok", "mixed_language"),
        (GOOD.replace("Then", "Then " * 60), "stop", "ok", "long_paragraph"),
        (GOOD.replace("Then", "Then ```x``` so"), "stop", "ok", "code_block"),
        ("<think> 54-1=53 </think> <answer>53</answer>", "stop", "ok", None),  # no words, no mixture
    ],
)
def test_each_rule(text, finish, status, rule):
    rows = [candidate(0, text, finish=finish)]
    result = run(rows, [status])
    assert first_rules(result, rows) == [rule]
    assert result.kept == ([0] if rule is None else [])
    assert sum(f["rejected"] for f in result.funnel) == (rule is not None)


def test_long_text_in_short_paragraphs_stays():
    text = GOOD.replace("Then", ("so it goes on\n \n" * 40) + "Then")
    assert run([candidate(0, text)]).kept == [0]


def test_of_equal_texts_the_first_clean_one_stays():
    rows = [
        candidate(0, GOOD, finish="length"),
        candidate(1, GOOD),
        candidate(2, GOOD),
        candidate(3, GOOD, prompt="p1"),
    ]
    result = run(rows)
    assert result.kept == [1, 3]
    assert first_rules(result, rows) == ["truncated", None, "duplicate", None]
    evidence = [d["evidence"] for d in result.decisions.to_pylist() if d["rule"] == "duplicate" and not d["keep"]]
    assert evidence == ["same text as c1", "same text as c1"]


def test_the_cap_takes_the_lowest_indices_of_the_clean_ones():
    rows = [candidate(i, GOOD.replace("First", f"First {'so ' * i}")) for i in range(5)]
    result = run(rows, ["wrong", "ok", "ok", "ok", "ok"])
    assert result.kept == [1, 2]
    assert first_rules(result, rows) == ["verdict", None, None, "per_prompt_cap", "per_prompt_cap"]
    values = [d["value"] for d in result.decisions.to_pylist() if d["rule"] == "per_prompt_cap"]
    assert values == [0, 0, 1, 2, 3]


def test_decisions_hold_every_rule_with_value_and_threshold():
    result = run([candidate(0, GOOD)])
    rows = result.decisions.to_pylist()
    assert [d["rule"] for d in rows] == list(RULES)
    by_rule = {d["rule"]: (d["value"], d["threshold"]) for d in rows}
    assert by_rule["long_paragraph"] == (len(GOOD), 200.0)
    assert by_rule["mixed_language"] == (1.0, 0.9)


def test_random_candidates_add_up_and_do_not_depend_on_row_order():
    rng = random.Random(3)
    texts = [
        GOOD,
        GOOD.replace("Then", "然后"),
        GOOD + "```",
        "nothing",
        GOOD.replace("53", "54"),
        GOOD.replace("First", "Start"),
    ]
    rows = [
        candidate(i % 8, rng.choice(texts), f"p{i // 8}", rng.choice(["stop", "stop", "length"])) for i in range(400)
    ]
    for i, row in enumerate(rows):
        row["id"] = f"c{i}"
    statuses = [rng.choice(["ok", "ok", "wrong", "unparsable"]) for _ in rows]
    result = run(rows, statuses)
    assert len(result.kept) + sum(f["rejected"] for f in result.funnel) == 400
    assert result.decisions.num_rows == 400 * len(RULES)
    assert all(f["failed"] >= f["rejected"] for f in result.funnel)
    order = rng.sample(range(400), 400)
    again = run([rows[i] for i in order], [statuses[i] for i in order])
    assert sorted(rows[i]["id"] for i in result.kept) == sorted(rows[order[i]]["id"] for i in again.kept)
    assert run(rows, statuses).decisions.equals(result.decisions)


def test_no_candidates_at_all():
    result = run([])
    assert result.kept == [] and all(f["rejected"] == 0 for f in result.funnel)
