"""The worker of a work pool: registers the pool with the Prefect server and becomes Prefect's process worker."""

import os
import sys
from pathlib import Path

from flows.orchestration import git, guard, tracking
from flows.orchestration.params import ParamsError
from flows.orchestration.pools import FLOW, WORKER

ENTRYPOINT = "flows.orchestration.pool_job.build"  # imported, not read from a path: every worker has its own checkout


def serve(root: Path, pool: str, jobs: int) -> None:
    """Register the pool and its one deployment, then become Prefect's process worker; does not return.

    Raises:
        ParamsError: no server, no DVC remote, or no git checkout: what a worker cannot do without.
    """
    _check(root)
    tracking.prepare()
    name = f"{os.uname().nodename}:{str(root).strip(os.sep).replace(os.sep, '-')}"
    _register(pool)
    env = {k: v for k, v in os.environ.items() if k not in (*tracking.PRIVATE, tracking.PARENT, guard.STARTER)}
    env |= {WORKER: str(root), "PYTHONPATH": os.pathsep.join([str(root), env.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    env.setdefault("PREFECT_WORKER_QUERY_SECONDS", "2")
    env.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    print(f"worker of pool {pool} in {root}, {jobs} at a time; Ctrl-C ends it and what it runs", flush=True)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    os.execve(sys.executable, [*command, "--name", name, "--limit", str(jobs)], env)


def _check(root: Path) -> None:
    if tracking.server() is None:
        raise ParamsError(
            "PREFECT_API_URL: a worker takes its jobs from a Prefect server, and none answers there; set it to the "
            "address that `make ui` prints"
        )
    if git.head(root) is None:
        raise ParamsError(f"{root} is no git checkout with a commit: a worker checks out the pipeline's commit")
    from dvc.config import Config

    if not Config(dvc_dir=str(root / ".dvc"))["core"].get("remote"):
        raise ParamsError(f"{root} has no DVC remote, by which artifacts travel: `dvc remote add -d NAME URL`")


def _register(pool: str) -> None:
    """The work pool and its deployment, the same from every worker's checkout."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=pool, type="process", base_job_template=template))
        except ObjectAlreadyExists:
            pass
        flow_id = client.create_flow_from_name(FLOW)
        client.create_deployment(
            flow_id,
            pool,
            work_pool_name=pool,
            entrypoint=ENTRYPOINT,
            enforce_parameter_schema=False,
            description="One stage for a pipeline elsewhere. Pipelines make these runs; there is nothing to fill in.",
            tags=["r1-pool"],
        )
