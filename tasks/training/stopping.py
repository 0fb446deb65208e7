"""SIGTERM and Ctrl-C while a model is trained: the step it is in ends, its state is saved, then the process ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)
FILE = "R1_TRAINING_STOP"  # variable with the file by which a launched process is told of a signal


class Stopped(SystemExit):
    """Training was asked to stop and its state is saved; the message says where. Ends a process with status 1."""


@contextmanager
def requests() -> Iterator[list[str]]:
    """Names of the signals that came in while the block lasts; a second Ctrl-C interrupts at once.

    Only the main thread of a process can listen; elsewhere the list stays empty and signals do what they did.
    """
    came: list[str] = []

    def hear(number: int, frame) -> None:
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = {number: signal.signal(number, hear) for number in SIGNALS}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
