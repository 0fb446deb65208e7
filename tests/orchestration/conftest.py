"""One real Prefect server for all tests that need one: tests/conftest.py keeps their files on one worker."""

import pytest

from tests.orchestration.prefect_server import Door, Server
from tests.toy.project import until

running = pytest.StashKey[Server]()


@pytest.fixture(scope="session")
def the_server(tmp_path_factory, request):
    server = request.config.stash[running] = Server(tmp_path_factory.mktemp("prefect"))
    try:
        until(server.up, 300, "the Prefect server")  # 13 CPU-s: minutes where many share a core
        yield server
    finally:
        server.kill()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """The server ends with this folder: idle it takes a CPU-second every half minute, and there are minutes to come."""
    if running in item.config.stash and (nextitem is None or nextitem.path.parent != item.path.parent):
        item.config.stash[running].kill()


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
