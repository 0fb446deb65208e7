"""Each rule of selection by itself, and all of them against an oracle in plain Python."""

import functools
import hashlib
import math
from collections import defaultdict

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.curation import selection as module
from tasks.curation.policy import Selection
from tasks.curation.selection import rules, select

MEASURED = pa.schema(
    [
        ("row", pa.int32()), ("id", pa.string()), ("prompt_id", pa.string()), ("domain", pa.string()),
        ("source", pa.string()), ("index", pa.int32()), ("verdict", pa.string()), ("tokens", pa.int64()),
        ("quality", pa.float64()), ("passes", pa.bool_()),
    ]
)  # fmt: skip
NONE = {"verdict": None}


def candidate(
    row, prompt="p", verdict="ok", domain="maths", tokens=100, quality=None, passes=True, index=None, source="s"
):
    index = row if index is None else index
    return {"row": row, "id": f"c{row}", "prompt_id": prompt, "domain": domain, "source": source, "verdict": verdict,
            "index": index, "tokens": tokens, "quality": quality, "passes": passes}  # fmt: skip


@functools.cache
def connection(threads: int):
    import duckdb

    return duckdb.connect(config={"threads": threads})


def decided(rows, policy, seed=0, threads=2):
    """{row: decisions} for candidates as a list of dicts, and the rows that pass everything."""
    con = connection(threads)
    con.register("given", pa.Table.from_pylist(rows, schema=MEASURED))
    con.execute("CREATE OR REPLACE TABLE measured AS SELECT * EXCLUDE passes FROM given")
    con.execute("CREATE OR REPLACE TABLE passing AS SELECT row, passes, 0 AS prefer_rank FROM given")
    select(con, Selection.model_validate(policy), seed)
    found = dict(con.execute("SELECT row, decisions FROM selection ORDER BY row").fetchall())
    left = {name for (name,) in con.execute("SHOW TABLES").fetchall()}
    assert left <= {"measured", "passing", "selection", "given"}
    kept = [r["row"] for r in rows if r["passes"] and all(d["keep"] for d in found[r["row"]])]
    return found, kept


def of_rule(found, rule):
    return {row: next(d for d in decisions if d["rule"] == rule) for row, decisions in found.items()}


def number(value):
    return None if value is None or math.isnan(value) else float(value)


def oracle(rows, selection: Selection, seed: int) -> dict[int, list[dict]]:
    """The same rules, a row at a time."""
    prompts, alive = defaultdict(list), {r["row"]: r["passes"] for r in rows}
    for r in rows:
        if r["verdict"] not in (None, "infra"):
            prompts[r["prompt_id"]].append(r["verdict"] == "ok")
    labels, found = {}, {r["row"]: [] for r in rows}

    def value_of(r, column):
        graded = prompts[r["prompt_id"]]
        if column == "samples":
            return float(len(graded))
        if column == "pass_rate":
            return sum(graded) / len(graded) if graded else None
        return number(r[column])

    def decide(rule, judge):
        for r in rows:
            value, threshold, keep, evidence = judge(r)
            found[r["row"]].append(
                {"rule": rule, "value": value, "threshold": float(threshold), "keep": keep, "evidence": evidence}
            )
        for r in rows:
            alive[r["row"]] &= found[r["row"]][-1]["keep"]

    if selection.verdict is not None:
        good = lambda r: r["verdict"] in selection.verdict
        decide("verdict", lambda r: (float(good(r)), 1, good(r), r["verdict"] or "no verdict"))
    for rule, band in selection.all_bands:
        for test, word, side, holds in (
            ("at_least", "at least", "min", lambda v, b: v >= b), ("above", "above", "min", lambda v, b: v > b),
            ("at_most", "at most", "max", lambda v, b: v <= b), ("below", "below", "max", lambda v, b: v < b),
        ):  # fmt: skip
            bound = getattr(band, test)
            if bound is not None:

                def judge(r, bound=bound, word=word, holds=holds, column=band.column):
                    v = value_of(r, column)
                    keep = v is not None and holds(v, bound)
                    return v, bound, keep, f"no {column}" if v is None else None if keep else f"{word} {bound:g} wanted"

                decide(rule or f"{side}_{band.column}", judge)
    for bin in selection.bins:
        values = sorted(v for r in rows if alive[r["row"]] and (v := value_of(r, bin.column)) is not None)
        n = bin.classes
        edges = bin.edges or [values[max(math.ceil(len(values) * i / n), 1) - 1] for i in range(1, n) if values]
        names = bin.labels or [str(i + 1) for i in range(n)]

        def classed(r, bin=bin, edges=edges, names=names, known=bool(bin.edges) or bool(values), n=n):
            v = value_of(r, bin.column)
            c = 1 + sum(e < v for e in edges) if v is not None and known else None
            labels[r["row"], bin.name] = names[c - 1] if c else None
            return (float(c) if c else None), n, True, names[c - 1] if c else f"no {bin.column}"

        decide(bin.name, classed)
    for cap in selection.all_caps:
        decide(cap.rule, _cap_oracle(rows, cap, seed, alive, labels, value_of))
    return found


