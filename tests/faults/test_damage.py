"""Artifacts and caches that are truncated, flipped, replaced or poisoned; names that lead elsewhere: refused, and named."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest

from flows.orchestration.dag import load_dag
from flows.orchestration.params import ParamsError, read_yaml
from tasks.prompts.readers import SourceError, find_files, read
from tasks.provenance.artifacts import ArtifactError, checked, read_manifest, read_rows, weights_sha, write_manifest
from tasks.training import checkpoints
from tasks.training.reward_model import RewardModelTraining, Scorer, classifier
from tasks.training.settings import Model
from tests.faults.all_of_it import all_of_it
from tests.toy.project import Toy


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replaced(path: Path) -> None:
    path.write_bytes(b"something else")


DAMAGES = [truncated, flipped, replaced]


@pytest.fixture
def whole(oak_template, tmp_path) -> Toy:
    return oak_template.copy(tmp_path / "toy")


def _writable(path: Path) -> Path:
    """DVC protects what it has in its cache; a disk that flips bits does not ask."""
    path.parent.chmod(0o755)
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_or_manifest_is_refused_and_named(whole, damage):
    folder = whole.root / "data/01_numbers"
    damage(_writable(folder / "numbers.parquet"))
    with pytest.raises(ArtifactError, match="01_numbers/numbers.parquet is damaged: sha256 .* `r1 run`"):
        read_rows(folder, "numbers")
    damage(_writable(folder / "manifest.json"))
    with pytest.raises(ArtifactError, match="01_numbers/(manifest.json|numbers.parquet) is damaged"):
        read_rows(folder, "numbers")


@all_of_it  # tests/faults/test_stage_faults.py has the flipped bit alone
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artifact_stops_the_stage_that_reads_it_and_the_pipeline_makes_it_again(whole, damage):
    md5s = whole.md5s()
    damage(_writable(whole.root / "data/01_numbers/numbers.parquet"))
    said = whole.stage("grow", "fir", ok=False)
    assert "data/01_numbers/numbers.parquet is damaged" in said and "Traceback" not in said
    whole.r1("run", "grow@fir")
    assert whole.md5s().items() > md5s.items() and len(read_rows(whole.root / "data/01_numbers", "numbers")) == 18


@pytest.mark.parametrize("damage", [truncated])
def test_a_damaged_object_of_dvcs_cache_is_never_taken_for_the_artifact(whole, damage):
    """Also where its time and size say that nothing happened, and where the artifact is gone and could be restored."""
    md5s = whole.md5s()
    entry = json.loads((whole.root / ".dvc/cache/files/md5" / _object(md5s["data/01_numbers"])).read_text())
    table = next(e["md5"] for e in entry if e["relpath"] == "numbers.parquet")
    path = _writable(whole.root / ".dvc/cache/files/md5" / _object(table))
    damage(path)
    shutil.rmtree(whole.root / "data/01_numbers")
    whole.r1("run", "grow@fir")
    assert whole.md5s().items() > md5s.items() and len(read_rows(whole.root / "data/01_numbers", "numbers")) == 18


def _object(md5: str) -> str:
    return f"{md5[:2]}/{md5[2:]}"


@pytest.fixture
def model(checkpoint, tmp_path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_checkpoint_is_refused_before_it_is_used(model, name, damage):
    damage(model / name)
    settings = RewardModelTraining(epochs=1, batch_size=4, learning_rate=1e-3, max_length=64)
    for use in (checkpoints.load, partial(classifier, p=settings, seed=0), Scorer):
        with pytest.raises(ArtifactError, match=f"model/{name} is damaged: sha256"):
            use(model)
    if name == "model.safetensors":
        with pytest.raises(ArtifactError, match="is damaged"):
            weights_sha(model)


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def _poison(model: Path, target: Path) -> None:
    """A pickle beside the weights, and a config that names code of the checkpoint's own."""
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(target)))
    (model / "training_args.bin").write_bytes(pickle.dumps(Bomb(target)))
    (model / "evil.py").write_text(f"import os\nos.mkdir({str(target)!r})\nclass Evil: pass\n")
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": "evil.Evil"}
    (model / "config.json").write_text(json.dumps(config))


def test_poison_in_a_checkpoint_of_your_own_is_not_executed(model, tmp_path):
    target = tmp_path / "executed"
    (model / "manifest.json").unlink()
    _poison(model, target)
    checkpoints.load(model)  # by the architecture that the library itself has
    copy = tmp_path / "copy"
    checkpoints.fetch(Model(path=str(model)), copy)
    assert not {p.suffix for p in copy.iterdir()} & {".bin", ".py", ".pt", ".pkl"}
    config = json.loads((model / "config.json").read_text()) | {"model_type": "evil", "architectures": ["Evil"]}
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="trust_remote_code"):  # code of its own alone
        checkpoints.load(model)
    (model / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"has no weights \(\*.safetensors\); download them, or convert them"):
        checkpoints.load(model)
    assert not target.exists()


