"""Freezes one process at an exact moment of its work, so that a test can kill it, or what started it, right there.

Python imports this file by itself where its folder is on PYTHONPATH. R1_FREEZE is `<who>:<stage>:<moment>`, who being
`stage` or `dvc`; when that process comes to that moment, it writes its id into the file R1_FROZEN and does nothing any
more. The moments are read off Python's audit events (PEP 578): nothing of the program under test is replaced.
"""

import os
import sys
import time

WHO, STAGE, MOMENT = os.environ.get("R1_FREEZE", "::").split(":")
CALLS = 3000  # Python calls after dvc.lock was opened: in the middle of writing it
_places: list[str] = []  # what the stage has begun to publish
_frozen = False


def _is_it() -> bool:
    argv = sys.orig_argv
    if WHO == "stage":
        name, _, item = STAGE.partition("@")
        return [*argv, ""][1:4] == ["-m", f"flows.{name}", item]
    dvc = os.path.basename(argv[1]) == "dvc" or argv[1:3] == ["-m", "flows.orchestration.guard"] if argv[1:] else False
    return WHO == "dvc" and dvc and STAGE in argv and "DVC_STAGE" not in os.environ


def _freeze() -> None:
    global _frozen
    _frozen = True
    sys.setprofile(None)
    with open(os.environ["R1_FROZEN"], "x") as file:
        file.write(str(os.getpid()))
    while True:
        time.sleep(60)


def _frame(function: str, file: str):
    frame = sys._getframe()
    while frame and not (frame.f_code.co_name == function and file in frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def _second_place() -> bool:
    """Whether one thing is published and the next is about to be."""
    if (frame := _frame("_swap", "publish.py")) and (place := str(frame.f_locals["place"])) not in _places:
        _places.append(place)
    return len(_places) == 2


def _thaw_in_the_middle(frame, event, arg) -> None:
    global CALLS
    CALLS -= event == "call"
    if CALLS <= 0:
        _freeze()


def _come(event: str, path: str) -> bool:
    own = f"/work/{STAGE}/" in path
    match MOMENT:
        case "start":
            return event == "os.mkdir" and own
        case "body":
            return own and _frame("body", "/flows/") is not None
        case "seal":
            return path.endswith("manifest.json") and _frame("seal", "publish.py") is not None
        case "link":
            return event == "os.link" and _frame("publish", "publish.py") is not None
        case "between":
            return _frame("publish", "publish.py") is not None and _second_place()
        case "exchanged":
            return (
                path.endswith("/sealed.json") and event == "os.remove" and _frame("publish", "publish.py") is not None
            )
        case "cleaning":
            return event == "shutil.rmtree" and path.endswith(f"/work/{STAGE}")
        case "cache":
            return event in ("os.rename", "os.link") and "/.dvc/cache/files/" in path
        case "lock":
            if path.endswith("/dvc.lock") and event == "os.rename":
                return True  # written beside it, about to take its place
            if path.endswith("/dvc.lock"):
                sys.setprofile(_thaw_in_the_middle)  # written in place, by DVC itself
    return False


def _watch(event: str, args: tuple) -> None:
    if _frozen:
        return
    if event == "open":
        if not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
            return
    elif event not in ("os.mkdir", "os.rename", "os.link", "os.remove", "shutil.rmtree"):
        return
    path = args[1] if event in ("os.rename", "os.link") else args[0]
    if isinstance(path, (str, bytes, os.PathLike)) and _come(event, os.path.abspath(os.fsdecode(path))):
        _freeze()


if "R1_FREEZE" in os.environ and _is_it():
    sys.addaudithook(_watch)
