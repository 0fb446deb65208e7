import pytest

from tests.provenance.audit import made_books


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A small checkout's artifacts and metrics, whose books hold; not to be changed."""
    root = tmp_path_factory.mktemp("books") / "checkout"
    made_books.build(root)
    return root


@pytest.fixture()
def checkout(template, tmp_path):
    """A copy to tamper with."""
    return made_books.copy(template, tmp_path / "checkout")