def _cap_oracle(rows, cap, seed, alive, labels, value_of):
    def group(r):
        return None if cap.by is None else labels[r["row"], cap.by] if (r["row"], cap.by) in labels else r[cap.by]

    def key(r):
        signed = []
        for name in cap.order:
            v = value_of(r, name.removeprefix("-"))
            signed.append((v is None, 0 if v is None else -v if name.startswith("-") else v))
        tie = int(hashlib.md5(f"{seed} {r['id']}".encode()).hexdigest()[:15], 16)
        return (*signed, tie, r["row"])

    ordered, ahead, place, available = sorted(rows, key=key), defaultdict(int), {}, defaultdict(int)
    for r in ordered:
        place[r["row"]] = 1 + ahead[group(r)]
        ahead[group(r)] += alive[r["row"]]
        available[group(r)] += alive[r["row"]]
    evidence = lambda r: None if cap.by == "prompt_id" else group(r)
    if cap.total and cap.by and not cap.shares:
        turn, taken = {}, 0
        for r in sorted(rows, key=lambda r: (place[r["row"]], *key(r))):
            turn[r["row"]] = 1 + taken
            taken += alive[r["row"]]
        return lambda r: (float(turn[r["row"]]), cap.total, turn[r["row"]] <= cap.total, evidence(r))
    asked = cap.shares or (cap.each if isinstance(cap.each, dict) else {"*": cap.each or cap.total})
    amount = {g: asked.get(g, asked.get("*", 0)) if g is not None else asked.get("*", 0) for g in available}
    if cap.shares:
        whole = sum(sorted(a for g, a in amount.items() if available[g]))
        part = {g: a / whole if whole else 0 for g, a in amount.items()}
        sizes = [available[g] / p for g, p in part.items() if available[g] and p]
        total = cap.total or (min(sizes) if sizes else 0)
        amount = {g: math.floor(p * total + 1e-6) for g, p in part.items()}
    return lambda r: (float(place[r["row"]]), amount[group(r)], place[r["row"]] <= amount[group(r)], evidence(r))


