"""The checkout in which a worker builds one job: the pipeline's commit, with what travelled with the job laid over it.

work/pool/<stage> of the worker's own checkout: a clone that shares git's objects, DVC's cache and the remotes with it.
The worker's own files are not touched, whatever branch or half-edited state they are in. The folder stays until the
job has succeeded, so that a job that comes again goes on from the stage's saved state.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.orchestration import git
from flows.orchestration.pools import Job, PoolError
from flows.orchestration.publish import write_atomically

LENT = ("shared", "models", "data/raw")  # what git ignores and stages may read: links to the worker's own


@contextmanager
def checkout(clone: Path, job: Job) -> Iterator[Path]:
    """Root of a checkout of the job's commit, this job's alone; removed when the block ends without an exception."""
    _need_commit(clone, job.commit)
    place = clone / "work" / "pool" / job.stage
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{place}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the same stage of another pipeline, or of one that was killed, ends first
        if not (place / ".git" / "HEAD").exists():
            shutil.rmtree(place, ignore_errors=True)
            _git(clone, "clone", "-q", "--shared", "--no-checkout", str(clone), str(place))
        _git(place, "checkout", "-q", "--force", "--detach", job.commit)
        _git(place, "clean", "-fdq")  # files that an earlier job brought; what git ignores (work, data) stays
        _share_dvc(clone, place)
        _lend(clone, place)
        _lay_over(place, job)
        yield place
        shutil.rmtree(place)


def _need_commit(clone: Path, commit: str) -> None:
    if _has(clone, commit):
        return
    fetched = git.git(clone, "fetch", "-q", "--all")
    if not _has(clone, commit):
        reached = "`git fetch` brought none" if fetched is not None else "`git fetch` failed"
        raise PoolError(
            f"{clone} on {os.uname().nodename} has no commit {commit[:8]}, from which the pipeline runs ({reached}): "
            "`git push` it where this worker fetches from, then run again"
        )


def _has(clone: Path, commit: str) -> bool:
    return git.git(clone, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def _git(root: Path, *args: str) -> None:
    done = subprocess.run(["git", *args], check=False, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise PoolError(f"{root}: git {args[0]} failed: {done.stderr.strip()}")


def _share_dvc(clone: Path, place: Path) -> None:
    """The clone's DVC cache and remotes, credentials of its config.local included, under absolute paths."""
    from dvc.config import Config

    own = Config(dvc_dir=str(clone / ".dvc"))
    private = place / ".dvc" / "config.local"  # before there is a credential in it; DVC writes it in place
    private.touch(mode=0o600)
    private.chmod(0o600)
    with Config(dvc_dir=str(place / ".dvc")).edit("local") as local:
        local["cache"] = dict(own.get("cache") or {}) | {"dir": cache_folder(clone, own)}
        local["remote"] = {name: dict(values) for name, values in (own.get("remote") or {}).items()}
        if name := (own.get("core") or {}).get("remote"):
            local.setdefault("core", {})["remote"] = name


def cache_folder(clone: Path, config: dict) -> str:
    return (config.get("cache") or {}).get("dir") or str(clone / ".dvc" / "cache")


def _lend(clone: Path, place: Path) -> None:
    for name in LENT:
        if (clone / name).exists() and not (place / name).exists() and not (place / name).is_symlink():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).symlink_to((clone / name).resolve())


def _lay_over(place: Path, job: Job) -> None:
    for path, text in job.carried.items():
        target = (place / path).resolve()
        if not target.is_relative_to(place.resolve()) or ".git" in Path(path).parts:
            raise PoolError(f"the job of {job.stage} carries {path}, which lies outside of its checkout: refused")
        if text is None:
            target.unlink(missing_ok=True)
        else:
            write_atomically(target, text)
