"""The keeper of the UI: who may end it, and what a lock that is only looked at does to who wants it."""

import fcntl
import subprocess
import sys
import threading
import time

import pytest

from flows.orchestration import guard, serve
from flows.orchestration.params import ParamsError


def _look(path) -> threading.Thread:
    """Somebody looks whether a lock is held, and so holds it for an instant."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = open(path, "ab")
    fcntl.flock(held, fcntl.LOCK_SH)
    timer = threading.Timer(0.2, held.close)
    timer.start()
    return timer


def test_who_looks_at_a_lock_keeps_nobody_from_it(tmp_path):
    lock = tmp_path / "work/locks/base.lock"
    _look(lock)
    guard.hold(tmp_path, "base").close()
    keeper = tmp_path / ".prefect/keeper.lock"
    looking = _look(keeper)
    assert serve.running(tmp_path) is None, "two who look do not see each other"
    assert looking.is_alive()
    serve._lock(keeper, patience=1.0).close()


def test_a_ui_that_was_up_and_is_slow_is_not_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(serve, "PATIENCE", 0.3)
    home = tmp_path / ".prefect"
    keeper = _look_for_long(home)
    at_work = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={serve.OWNED: str(home)})
    try:
        with pytest.raises(ParamsError, match="did not come up"):
            serve.start(serve.Window(tmp_path, 4200))
        time.sleep(0.1)
        assert at_work.poll() is None
    finally:
        at_work.kill()
        at_work.wait()
        keeper.close()


def _look_for_long(home):
    home.mkdir()
    held = open(home / "keeper.lock", "ab")
    fcntl.flock(held, fcntl.LOCK_EX)
    return held
