import random
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import tasks.curation.near_duplicates as near_duplicates
from tasks.curation.kernel import Spec, measure
from tasks.curation.near_duplicates import deduplicate
from tasks.curation.near_duplicates_cover import SMALL
from tasks.curation.policy import Deduplication

WIDE = Spec(permutations=32, bands=16, rows=2)  # nearly every pair above Jaccard .4 shares a band
ORACLE = Path(near_duplicates.__file__).with_name("near_duplicates_oracle.sql")
# plain words: the n-grams of the oracle need no kernel
GRAMS = """
CREATE OR REPLACE TABLE grams AS
SELECT DISTINCT row, unnest([w[i:i + 4] for i in range(1, len(w) - 3)]) AS gram
FROM (SELECT row, regexp_extract_all(lower(text), '[a-z0-9]+') AS w FROM texts)
"""


def edited(words: list[str], share: float, rng: random.Random) -> list[str]:
    return [rng.choice("kqxz") + w if rng.random() < share else w for w in words]


def planted(seed: int, families: int = 40, words: int = 80) -> list[dict]:
    """Rows of families with all degrees of likeness, chains of small steps, twins in case and spacing, short texts."""
    rng = random.Random(seed)
    rows = []
    for family in range(families):
        text = [f"w{rng.randrange(400)}" for _ in range(rng.randrange(6, words))]
        prompts = [f"p{rng.randrange(families // 4)}" for _ in range(3)]
        for _ in range(rng.randrange(1, 9)):
            kind = rng.choice(("same", "case", "edited", "edited", "chain", "chain"))
            if kind == "chain":
                text = edited(text, 0.015, rng)
            shown = edited(text, rng.choice((0.01, 0.02, 0.05, 0.1)), rng) if kind == "edited" else text
            shown = " ".join(shown)
            rows.append((shown.upper() if kind == "case" else shown, rng.choice(prompts)))
    rows += [(rng.choice(("yes", "Yes", "no it is", "a b c d")), f"p{rng.randrange(5)}") for _ in range(20)]
    rng.shuffle(rows)
    return [
        {
            "id": f"c{i:05d}",
            "prompt_id": p,
            "text": t,
            "index": rng.choice((0, 1, 2, None)),
            "passes": rng.random() < 0.8,
        }
        for i, (t, p) in enumerate(rows)
    ]


def template(seed: int, size: int, shared: int = 60, own: int = 14) -> list[dict]:
    """Texts around one long template: hundreds share a band and only a few are near."""
    rng = random.Random(seed)
    head = [f"t{i}" for i in range(shared)]
    tails = [[f"w{rng.randrange(50_000)}" for _ in range(own)] for _ in range(size)]
    tails = [edited(rng.choice(tails), 0.05, rng) if rng.random() < 0.3 else tail for tail in tails]
    return [
        {"id": f"c{i:05d}", "prompt_id": f"p{rng.randrange(9)}", "text": " ".join(head + t), "index": 0, "passes": True}
        for i, t in enumerate(tails)
    ]


def run(
    rows: list[dict], policy: Deduplication, work: Path, spec: Spec = WIDE, threads: int = 2, batch: int = 50, seed=None
):
    """A connection after `deduplicate`; texts come in batches, with a seed in a shuffled order."""
    texts = pa.array([r["text"] for r in rows], pa.string())
    table = pa.Table.from_batches([measure(texts, spec)]).append_column("row", pa.array(range(len(rows)), pa.int32()))
    for name, kind in (("id", pa.string()), ("prompt_id", pa.string()), ("index", pa.int32()), ("passes", pa.bool_())):
        table = table.append_column(name, pa.array([r[name] for r in rows], kind))
    con = duckdb.connect(config={"threads": threads})
    con.register("source", table)
    con.execute("CREATE TABLE measured AS FROM source ORDER BY row")
    asked = []

    def stream(wanted):
        asked.append(wanted)
        assert np.all(np.diff(wanted) > 0)
        starts = list(range(0, len(wanted), batch))
        if seed is not None:
            random.Random(seed).shuffle(starts)
        for start in starts:
            yield wanted[start : start + batch], texts.take(pa.array(wanted[start : start + batch]))

    steps = []
    deduplicate(con, policy, stream, work, lambda done, total: steps.append((done, total)))
    assert not list(work.iterdir()) and all(a <= b for a, b in zip(steps, steps[1:]))
    assert not asked or steps[-1] == (len(asked[-1]), len(asked[-1]))
    return con


