"""Canaries: silent with rewards that hold, singing with rewards that can be cheated, and the stage then stops."""

import json
import os
from pathlib import Path

import pytest

from tasks.rewards import canaries, canary_prompts, code_canaries
from tasks.rewards.composition import compose
from tasks.rewards.preference import preference
from tasks.rewards.registry import Rewards

SHARED = Path(os.environ.get("R1_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
RECIPE = {"accuracy": 1.0, "format": 0.1, "language": 0.2}
BUILT_IN = [
    row
    for row in canary_prompts.PROMPTS
    if row["domain"] != "code" and row["gold"] is not None or row["domain"] == "instructions"
]
CHEATS = {
    "wrong-answer", "empty", "empty-answer", "prefix-only", "prefix-answer", "trailing-junk", "trailing-words", "both-answers",
    "either-answer", "answer-inside-think", "box-inside-think", "copied-prompt", "copied-prompt-tagged", "unclosed-think",
}  # fmt: skip
ILL_FORMED = {
    "empty", "prefix-only", "both-answers", "answer-inside-think", "box-inside-think", "copied-prompt", "unclosed-think",
}  # fmt: skip
CODE_CHEATS = {
    "empty", "empty-summary", "empty-program", "prefix-only", "trailing-junk", "eq-object", "exit-zero", "exit-at-import",
    "system-exit", "frame-walking", "patched-builtins", "both-answers", "answer-inside-think", "copied-prompt",
    "copied-prompt-fenced", "unclosed-think",
}  # fmt: skip


def composed(rewards=None, models=False):
    more = {"preference": (preference(None, None), 1.0)} if models else None
    return compose(Rewards.model_validate(rewards or RECIPE), more)


def sung(rewards, rows, template="bare"):
    return {f.canary.name for f in canaries.check(composed(rewards), rows, template) if f.sings}


def general():
    from tasks.prompts.general import items

    return [
        {
            "id": f"g{i}",
            "domain": x.domain,
            "text": x.text,
            "gold": None,
            "solution": x.response,
            "language": x.language,
            "meta": None,
        }
        for i, x in enumerate(items())
    ]


def test_the_running_sums_of_the_recipe_are_safe(prompts):
    counts = canaries.require(composed(), prompts, "bare")
    assert counts["prompts"] == counts["gold"] == 3 and 3 * 13 <= counts["cheats"] <= 3 * 14
    assert {c.name for row in prompts for c in canaries.canaries_of(row)} == CHEATS | {"gold"}


@pytest.mark.parametrize("row", BUILT_IN, ids=lambda row: row["id"])
def test_a_prompt_of_each_kind_is_safe(row):
    findings = canaries.check(composed(), [row], "bare")
    assert [canaries.tell(f) for f in findings if f.sings] == []
    assert sum(f.canary.gold for f in findings) == 1 and len(findings) >= 4


@pytest.mark.parametrize("row", code_canaries.PROMPTS, ids=lambda row: row["id"])
def test_code_is_safe_from_attacks_on_whoever_runs_it(row):
    findings = canaries.check(composed(), [row], "bare")
    assert [canaries.tell(f) for f in findings if f.sings] == []
    assert {f.canary.name for f in findings} == CODE_CHEATS | {"gold"}


@pytest.mark.parametrize(
    ("rewards", "names"),
    [
        ({"format": 1.0}, CHEATS - ILL_FORMED),
        ({"language": 1.0}, CHEATS - {"empty", "copied-prompt", "unclosed-think"}),
        ({"accuracy": 0.1, "tag_count": {"weight": 1.0, "only_with": ["format"]}, "format": 0.0}, set()),
        ({"accuracy": {"wrong": -1}, "length": 0.5, "overlong": 1.0, "repetition": 1.0}, set()),
        ({"cosine": 1.0}, set()),
        ({"accuracy": 1.0, "length": {"limit": 1, "over": 1}}, {"gold", "empty"}),  # blames the right answer for its length
    ],
)  # fmt: skip
def test_which_rewards_can_be_cheated(rewards, names, prompts):
    long = next(p for p in prompts if len(p["gold"]) > 1)
    assert sung(rewards, [long]) == names


def test_a_verifier_that_lets_a_copy_of_the_prompt_pass_is_found():
    for text in ("30 + 42", "72"):  # the question, evaluated, is the answer
        assert sung(RECIPE, [BUILT_IN[0] | {"text": text, "gold": "72"}]) == {"copied-prompt-tagged"}


def test_a_stage_refuses_to_train_and_names_reward_canary_prompt_and_score(prompts):
    with pytest.raises(canaries.CanaryError) as refused:
        canaries.require(composed({"format": 1.0}), prompts, "bare")
    said = str(refused.value)
    first = min(p["id"] for p in prompts)
    for part in ("canaries sing", "wrong-answer", "in sum 1, full marks are 1", "(format 1)", first, "r1 canary"):
        assert part in said, part


def contains(prompts, completions, *, gold, **columns):
    """An accuracy reward as it is often written: the gold stands somewhere in the response."""
    return [float(g in text) for g, text in zip(gold, completions)]


def first_box(prompts, completions, *, gold, **columns):
    """Another one: whatever is tagged first is the answer, wherever it stands."""
    return [
        float(text.partition("<answer>")[2].partition("<")[0].strip().startswith(g))
        for g, text in zip(gold, completions)
    ]


@pytest.mark.parametrize(
    ("lax", "names"),
    [
        (
            contains,
            CHEATS
            - {
                "wrong-answer",
                "prefix-answer",
                "empty",
                "empty-answer",
                "prefix-only",
                "copied-prompt",
                "copied-prompt-tagged",
            },
        ),
        (
            first_box,
            {
                "trailing-junk",
                "trailing-words",
                "both-answers",
                "either-answer",
                "answer-inside-think",
                "unclosed-think",
            },
        ),
    ],
)
def test_lax_graders_are_found_out(lax, names, prompts):
    row = next(p for p in prompts if len(p["gold"]) > 1 and p["gold"] not in p["text"])
    rewards = compose(Rewards(format=0.1), {"accuracy": (lax, 1.0)})
    assert {f.canary.name for f in canaries.check(rewards, [row], "bare") if f.sings} == names
    with pytest.raises(canaries.CanaryError, match="accuracy gives 1, full marks"):
        canaries.require(rewards, [row], "bare")


def test_logic_without_a_gold_is_still_held_to_its_scorer():
    row = {"id": "x", "domain": "logic", "text": "t", "gold": None, "language": "en", "meta": None}
    assert {c.name for c in canaries.canaries_of(row)} == {
        "wrong-answer",
        "empty",
        "empty-answer",
        "copied-prompt",
        "copied-prompt-tagged",
    }


@pytest.mark.skipif(not (SHARED / "math500").is_dir(), reason=f"real inputs are not at {SHARED} (set R1_SHARED_DATA)")
def test_real_prompts_are_safe_and_their_golds_earn_full_marks():
    import pyarrow.parquet as pq

    rows = []
    for i, line in enumerate((SHARED / "math500/test.jsonl").read_text().splitlines()[:8]):
        row = json.loads(line)
        rows.append(
            {"id": f"math500-{i}", "domain": "maths", "text": row["problem"], "gold": row["answer"], "meta": None}
        )
    for i, row in enumerate(pq.read_table(SHARED / "kk-logic/3ppl/test.parquet").to_pylist()[:8]):
        meta = json.dumps({"puzzle": "knights-and-knaves", "people": row["names"]})
        rows.append(
            {"id": f"kk-{i}", "domain": "logic", "text": row["quiz"], "gold": row["solution_text"], "meta": meta}
        )
    findings = canaries.check(composed(), [row | {"language": "en"} for row in rows], "bare")
    assert [canaries.tell(f) for f in findings if f.sings] == []
    assert len(findings) >= 14 * 16 and sum(f.canary.gold for f in findings) == 16


def test_a_gold_without_verdict_sings():
    row = BUILT_IN[0] | {"domain": "logic", "meta": "{}"}
    findings = canaries.check(composed(), [row], "bare")
    assert all(
        f.sings.startswith("no verdict") for f in findings if f.canary.name in ("gold", "wrong-answer", "both-answers")
    )


def test_general_prompts_are_held_to_their_form_where_a_model_has_a_part_in_the_sum():
    rows = general()
    assert canaries.require(composed(models=True), rows, "bare") == {"prompts": 18, "gold": 18, "cheats": 54}
    # Without that model a thought and no answer would pay more than a short answer: language is worth more than form.
    assert sung(RECIPE, rows) == {"empty-summary"}
    assert sung({"accuracy": 1.0, "format": 1.0, "language": {"weight": 0.2, "only_with": ["format"]}}, rows) == set()


def test_a_stage_of_preference_alone_has_no_canaries(prompts):
    only_model = compose(Rewards.model_construct(), {"preference": (preference(None, None), 1.0)})
    assert canaries.require(only_model, prompts, "bare") == {"prompts": 0, "gold": 0, "cheats": 0}


def test_the_first_prompts_of_each_domain_are_looked_at(prompts):
    rows = [*general(), *reversed(prompts)]
    chosen = canaries.choose(rows, 2)
    domains = [row["domain"] for row in chosen]
    assert domains == sorted(domains) and all(domains.count(d) == 2 for d in domains) and len(set(domains)) == 7
    assert chosen == canaries.choose(list(reversed(rows)), 2)


def test_prefilled_templates_get_completions_without_the_tag(prompts, monkeypatch):
    from tasks.prompts.templates import TEMPLATES

    monkeypatch.setitem(TEMPLATES, "prefilled", "User: {question}\nAssistant: <think>\n")
    assert canaries.require(composed(), prompts, "prefilled")["gold"] == 3


@pytest.mark.parametrize("language", canaries.THOUGHTS)
def test_gold_is_full_marks_in_every_language_that_has_a_thought(language):
    assert sung(RECIPE, [BUILT_IN[0] | {"language": language}]) == set()


def test_a_language_without_a_thought_is_not_asked_for():
    assert sung(RECIPE, [BUILT_IN[0] | {"language": "ka"}]) == set()


def test_code_attacks_take_the_shape_of_the_task():
    def row(tests):
        return {
            "id": "x",
            "domain": "code",
            "text": "t",
            "gold": None,
            "solution": None,
            "meta": json.dumps({"tests": tests}),
        }

    first, gives = code_canaries.ATTACKS["exit-zero"]
    stdio = code_canaries.program(row({"kind": "stdio", "cases": []}), first, gives)
    call = code_canaries.program(row({"kind": "call", "entry": "f"}), first, gives)
    method = code_canaries.program(row({"kind": "call", "entry": "Solution().f"}), first, gives)
    assert "print(os._exit(0))" in stdio
    assert "def f(*args, **kwargs):\n    return os._exit(0)" in call
    assert "class Solution:\n    def f(self, *args" in method
    for code in (stdio, call, method):
        compile(code, "attack", "exec")
    for attack in code_canaries.ATTACKS.values():
        compile(code_canaries.program(row({"kind": "call", "entry": "f"}), *attack), "attack", "exec")
    names = set(code_canaries.responses(row({"kind": "stdio", "cases": []}), "a"))
    assert "gold" not in names and "os-exit" not in names and set(code_canaries.ATTACKS) <= names


def test_a_stage_with_code_prompts_looks_at_the_built_in_ones_too():
    own = code_canaries.PROMPTS[1] | {"id": "own", "solution": None}
    counts = canaries.require(composed(), [own], "bare")
    assert counts["prompts"] == 3 and counts["gold"] == 2
    broken = own | {
        "meta": json.dumps({"language": "python", "tests": {"kind": "call", "entry": "double_all", "cases": []}})
    }
    with pytest.raises(canaries.CanaryError, match="no verdict"):  # without tests nothing can be decided
        canaries.require(composed(), [broken], "bare")


def test_cpp_prompts_get_no_python():
    row = code_canaries.PROMPTS[0] | {
        "meta": json.dumps({"language": "cpp", "tests": {"kind": "stdio", "cases": []}}),
        "solution": "int main() {}",
    }
    pairs = code_canaries.responses(row, "a")
    assert not set(code_canaries.ATTACKS) & set(pairs) and "```cpp\nint main() {}\n```" in pairs["gold"]
