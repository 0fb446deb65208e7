"""The stage `verdicts` with a judge behind a real HTTP endpoint: its exam, its verdicts, its failures, its cache."""

import pytest

from flows.judge import EXAM
from tasks.prompts.judgements import pairs
from tasks.provenance.artifacts import read_rows, write_manifest, write_rows
from tasks.rows import VERDICT
from tests.flows.test_data_flows import candidates, checkout, configure, run  # noqa: F401  (fixtures)
from tests.verification.served_judge import Server


@pytest.fixture()
def server():
    with Server() as server:
        yield server


@pytest.fixture()
def judge(checkout, candidates):  # noqa: F811
    """The judge's folder, whose checkpoint is random: it is not asked."""
    folder = checkout / "data/04_judge"
    write_rows(folder, "exam", [vars(e) | {"judge": "ok"} for e in pairs(7, 20)], EXAM)
    write_manifest(folder)
    return folder


def served(root, server, **changes):
    endpoint = {"url": server.url, "model": "m", "backoff": 0.01, "attempts": 2, "timeout": 5}
    configure(root, verdicts={"judge_share": 0.5, "min_judge_accuracy": 0.8, "endpoint": endpoint} | changes)


def test_a_served_judge_passes_its_exam_and_decides(checkout, candidates, judge, server):  # noqa: F811
    served(checkout, server)
    metrics = run(checkout, "verdicts")
    verdicts = read_rows(checkout / "data/10_verdicts", "verdicts", VERDICT)
    agreed = read_rows(checkout / "data/10_verdicts", "agreement")
    assert (metrics["judge"], metrics["judge_model"]) == ("asked", "m")
    assert (metrics["exam_held_out"], metrics["exam_accuracy"], metrics["exam_infra"]) == (20, 1.0, 0)
    assert metrics["judge_candidates"] == len(agreed) == sum(v["method"] == "judge" for v in verdicts) > 0
    assert metrics["agreement"] == 1.0 and {a["judge"] for a in agreed} == {"ok", "wrong"}
    assert {v["detail"] for v in verdicts if v["method"] == "judge"} == {"compared"}, "the judge's reason is kept"
    bodies = [str(body["messages"]) for body in server.asked]
    assert len(bodies) == len(set(bodies)), "a repeated question is put to it once"

    before = len(server.asked)
    served(checkout, server, max_infra_share=0.04)  # another run of the stage, and not one paid question
    assert run(checkout, "verdicts")["agreement"] == 1.0 and len(server.asked) == before


def test_a_served_judge_that_fails_its_exam_decides_nothing(checkout, candidates, judge, server):  # noqa: F811
    server.verdict = "Reason: no\nVerdict: incorrect"
    served(checkout, server, endpoint={"url": server.url, "model": "nay-sayer", "backoff": 0.01})
    metrics = run(checkout, "verdicts")
    assert metrics["judge_candidates"] == 0 and metrics["exam_accuracy"] < 0.8
    assert "on held-out pairs is below 0.8" in metrics["judge"] and len(server.asked) == 20


def test_a_judge_that_gives_no_verdicts_stops_the_stage(checkout, candidates, judge, server):  # noqa: F811
    served(checkout, server)
    run(checkout, "verdicts")
    kept = (checkout / "data/10_verdicts/verdicts.parquet").read_bytes()
    server.verdict = "It depends."
    served(checkout, server, endpoint={"url": server.url, "model": "vague", "backoff": 0.01})
    said = run(checkout, "verdicts", fails=True)
    assert "vague" in said and "in its exam, gave no verdict on 20 of 20 answers" in said and "holds no verdict" in said
    assert "Traceback" not in said and (checkout / "data/10_verdicts/verdicts.parquet").read_bytes() == kept