def found(con) -> list[tuple]:
    return sorted(con.execute("SELECT row, kept_row, jaccard, scope, kind FROM duplicates").fetchall())


def oracle(con, rows: list[dict], policy: Deduplication, links=()) -> list[tuple]:
    con.register("texts", pa.table({"row": pa.array(range(len(rows)), pa.int32()), "text": [r["text"] for r in rows]}))
    con.execute(GRAMS)
    con.execute("CREATE OR REPLACE TABLE links(row INTEGER, other INTEGER, similarity DOUBLE)")
    if links:
        con.executemany("INSERT INTO links VALUES (?, ?, ?)", links)
    for statement in duckdb.extract_statements(ORACLE.read_text()):
        con.execute(statement, {k: getattr(policy, k) for k in statement.named_parameters})
    return sorted(con.execute("SELECT row, kept_row, jaccard, scope, kind FROM expected").fetchall())


POLICIES = [
    {"within_prompt": 0.8, "across_prompts": 0.8},
    {"within_prompt": 0.6, "across_prompts": 0.9, "prefer": "longest"},
    {"within_prompt": 0.9, "across_prompts": 0.6, "prefer": "shortest"},
    {"within_prompt": 0.7, "exact_scope": "prompt"},
    {"across_prompts": 0.7, "exact": False},
    {"within_prompt": 0.7, "exact": False},
    {"exact_scope": "prompt"},
    {},
]


@pytest.mark.parametrize("settings", POLICIES, ids=str)
def test_equals_plain_sql(tmp_path, settings):
    rows, policy = planted(seed=len(str(settings))), Deduplication(**settings)
    con = run(rows, policy, tmp_path)
    result = found(con)
    assert result == oracle(con, rows, policy)
    assert {kind for *_, kind in result} >= ({"exact", "normal"} if policy.exact else {"near"})


@pytest.mark.parametrize("settings", POLICIES[:3] + [{"across_prompts": 0.75}], ids=str)
def test_large_buckets_equal_plain_sql(tmp_path, settings):
    rows, policy = template(1, 220), Deduplication(**settings)
    con = run(rows, policy, tmp_path, Spec(permutations=16, bands=16, rows=1))
    values = np.array(con.execute("SELECT bands FROM measured").fetchall()).reshape(len(rows), -1)
    shared = max(np.unique(band, return_counts=True)[1].max() for band in values.T)
    assert shared > 2 * SMALL
    assert found(con) == oracle(con, rows, policy)


def test_every_removed_row_names_a_kept_one_and_every_row_has_every_rule(tmp_path):
    rows, policy = planted(5, families=120), Deduplication(within_prompt=0.8, across_prompts=0.8)
    con = run(rows, policy, tmp_path)
    removed = {row for row, *_ in found(con)}
    assert removed and not removed & {kept for _, kept, *_ in found(con)}
    decisions = con.execute("SELECT row, decisions FROM deduplication ORDER BY row").fetchall()
    assert [row for row, _ in decisions] == list(range(len(rows)))
    rules = ["exact_duplicate", "normal_duplicate", "near_within_prompt", "near_across_prompts"]
    assert all([d["rule"] for d in each] == rules for _, each in decisions)
    assert {row for row, each in decisions if not all(d["keep"] for d in each)} == removed
    kept_of = {(row, kind, scope): (rows[kept]["id"], j) for row, kept, j, scope, kind in found(con)}
    for (row, kind, scope), (kept, similarity) in kept_of.items():
        rule = kind + "_duplicate" if kind != "near" else f"near_{scope}"
        [decision] = [d for d in decisions[row][1] if d["rule"] == rule]
        assert decision["evidence"].endswith(kept) and decision["value"] == similarity >= decision["threshold"]
        assert rows[int(kept[1:])]["passes"] >= rows[row]["passes"]
    short = next(i for i, r in enumerate(rows) if r["text"] == "yes")
    assert "shorter than one n-gram" in decisions[short][1][2]["evidence"]