VERDICTS = ["ok", "ok", "wrong", "unparsable", "infra", None]
rows_strategy = st.lists(
    st.tuples(
        st.sampled_from(["p0", "p1", "p'2", 'p"; DROP TABLE measured; --']), st.sampled_from(VERDICTS),
        st.sampled_from(["maths", "code", "", None, "*"]), st.integers(0, 6), st.booleans(), st.integers(0, 3),
        st.sampled_from([None, math.nan, -1.0, -0.0, 0.0, 0.25, 2.0, math.inf]),
    ),
    min_size=1, max_size=30,
)  # fmt: skip
amounts = st.dictionaries(st.sampled_from(["maths", "code", "1", "2", "*"]), st.integers(1, 4), min_size=1)
amount = st.one_of(
    st.builds(lambda n: {"each": n}, st.integers(1, 4)),
    st.builds(lambda n: {"each": n}, amounts),
    st.builds(lambda n: {"total": n}, st.integers(1, 9)),
    st.builds(lambda s: {"shares": s}, amounts),
    st.builds(lambda s, n: {"shares": s, "total": n}, amounts, st.integers(1, 9)),
)
orders = st.lists(
    st.sampled_from(["tokens", "-tokens", "quality", "-quality", "pass_rate", "-index"]), max_size=3, unique=True
)
groups = st.sampled_from(["domain", "prompt_id", "length", "stage"])
policies = st.builds(
    lambda verdict, verifiable, band, per, order, caps, quantiles: {
        "verdict": verdict, "verifiable": verifiable, "bands": band, "per_prompt": per, "per_prompt_order": order,
        "bins": [{"name": "length", "column": "tokens", "quantiles": quantiles},
                 {"name": "stage", "column": "quality", "edges": [0.0, 1.0], "labels": ["hard", "'", "1"]}],
        "caps": [{"rule": f"cap {i}", "by": by, "order": keys, **amount} for i, (by, amount, keys) in enumerate(caps)],
    },
    st.sampled_from([None, ["ok"], ["ok", "wrong"]]), st.booleans(),
    st.sampled_from([[], [{"column": "pass_rate", "above": 0, "below": 1}],
                     [{"column": "quality", "at_least": 0, "at_most": 2}]]),
    st.sampled_from([None, 1, 2]), st.sampled_from(["index", "shortest", "longest", "id", "random"]),
    st.lists(st.tuples(groups, amount, orders), max_size=3), st.integers(2, 4),
)  # fmt: skip


@settings(max_examples=80, derandomize=True, deadline=None)
@given(rows_strategy, policies, st.integers(0, 3))
def test_sql_equals_the_oracle(tuples, policy, seed):
    rows = [candidate(i, p, v, d, t, q, ok, x) for i, (p, v, d, t, ok, x, q) in enumerate(tuples)]
    found, _ = decided(rows, policy, seed)
    assert found == oracle(rows, Selection.model_validate(policy), seed)
    assert {tuple(d["rule"] for d in ds) for ds in found.values()} == {tuple(rules(Selection.model_validate(policy)))}


def test_a_verdict_is_needed_unless_the_policy_says_otherwise():
    rows = [candidate(i, verdict=v) for i, v in enumerate(["ok", "wrong", "unparsable", "timeout", "infra", None])]
    found, kept = decided(rows, {})
    assert kept == [0] and of_rule(found, "verdict")[5]["evidence"] == "no verdict"
    assert decided(rows, NONE)[1] == [0, 1, 2, 3, 4, 5]
    assert decided(rows, {"verdict": ["ok", "timeout"]})[1] == [0, 3]


def test_pass_rate_counts_all_graded_samples_and_no_infrastructure_failure():
    rows = [candidate(0, "a"), candidate(1, "a", "wrong", passes=False), candidate(2, "a", "infra"),
            candidate(3, "a", "timeout"), candidate(4, "b"), candidate(5, "c", None)]  # fmt: skip
    found, kept = decided(rows, {"min_pass_rate": 0.3, "max_pass_rate": 0.9, "min_samples": 2})
    assert kept == [0]
    assert of_rule(found, "min_pass_rate")[0]["value"] == pytest.approx(1 / 3)
    assert of_rule(found, "min_samples")[4] | {"evidence": None} == {
        "rule": "min_samples", "value": 1.0, "threshold": 2.0, "keep": False, "evidence": None}  # fmt: skip
    assert of_rule(found, "max_pass_rate")[4]["evidence"] == "at most 0.9 wanted"
    assert of_rule(found, "min_pass_rate")[5] == {
        "rule": "min_pass_rate", "value": None, "threshold": 0.3, "keep": False, "evidence": "no pass_rate"}  # fmt: skip


def test_a_column_of_the_candidates_goes_before_the_derived_one(monkeypatch):
    rows = [candidate(0, quality=0.2), candidate(1, verdict="wrong", quality=0.8)]
    monkeypatch.setattr(module, "DERIVED", ("samples", "quality"))  # as if the derived number were called `quality`
    assert decided(rows, NONE | {"bands": [{"column": "quality", "above": 0.5}]})[1] == [1]


