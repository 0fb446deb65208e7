"""Real programs with real tests: each set's solutions pass, and what is planted fails."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import code_agreement
from tasks.verification.code import domain, jail
from tasks.verification.code.repair import mutants, repair_prompt

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))
ROWS = {"humaneval": (0, 32, 38), "mbpp": (3, 125, 532), "mbpp_plus": (70, 385), "leetcode": (1, 7, 300),
        "code_contests": (0, 2), "codeforces": (0, 1)}  # fmt: skip
pytestmark = [
    pytest.mark.skipif(shutil.which("bwrap") is None, reason=f"bubblewrap is not installed: {jail.INSTALL}"),
    pytest.mark.skipif(not (SHARED / "mbpp").is_dir(), reason=f"real inputs are not at {SHARED} (set R1_SHARED_DATA)"),
]


@pytest.fixture(scope="module")
def rows():
    return code_agreement.read(SHARED)


def verdicts(jobs: list[tuple[dict, str]]) -> list[tuple[str, str, str]]:
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(lambda job: domain.work({"meta": job[0], "program": job[1]}), jobs))


@pytest.mark.parametrize("name", ROWS)
def test_solutions_pass_and_planted_programs_fail(name, rows):
    wanted, jobs = [], []
    for i in ROWS[name]:
        meta, programs = code_agreement.programs(name, rows[name][i])
        for label, (program, status) in programs.items():
            wanted.append((i, label, status))
            jobs.append((meta, program))
    found = verdicts(jobs)
    assert sum(status == "ok" for _, _, status in wanted) == len(ROWS[name])
    assert [(*w, f) for w, f in zip(wanted, found) if f[0] != w[2]] == []


def test_a_canonical_solution_that_its_own_test_refutes_is_wrong(rows):
    """MBPP+ 164 and 295 as published: plain Python refuses them too."""
    for i in (94, 160):
        meta, solution = code_agreement.task_of("mbpp_plus", rows["mbpp_plus"][i])
        namespace = {}
        with pytest.raises(AssertionError):
            exec(meta["prelude"] + solution + meta["tests"]["code"], namespace)
        assert verdicts([(meta, solution)])[0][0] == "wrong"


def test_graded_submissions(rows):
    jobs = code_agreement.livecodebench_jobs(rows["livecodebench"])
    passed = [j for j in jobs if j[2] == "ok"][:6]
    failed = [j for j in jobs if j[1] == "failed: wrong answer"][:6]
    found = verdicts([(meta, program) for _, _, _, meta, program in passed + failed])
    assert [f[0] for f in found] == ["ok"] * 6 + ["wrong"] * 6


def test_bug_fixing_prompts(rows):
    meta, solution = code_agreement.task_of("humaneval", rows["humaneval"][1])
    prompt = {"id": "p", "domain": "code", "text": "Group the parentheses.", "gold": None, "meta": json.dumps(meta)}
    made = repair_prompt(prompt, solution, seed=3)
    assert made == repair_prompt(prompt, solution, seed=3)
    shown = json.loads(made["meta"])["broken"]
    assert shown in made["text"] and shown in list(mutants(solution, 3))
    replies = [domain.start(made, f"<think>hm</think>\n```python\n{text}\n```") for text in (solution, shown)]
    assert [domain.work(job)[0] for _, _, job in replies] == ["ok", "wrong"]
    problem, job = domain.gold_problem(made)
    assert problem is None and domain.work(job) == {"problem": None}
    swapped = json.loads(made["meta"]) | {"broken": solution}
    assert "meta.broken is ok" in domain.work({"meta": swapped})["problem"]
