import json
import subprocess
import sys
import threading

import pytest

from tasks.verification import verify as verify_module
from tasks.verification import workers
from tasks.verification.maths import decided
from tasks.verification.verify import VerificationError, gold_problems, verifier_version, verify, verify_all

MATHS = {"id": "p1", "domain": "maths", "gold": "47", "meta": None}


def logic_prompt(task: str = "chain_sum", **config) -> dict:
    import reasoning_gym

    entry = reasoning_gym.create_dataset(task, seed=1, size=1, **config)[0]
    meta = json.dumps({"gym": task, "entry": entry})
    return {"id": "p2", "domain": "logic", "gold": entry["answer"], "meta": meta}


def test_statuses_of_maths():
    assert verify(MATHS, "<think> a </think> <answer>47</answer>").status == "ok"
    assert verify(MATHS, "<think> a </think> <answer>48</answer>").status == "wrong"
    assert verify(MATHS, "47").status == "unparsable"
    assert verify(MATHS, "<answer>\\frac{94}{2}</answer>").method == "maths/math-verify"


def test_a_verdict_carries_its_evidence():
    verdict = verify(MATHS, "<answer>48</answer>")
    row = verdict.row("c", "p")
    assert row["extracted"] == "48" and row["gold"] == "47" and row["method"] == "maths/fast"
    assert row["verifier"] == verifier_version() and len(verifier_version()) == 16


def test_logic_uses_reasoning_gyms_scorer():
    prompt = logic_prompt("countdown")
    gold = prompt["gold"]
    assert verify(prompt, f"<answer>{gold}</answer>").method == "logic/exact"
    other = f"({gold})"  # another way to write the same expression: only the scorer can tell
    assert verify(prompt, f"<answer>{other}</answer>").status == "ok"
    assert verify(prompt, "<answer>1 + 1</answer>").status == "wrong"


def test_domains_without_a_verifier_are_an_error():
    with pytest.raises(VerificationError, match="'writing'.*maths, logic"):
        verify(MATHS | {"domain": "writing"}, "x")
    with pytest.raises(VerificationError, match="p1.*no gold"):
        verify(MATHS | {"gold": None}, "x")
    with pytest.raises(VerificationError, match="reasoning-gym entry"):
        verify(MATHS | {"domain": "logic"}, "<answer>1</answer>")


def test_a_fired_limit_is_a_timeout_and_the_next_job_goes_on():
    worker = workers.Worker(cpu_seconds=0.5)
    reply = worker.ask({"kind": "maths", "gold": "3", "answer": "9^{9^{9^{9}}}"})
    assert decided(reply)[0] == "timeout" and "0.5 s" in decided(reply)[2]
    assert decided(worker.ask({"kind": "maths", "gold": "1/2", "answer": "0.5"}))[0] == "ok"
    worker.close()


def test_a_crashed_worker_is_infra_and_is_replaced():
    worker = workers.Worker()
    assert decided(worker.ask({"kind": "maths", "gold": "1/2", "answer": "0.5"}))[0] == "ok"
    worker.process.kill()
    worker.process.wait()
    status, _, detail = decided(worker.ask({"kind": "maths", "gold": "1/2", "answer": "0.5"}))
    assert status == "infra" and "exit code -9" in detail
    assert decided(worker.ask({"kind": "maths", "gold": "1/2", "answer": "0.5"}))[0] == "ok"
    worker.close()


def test_verification_works_off_the_main_thread():
    out = []
    thread = threading.Thread(target=lambda: out.append(verify(MATHS, "<answer>94/2</answer>")))
    thread.start()
    thread.join()
    assert out[0].status == "ok"


def test_verify_all_keeps_order_and_asks_each_pair_once(monkeypatch):
    asked, real = [], workers.ask_all

    def spy(jobs, *rest):
        asked.extend(jobs)
        return real(jobs, *rest)

    monkeypatch.setattr(verify_module.workers, "ask_all", spy)
    texts = ["<answer>94/2</answer>", "<answer>1</answer>", "no", "<answer>94/2</answer>", "<answer>46/2</answer>"]
    seen = []
    verdicts = verify_all([MATHS] * 5, texts, progress=lambda n, of: seen.append((n, of)), processes=2)
    assert [v.status for v in verdicts] == ["ok", "wrong", "unparsable", "ok", "wrong"]
    assert len(asked) == 2
    assert seen[0] == (2, 5) and seen[-1] == (5, 5)
    assert verdicts == [verify(MATHS, t) for t in texts]


def test_golds_are_checked_by_their_verifier():
    logic = logic_prompt("countdown")
    rows = [
        MATHS,
        MATHS | {"gold": "\\frac{1}{2}"},
        MATHS | {"gold": ""},
        MATHS | {"gold": None},
        MATHS | {"gold": "\\frac{1}{"},
        MATHS | {"gold": "\\text{Tuesday}"},
        logic,
        logic | {"gold": "1 + 1"},
        {"domain": "writing", "gold": None, "meta": None},
    ]
    problems = gold_problems(rows)
    assert [p is None for p in problems] == [True, True, False, False, False, True, True, False, True]


def test_importing_the_verifier_loads_no_heavy_library():
    code = "import sys, tasks.verification.verify\n"
    code += "print([m for m in ('sympy', 'math_verify', 'reasoning_gym', 'torch') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