def test_verifiable_asks_for_some_verdict_of_the_prompt():
    rows = [candidate(0, "a", "wrong"), candidate(1, "a", None), candidate(2, "b", None), candidate(3, "c", "infra")]
    assert decided(rows, NONE | {"verifiable": True})[1] == [0, 1]


@pytest.mark.parametrize("order, kept", [("index", [2, 3]), ("shortest", [1, 2]), ("longest", [0, 3]), ("id", [0, 1])])
def test_per_prompt_order(order, kept):
    rows = [
        candidate(0, tokens=9, index=3),
        candidate(1, tokens=1, index=2),
        candidate(2, tokens=2, index=0),
        candidate(3, tokens=8, index=1),
    ]
    assert decided(rows, {"per_prompt": 2, "per_prompt_order": order})[1] == kept


def test_random_order_depends_on_seed_and_id_alone():
    rows = [candidate(i) for i in range(40)]
    policy = {"per_prompt": 10, "per_prompt_order": "random"}
    first = decided(rows, policy, seed=1)[1]
    assert decided(rows, policy, seed=1, threads=1)[1] == first != decided(rows, policy, seed=2)[1]
    others = [dict(r, prompt_id="other") for r in (candidate(i) for i in range(40, 80))]
    assert decided(rows + others, policy, seed=1)[1][:10] == first


def test_rejected_rows_take_no_place_but_learn_theirs():
    rows = [candidate(0, passes=False), candidate(1), candidate(2, verdict="wrong"), candidate(3), candidate(4)]
    found, kept = decided(rows, {"per_prompt": 2})
    assert kept == [1, 3]
    assert [d["value"] for d in of_rule(found, "per_prompt").values()] == [1, 1, 2, 2, 3]
    assert of_rule(found, "per_prompt")[0]["keep"] and not of_rule(found, "per_prompt")[4]["keep"]


def test_quotas_by_count_and_by_share():
    rows = [candidate(i, f"p{i}", domain="maths" if i < 20 else "code" if i < 28 else "logic") for i in range(30)]

    def quota(**amount):
        kept = decided(rows, {"caps": [{"rule": "mix", "by": "domain", **amount}]})[1]
        return [sum(rows[row]["domain"] == domain for row in kept) for domain in ("maths", "code", "logic")]

    assert quota(each=3) == [3, 3, 2]
    assert quota(each={"maths": 5, "*": 1}) == [5, 1, 1]
    assert quota(each={"maths": 5}) == [5, 0, 0]
    assert quota(shares={"maths": 3, "code": 1}) == [20, 6, 0]  # maths sets the size: 20 / (3/4) = 26
    assert quota(shares={"*": 1}) == [2, 2, 2]
    assert quota(shares={"maths": 1, "code": 1, "history": 2}) == [8, 8, 0]  # a group with no rows has no part
    assert quota(shares={"maths": 1, "code": 1, "logic": 2}, total=12) == [3, 3, 2]  # logic falls short of its 6
    assert quota(total=9) in ([4, 3, 2], [3, 4, 2])  # turns: logic is used up first


def test_top_n_takes_the_hardest_then_the_longest():
    rows = [candidate(0, "a", quality=0.5, tokens=9), candidate(1, "b", quality=0.1, tokens=1),
            candidate(2, "c", quality=0.1, tokens=5), candidate(3, "d", quality=None, tokens=99)]  # fmt: skip
    cap = {"rule": "top", "total": 2, "order": ["quality", "-tokens"]}
    found, kept = decided(rows, {"caps": [cap]})
    assert kept == [1, 2] and [d["value"] for d in of_rule(found, "top").values()] == [3, 2, 1, 4]


def test_turns_over_length_classes_balance_lengths():
    rows = [candidate(i, f"p{i}", tokens=10 if i < 90 else 1000) for i in range(100)]
    policy = {
        "bins": [{"name": "length", "column": "tokens", "edges": [100]}],
        "caps": [{"rule": "balance", "by": "length", "total": 20}],
    }
    found, kept = decided(rows, policy)
    assert sum(r >= 90 for r in kept) == 10 and len(kept) == 20
    assert of_rule(found, "length")[95] == {
        "rule": "length",
        "value": 2.0,
        "threshold": 2.0,
        "keep": True,
        "evidence": "2",
    }


