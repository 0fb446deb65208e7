import json
import os
import re
from pathlib import Path

import pytest

from tasks.verification import logic, logic_puzzles
from tasks.verification.verdict import VerificationError
from tasks.verification.verify import gold_problems, verify, verify_all

SHARED = Path(os.environ.get("R1_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
PEOPLE = ["Amelia", "Penelope", "Evelyn"]
TRUTH = "(1) Amelia is a knight\n(2) Penelope is a knight\n(3) Evelyn is a knave"
SOLUTION = {"header": ["House", "Name", "Pet"], "rows": [["1", "Eric", "cat"], ["2", "Bob", "guinea pig"]]}


def knights(**more) -> dict:
    meta = json.dumps({"puzzle": "knights-and-knaves", "people": PEOPLE})
    return {"id": "k", "domain": "logic", "gold": TRUTH, "meta": meta} | more


def zebra(**more) -> dict:
    meta = json.dumps({"puzzle": "zebra", "solution": SOLUTION})
    return {"id": "z", "domain": "logic", "gold": json.dumps(SOLUTION), "meta": meta} | more


def gym(task: str, **config) -> dict:
    import reasoning_gym

    entry = json.loads(json.dumps(reasoning_gym.create_dataset(task, seed=1, size=1, **config)[0], default=str))
    return {"id": task, "domain": "logic", "gold": entry["answer"], "meta": json.dumps({"gym": task, "entry": entry})}


def decided(prompt: dict, answer: str) -> tuple[str, str, str]:
    return logic.start(prompt, f"<answer>{answer}</answer>")[1]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (TRUTH, "ok"),
        ("Amelia is a knight, Penelope is a knight, and Evelyn is a knave.", "ok"),
        ("Amelia and Penelope are knights, Evelyn is a KNAVE", "ok"),
        ("Knights: Amelia, Penelope; Knaves: Evelyn", "ok"),
        ("The knights are Penelope and Amelia.\nThe knave is Evelyn.", "ok"),
        ('{"Evelyn": "knave", "Amelia": "knight", "Penelope": "knight"}', "ok"),
        ("Evelyn isn't a knight; Amelia and Penelope are not knaves", "ok"),
        ("Amelia: knight. Penelope: knight. Evelyn: knight.", "wrong"),
        ("Amelia is a knight, Penelope is a knight", "wrong"),
        ("Knights: Amelia, Penelope, Evelyn\nKnaves: none", "wrong"),
        ("Amelia is a knight. Amelia is a knave. Penelope is a knight, Evelyn is a knave", "unparsable"),
        ("Amelia is a knight or a knave, Penelope is a knight, Evelyn is a knave", "unparsable"),
        ("If Amelia is a knight then Penelope is a knight, Evelyn is a knave", "unparsable"),
        ("Knight Amelia, Penelope is a knight, Evelyn is a knave", "unparsable"),
        ("Amelia is a knight, Penelope is a knight, Bob is a knight, Evelyn is a knave", "unparsable"),
        ("two knights and a knave", "unparsable"),
        ("Amelia, Penelope, Evelyn", "unparsable"),
    ],
)
def test_knights_and_knaves(answer, status):
    assert decided(knights(), answer)[0] == status


def test_names_within_names_and_other_roles():
    meta = {"puzzle": "knights-and-knaves", "people": ["Ann", "Ann Marie", "Jo"], "roles": ["saint", "sinner"]}
    prompt = knights(gold="Ann is a saint, Ann Marie is a sinner, Jo is a sinner", meta=json.dumps(meta))
    assert logic.gold_problem(prompt) == (None, None)
    assert decided(prompt, "Ann Marie and Jo are sinners, Ann is a saint")[0] == "ok"
    assert decided(prompt, "Joanna is a saint")[0] == "unparsable"
    assert decided(prompt, "Ann is a saint, Ann Marie is a saint, Jo is a sinner")[2].startswith("2 of 3 people")


ROWS = [dict(zip(SOLUTION["header"], row)) for row in SOLUTION["rows"]]
TABLE = "| House | Name | Pet |\n|---|---|---|\n| 1 | Eric | Cat |\n| 2 | bob | guinea pig |"
HOUSES = {"House 1": {"Name": "Eric", "Pet": "cat"}, "House 2": {"Name": "Bob", "Pet": "guinea_pig"}}


