import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tasks.verification import verify as verify_module
from tasks.verification import workers
from tasks.verification.verdict import Verdict
from tasks.verification.verify import (
    DOMAINS,
    Effort,
    VerificationError,
    gold_problems,
    verifier_version,
    verify,
    verify_all,
    verify_stream,
)

ROOT = Path(__file__).resolve().parents[2]
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
    assert verify(MATHS, "<answer>\\frac{94}{2}</answer>").status == "ok"


def test_a_verdict_carries_its_evidence():
    verdict = verify(MATHS, "<answer>48</answer>")
    row = verdict.row("c", "p")
    assert row["extracted"] == "48" and row["gold"] == "47" and row["method"] == "maths/fast"
    assert row["verifier"] == verifier_version("maths") and len(row["verifier"]) == 16


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
    with pytest.raises(VerificationError, match="'writing'"):
        verify_all([MATHS, MATHS | {"domain": "writing"}], ["x", "y"])
    with pytest.raises(VerificationError, match="p1.*no gold"):
        verify(MATHS | {"gold": None}, "x")
    with pytest.raises(VerificationError, match="p1"):
        verify(MATHS | {"domain": "logic"}, "<answer>1</answer>")


def test_verification_works_off_the_main_thread():
    out = []
    thread = threading.Thread(target=lambda: out.append(verify(MATHS, "<answer>94/2</answer>")))
    thread.start()
    thread.join()
    assert out[0].status == "ok"


def test_verify_all_keeps_order_and_asks_each_pair_once():
    texts = ["<answer>194/4</answer>", "<answer>1</answer>", "no", "<answer>194/4</answer>", "<answer>46/2</answer>"]
    seen, effort = [], Effort()
    verdicts = verify_all([MATHS] * 5, texts, progress=lambda n, of: seen.append((n, of)), processes=2, effort=effort)
    assert [v.status for v in verdicts] == ["wrong", "wrong", "unparsable", "wrong", "wrong"]
    assert effort.asked == 2 and len(effort.slowest) == 2
    assert seen[-1] == (5, 5)
    assert verdicts == [verify(MATHS, t) for t in texts]
    again = Effort()
    assert verify_all([MATHS] * 5, texts, processes=2, effort=again) == verdicts and again.asked == 0


def test_a_bad_row_costs_only_itself():
    prompts = [MATHS, MATHS | {"id": "p9", "gold": None}, MATHS, MATHS]
    verdicts = verify_all(prompts, ["<answer>47</answer>", "<answer>47</answer>", None, "<answer>47</answer>"])
    assert [v.status for v in verdicts] == ["ok", "infra", "unparsable", "ok"]
    assert "p9" in verdicts[1].detail and "null" in verdicts[2].detail


def test_an_exception_in_a_domains_start_is_infra(monkeypatch):
    def start(prompt, text):
        raise IndexError("odd")

    monkeypatch.setattr("tasks.verification.maths.start", start)
    (verdict,) = verify_all([MATHS], ["<answer>47</answer>"])
    assert (verdict.status, verdict.method, verdict.detail) == ("infra", "verifier", "IndexError: odd")


def test_a_budget_that_is_spent_names_the_item_that_took_it(monkeypatch, caplog):
    monkeypatch.setitem(DOMAINS, "slow", "tests.verification.slow")
    prompts = [{"id": f"p{i}", "domain": "slow", "gold": None} for i in range(6)]
    texts = ["0.01", "0.02", "30", "0.03", "0.04", "0.05"]
    effort = Effort()
    verify(prompts[0], "0")  # the worker is up
    start = time.monotonic()
    verdicts = verify_all(prompts, texts, processes=1, budget=4.0, effort=effort)
    assert time.monotonic() - start < 25
    assert [v.status for v in verdicts] == ["ok", "ok", "infra", "infra", "infra", "infra"]
    assert "budget of 4 s" in verdicts[2].detail and "prompt p2, answer '30' (still running)" in verdicts[2].detail
    assert effort.unreached == 4 and "p2" in effort.slowest[0][1]
    assert "4 rows were not reached" in caplog.text and "p2" in caplog.text
    workers.pool(1).crew[-1].close()  # the sleeper


