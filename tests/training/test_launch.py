"""Jobs in processes of their own: what fails there is said here, and nothing outlives who asked for it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tasks.provenance.artifacts import ArtifactError
from tasks.training import launch, node, worker

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "recipes" / "accelerate").glob("*.yaml"))
TWO = ROOT / "recipes" / "accelerate" / "two_cpu.yaml"
JOBS = "tests.training.launched_jobs"


def test_an_error_of_a_worker_is_raised_as_what_it_was_and_nobody_waits_for_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "GRACE", 1.0)
    began = time.monotonic()
    with pytest.raises(ArtifactError, match=r"^\[process 1\] data/02_base/model.safetensors is damaged: rebuild it$"):
        launch.call(f"{JOBS}:fail", {}, tmp_path, TWO)
    assert time.monotonic() - began < 50
    assert "ArtifactError" in (tmp_path / "launch/rank-1.log").read_text()


def test_a_worker_that_is_killed_is_named(tmp_path):
    with pytest.raises(launch.LaunchError, match="process 1.*without a message: killed by SIGKILL"):
        launch.call(f"{JOBS}:vanish", {}, tmp_path, TWO)


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def _until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def test_workers_die_with_the_stage_even_by_sigkill(tmp_path):
    stage = subprocess.Popen([sys.executable, "-m", JOBS, str(tmp_path), str(TWO)], cwd=ROOT)
    try:
        _until(lambda: all((tmp_path / rank).is_file() and (tmp_path / rank).read_text() for rank in "01"))
    finally:
        os.kill(stage.pid, signal.SIGKILL)
        stage.wait()
    pids = [int((tmp_path / rank).read_text()) for rank in "01"]
    _until(lambda: all(map(_gone, pids)), 10.0)


def test_two_machines_meet_by_the_environment(tmp_path, monkeypatch):
    """Two launchers on this machine, as srun or two pods start them: one is the stage's, the other waits for its job."""
    settings = yaml.safe_load(TWO.read_text()) | {"num_machines": 2, "rdzv_backend": "c10d", "same_network": False}
    config = tmp_path / "two_machines.yaml"
    config.write_text(
        yaml.safe_dump({k: v for k, v in settings.items() if k not in ("machine_rank", "main_process_port")})
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    monkeypatch.setenv("R1_MAIN_ADDRESS", "127.0.0.1")
    monkeypatch.setenv("R1_MAIN_PORT", port)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    told = []
    command = [sys.executable, "-m", "tasks.training.node", str(config), str(tmp_path / "launch")]
    env = os.environ | {"R1_MACHINE_RANK": "1"}
    other = subprocess.Popen(command, cwd=ROOT, env=env)
    try:
        found = launch.call(
            f"{JOBS}:meet", {"word": "hello"}, tmp_path, config, lambda *args, **more: told.append((args, more))
        )
        assert other.wait(30) == 0
    finally:
        other.kill()
    assert found == {"word": "hello", "ranks": [0, 1], "threads": "1"}
    assert told == [((), {"done": 1, "total": 1, "unit": "words", "note": "hello", "tokens": 5})]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_configs_are_what_accelerates_own_parser_makes_of_them(config, monkeypatch):
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("R1_MAIN_ADDRESS", "10.0.0.1")
    monkeypatch.setenv("SLURM_NODEID", "1")
    args, _, _ = _validate_launch_command(
        launch_command_parser().parse_args(node.launch_arguments(config, Path("/shared/launch")))
    )
    wanted = yaml.safe_load(config.read_text())
    kind = {"fsdp": "use_fsdp", "multi_node": "use_fsdp", "zero3": "use_deepspeed", "two_cpu": "multi_gpu"}.get(
        config.stem
    )
    assert [k for k in ("use_fsdp", "use_deepspeed", "multi_gpu") if getattr(args, k)] == ([kind] if kind else [])
    assert (args.num_processes, args.num_machines) == (wanted["num_processes"], wanted["num_machines"])
    assert args.module and args.training_script == "tasks.training.worker"
    for section in ("fsdp_config", "deepspeed_config"):
        for key, value in wanted.get(section, {}).items():
            assert getattr(args, key) == value, key
    if args.num_machines > 1:
        assert (args.machine_rank, args.main_process_ip) == (1, "10.0.0.1")


def _batches(section):
    """(examples of an optimizer step, of a forward pass) of every trainer under a section of a recipe."""
    if not isinstance(section, dict):
        return
    if "prompts_per_step" in section:
        yield section["prompts_per_step"] * section["group_size"], section["micro_batch"]
    elif section.get("batch_size"):  # null: not published
        yield section["batch_size"], section["micro_batch"]
    for value in section.values():
        yield from _batches(value)


@pytest.mark.parametrize("recipe", ["gpu", "node", "paper"])
def test_batches_of_a_recipe_divide_among_the_processes_of_its_config(recipe, monkeypatch):
    from tasks.training.trainer import share

    params = yaml.safe_load((ROOT / "recipes" / f"{recipe}.yaml").read_text())
    config = launch.config_file(ROOT, params["accelerate"])
    processes = yaml.safe_load(config.read_text())["num_processes"] if config else 1
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    found = list(_batches(params))
    assert len(found) >= 10
    for batch, micro in found:
        rows, passes = share(batch, micro)
        assert rows * passes * processes == batch


def test_too_few_gpus_are_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(
        launch.LaunchError, match=r"asks for 8 GPUs on this machine, which has 1: correct num_processes"
    ):
        node.launch_arguments(ROOT / "recipes/accelerate/fsdp.yaml", Path("launch"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a: [1,", "cannot be read as YAML"),
        ("", "is no accelerate config"),
        ("num_processes: many", "num_processes: many is no whole number"),
        ("{num_machines: 2, num_processes: 3}", "num_processes: 3 are those of all machines together"),
        (
            "{compute_environment: LOCAL_MACHINE, distributed_type: MULTI_GPU, use_cpu: true, num_processes: 2, colour: red}",
            "could not start the job.*unknown keys.*colour",
        ),
    ],
    ids=["yaml", "empty", "number", "machines", "key"],
)
def test_a_config_that_is_none_is_said_to_the_stage(tmp_path, monkeypatch, text, match):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "own.yaml").write_text(text)
    (tmp_path / "job.json").write_text("{}")
    assert node.main(tmp_path / "own.yaml", tmp_path) == 2
    error = json.loads((tmp_path / "error.json").read_text())
    assert error["class"] == "tasks.training.launch.LaunchError" and str(tmp_path / "own.yaml") in error["message"]
    assert re.search(match, error["message"])


def test_a_full_disk_leaves_room_to_say_so(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        launch.make_room(tmp_path)
        try:
            (tmp_path / "weights").write_bytes(bytes(1 << 20))
        except OSError as exc:
            full = RuntimeError("in the words of what saves weights")
            full.__cause__ = exc
        found = worker.full_disk(full)
        node.record(tmp_path, "builtins.OSError", str(found), 1)
        error = launch.failure(tmp_path, 1, [])
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert isinstance(error, OSError) and str(error) == "[process 1] [Errno 28] No space left on device"


def test_machines_that_cannot_find_each_other_are_an_error(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    for name in ("R1_MAIN_ADDRESS", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(launch.LaunchError, match="for 2 machines.*set R1_MAIN_ADDRESS"):
        node.launch_arguments(ROOT / "recipes/accelerate/multi_node.yaml", Path("launch"))


def test_an_unknown_config_is_an_error_that_lists_the_known():
    assert launch.config_file(ROOT, None) is None
    assert launch.config_file(ROOT, "fsdp") == ROOT / "recipes/accelerate/fsdp.yaml"
    with pytest.raises(launch.LaunchError, match="accelerate: fsdb: there is no .*known: fsdp, multi_node, single_gpu"):
        launch.config_file(ROOT, "fsdb")
