"""What Python and numba have compiled of a checkout, for a copy of it: else every copy compiles for half a minute."""

import shutil
from pathlib import Path


def copy_compiled(root: Path, folder: Path) -> None:
    """Valid where the copied sources have the times of the originals (shutil.copy2)."""
    compiled = (p for folder in ("flows", "tasks") for p in root.glob(f"{folder}/**/__pycache__/*"))
    for path in (p for p in compiled if p.suffix in (".pyc", ".nbc", ".nbi")):
        there = folder / path.relative_to(root)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, there)
