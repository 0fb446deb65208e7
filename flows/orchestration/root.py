"""The root of the checkout, and what is wrong with a file of it; imports nothing, for commands that must be quick."""

import os
from pathlib import Path


class ParamsError(Exception):
    """What is wrong with params.yaml, a recipe or dvc.yaml; the message is meant for whoever edits the file."""


def find_root() -> Path:
    """Root of the checkout: the nearest folder upwards that holds dvc.yaml; outside of a stage DVC_ROOT, if given.

    In a stage of `dvc exp run --temp` DVC_ROOT is the checkout that asked for the experiment, whose outputs are not to
    be touched; the stage runs in a copy.
    """
    if (root := os.environ.get("DVC_ROOT")) and "DVC_STAGE" not in os.environ:
        return Path(root)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise ParamsError(
        f"{here} is not inside a checkout of r1flow: no dvc.yaml here or above. `cd` into the repository."
    )