@pytest.mark.parametrize(
    ("answer", "status", "cells"),
    [
        (json.dumps(SOLUTION), "ok", "4 of 4"),
        (json.dumps(HOUSES), "ok", "4 of 4"),
        (json.dumps({"reasoning": "…", "solution": HOUSES}), "ok", "4 of 4"),
        (json.dumps(ROWS), "ok", "4 of 4"),
        (f"```json\n{json.dumps(HOUSES, indent=1)}\n```", "ok", "4 of 4"),
        (TABLE, "ok", "4 of 4"),
        (TABLE.replace("Cat", "dog"), "wrong", "3 of 4"),
        (json.dumps({"House 1": HOUSES["House 1"]}), "wrong", "2 of 4"),
        (json.dumps(HOUSES | {"House 3": {"Name": "Ann", "Pet": "dog"}}), "wrong", "4 of 4"),
        (json.dumps({"1": {"Name": "Eric or Bob", "Pet": "cat"}, "2": HOUSES["House 2"]}), "wrong", "3 of 4"),
        (json.dumps(HOUSES)[:-1] + ', "House 1": {"Name": "Bob", "Pet": "cat"}}', "unparsable", "twice"),
        (json.dumps({"1": HOUSES["House 1"], "House 1": HOUSES["House 2"]}), "unparsable", "twice"),
        (json.dumps({"House 1": {"Name": ["Eric", "Bob"]}}), "unparsable", "no single value"),
        ("Eric lives in house 1", "unparsable", "neither JSON nor a table"),
        ("{" * 900, "unparsable", "no JSON"),
        ("[[[]]]", "unparsable", "without its house"),
    ],
)
def test_zebra(answer, status, cells):
    got, _, detail = decided(zebra(), answer)
    assert got == status and cells in detail


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        (knights(gold=None), "no gold"),
        (knights(gold="Amelia is a knight"), "nothing is said about Penelope"),
        (knights(gold="it is Evelyn"), "no person with a role"),
        (knights(meta=json.dumps({"puzzle": "knights-and-knaves"})), "meta.people"),
        (knights(meta=json.dumps({"puzzle": "knights-and-knaves", "people": ["A", "a"]})), "twice"),
        (knights(meta=json.dumps({"puzzle": "sudoku"})), "'sudoku'"),
        (knights(meta=None), "neither a reasoning-gym entry nor"),
        (knights(meta="{"), "no JSON"),
        (zebra(meta=json.dumps({"puzzle": "zebra"})), "meta.solution"),
        (zebra(gold=json.dumps(HOUSES).replace("cat", "dog")), "gold and meta.solution differ"),
        (zebra(meta=json.dumps({"gym": "countdown", "entry": "x"})), "reasoning-gym entry"),
    ],
)
def test_bad_rows_are_named(prompt, named):
    problem, job = logic.gold_problem(prompt)
    assert named in problem and job is None
    with pytest.raises(VerificationError):
        logic.start(prompt, "<answer>x</answer>")


def test_reasoning_gyms_scorers_judge_and_their_partial_credit_is_wrong():
    countdown, spell = gym("countdown"), gym("knights_knaves", n_people=3)
    assert gold_problems([countdown, spell]) == [None, None]
    half = re.sub(r"knight\b|knave\b|\w+(?=\.?$)", "hero", spell["gold"], count=1)
    answers = [f"({countdown['gold']})", "1 + 1", half]
    verdicts = verify_all([countdown, countdown, spell], [f"<answer>{a}</answer>" for a in answers])
    assert [v.status for v in verdicts] == ["ok", "wrong", "wrong"]
    assert verify(countdown, f"<answer>{countdown['gold']}</answer>").method == "logic/exact"


def test_a_task_without_a_gold_is_judged_by_its_scorer():
    prompt = gym("graph_color")
    assert prompt["gold"] is None and logic.gold_problem(prompt) == (None, None)
    puzzle = json.loads(prompt["meta"])["entry"]["metadata"]["puzzle"]
    same = json.dumps({str(v): puzzle["color_options"][0] for v in puzzle["vertices"]})
    assert [logic.work(logic.start(prompt, f"<answer>{a}</answer>")[2])[0] for a in (same, "red")] == ["wrong", "wrong"]
    from reasoning_gym.algorithmic.graph_color import greedy_graph_coloring

    right = json.dumps(greedy_graph_coloring(puzzle))
    assert logic.work(logic.start(prompt, f"<answer>{right}</answer>")[2])[0] == "ok"


