"""What git says of this checkout: the commit, what differs from it, and files as they stood at any commit."""

import difflib
import hashlib
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flows.orchestration.params import ParamsError


@dataclass(frozen=True)
class Commit:
    sha: str
    author: str
    date: str  # ISO 8601, of the author
    subject: str


def git(root: Path, *args: str, given: bytes = b"") -> bytes | None:
    """Output of one git command, or None where it fails or there is no git. It takes no lock of the checkout's."""
    env = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(["git", *args], check=False, cwd=root, env=env, capture_output=True, input=given)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def head(root: Path) -> str | None:
    """Commit of the working tree, 40 hex digits; None outside git or before the first commit."""
    found = git(root, "rev-parse", "--verify", "-q", "HEAD")
    return found.decode().strip() if found else None


def dirty(root: Path, paths: Iterable[str] = ()) -> tuple[str, ...]:
    """Paths, relative to the root, that differ from the commit or are in none; only those at or under `paths`, if any."""
    wanted = list(paths)
    found = git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *wanted)
    return tuple(sorted(entry[3:] for entry in (found or b"").decode(errors="replace").split("\0") if entry))


def commit_of(root: Path, rev: str) -> str:
    """The commit that a branch, tag, abbreviation or DVC experiment names; ParamsError where there is none."""
    if git(root, "rev-parse", "--git-dir") is None:
        raise ParamsError(f"{root} is no git repository: a past revision such as `{rev}` can be read only in one")
    if not rev.startswith("-") and (found := git(root, "rev-parse", "--verify", "-q", f"{rev}^{{commit}}")):
        return found.decode().strip()
    refs = (git(root, "for-each-ref", "--format=%(refname)") or b"").decode().splitlines()
    for ref in refs:  # an experiment of DVC's: refs/exps/ab/cdef…/<name>
        if ref.startswith("refs/exps/") and ref.rsplit("/", 1)[-1] == rev:
            return commit_of(root, ref)
    near = difflib.get_close_matches(rev, [r.rsplit("/", 1)[-1] for r in refs], n=2)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ParamsError(
        f"git knows no revision `{rev}`{hint} `git log --oneline` lists commits, `dvc exp list` experiments"
    )


def show(root: Path, commit: str, path: str) -> bytes | None:
    """A file as it stood at a commit; None where the commit has none of this name."""
    return git(root, "show", f"{commit}:./{path}")


def md5s(root: Path, commit: str, paths: Iterable[str]) -> dict[str, str]:
    """md5 of every file of a commit that is, or lies under, one of `paths`; two git processes for all of them."""
    tree = git(root, "ls-tree", "-r", "-z", commit, "--", *paths) or b""
    entries = [line.split(maxsplit=3)[2:] for line in tree.decode(errors="replace").split("\0") if line]
    blobs = git(root, "cat-file", "--batch", given="".join(f"{sha}\n" for sha, _ in entries).encode()) or b""
    found, at = {}, 0
    for _, path in entries:  # "<sha> blob <bytes>\n<content>\n"
        end = blobs.index(b"\n", at)
        size = int(blobs[at:end].split()[2])
        found[path] = hashlib.md5(blobs[end + 1 : end + 1 + size]).hexdigest()
        at = end + size + 2
    return found


def introduced(root: Path, text: str, path: str, rev: str = "HEAD") -> Commit | None:
    """The commit that gave `path` the `text` that it holds at `rev`: who committed it, and when. None: it holds none."""
    if text.encode() not in (show(root, rev, path) or b""):
        return None
    found = git(root, "log", "--format=%H%x00%an%x00%aI%x00%s", f"-S{text}", rev, "--", path) or b""
    for line in found.decode(errors="replace").splitlines():  # newest first; also those where it only came once more
        commit = Commit(*line.split("\0"))
        if text.encode() not in (show(root, f"{commit.sha}^", path) or b""):
            return commit
    return None
