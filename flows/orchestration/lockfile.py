"""dvc.lock rewritten one stage at a time, which is what changes.

After every stage DVC parses and writes all of it through a YAML library in pure Python that keeps comments: 2.5 CPU-s
for the 120 kB of the `cpu` recipe, 35 times a build. Here DVC's own writer renders the stage's entry, which takes the
place of the old one, and the file is replaced in one step. Same bytes; whatever else may change is left to DVC.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "dvc.lock"


def install() -> None:
    """Have the DVC of this process write dvc.lock so."""
    from dvc import dvcfile

    by_dvc = dvcfile.modify_yaml

    @contextmanager
    def modify(path, fs=None) -> Iterator[dict]:
        if Path(path).name == NAME and Path(path).is_file():
            with _modified(Path(path)) as (data, rewritten):
                yield data
            if rewritten:
                return
        else:
            data = None
        with by_dvc(path, fs=fs) as whole:
            if data is None:
                yield whole
            else:
                whole.clear()
                whole.update(data)

    dvcfile.modify_yaml = modify


@contextmanager
def _modified(path: Path) -> Iterator[tuple[dict, list[str]]]:
    """What the file holds, for DVC to change; afterwards the list holds the new text, or nothing: then DVC must write."""
    from dvc.utils.serialize import loads_yaml

    from flows.orchestration.publish import write_atomically

    text = path.read_text(encoding="utf-8")
    data, rewritten = loads_yaml(text) or {}, []
    before = {**data, "stages": dict(data.get("stages") or {})}
    yield data, rewritten
    new = spliced(text, before, data)
    if new is not None:
        rewritten.append(new)
        if new != text:
            write_atomically(path, new)


def spliced(text: str, before: dict, after: dict) -> str | None:
    """`text`, which holds `before`, with the entries of changed and new stages; None where anything else has changed."""
    from dvc.utils.serialize import dumps_yaml

    old, new = before["stages"], after.get("stages") or {}
    rest = {k: v for k, v in before.items() if k != "stages"} == {k: v for k, v in after.items() if k != "stages"}
    if not (rest and old and list(new)[: len(old)] == list(old) and text.endswith("\n")):
        return None
    for stage, entry in new.items():
        if old.get(stage) == entry:
            continue
        block = dumps_yaml({"stages": {stage: entry}}).removeprefix("stages:\n")
        if stage not in old:
            text += block
            continue
        key = re.escape(block.split("\n", 1)[0])
        text, found = re.subn(rf"^{key}\n(?:(?:    .*)?\n)*", lambda _, block=block: block, text, flags=re.MULTILINE)
        if found != 1:
            return None
    return text
