"""What each stage imports, read from the source: the code deps that dvc.yaml must list.

`python tests/code_deps.py` shows what differs; `--write` rewrites the deps lists of dvc.yaml and keeps its comments.
"""

import ast
import re
import sys
import textwrap
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
# Registries that load their members by name: what imports one depends on its whole folder, programs in the jail included.
REGISTRIES = {
    "tasks/verification/verify.py": "tasks/verification",
    "tasks/prompts/formats/found.py": "tasks/prompts/formats",
}
RUNNERS = ("flows/__init__.py", "flows/orchestration/")  # what runs a stage decides nothing about its content


def imports(path: Path, root: Path = ROOT, started: bool = True) -> set[Path]:
    """Files of flows/ and tasks/ that this module imports anywhere, and the data files beside it that it names.

    Modules that it names to run them as processes of their own, `python -m`, are among them where `started`.
    """
    found: set[Path] = set()
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _files(alias.name, root)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                found |= _files(f"{node.module}.{alias.name}", root) or _files(node.module, root)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            found |= _beside(path, node.value)
            if started and re.fullmatch(r"(flows|tasks)(\.\w+)+", node.value):
                found |= _files(node.value, root)
    return found


def _nodes(tree: ast.AST):
    """All nodes, without those under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _nodes(node)


def _files(module: str, root: Path) -> set[Path]:
    """The file of a module of this repository and the `__init__.py` on its way that are not empty."""
    parts = module.split(".")
    if parts[0] not in ("flows", "tasks"):
        return set()
    file = root.joinpath(*parts).with_suffix(".py")
    package = root.joinpath(*parts, "__init__.py")
    if not file.is_file() and not package.is_file():
        return set()
    on_the_way = [root.joinpath(*parts[:i], "__init__.py") for i in range(1, len(parts) + 1)]
    return {f for f in [file, *on_the_way] if f.is_file() and f.stat().st_size}


def _beside(path: Path, text: str) -> set[Path]:
    """`near_dup.sql` in the source means that file; a bare `.sql` or `*.sql` all of its kind."""
    pattern = f"*{text.lstrip('*')}" if text.startswith((".", "*.")) else text
    if "/" in pattern or len(pattern) > 80 or any(c in pattern for c in " \n[]?"):
        return set()
    return {p for p in path.parent.glob(pattern) if p.is_file() and p.suffix not in (".py", ".pyc")}


def closure(start: Path, root: Path = ROOT) -> list[str]:
    """Everything that decides what this flow file makes, as paths for dvc.yaml: the flow file first."""
    seen, todo = {start}, [start]
    while todo:
        file = todo.pop()
        for other in imports(file, root) if file.suffix == ".py" else ():
            if other not in seen and not other.relative_to(root).as_posix().startswith(RUNNERS):
                seen.add(other)
                todo.append(other)
    own = start.relative_to(root).as_posix()
    found = {f.relative_to(root).as_posix() for f in seen - {start}}
    for registry, folder in REGISTRIES.items():
        if registry in found:
            found = {f for f in found if not f.startswith(f"{folder}/")} | {folder}
    return [own, *sorted(found)]


def wanted(name: str, deps: list[str], root: Path = ROOT) -> list[str]:
    """The deps list of a stage: its data as it stands, then its code."""
    data = [d for d in deps if not d.startswith(("flows/", "tasks/"))]
    return [*data, *closure(root / "flows" / f"{name}.py", root)]


def main(write: bool, root: Path = ROOT) -> int:
    file = root / "dvc.yaml"
    text = file.read_text(encoding="utf-8")
    differing = 0
    for name in yaml.safe_load(text)["stages"]:
        place = re.search(rf"^  {name}:\n.*?^( +)deps: \[(.*?)\]", text, re.DOTALL | re.MULTILINE)
        old = yaml.safe_load(f"[{place[2]}]")
        new = wanted(name, old, root)
        if sorted(old) != sorted(new):
            differing += 1
            print(f"{name}: + {sorted(set(new) - set(old)) or 'nothing'} - {sorted(set(old) - set(new)) or 'nothing'}")
            spelt = dict(
                zip(old, re.split(r",\s*", place[2].strip()), strict=True)
            )  # keeps the quotes of "${key}" paths
            text = text[: place.start(1)] + _list([spelt.get(d, d) for d in new], place[1]) + text[place.end() :]
    if write:
        file.write_text(text, encoding="utf-8")
    return 1 if differing and not write else 0


def _list(deps: list[str], indent: str) -> str:
    """`deps: [a, b]` on one line where it fits, else wrapped below its key."""
    return textwrap.fill(
        f"deps: [{', '.join(deps)}]",
        width=118,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))
