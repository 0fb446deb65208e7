"""The recipe, one file per artifact. Importing this package also puts `python -m flows.<stage>` into the right Python,
and has it come up faster.

`.venv/bin/dvc repro` without activating the environment leaves PATH alone, so that the `python` of a stage's command
is whichever comes first. One outside any virtual environment hands over to the checkout's own `.venv`.
"""

import gc
import os
import sys
from pathlib import Path


def _hand_over() -> None:
    if sys.argv[:1] != ["-m"] or sys.prefix != sys.base_prefix or "R1_HANDED_OVER" in os.environ:
        return  # imported from a notebook or a test, or already inside an environment
    for folder in Path(__file__).resolve().parents:  # `dvc exp run --temp` works in a folder below the checkout
        python = folder / ".venv" / "bin" / "python"
        if python.exists():
            os.environ["R1_HANDED_OVER"] = str(python)
            os.execv(python, [str(python), *sys.orig_argv[1:]])


_hand_over()
if "".join(sys.argv[:1]).endswith(("-m", "/r1")):
    # Python looks for garbage cycles every 700 new objects, of which `import torch, transformers, trl` makes millions and
    # drops none: a fifth of the seconds that a training stage needs to come up. Still far more often than trainers do
    # that look for it themselves, every so many steps.
    gc.set_threshold(50_000)
