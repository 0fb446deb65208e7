"""What numba has compiled of a checkout, for a copy of it: else every copy compiles for half a minute."""

import shutil
from pathlib import Path


def copy_compiled(root: Path, folder: Path) -> None:
    """Valid where the copied sources have the times of the originals (shutil.copy2)."""
    for path in root.glob("tasks/**/__pycache__/*.nb[ic]"):
        there = folder / path.relative_to(root)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, there)
