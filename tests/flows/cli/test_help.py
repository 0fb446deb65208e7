"""`r1 --help` lists every command, and loads no library of any of them."""

import subprocess
import sys

from flows.cli.app import COMMANDS

CODE = """
import sys
sys.argv = ["r1", "--help"]
from flows.cli.main import main
try:
    main()
finally:
    heavy = {"pydantic", "pyarrow", "numpy", "yaml", "duckdb", "prefect", "dvc", "torch", "jinja2"}
    print(sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""


def test_help_is_quick_because_it_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert all(command in done.stdout for command in COMMANDS)
