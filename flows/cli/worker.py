"""`r1 worker`: build here the stages that pipelines elsewhere send to a work pool."""

from typing import Annotated

import typer

from flows.orchestration.root import find_root

EXAMPLES = """
    PREFECT_API_URL=http://10.0.0.5:4200/api r1 worker gpu

    r1 worker gpu --jobs 2      (two stages at a time; GPUs are still shared out by this machine's locks)
"""


def register(app: typer.Typer) -> None:
    app.command("worker", epilog=EXAMPLES)(worker)


def worker(
    pool: Annotated[str, typer.Argument(help="Name of the pool, as in `meta: {prefect: {pool: NAME}}` of dvc.yaml.")],
    jobs: Annotated[int, typer.Option(min=1, help="Stages at a time.")] = 1,
) -> None:
    """Take stages from a Prefect work pool, build them in this checkout, send them to the DVC remote.

    Needs PREFECT_API_URL, and a DVC remote that the pipeline's machine uses too. Stages are built at the pipeline's
    commit and with its params.yaml in work/pool/, whatever is checked out here. Runs until Ctrl-C.
    """
    from flows.orchestration.pool_worker import serve

    serve(find_root(), pool, jobs)
