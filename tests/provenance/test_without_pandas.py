"""Writing and reading rows does not import pandas, and leaves pyarrow as able to as it was."""

import subprocess
import sys

PROGRAM = """
import sys
from pathlib import Path
from tasks.provenance.artifacts import read_rows, write_manifest, write_rows
import pyarrow as pa
folder = Path(sys.argv[1])
write_rows(folder, "numbers", [{"x": 1}, {"x": None}], pa.schema([("x", pa.int64())]))
write_manifest(folder)
assert read_rows(folder, "numbers") == [{"x": 1}, {"x": None}]
assert "pandas" not in sys.modules
frame = pa.table({"x": [1, 2]}).to_pandas()
assert list(frame["x"]) == [1, 2] and pa.array(frame["x"]).to_pylist() == [1, 2]
assert pa.array(frame["x"].astype("category")).type.num_fields == 0 and "pandas" in sys.modules
"""


def test_rows_need_no_pandas_and_pandas_still_works(tmp_path):
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