def test_the_evaluating_scorers_of_reasoning_gym_are_all_known():
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    names = {cls.__module__: name for name, (cls, _) in DATASETS.items()}
    found = set()
    for module, name in names.items():
        path = Path(reasoning_gym.__file__).parents[1] / (module.replace(".", "/") + ".py")
        scorer = path.read_text().partition("def score_answer")[2].partition("\nclass ")[0]
        if re.search(r"(?<!\w)(?:eval|exec|parse_expr|sympify)\((?!entry\[)", scorer):
            found.add(name)
    assert found == set(logic.EVALUATED)


@pytest.mark.parametrize("task", logic.EVALUATED)
@pytest.mark.parametrize(
    "attack",
    [
        "__import__('os')._exit(0)",
        "entry['answer']",
        "exec(chr(112))",
        "open('x', 'w')",
        "[c for c in entry]",
        "().__class__.__mro__",
        "x.func",
        "globals()",
        "print(1)",
        "lambda: 0",
        "self._matrix_to_str",
    ],
)
def test_no_code_reaches_a_scorer_that_evaluates(task, attack):
    prompt = {"id": task, "domain": "logic", "gold": "1"}
    prompt["meta"] = json.dumps({"gym": task, "entry": {"question": "", "answer": "1"}})
    _, decision, job = logic.start(prompt, f"<answer>{attack}</answer>")
    assert job is None and decision[:2] == ("unparsable", "logic/refused")


@pytest.mark.parametrize("task", logic.EVALUATED)
def test_real_golds_pass_the_gate(task):
    prompt = gym(task)
    assert logic.gold_problem(prompt)[0] is None
    assert logic.work(logic.gold_problem(prompt)[1])[0] == "ok"


ERRATA = [
    ("puzzle24", {"metadata": {"numbers": [8, 3, 1, 1]}}, ["8 * 3 * 1 / 1", "8 * 3 + 1 - 1"], ["4 * 6 * 1 * 1"]),
    ("puzzle24", {"metadata": {"numbers": [7, 7, 2, 2]}}, [], ["7 * 7 / 2 + 2 - 2"]),
    (
        "number_sorting",
        {"answer": "['1', '2', '3.5']", "metadata": {"direction": "ascending"}},
        ["[1, 2, 3.5]", "['1', '2.0', '3.5']"],
        ["[1.9, 2, 3.5]"],
    ),
    ("word_sorting", {"metadata": {"sorted_words": ["a", "b"]}}, ["a, b", "a,b"], ["a, b, a"]),
    ("game_of_life_halting", {"answer": "False"}, ["false", "False."], ["True", "0", "anything"]),
    ("coin_flip", {"answer": "0.234375"}, ["15/64", "0.2344", ".234375"], ["0", "0.23", "0.2"]),
    ("complex_arithmetic", {"metadata": {"result": [1.0, 2.0]}}, ["1.0 + 2.0i"], ["nan", "nan+1j"]),
    ("gsm_symbolic", {"answer": "1200"}, ["1200", "$1200 in all", "1200.0"], ["-1200", "1200 or 574"]),
    ("gsm_symbolic", {"answer": "20"}, ["20", "20 apples"], ["-20", "20,574", "20 junk 21"]),
    (
        "advanced_geometry",
        {"answer": "(1.0, 2.0)", "metadata": {"task_type": "orthocenter", "ortho": ["1", "2"]}},
        ["(1.0, 2.0)", "(1, 2)"],
        ["(1.0, 2.0), (3, 4)"],
    ),
]


@pytest.mark.parametrize(("task", "entry", "right", "wrong"), ERRATA, ids=[case[0] for case in ERRATA])
def test_what_reasoning_gyms_scorers_let_pass_is_looked_at_again(task, entry, right, wrong):
    job = {"task": task, "entry": {"question": "", "answer": right[0] if right else "", "metadata": {}} | entry}
    assert [logic.work(job | {"answer": answer})[0] for answer in right + wrong] == ["ok"] * len(right) + [
        "wrong"
    ] * len(wrong)


