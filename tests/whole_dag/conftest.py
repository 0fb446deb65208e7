"""The built checkout, for every test of this folder."""

from tests.whole_dag.checkout import built  # noqa: F401
