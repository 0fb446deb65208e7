"""DVC's remote, local and S3: fresh clones run only what changed; transfers that fail half-way go on."""

import re
import shutil
import sys

import pytest

from flows.orchestration import remote
from tests.faults.s3_server import BUCKET, S3
from tests.toy.project import Toy


@pytest.fixture(scope="module")
def s3():
    server = S3()
    yield server
    server.close()


@pytest.fixture
def here(monkeypatch, tmp_path, s3):
    """This process as a user of DVC: its remote index apart from anybody else's, and S3's keys."""
    for name, value in (s3.env | {"DVC_SITE_CACHE_DIR": str(tmp_path / "site"), "DVC_NO_ANALYTICS": "1"}).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def built(whole_template, tmp_path) -> Toy:
    """The toy project with every stage built, its dvc.lock not committed."""
    return whole_template.copy(tmp_path / "toy")


def _remote(toy: Toy, url: str, **more: str) -> None:
    lines = "".join(f"    {key} = {value}\n" for key, value in ({"url": url} | more).items())
    with open(toy.root / ".dvc" / "config", "a") as config:
        config.write(f"[core]\n    remote = store\n['remote \"store\"']\n{lines}")
    toy.git("commit", "-qam", "a remote")


def _clone(toy: Toy, name: str) -> Toy:
    toy.git("clone", "-q", str(toy.root), str(toy.root.parent / name))
    return Toy(toy.root.parent / name)


def _ran(said: str) -> list[str]:
    return re.findall(r"^Running stage '(.*)':", said, re.MULTILINE)


def _with_upstream(toy: Toy, clone: Toy) -> None:
    """What git would bring: dvc.lock, the metrics and the plots of a commit that has them."""
    for path in ("dvc.lock", "metrics", "plots"):
        source, target = toy.root / path, clone.root / path
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy(source, target)


def test_s3_that_fails_half_way_goes_on_and_a_fresh_clone_runs_only_what_changed(built, s3):
    _remote(built, f"s3://{BUCKET}/store", endpointurl=s3.url)
    s3.stored.clear()
    s3.fail_after(3)
    said = built.dvc("push", ok=False, **s3.env)
    assert "failed to" in said and s3.refused and sum(s3.stored.values()) == 3
    s3.heal()
    built.dvc("push", **s3.env)
    data = {md5 for path, md5 in built.md5s().items() if path.startswith(("data/", "report/"))}
    assert {path.removeprefix(f"/{BUCKET}/store/files/md5/").replace("/", "") for path in s3.stored} >= data
    assert set(s3.stored.values()) == {1}, "what had arrived was not sent again"

    built.git("add", ".")
    built.git("commit", "-qm", "built")
    clone = _clone(built, "clone")
    assert not clone.has("data")
    clone.set("grow.plants.fir.steps", 5)
    said = clone.dvc("repro", "--pull", "--allow-missing", **s3.env)
    assert _ran(said) == ["grow@fir", "harvest"]
    there, here = clone.md5s(), built.md5s()
    assert {path for path in there if there[path] != here[path]} == {
        "data/03_grow/fir",
        "metrics/grow/fir.json",
        "plots/grow/fir.csv",
        "report/report.md",
    }


def test_a_stage_with_uncached_metrics_travels_over_an_s3_that_fails_for_seconds(built, s3, here, capsys):
    _remote(built, f"s3://{BUCKET}/travels", endpointurl=s3.url)
    clone = _clone(built, "clone")
    remote.push(built.root, ["data/01_numbers"])
    s3.stored.clear()
    s3.fail_after(2, seconds=4)
    entry = remote.send(built.root, "grow@oak")
    assert re.search(r"sending what grow@oak made failed \(.*\); attempt 2 in 1 s", capsys.readouterr().out)
    assert list(s3.stored)[-1].endswith(entry), "the entry is a promise: it is sent last"
    assert set(s3.stored.values()) == {1}

    shutil.copy(built.root / "dvc.lock", clone.root)
    remote.pull(clone.root, ["data/01_numbers"])
    lock = "\n".join(built.read("dvc.lock").split("  grow@oak:")[:1])
    (clone.root / "dvc.lock").write_text(lock)  # as before the stage was built elsewhere
    assert remote.fetch(clone.root, "grow@oak", entry)
    said = clone.dvc("repro", "--single-item", "grow@oak")
    assert "is cached - skipping run" in said and not _ran(said)
    for path in ("metrics/grow/oak.json", "plots/grow/oak.csv", "data/03_grow/oak/plant.json"):
        assert clone.read(path) == built.read(path)
    assert clone.md5s().items() <= built.md5s().items()


def test_an_object_missing_on_the_remote_is_said_and_nothing_half_restored(built, here):
    store = built.root.parent / "store"
    _remote(built, str(store))
    clone = _clone(built, "clone")
    entry = remote.send(built.root, "grow@oak")
    remote.push(built.root, ["data/01_numbers"])
    _with_upstream(built, clone)
    remote.pull(clone.root, ["data/01_numbers"])
    metrics = built.md5s()["metrics/grow/oak.json"]
    (store / "files" / "md5" / metrics[:2] / metrics[2:]).unlink()
    fetch = "from pathlib import Path; from flows.orchestration import remote as r; "
    said = clone.call(sys.executable, "-c", f"{fetch} print('found', r.fetch(Path.cwd(), 'grow@oak'))")
    assert "the remote lacks some of what its run-cache entry" in said and "attempt 2" not in said
    assert "found False" in said, "so it is built"
    assert f"metrics/grow/oak.json, md5: {metrics}" in said
    with pytest.raises(remote.RemoteError, match="but the remote lacks some of it"):
        remote.fetch(clone.root, "grow@oak", entry)
    runs = list((clone.root / ".dvc" / "cache" / "runs").rglob(f"{entry}*"))
    assert not runs, "an entry is there only with all that it names"
    remote.send(built.root, "grow@oak")
    assert remote.fetch(clone.root, "grow@oak")
    remote.forget(clone.root, "grow@oak")  # what --force does, so that DVC restores the newest entry
    assert "  grow@oak:" not in clone.read("dvc.lock") and "  grow@fir:" in clone.read("dvc.lock")


def test_without_a_remote_the_remedy_is_named(built, here):
    with pytest.raises(remote.RemoteError, match="has no DVC remote, .*`dvc remote add -d NAME URL`"):
        remote.send(built.root, "numbers")
    with pytest.raises(remote.RemoteError, match="has no DVC remote"):
        remote.push(built.root, ["data/01_numbers"])


def test_part_of_a_folder_that_several_stages_fill_is_not_taken_for_all_of_it(built):
    """`dvc repro --pull` fetches no missing part of such an input: the folder is there."""
    dvc_yaml = built.root / "dvc.yaml"
    dvc_yaml.write_text(dvc_yaml.read_text().replace("data/03_grow/${harvest.best}", "data/03_grow"))
    shutil.rmtree(built.root / "data/03_grow/fir")
    said = built.stage("harvest", ok=False)
    assert "harvest needs data/03_grow/fir, which is missing" in said and "`dvc pull grow@fir`" in said