def test_grids_survive_json():
    prompt = gym("arc_agi")  # rearc shares the code, and takes seconds to generate
    assert logic.work(logic.gold_problem(prompt)[1])[0] == "ok"


def test_a_scorer_that_cannot_read_an_answer_blames_the_answer_and_one_that_fails_on_its_gold_is_ours(monkeypatch):
    def scorer(answer, entry):
        return 1.0 if answer == "right" else 1.0 / len(answer.partition("n")[2]) - 1

    monkeypatch.setattr(logic, "_scorer", lambda task: scorer)
    job = {"task": "t", "entry": {"answer": "right"}, "answer": "x"}
    assert logic.work(job)[0] == "unparsable"
    with pytest.raises(ZeroDivisionError):
        logic.work(job | {"entry": {"answer": "x"}})
    with pytest.raises(ZeroDivisionError):
        logic.work(job | {"entry": {"answer": None}})


def test_the_control_of_a_task_without_a_gold_is_no_answer():
    boxnet = gym("boxnet")
    assert [logic.work(logic.start(boxnet, f"<answer>{a}</answer>")[2])[0] for a in ("null", "0")] == ["unparsable"] * 2


@pytest.mark.skipif(not (SHARED / "kk-logic").is_dir(), reason=f"real inputs are not at {SHARED} (set R1_SHARED_DATA)")
def test_real_knights_and_knaves():
    import pyarrow.parquet as pq

    rows = pq.read_table(SHARED / "kk-logic/6ppl/test.parquet").to_pylist()
    for row in rows:
        meta = json.dumps({"puzzle": "knights-and-knaves", "people": row["names"]})
        prompt = {"id": "k", "domain": "logic", "gold": row["solution_text_format"], "meta": meta}
        assert logic.gold_problem(prompt) == (None, None)
        assert decided(prompt, row["solution_text"])[0] == "ok"
        name, truth = row["names"][0], row["solution"][0]
        lie = row["solution_text"].replace(
            f"{name} is a {'knight' if truth else 'knave'}", f"{name} is a {'knave' if truth else 'knight'}"
        )
        assert decided(prompt, lie)[0] == "wrong"
    assert len(rows) == 100


@pytest.mark.skipif(
    not (SHARED / "zebra-logic").is_dir(), reason=f"real inputs are not at {SHARED} (set R1_SHARED_DATA)"
)
def test_real_zebra_golds_are_read():
    rows = json.loads((SHARED / "zebra-logic/train/puzzle/zebra_logic.json").read_text())
    for row in rows:
        truth = logic_puzzles.grid(json.dumps(row["solution"]))
        houses, attributes = map(int, row["size"].split("*"))
        assert len(truth) == houses * attributes
    assert len(rows) == 800


def test_a_long_list_of_moves_is_an_answer():
    prompt = gym("tower_of_hanoi", min_disks=7, max_disks=7)
    assert len(prompt["gold"]) > 2000
    assert verify(prompt, f"<answer>{prompt['gold']}</answer>").status == "ok"
    endless = "Move disk 1 from Peg 1 to Peg 2\n" * 300
    assert verify(prompt, f"<answer>{endless}</answer>").status == "unparsable"


@pytest.mark.parametrize("task", ["fraction_simplification", "knights_knaves", "letter_jumble", "quantum_lock", "sokoban"])
def test_a_gold_with_more_behind_it_is_no_answer(task):
    """Their scorers read past what follows a right answer."""
    import reasoning_gym

    entry = json.loads(json.dumps(dict(reasoning_gym.create_dataset(task, size=1, seed=5)[0])))
    gold = entry["answer"]
    prompt = {"id": "p", "domain": "logic", "gold": gold, "meta": json.dumps({"gym": task, "entry": entry})}
    junk = [f"{gold} or 987654321", f"{gold}\n987654321", f"{gold} or 987654321 or whatever you like"]
    verdicts = verify_all([prompt] * 5, [f"<answer>{a}</answer>" for a in (gold, f" {gold}.", *junk)])
    assert verdicts[0].ok and not any(v.ok for v in verdicts[2:]), [v.status for v in verdicts]
    assert verdicts[1].method != "logic/second-opinion", "a full stop is no further answer"
