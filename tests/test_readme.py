"""The README does what it says: its commands are read out of it and run, its options and paths exist.

A block after `<!-- not run in CI: reason -->` is checked for programs, options and paths, but not run.
"""

import functools
import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BIN = ROOT / ".venv" / "bin"
BLOCK = re.compile(
    r"(?P<note><!--\s*not run in CI:(?P<reason>[^>]*)-->\s*)?```(?:bash|sh|console)\n(?P<body>.*?)```", re.DOTALL
)
TOOLS = ("r1", "dvc")  # commands that are run; anything else in a block must be one of READ
READ = ("make", "git", "cd", "cp", "prefect", "python", "python3.11", "open")
TAKES_ALL_DAY = {"make": ("run", "test", "ui", "bench"), "r1": ("run",), "dvc": ("repro", "exp")}
BUILT = re.compile(r"^(data/\d|report/|metrics/|plots/|work/|models/|\.venv/|\.prefect/)")
TIMEOUT = 120  # seconds for one command


@dataclass(frozen=True)
class Command:
    line: str
    words: tuple[str, ...]  # without variables in front and the folder of the program
    reason: str | None  # why its block is not run

    @property
    def program(self) -> str:
        return self.words[0]

    @property
    def sub(self) -> str:
        return next((w for w in self.words[1:] if not w.startswith("-")), "")

    @property
    def long(self) -> bool:
        return self.sub in TAKES_ALL_DAY.get(self.program, ()) and "--help" not in self.words


def commands(text: str) -> list[Command]:
    """Every command line of every shell block; a backslash continues a line."""
    found = []
    for block in BLOCK.finditer(text):
        for line in block["body"].replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while words and re.fullmatch(r"[A-Z_0-9]+=.*", words[0]):
                words = words[1:]
            if words:
                program = words[0].removeprefix("./").removeprefix(".venv/bin/")
                reason = block["reason"].strip() if block["note"] else None
                found.append(Command(line.strip(), (program, *words[1:]), reason))
    return found


COMMANDS = commands(README.read_text(encoding="utf-8"))
RUN = [c for c in COMMANDS if c.program in TOOLS and not c.long and c.reason is None]


def test_the_two_commands_are_there():
    assert {"make run", "make test"} <= {" ".join(c.words) for c in COMMANDS}


def test_every_program_is_known_and_every_note_has_a_reason():
    assert not [c.line for c in COMMANDS if c.program not in (*TOOLS, *READ)]
    assert not [c.line for c in COMMANDS if c.reason == ""]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.program == "make"], ids=lambda c: c.line)
def test_make_targets_exist(command):
    done = subprocess.run(["make", "--dry-run", *command.words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_ci_calls_the_readmes_test_command():
    script = (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK) and "make test" in script


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of the working tree to run in: tracked and new files, the environment by link, no artifacts."""
    target = tmp_path_factory.mktemp("readme") / "checkout"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())
            (target / name).chmod((ROOT / name).stat().st_mode)
    (target / ".venv").symlink_to(ROOT / ".venv")
    for git in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=ci", "-c", "user.email=ci@localhost", "commit", "-qm", "copy"],
    ):
        subprocess.run(["git", *git], cwd=target, check=True)
    return target


def execute(line: str, cwd: Path) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k not in ("DVC_ROOT", "PREFECT_API_URL", "PYTEST_CURRENT_TEST")}
    env |= {"PATH": f"{BIN}:{env['PATH']}", "DO_NOT_TRACK": "1", "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(["bash", "-ec", line], cwd=cwd, env=env, capture_output=True, text=True, timeout=TIMEOUT)


@functools.cache
def helped(line: str) -> subprocess.CompletedProcess:
    return execute(line, ROOT)


@pytest.mark.parametrize("command", RUN, ids=lambda c: c.line)
def test_commands_run(command, clone):
    done = execute(command.line, clone)
    assert done.returncode == 0, f"{command.line}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.program in TOOLS and c not in RUN], ids=lambda c: c.line)
def test_options_of_commands_not_run_exist(command):
    path = [w for w in command.words[1:] if re.fullmatch(r"[a-z][a-z\-]*", w)][:2]
    helps = (helped(" ".join([command.program, *path[:n], "--help"])) for n in (2, 1) if n <= len(path))
    text = next((h.stdout for h in helps if h.returncode == 0), None)
    assert text, f"{command.line}: no such command"
    for option in (w.split("=")[0] for w in command.words if re.match(r"--?[a-zA-Z]", w)):
        assert re.search(rf"(?<![\w-]){re.escape(option)}\b", text), f"{command.line}: no option {option}"


def test_paths_in_the_text_exist():
    text = README.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    quoted = re.findall(r"`((?:[\w.\-]+/)+[\w.\-]*|[\w\-]+\.(?:py|yaml|toml|md|lock))`", BLOCK.sub("", text))
    wanted = {p for p in (*links, *quoted) if not BUILT.match(p) and not p.startswith("../")}
    missing = sorted(p for p in wanted if not (ROOT / p).exists() and not re.search(r"[<>*{}]", p))
    assert not missing, f"README.md names what is not there: {missing}"


def test_the_reader_of_blocks():
    text = "```bash\nA=1 .venv/bin/r1 plan \\\n  --json  # why\n```\n<!-- not run in CI: a GPU -->\n```bash\nr1 run\n```\n```python\nx\n```"
    first, second = commands(text)
    assert first.words == ("r1", "plan", "--json") and first.reason is None and not first.long
    assert second.reason == "a GPU" and second.long
