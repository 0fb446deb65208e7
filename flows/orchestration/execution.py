"""Which execution `execution:` of params.yaml means; chosen here, since no byte of any output depends on it."""

from collections.abc import Mapping
from pathlib import Path

from tasks.execution import Execution, Local


def open_execution(
    name: str,
    threads: int = 1,
    environment: Mapping[str, str] | None = None,
    workers: int | None = None,
    folder: Path | None = None,
) -> Execution:
    """`execution:` of params.yaml, `local` or `ray`.

    threads: of one job. environment: variables that must be set before a worker starts. workers: processes of `local`
    (default: `threads`); one is the calling process itself. folder: what relative paths of jobs are relative to, on a
    node of Ray; None: they are all absolute. Nothing is started before the first `map`.
    """
    if name == "local":
        return Local(workers or threads, threads)
    from tasks.execution_ray import Ray

    return Ray(threads, environment or {}, folder)
