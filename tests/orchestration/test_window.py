"""Standard output of a stage as lines of its log: every line, from every thread, and nothing that somebody captures."""

import contextlib
import dis
import io
import sys
import threading

from flows.orchestration.progress import Progress
from flows.orchestration.window import Lines, progress


def test_lines_of_every_thread_and_nothing_captured():
    said = []
    with contextlib.redirect_stdout(Lines(said.append, sys.stdout)):
        print("one\ntwo")
        print("half", end="")
        print(" a line", flush=True)
        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start()
        thread.join()
        with contextlib.redirect_stdout(io.StringIO()) as caught:
            dis.dis(lambda: 1)  # as dill does, to learn what a function refers to
        print("", "   ", sep="\n")
    assert said == ["one", "two", "half a line", "from a thread"] and "RETURN_VALUE" in caught.getvalue()


def test_the_bar_never_passes_the_end():
    told = Progress("base")
    told(110, 100, "tokens", "loss 1.2")
    shown = progress(told.latest)
    assert (shown.type, shown.data) == ("progress", 100.0)
    assert shown.description.startswith("110/100 tokens · loss 1.2 · after ")
