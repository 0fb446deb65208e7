"""Cold start: every response that was looked at is kept once or rejected with a reason, whatever its route."""

import pytest

from tasks.curation import cold_start
from tasks.curation.annotation import Annotation
from tasks.curation.collection import Collection
from tasks.prompts.running_sums import respond
from tasks.prompts.split import held_out
from tasks.provenance.artifacts import read_rows
from tasks.sampling.engine import TransformersSettings, open_engine
from tasks.verification.verify import verify


def collection(samples=2):
    return Collection(verify, "bare", True, samples, 1.0, 24, seed=5)


def human(row, prompt, response, verdict="edit"):
    edited = response if verdict == "edit" else None
    return Annotation(row, prompt["id"], prompt["text"], prompt["gold"], "draft", edited, verdict, "Ada")


def test_sampled_routes_account_for_every_response(checkpoint, prompts, tmp_path):
    c = collection()
    engine = open_engine(TransformersSettings(), checkpoint)
    c.few_shot(engine, 3, prompts[:6], examples=prompts[12:])
    c.direct(engine, 3, prompts[6:9])
    c.r1_zero(engine, 3, prompts[9:12])
    for route, count in (("few_shot", 12), ("direct", 6), ("r1_zero", 6)):
        told = c.routes[route]
        assert told["asked"] == count == told["kept"] + sum(told["rejected"].values())
    assert {d["row_id"] for d in c.decisions} == {r["id"] for r in c.candidates}


def test_human_rows_pass_the_same_screen(prompts, tmp_path):
    train = [p for p in prompts if not held_out(p["text"])]
    good, second, wrong = train[:3]
    outside = next(p for p in prompts if held_out(p["text"]))
    c = collection()
    c.human(
        [
            human("a", good, good["solution"]),
            human("b", good, good["solution"]),  # the same prompt twice
            human("c", wrong, respond("First A-1=1.", 999)),
            human("d", second, None, "reject"),
            human("e", outside, outside["solution"]),
            human("f", train[3], train[3]["solution"]),  # not in the bank of this run
        ],
        10,
        prompts[:3],
    )
    rejected = {"accepted": 1, "correct": 1, "one_per_prompt": 1, "train_prompt": 1}
    assert c.routes["human"] == {"asked": 6, "kept": 2, "rejected": rejected}
    c.write(tmp_path)
    row, own = read_rows_unsealed(tmp_path)
    assert row["response"] == good["solution"] and row["origin"] == "annotation/Ada/a"
    assert own["prompt"] == train[3]["text"] and own["prompt_id"] == train[3]["id"]


def read_rows_unsealed(folder):
    from tasks.provenance.artifacts import write_manifest

    write_manifest(folder)
    return read_rows(folder, "examples")


def test_nothing_kept_is_an_error_with_the_routes(tmp_path):
    with pytest.raises(ValueError, match="no cold-start row passed"):
        collection().write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_screen_wants_a_summary_in_the_users_language():
    zh = "<think> First A-1=33. </think> 结果是 33。 <answer>33</answer>"
    bare = "<think> First A-1=33. </think><answer>33</answer>"
    for text, summary in ((zh, 0.0), (bare, 0.0), (respond("First A-1=33.", 33), 1.0)):
        assert cold_start.values(text, "en", "stop", True)["summary"] == summary


def test_refiner_gives_the_readable_pattern_and_leaves_broken_text_alone():
    refined = cold_start.refine("<think> 首先 A-1=33. </think><answer>33</answer>", True)
    assert refined == respond("First A-1=33.", 33)
    assert cold_start.refine("首先 A-1=33.", False) == "首先 A-1=33."
    assert cold_start.refine("<think> 首先 A-1=33.", True) == "<think> First A-1=33."


def test_few_shot_shows_a_solved_problem_first():
    text = cold_start.few_shot("bare", {"text": "Q1", "solution": "S1"}, "Q2")
    assert text == "User: Q1\nAssistant: S1\nUser: Q2\nAssistant: "


def test_routes_take_different_prompts():
    prompts = [{"id": str(i)} for i in range(100)]
    plan = cold_start.take(prompts, {"few_shot": 0.5, "r1_zero": 0.4, "human": 0.1}, rows=10, asked=4)
    assert {r: (n, len(p)) for r, (n, p) in plan.items()} == {"few_shot": (5, 20), "r1_zero": (4, 16), "human": (1, 0)}
    ids = [p["id"] for _, part in plan.values() for p in part]
    assert len(ids) == len(set(ids))


def test_a_control_has_the_generators_solutions_and_counts_prompts_without_one(prompts):
    from tasks.curation.examples import example, with_generator_solutions

    unsolved = {**prompts[1], "solution": None}
    rows = [
        example(prompts[0], "teacher's", "c0"),
        example(unsolved, "teacher's", "c1"),
        example(prompts[2], "own", None),
    ]
    control, left_out = with_generator_solutions(rows, [prompts[0], unsolved, prompts[2]])
    assert [r["response"] for r in control] == [prompts[0]["solution"], "own"] and left_out == 1
