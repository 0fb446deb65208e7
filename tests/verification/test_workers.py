"""Workers under jobs that hang, eat memory, crash, print: each costs its own limit, and the next job goes on."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tasks.verification import workers
from tasks.verification.verify import decided

ROOT = Path(__file__).resolve().parents[2]
UNRULY = "tests.verification.unruly"
LIMITS = workers.Limits(cpu_seconds=0.4, wall_seconds=10, memory=1 << 30, jobs=500)


@pytest.fixture()
def worker():
    worker = workers.Worker(LIMITS)
    yield worker
    worker.close()


def ask(worker, do: str, **job):
    return decided(worker.ask(UNRULY, {"do": do, **job}))


@pytest.mark.parametrize("do", ["burn", "burn_in_c", "regex"])
def test_cpu_limit_holds_also_inside_c_code(worker, do):
    assert ask(worker, do) == ("timeout", "worker", "stopped at 0.4 s of CPU time")
    assert ask(worker, "fine")[0] == "ok"


def test_wall_limit_stops_a_job_that_sleeps():
    worker = workers.Worker(workers.Limits(wall_seconds=0.3))
    start = time.monotonic()
    assert ask(worker, "sleep", seconds=60)[2] == "stopped at 0.3 s of wall time"
    assert time.monotonic() - start < 40
    assert ask(worker, "fine")[0] == "ok"
    worker.close()


@pytest.mark.parametrize("do", ["allocate", "hoard"])
def test_memory_limit(worker, do):
    assert ask(worker, do) == ("timeout", "worker", "stopped at memory")
    assert ask(worker, "fine")[0] == "ok"


def test_recursion_and_crashes_of_the_interpreter_are_limits(worker):
    assert ask(worker, "recurse")[2] == "stopped at recursion depth"
    assert ask(worker, "segfault") == ("timeout", "worker", "stopped at a crash of the interpreter (SIGSEGV)")
    assert ask(worker, "fine")[0] == "ok"


@pytest.mark.parametrize(
    "do, why",
    [
        ("end", "ended twice, with exit code 0"),
        ("unspeakable", "the reply is no JSON"),
        ("fail", "RuntimeError: odd input"),
    ],
)
def test_failures_of_ours_are_infra(worker, do, why):
    status, _, detail = ask(worker, do)
    assert status == "infra" and why in detail
    assert ask(worker, "fine")[0] == "ok"


def test_a_library_that_prints_does_not_disturb_the_protocol(worker):
    assert ask(worker, "shout", say="heard") == ("ok", "unruly", "heard")


def test_a_worker_killed_from_outside_is_replaced_without_a_lost_job(worker):
    first = int(ask(worker, "pid")[2])
    os.kill(first, signal.SIGKILL)
    second = int(ask(worker, "pid")[2])
    assert second != first


def test_a_nursery_killed_from_outside_is_replaced_without_a_lost_job(worker):
    first = int(ask(worker, "pid")[2])
    process = workers.nursery().process
    process.kill()
    process.wait()
    assert int(ask(worker, "pid")[2]) != first


def test_workers_are_recycled():
    worker = workers.Worker(workers.Limits(jobs=3))
    pids = [ask(worker, "pid")[2] for _ in range(7)]
    assert [pids.count(p) for p in dict.fromkeys(pids)] == [3, 3, 1]
    worker.close()


def test_text_that_is_no_utf_8_and_megabytes_go_through(worker):
    for say in ["\ud800\0\u2028\n", "x" * 5_000_000]:
        assert ask(worker, "fine", say=say)[2] == say


def test_no_gmpy2_though_one_is_installed(tmp_path):
    (tmp_path / "gmpy2.py").write_text("def version():\n    return '2.2.1'\n")
    code = "import sys; from tasks.verification import workers\n"
    code += "print(workers.Worker().ask('tests.verification.unruly', {'do': 'backends'}).get('reply'))"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}, check=True
    )
    assert done.stdout.strip() == "['ok', 'unruly', 'python python None']"


def test_limits_hold_off_the_main_thread_and_spare_the_other_workers():
    pool = workers.Pool(2, workers.Limits(cpu_seconds=1.5, tries=()))
    out = []

    def run():
        hanging = pool.submit(UNRULY, {"do": "burn"})
        rest = [pool.submit(UNRULY, {"do": "fine", "say": str(i)}) for i in range(50)]
        out.append([f.result()["reply"][2] for f in rest])
        out.append(hanging.done())
        out.append(decided(hanging.result())[0])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert out == [[str(i) for i in range(50)], False, "timeout"], "the others waited for the one that hangs"
    pool.close()


def test_a_job_that_takes_long_waits_for_those_that_do_not():
    pool = workers.Pool(1, workers.Limits(cpu_seconds=0.8, tries=(0.2,)))
    order = []
    jobs = [{"do": "burn"}, {"do": "burn", "n": 2}, *({"do": "fine", "say": str(i)} for i in range(20))]
    futures = [pool.submit(UNRULY, job) for job in jobs]
    for i, future in enumerate(futures):
        future.add_done_callback(lambda _, i=i: order.append(i))
    replies = [f.result() for f in futures]
    assert order == [*range(2, 22), 0, 1]
    assert [decided(r) for r in replies[:2]] == [("timeout", "worker", "stopped at 0.8 s of CPU time")] * 2
    assert replies[0]["seconds"] > 0.95, "both tries count"
    pool.close()


def test_jobs_that_come_later_do_not_wait_for_one_that_hangs():
    pool = workers.Pool(1, workers.Limits(cpu_seconds=3.0, tries=(0.02, 0.05)))
    hanging = pool.submit(UNRULY, {"do": "burn"})
    nice = int(pool.submit(UNRULY, {"do": "niceness"}).result()["reply"][2])
    time.sleep(0.5)  # it is in the last lane by now
    for i in range(20):
        assert pool.submit(UNRULY, {"do": "fine", "say": str(i)}).result()["reply"][2] == str(i)
    assert not hanging.done(), "the others waited for it"
    assert decided(hanging.result()) == ("timeout", "worker", "stopped at 3 s of CPU time")
    assert nice == os.nice(0), "only a job that takes long gives way"
    pool.close()


def test_a_job_that_needs_more_than_the_first_tries_is_decided_in_the_last():
    pool = workers.Pool(1, workers.Limits(cpu_seconds=5.0, tries=(0.01, 0.03)))
    reply = pool.submit(UNRULY, {"do": "niceness", "after": 0.1}).result()
    assert int(reply["reply"][2]) == min(19, os.nice(0) + workers.NICENESS)
    pool.close()


def test_a_domain_may_give_its_jobs_a_longer_first_try(monkeypatch):
    from tests.verification import unruly

    monkeypatch.setattr(unruly, "FIRST_SECONDS", 0.3, raising=False)
    pool = workers.Pool(1, workers.Limits(cpu_seconds=1.0, tries=(0.01, 0.05)))
    reply = pool.submit(UNRULY, {"do": "niceness", "after": 0.1}).result()
    assert int(reply["reply"][2]) == os.nice(0), "it was decided in the first lane"
    assert decided(pool.submit(UNRULY, {"do": "burn"}).result())[2] == "stopped at 1 s of CPU time"
    pool.close()


def test_two_workers_work_at_the_same_time():
    pool = workers.Pool(2)
    nap = {"do": "sleep", "seconds": 1.0}
    [f.result() for f in [pool.submit(UNRULY, nap) for _ in range(2)]]  # both are up
    start = time.monotonic()
    [f.result() for f in [pool.submit(UNRULY, nap) for _ in range(4)]]
    assert time.monotonic() - start < 3.7, "four naps of 1 s on two workers"
    pool.close()


def test_closing_a_pool_ends_running_jobs_and_cancels_waiting_ones():
    pool = workers.Pool(1)
    futures = [pool.submit(UNRULY, {"do": "sleep", "seconds": 90}) for _ in range(3)]
    while not futures[0].running():
        time.sleep(0.01)
    time.sleep(0.2)
    start = time.monotonic()
    pool.close()
    assert time.monotonic() - start < 30
    assert "closed" in futures[0].result()["error"] and all(f.cancelled() for f in futures[1:])


def test_a_parent_killed_leaves_nobody_behind():
    code = "import time; from tasks.verification import workers\n"
    code += "w = workers.Worker(); print(w.ask('tests.verification.unruly', {'do': 'pid'})['reply'][2], "
    code += "workers.nursery().process.pid, flush=True)\n"
    code += "w.ask('tests.verification.unruly', {'do': 'sleep', 'seconds': 60})"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    pids = [int(p) for p in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(map(_alive, pids)):
        time.sleep(0.05)
    assert not any(map(_alive, pids))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_forked_child_has_workers_of_its_own():
    pool = workers.pool(1)
    mine = pool.submit(UNRULY, {"do": "pid"}).result()["reply"][2]
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        code = 1
        try:
            theirs = workers.pool(1).submit(UNRULY, {"do": "pid"}).result(60)["reply"][2]
            os.write(writer, theirs.encode())
            workers.nursery().close()
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reader, 100).decode() not in ("", mine)
    os.close(reader)
    assert pool.submit(UNRULY, {"do": "pid"}).result()["reply"][2] == mine, "the parent's worker goes on"