def test_a_forked_child_does_not_wait_for_the_parents_jobs(monkeypatch):
    monkeypatch.setitem(DOMAINS, "slow", "tests.verification.slow")
    prompt = {"id": "p", "domain": "slow", "gold": None}
    stream = verify_stream([(prompt, "1.0"), (prompt, "0.9")], processes=1)
    thread = threading.Thread(target=lambda: list(stream))
    thread.start()
    while not verify_module._memo or not any(f.running() for f in verify_module._memo.values()):
        time.sleep(0.01)
    if (child := os.fork()) == 0:
        code = 1
        try:
            code = 0 if verify(prompt, "1.0").ok else 2
            workers.nursery().close()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()


def test_many_threads_may_verify_at_once():
    golds = [str(i) for i in range(40)]
    out = {}

    def run(n):
        prompts = [MATHS | {"gold": gold} for gold in golds]
        out[n] = [
            v.status for v in verify_all(prompts, [f"<answer>{2 * int(g)}/2.0</answer>" for g in golds], processes=2)
        ]

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert out == {n: ["ok"] * 40 for n in range(4)}


def test_a_stream_reads_rows_only_as_it_needs_them_and_lets_ready_verdicts_through():
    read = []

    def rows():
        for i in range(1000):
            read.append(i)
            yield (MATHS, f"<answer>{i}</answer>") if i % 2 else Verdict("infra", None, None, "input", f"line {i}", "")

    stream = verify_stream(rows(), window=10)
    first = [next(stream) for _ in range(20)]
    assert len(read) <= 31
    assert [v.detail for v in first[::2]] == [f"line {i}" for i in range(0, 20, 2)]
    stream.close()


def test_each_domain_has_a_hash_of_its_own(monkeypatch, tmp_path):
    files = {f.name for f in verify_module._files(ROOT / "tasks/verification/maths.py")}
    assert {
        "maths.py",
        "answers.py",
        "equivalence.py",
        "verdict.py",
        "verify.py",
        "workers.py",
        "worker_process.py",
    } <= files
    assert not {"logic.py", "choices.py", "quantities.py", "judge.py", "endpoint.py"} & files
    assert verifier_version("maths") != verifier_version("logic")
    assert verify(MATHS, "<answer>47</answer>").verifier == verifier_version("maths")
    monkeypatch.setattr(verify_module, "_version", lambda name: "0.0")  # another version of a library
    changed = verifier_version.__wrapped__("maths")
    assert changed != verifier_version("maths") and changed == verifier_version.__wrapped__("maths")


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
    code = "import sys; from tasks.verification.verify import DOMAINS, module_of\n"
    code += "[module_of(d) for d in DOMAINS]\n"
    code += "heavy = 'sympy math_verify reasoning_gym torch pyarrow numpy nltk langdetect httpx'.split()\n"
    code += "print([m for m in heavy if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_a_stream_waits_for_futures_among_its_rows_and_keeps_the_order():
    from concurrent.futures import Future

    first, never = Future(), Future()
    threading.Timer(0.2, first.set_result, [Verdict("ok", "b", "b", "judge", "", "")]).start()
    row = {"id": "p", "domain": "maths", "text": "", "gold": "2", "meta": None}
    out = list(verify_stream([first, (row, "<answer>2</answer>")]))
    assert [v.method for v in out] == ["judge", "maths/fast"]
    effort = Effort()
    out = list(verify_stream([never, (row, "<answer>2</answer>")], budget=0.2, effort=effort))
    assert [v.status for v in out] == ["infra", "ok"] and effort.unreached == 1 and "budget" in out[0].detail


def test_a_row_of_odd_types_says_which_and_an_object_is_welcome_as_meta():
    meta = {"options": {"A": "one", "B": "two"}}
    row = {"id": "p7", "domain": "choice", "text": "", "gold": "B"}
    assert verify(row | {"meta": meta}, "<answer>B</answer>").ok
    for change, named in [({"gold": 5}, "gold is a int"), ({"gold": ["B"]}, "gold is a list"), ({"meta": [1]}, "meta is a list")]:
        (verdict,) = verify_all([row | {"meta": meta} | change], ["<answer>B</answer>"])
        assert verdict.status == "infra" and named in verdict.detail and "p7" in verdict.detail
        assert named in gold_problems([row | {"meta": meta} | change])[0]
