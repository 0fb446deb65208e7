"""What the tests send to other machines; nodes import it by name."""

import os
import time
from pathlib import Path

from tasks.execution import ExecutionError, unique


def waits(folder: Path, number: int) -> Path:
    """A file with the square of `number`, written when somebody has said go; each try leaves a note of where it ran."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    (folder / f"tried-{number}-{node}-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.02)
    made = folder / f"{number}.txt"
    temporary = unique(made)
    temporary.write_text(str(number**2))
    return temporary.rename(made)


def settings(names: list[str]) -> list[str | None]:
    return [os.environ.get(name) for name in names]


def fails(number: int) -> int:
    if number == 2:
        raise ExecutionError(f"row {number} is bad")
    return number


class Odd(Exception):
    """Cannot be made anew from its words alone."""

    def __init__(self, number: int, words: str):
        super().__init__(f"{number} {words}")


def raises(how: str) -> None:
    raise {
        "path": OSError(28, "No space left on device", "/full/file"),
        "key": KeyError("gold"),
        "odd": Odd(7, "is odd"),
    }[how]


def dies(number: int) -> int:
    os._exit(1)
