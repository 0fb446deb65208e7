"""One machine's part of a training job: `python -m tasks.training.node CONFIG FOLDER` (tasks/training/launch.py).

It runs `accelerate launch` on the job in FOLDER with the accelerate config CONFIG and dies with the stage that started
it. With several machines each runs it: rank and address come from the config, from Slurm or from the environment
(R1_MACHINE_RANK, R1_MAIN_ADDRESS, R1_MAIN_PORT). The others wait for the job of the first.
"""

import argparse
import ctypes
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import yaml

from tasks.training.launch import ROOM, STARTER, LaunchError, write_json

PR_SET_PDEATHSIG = 1
WAIT = 600.0  # seconds that another machine waits for the job


def die_with(parent: int | None) -> None:
    """Have the kernel kill this process when its parent ends; `parent`: who that should be."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        raise SystemExit("the process that started this one is gone")


def record(folder: Path, kind: str, message: str, rank: int) -> None:
    """The first failure of a job, by whoever meets it first: what the others say follows from it."""
    part, failure = folder / f"error.{os.getpid()}", {"class": kind, "message": message, "rank": rank}
    try:
        write_json(part, failure)
    except OSError:  # the disk is full, which is what it has to tell of
        (folder / ROOM).unlink(missing_ok=True)
        write_json(part, failure)
    try:
        os.link(part, folder / "error.json")
    except FileExistsError:
        pass
    part.unlink()


def launch_arguments(config: Path, folder: Path) -> list[str]:
    """Command line of `accelerate launch` on this machine.

    Raises:
        LaunchError: the config asks for GPUs that are not here, or for machines that cannot find each other.
    """
    settings = _settings(config)
    machines = settings.get("num_machines", 1)
    here = max(1, settings.get("num_processes", 1) // machines)
    on_cpu = settings.get("use_cpu", False)
    if on_cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    else:
        import torch

        if (found := torch.cuda.device_count()) < here:
            raise LaunchError(
                f"{config} asks for {here} GPUs on this machine, which has {found}: correct num_processes in a copy of it "
                "and name the copy in params.yaml (`accelerate:`), or train in the stage's own process (`accelerate: null`)"
            )
    more: list[str] = []
    if machines > 1:
        rank = os.environ.get("R1_MACHINE_RANK") or os.environ.get("SLURM_NODEID") or settings.get("machine_rank", 0)
        address = os.environ.get("R1_MAIN_ADDRESS") or os.environ.get("MASTER_ADDR") or settings.get("main_process_ip")
        port = os.environ.get("R1_MAIN_PORT") or os.environ.get("MASTER_PORT") or settings.get("main_process_port")
        if not address or not port:
            raise LaunchError(
                f"{config} is for {machines} machines, but nothing says where the first one is: set R1_MAIN_ADDRESS and "
                "R1_MAIN_PORT to its address and a free port there, or main_process_ip and main_process_port in the file"
            )
        more = ["--machine_rank", str(rank), "--main_process_ip", str(address), "--main_process_port", str(port)]
    return ["--config_file", str(config), *more, "--module", "tasks.training.worker", str(folder)]


def _settings(config: Path) -> dict:
    """The config as it stands, its numbers checked: what else is in it accelerate's parser checks."""
    try:
        settings = yaml.safe_load(config.read_text())
    except (OSError, yaml.YAMLError) as exc:
        raise LaunchError(f"{config} cannot be read as YAML: {exc}") from None
    if not isinstance(settings, dict):
        raise LaunchError(f"{config} is no accelerate config, a mapping as in recipes/accelerate/single_gpu.yaml")
    for key in ("num_machines", "num_processes"):
        if not isinstance(settings.get(key, 1), int) or settings.get(key, 1) < 1:
            raise LaunchError(f"{config}: {key}: {settings[key]} is no whole number from 1 on")
    if settings.get("num_processes", 1) % settings.get("num_machines", 1):
        raise LaunchError(
            f"{config}: num_processes: {settings['num_processes']} are those of all machines together, a multiple of "
            f"num_machines: {settings['num_machines']}"
        )
    return settings


def _await_job(folder: Path) -> None:
    end = time.monotonic() + WAIT
    while not (folder / "job.json").is_file():
        if time.monotonic() > end:
            raise LaunchError(f"no job came to {folder} within {WAIT:g} s: is it on storage that all machines share?")
        time.sleep(0.5)


def main(config: Path, folder: Path) -> int:
    """Exit status 0 where every process on this machine ended well."""
    import subprocess

    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        _await_job(folder)
        from accelerate.commands.launch import launch_command, launch_command_parser

        launch_command(launch_command_parser().parse_args(launch_arguments(config, folder)))
    except ChildFailedError as failed:
        rank, first = failed.get_first_failure()
        how = f"killed by {signal.Signals(-first.exitcode).name}" if first.exitcode < 0 else f"status {first.exitcode}"
        record(
            folder, f"{LaunchError.__module__}.LaunchError", f"training process ended without a message: {how}", rank
        )
        return 1
    except subprocess.CalledProcessError as failed:  # accelerate's way of one process
        kind = f"{LaunchError.__module__}.LaunchError"
        record(folder, kind, f"the training process ended without a message, status {failed.returncode}", 0)
        return 1
    except LaunchError as exc:
        record(folder, f"{LaunchError.__module__}.LaunchError", str(exc), 0)
        return 2
    except Exception as exc:  # noqa: BLE001  accelerate refuses its config, lacks a package, or machines did not meet
        traceback.print_exc()
        text = f"accelerate could not start the job of {config}: {type(exc).__name__}: {exc}"
        record(folder, f"{LaunchError.__module__}.LaunchError", text, 0)
        return 2
    return 0


if __name__ == "__main__":
    starter = os.environ.get(STARTER)
    die_with(int(starter) if starter else None)
    parser = argparse.ArgumentParser(prog="python -m tasks.training.node", description=__doc__.split("\n\n")[0])
    parser.add_argument("config", type=Path, help="accelerate config, e.g. recipes/accelerate/multi_node.yaml")
    parser.add_argument("folder", type=Path, help="work/<stage>/<fingerprint>/launch of the stage, on shared storage")
    given = parser.parse_args()
    sys.exit(main(given.config, given.folder))
