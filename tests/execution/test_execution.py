"""Where work is handed out: what a wrong set-up says, and that a machine which would give other bytes is refused."""

import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from flows.orchestration.execution import open_execution
from tasks import execution_ray
from tasks.execution import ExecutionError, Local, unique
from tasks.execution_ray import Ray, ground
from tests.curation.made_candidates import candidates, write


def test_a_recipe_names_the_execution_and_nothing_starts_before_it_is_used():
    assert isinstance(open_execution("local", threads=2), Local) and open_execution("local").remote is False
    with open_execution("ray", threads=2) as ray:
        assert isinstance(ray, Ray) and ray.remote and ray.threads == 2 and list(ray.map(abs, [])) == []
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


def test_without_the_extra_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutionError, match=r"needs the extra `ray`.*or set execution: local"), Ray() as ray:
        list(ray.map(abs, [-1]))


def test_an_address_where_nobody_answers_is_an_error_at_once(monkeypatch):
    pytest.importorskip("ray", reason="the extra `ray` is not installed: .venv/bin/pip install --editable '.[ray]'")
    with socket.socket() as taken:  # bound and not listening: refused, and nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ExecutionError, match=rf"no Ray cluster answers at RAY_ADDRESS={address} .*ray start"):
            list(Ray().map(abs, [-1]))


def test_r1_curate_reads_its_shards_where_it_is_told_to(tmp_path, monkeypatch):
    file = write(tmp_path / "in.parquet", candidates(8))
    (tmp_path / "policy.yaml").write_text("selection: {verdict: null}\n")
    asked = ["curate", str(file), "--policy", str(tmp_path / "policy.yaml"), "--out", str(tmp_path / "out")]
    monkeypatch.setitem(sys.modules, "ray", None)
    done = CliRunner().invoke(app, [*asked, "--execution", "ray"])
    assert isinstance(done.exception, ExecutionError) and "needs the extra `ray`" in str(done.exception)
    assert not (tmp_path / "out").exists()


def job(words: str) -> tuple[str, str]:
    return words, str(Path.cwd())


def test_a_node_runs_the_job_in_the_folder_of_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    assert execution_ray._call(ground(), str(tmp_path), __name__, "job", "one") == ("one", str(tmp_path))


@pytest.mark.parametrize("key", ["torch", "code", "python"])
def test_a_node_that_would_give_other_bytes_is_refused(tmp_path, key):
    with pytest.raises(ExecutionError, match=rf"would not give the same bytes: {key} is .* there and other here"):
        execution_ray._call(ground() | {key: "other"}, str(tmp_path), __name__, "job", "one")


def test_a_node_that_does_not_see_the_work_is_refused(tmp_path):
    with pytest.raises(ExecutionError, match=r"does not see .*/nowhere .*shared file system"):
        execution_ray._call(ground(), str(tmp_path / "nowhere"), __name__, "job", "one")


def test_temporary_names_differ_between_processes_and_stay_beside_the_file(tmp_path):
    with Local(2) as local:
        names = set(local.map(unique, [tmp_path / "a.parquet"] * 2)) | {unique(tmp_path / "a.parquet")}
    assert 2 <= len(names) <= 3 and {name.parent for name in names} == {tmp_path}
