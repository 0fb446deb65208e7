"""DVC's remote, local and S3: fresh clones run only what changed; transfers that fail half-way go on."""

import re
import shutil
import urllib.request
from pathlib import Path

import pytest

from flows.orchestration import remote
from tests.faults.s3_server import BUCKET, S3
from tests.toy.project import Toy


@pytest.fixture(scope="module")
def s3():
    server = S3()
    put = urllib.request.Request(
        f"{server.url}/{BUCKET}",
        method="PUT",
        headers={"Authorization": "AWS4-HMAC-SHA256 Credential=test/x/us-east-1/s3/aws4_request"},
    )
    urllib.request.urlopen(put).close()
    yield server
    server.close()


@pytest.fixture
def here(monkeypatch, tmp_path, s3):
    """This process as a user of DVC: its remote index apart from anybody else's, and S3's keys."""
    for name, value in (s3.env | {"DVC_SITE_CACHE_DIR": str(tmp_path / "site"), "DVC_NO_ANALYTICS": "1"}).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


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


def test_s3_that_fails_half_way_goes_on_and_a_fresh_clone_runs_only_what_changed(toy, s3):
    _remote(toy, f"s3://{BUCKET}/store", endpointurl=s3.url)
    toy.dvc("repro")
    s3.stored.clear()
    s3.fail_after(3)
    said = toy.dvc("push", ok=False, **s3.env)
    assert "failed to" in said and s3.refused and sum(s3.stored.values()) == 3
    s3.heal()
    toy.dvc("push", **s3.env)
    data = {md5 for path, md5 in toy.md5s().items() if path.startswith(("data/", "report/"))}
    assert {path.removeprefix(f"/{BUCKET}/store/files/md5/").replace("/", "") for path in s3.stored} >= data
    assert set(s3.stored.values()) == {1}, "what had arrived was not sent again"

    toy.git("add", ".")
    toy.git("commit", "-qm", "built")
    clone = _clone(toy, "clone")
    assert not clone.has("data")
    clone.set("grow.plants.fir.steps", 5)
    said = clone.dvc("repro", "--pull", "--allow-missing", **s3.env)
    assert _ran(said) == ["grow@fir", "harvest"]
    assert (
        not clone.has("data/03_grow/oak/blob.bin")
        and clone.md5s()["data/03_grow/oak"] == toy.md5s()["data/03_grow/oak"]
    )
    toy.set("grow.plants.fir.steps", 5)
    toy.dvc("repro")
    assert clone.read("dvc.lock") == toy.read("dvc.lock")


def test_a_stage_with_uncached_metrics_travels_over_an_s3_that_fails_for_seconds(toy, s3, here, capsys):
    _remote(toy, f"s3://{BUCKET}/travels", endpointurl=s3.url)
    clone = _clone(toy, "clone")
    toy.dvc("repro", "grow@oak")
    remote.push(toy.root, ["data/01_numbers"])
    s3.stored.clear()
    s3.fail_after(2, seconds=4)
    entry = remote.send(toy.root, "grow@oak")
    assert re.search(r"sending what grow@oak made failed \(.*\); attempt 2 in 1 s", capsys.readouterr().out)
    assert list(s3.stored)[-1].endswith(entry), "the entry is a promise: it is sent last"
    assert set(s3.stored.values()) == {1}

    shutil.copy(toy.root / "dvc.lock", clone.root)
    remote.pull(clone.root, ["data/01_numbers"])
    lock = "\n".join(toy.read("dvc.lock").split("  grow@oak:")[:1])
    (clone.root / "dvc.lock").write_text(lock)  # as before the stage was built elsewhere
    assert remote.fetch(clone.root, "grow@oak", entry)
    said = clone.dvc("repro", "--single-item", "grow@oak")
    assert "is cached - skipping run" in said and not _ran(said)
    for path in ("metrics/grow/oak.json", "plots/grow/oak.csv", "data/03_grow/oak/plant.json"):
        assert clone.read(path) == toy.read(path)
    assert clone.md5s().items() <= toy.md5s().items()


def test_an_object_missing_on_the_remote_is_said_and_nothing_half_restored(toy, here):
    store = toy.root.parent / "store"
    _remote(toy, str(store))
    clone = _clone(toy, "clone")
    toy.dvc("repro", "grow@oak")
    entry = remote.send(toy.root, "grow@oak")
    remote.push(toy.root, ["data/01_numbers"])
    _with_upstream(toy, clone)
    remote.pull(clone.root, ["data/01_numbers"])
    metrics = toy.md5s()["metrics/grow/oak.json"]
    (store / "files" / "md5" / metrics[:2] / metrics[2:]).unlink()
    here.setattr(remote, "DELAYS", (0.1,))
    with pytest.raises(
        remote.RemoteError, match=r"fetching what grow@oak made failed 2 times .* it goes on from there"
    ):
        remote.fetch(clone.root, "grow@oak")
    runs = list((clone.root / ".dvc" / "cache" / "runs").rglob(entry))
    assert not runs, "an entry is there only with all that it names"
    remote.send(toy.root, "grow@oak")
    assert remote.fetch(clone.root, "grow@oak")


def test_without_a_remote_the_remedy_is_named(toy, here):
    toy.dvc("repro", "numbers")
    with pytest.raises(remote.RemoteError, match="has no DVC remote, .*`dvc remote add -d NAME URL`"):
        remote.send(toy.root, "numbers")
    with pytest.raises(remote.RemoteError, match="no remote specified"):
        remote.push(Path(toy.root), ["data/01_numbers"])