def test_quantiles_split_the_passing_rows_evenly():
    rows = [candidate(i, f"p{i}", tokens=i * i, passes=i % 2 == 0) for i in range(80)]
    found, _ = decided(rows, {"bins": [{"name": "length", "column": "tokens", "quantiles": 4}]})
    classes = [d["evidence"] for row, d in of_rule(found, "length").items() if row % 2 == 0]
    assert [classes.count(c) for c in "1234"] == [10, 10, 10, 10] and classes == sorted(classes)


def test_shares_round_down_exactly():
    rows = [
        candidate(i, f"p{i}", domain=f"d{i % 10}") for i in range(300)
    ]  # 30 of each; 0.1 * 300 is 30.000000000000004
    assert len(decided(rows, {"caps": [{"rule": "even", "by": "domain", "shares": {"*": 0.1}}]})[1]) == 300


def test_ranges_of_rows_are_gathered_completely(monkeypatch):
    rows = [candidate(i, f"p{i % 3}") for i in range(25)]
    whole, kept = decided(rows, {"per_prompt": 2})
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    assert decided(rows, {"per_prompt": 2}) == (whole, kept)


def test_the_physical_order_of_rows_decides_nothing():
    rows = [candidate(i, f"p{i % 5}", domain=f"d{i % 3}", tokens=i % 4) for i in range(60)]
    policy = {"bins": [{"name": "length", "column": "tokens", "quantiles": 2}], "per_prompt": 5,
              "caps": [{"rule": "mix", "by": "domain", "total": 11}]}  # fmt: skip
    assert decided(rows[::-1], policy)[0] == decided(rows, policy)[0]


def test_no_candidates():
    assert decided([], {"per_prompt": 1, "caps": [{"rule": "mix", "by": "domain", "shares": {"*": 1}}]}) == ({}, [])


def test_no_rule_keeps_everything():
    assert decided([candidate(0), candidate(1, verdict=None)], NONE) == ({0: [], 1: []}, [0, 1])


def test_names_from_a_policy_are_data():
    name = '"; DROP TABLE measured; --'
    with pytest.raises(ValueError, match="which the candidates lack: add it, or use one of .*pass_rate"):
        decided([candidate(0)], {"bands": [{"column": name, "above": 0}]})
    found, _ = decided([candidate(0)], {"caps": [{"rule": name, "by": "domain", "each": {name: 3, "*": 1}}]})
    assert found[0][-1]["rule"] == name


def test_text_is_no_number():
    with pytest.raises(ValueError, match="needs 'domain' as a number, but it is VARCHAR"):
        decided([candidate(0)], {"caps": [{"rule": "top", "total": 1, "order": ["-domain"]}]})


@pytest.mark.parametrize(
    "policy, message",
    [
        ({"bands": [{"column": "tokens"}]}, "give at_least or above"),
        ({"bands": [{"column": "tokens", "above": 1, "at_least": 1}]}, "give at_least or above"),
        ({"bins": [{"name": "n", "column": "tokens"}]}, "give edges or quantiles"),
        ({"bins": [{"name": "n", "column": "tokens", "edges": [2, 1]}]}, "edges must rise"),
        ({"bins": [{"name": "n", "column": "tokens", "edges": [1], "labels": ["a"]}]}, "2 classes need as many labels"),
        ({"caps": [{"rule": "r"}]}, "give each, or total, or shares"),
        ({"caps": [{"rule": "r", "each": 1, "total": 1}]}, "give each, or total, or shares"),
        ({"caps": [{"rule": "r", "shares": {"a": 1}}]}, "amounts by group need `by`"),
        ({"caps": [{"rule": "per_prompt", "total": 3}], "per_prompt": 1}, "per_prompt.*twice"),
    ],
)
def test_policies_that_mean_nothing_are_refused(policy, message):
    with pytest.raises(ValidationError, match=message):
        Selection.model_validate(policy)