def test_poison_in_a_published_checkpoint_is_refused(model, tmp_path):
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    with pytest.raises(ArtifactError, match="pytorch_model.bin is not in its manifest: somebody put it there"):
        checkpoints.load(model)
    assert not (tmp_path / "executed").exists()


def test_poison_in_the_state_of_a_killed_training_is_not_executed(tmp_path):
    from tasks.prompts.corpus import pretraining_set
    from tasks.training.pretrain import pretrain_checkpoint
    from tasks.training.settings import Pretrain

    (tmp_path / "state.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    with pytest.raises(pickle.UnpicklingError):
        small = Pretrain(hidden=16, layers=1, heads=2, tokens=1000)
        pretrain_checkpoint(small, pretraining_set("bare"), 0, tmp_path, tmp_path / "out")
    assert not (tmp_path / "executed").exists()


NAMES = ["../../x", "/etc/x", "a/b", "..", "", "a\0b", "x; touch y", "$(touch y)", "-rf"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_that_leads_elsewhere_is_refused(toy, name):
    values = read_yaml(toy.root / "params.yaml")
    values["grow"]["plants"] = {name: {"steps": 3}}
    with pytest.raises(ParamsError, match="an item of stage grow, becomes part of a path"):
        load_dag(toy.root, values)


@pytest.mark.parametrize("out", ["../elsewhere", "/tmp/elsewhere", "data/../../elsewhere"])
def test_a_stage_writes_inside_the_repository_alone(toy, out):
    text = (toy.root / "dvc.yaml").read_text()
    (toy.root / "dvc.yaml").write_text(text.replace("data/02_held_out]", f"{out}]", 1))
    with pytest.raises(ParamsError, match="numbers would write .*, which is not inside the repository"):
        load_dag(toy.root)


@pytest.mark.parametrize("file", ["../secret", "/etc/passwd", "a/../../secret", "a\0b"], ids=range(4))
def test_a_manifest_vouches_for_its_own_folder_alone(tmp_path, file):
    (tmp_path / "secret").write_text("s")
    (tmp_path / "own").mkdir()
    write_manifest(tmp_path / "own")
    manifest = read_manifest(tmp_path / "own")
    manifest["files"][file] = {"sha256": "0" * 64, "bytes": 1}
    (tmp_path / "own/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="is no name of a file inside"):
        checked(tmp_path / "own", file)


def test_what_a_link_stands_for_is_not_written_to(whole, tmp_path):
    """A link out of data/ where the artifact belongs: the link is replaced, its target keeps what it holds."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.tex").write_text("years of work")
    shutil.rmtree(whole.root / "data/03_grow/oak")
    (whole.root / "data/03_grow/oak").symlink_to(elsewhere)
    whole.stage("grow", "oak")
    assert not (whole.root / "data/03_grow/oak").is_symlink() and whole.has("data/03_grow/oak/plant.json")
    assert [p.name for p in elsewhere.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["../../out.jsonl", "{elsewhere}/out.jsonl"], ids=["upwards", "absolute"])
def test_archives_with_names_that_lead_elsewhere_are_refused(tmp_path, name):
    """Joined to the archive's own path, an absolute name is a file of this machine."""
    inside, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    inside.mkdir()
    elsewhere.mkdir()
    row, name = b'{"text": "1+1"}\n', name.format(elsewhere=elsewhere)
    (elsewhere / "out.jsonl").write_bytes(b'{"text": "a secret of this machine"}\n')
    with zipfile.ZipFile(inside / "a.zip", "w") as archive:
        archive.writestr(name, row)
    with tarfile.open(inside / "b.tar", "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(row)
        archive.addfile(member, BytesIO(row))
    for archive in ("a.zip", "b.tar"):
        with pytest.raises(SourceError, match=f"{archive}: its member .* leads out of the archive"):
            [row for path in find_files(inside, archive) for row in read(path, path.name)]


def test_a_link_in_an_archive_is_no_file_of_it(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("link.jsonl")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(SourceError, match=r"no such file of a known format in a.tar; it holds none"):
        find_files(tmp_path, "a.tar")


def test_unpickling_is_nowhere_in_the_code():
    """Every use of pickle in flows/ and tasks/ would have to be looked at: there is none, torch.load reads weights only."""
    root = Path(__file__).resolve().parents[2]
    files = [p for folder in ("flows", "tasks") for p in (root / folder).rglob("*.py")]
    loads = [
        f"{p}:{line}"
        for p in files
        for line in p.read_text().splitlines()
        if "pickle.load" in line or "trust_remote_code=True" in line
    ]
    torch = [line for p in files for line in p.read_text().splitlines() if "torch.load(" in line]
    assert len(files) > 100 and not loads and all("weights_only=True" in line for line in torch) and torch
    assert (
        subprocess.run([sys.executable, "-c", "import tasks.training.checkpoints"], cwd=root, check=False).returncode
        == 0
    )
