"""One real Prefect server for all tests that need one: tests/conftest.py keeps their files on one worker."""

import pytest

from tests.orchestration.prefect_server import Door, Server
from tests.toy.project import until


@pytest.fixture(scope="package")  # idle it takes a CPU-second every half minute, and there are minutes to come
def the_server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("prefect"))
    try:
        until(server.up, 300, "the Prefect server")  # 13 CPU-s: minutes where many share a core
        yield server
    finally:
        server.kill()


@pytest.fixture
def server(the_server):
    """`.env` for who shall report to it; `.ask(…)` and `.logs(…)` know what this test did. Shared: do not kill it."""
    the_server.forget()
    return the_server


@pytest.fixture
def door(server):
    """A way to the shared server that a test may shut (`door.shut()`): `door.env` instead of `server.env`."""
    door = Door(server)
    yield door
    door.shut()