def test_order_of_shards_threads_and_batches_do_not_show(tmp_path, monkeypatch):
    rows, policy = planted(3), Deduplication(within_prompt=0.7, across_prompts=0.8)
    con = run(rows, policy, tmp_path, threads=1)
    expected = con.execute("FROM duplicates").fetchall(), con.execute("FROM deduplication ORDER BY row").fetchall()
    monkeypatch.setattr(near_duplicates, "BATCH", 500)
    for seed, batch, threads in ((1, 7, 2), (2, 1000, 3)):
        con = run(rows, policy, tmp_path, threads=threads, batch=batch, seed=seed)
        assert (
            con.execute("FROM duplicates").fetchall(),
            con.execute("FROM deduplication ORDER BY row").fetchall(),
        ) == expected


def test_a_chain_of_small_steps_keeps_what_is_far_from_the_kept(tmp_path):
    words = [f"w{i}" for i in range(100)]
    rows = []
    for step in range(6):  # each step changes six words at the end of the last change
        words = [f"x{i}" if 6 * step <= i < 6 * step + 6 else w for i, w in enumerate(words)]
        rows.append({"id": f"c{step}", "prompt_id": "p", "text": " ".join(words), "index": 0, "passes": True})
    con = run(rows, Deduplication(within_prompt=0.8), tmp_path)
    assert [row for row, *_ in found(con)] == [1, 3, 5]
    assert [kept for _, kept, *_ in found(con)] == [0, 2, 4]


def test_no_rows_and_no_duplicates(tmp_path):
    policy = Deduplication(within_prompt=0.8, across_prompts=0.8)
    assert found(run([], policy, tmp_path)) == []
    one = {"prompt_id": "p", "index": 0, "passes": True}
    rows = [one | {"id": f"c{i}", "text": " ".join(f"{i}a{j}" for j in range(30))} for i in range(20)]
    con = run(rows, policy, tmp_path)
    assert found(con) == [] and con.execute("SELECT count(*) FROM deduplication").fetchall() == [(20,)]


def test_only_texts_with_company_are_read_again(tmp_path):
    rows = [r | {"text": " ".join(f"{i}a{j}" for j in range(30))} for i, r in enumerate(planted(1)[:50])]
    rows += [rows[0] | {"id": "d0"}, rows[1] | {"id": "d1", "text": rows[1]["text"] + " more"}]
    seen = []
    con = run(rows, Deduplication(within_prompt=0.8, across_prompts=0.8), tmp_path, batch=1)
    assert {frozenset((a, b)) for a, b, *_ in found(con)} == {frozenset((0, 50)), frozenset((1, 51))}

    def texts(wanted):
        seen.extend(wanted)
        yield wanted, pa.array([rows[i]["text"] for i in wanted])

    deduplicate(con, Deduplication(within_prompt=0.8, across_prompts=0.8), texts, tmp_path)
    assert seen == [1, 51]  # equal texts are equal without reading


def test_a_changed_text_and_a_full_disk_are_named(tmp_path, monkeypatch):
    rows, policy = planted(2), Deduplication(within_prompt=0.8)
    con = run(rows, policy, tmp_path)
    with pytest.raises(ValueError, match="text of row .* has changed"):
        deduplicate(con, policy, lambda w: iter([(w, pa.array(["short"] * len(w)))]), tmp_path)
    with pytest.raises(ValueError, match="has lost rows"):
        deduplicate(con, policy, lambda w: iter(()), tmp_path)
    monkeypatch.setattr(near_duplicates.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(OSError, match="bytes of shingles are needed.*shingles.u64"):
        deduplicate(con, policy, lambda w: iter(()), tmp_path)
    assert not list(tmp_path.iterdir())
