"""What takes too long for CI and is run by `make faults`."""

import os

import pytest

all_of_it = pytest.mark.skipif(os.environ.get("R1_FAULTS") != "all", reason="takes minutes: `make faults` runs it")
