from collections import Counter

import pytest

from tasks.curation.union import by_domain, draw, join

PROMPTS = [
    {
        "id": f"p{i}",
        "source": "g",
        "domain": "qa" if i else "greeting",
        "text": f"q{i}",
        "solution": f"a{i}",
        "origin": "o",
    }
    for i in range(5)
] + [{"id": "p9", "source": "g", "domain": "qa", "text": "q", "solution": None, "origin": "o"}]


@pytest.mark.parametrize("rows", [1, 3, 5, 12, 23])
def test_drawing_spreads_over_the_prompts(rows):
    examples, decisions = draw(PROMPTS, rows, seed=1)
    counts = Counter(e["prompt_id"] for e in examples)
    assert len(examples) == rows == len({e["id"] for e in examples})
    assert max(counts.values()) - min([*counts.values()] if len(counts) == 5 else [0]) <= 1
    assert len(decisions) == len(PROMPTS) and sum(d["keep"] for d in decisions) == len(counts)
    assert {d["rule"] for d in decisions if d["row_id"] == "p9"} == {"has_response"}


def test_drawing_follows_the_seed_alone():
    assert draw(PROMPTS, 7, 1) == (draw(PROMPTS[::-1], 7, 1)[0], draw(PROMPTS, 7, 1)[1])
    assert draw(PROMPTS, 3, 1)[0] != draw(PROMPTS, 3, 2)[0]
    assert draw([PROMPTS[-1]], 3, 1)[0] == []


def test_union_drops_long_rows_with_a_decision():
    examples, _ = draw(PROMPTS, 12, 1)
    lengths = {e["id"]: 10 + i for i, e in enumerate(examples)}
    kept, decisions, tokens = join([examples[:4], examples[4:]], lambda rows: [lengths[r["id"]] for r in rows], 15)
    assert kept == examples[:6] and tokens == [10, 11, 12, 13, 14, 15]
    assert [d["keep"] for d in decisions] == [True] * 6 + [False] * 6
    assert sum(d["rows"] for d in by_domain(kept, tokens).values()) == 6
    with pytest.raises(ValueError, match="same id"):
        join([examples, examples], lambda rows: [1] * len(rows), 15)


def test_by_domain():
    rows = [{"domain": "qa"}, {"domain": "qa"}, {"domain": "maths"}]
    assert by_domain(rows, [1, 3, 7]) == {
        "maths": {"rows": 1, "mean_tokens": 7.0, "max_tokens": 7}, "qa": {"rows": 2, "mean_tokens": 2.0, "max_tokens": 3},
    }  # fmt: skip
