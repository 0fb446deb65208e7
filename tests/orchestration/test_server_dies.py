"""The server goes away at the start and at the end of a run: the work is done, the status is right, nothing waits."""

import time

import pytest

from tests.toy.project import until

MOMENTS = {
    "start": lambda toy, server: server.ask("flow_runs"),  # the pipeline's run is known, no stage's is
    "end": lambda toy, server: toy.has("metrics/numbers.json"),  # published, and not yet told
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_server_that_dies_at_the_start_or_the_end_loses_nothing(toy, server, door, moment):
    run = toy.start(*toy.r1_command("run", "numbers"), **door.env)
    until(lambda: MOMENTS[moment](toy, server), 120, moment)
    door.shut()
    shut = time.monotonic()
    said, _ = run.communicate(timeout=180)
    assert run.returncode == 0 and "1 Completed in" in said and "going on without it" in said
    assert time.monotonic() - shut < 90, "no waiting for a server that is gone"
    assert "All 1 stages are up to date" in toy.r1("run", "numbers", **door.env)
