"""Lineage of a real (toy) recipe built by DVC: what made what, now and at a past commit, and whether that is still so."""

import json
import shutil

import pytest

from flows.orchestration import git, run_book
from flows.orchestration.lineage import Lineage, md5_of
from flows.orchestration.params import ParamsError
from flows.orchestration.pipeline import stale


@pytest.fixture(scope="module")
def history(oak_template, tmp_path_factory):
    """Two commits: `numbers` and `grow@oak` built with 20 numbers, then `numbers` alone with 30."""
    toy = oak_template.copy(tmp_path_factory.mktemp("lineage") / "toy")
    toy.git("add", ".")
    toy.git("commit", "-qm", "twenty")
    toy.set("numbers.count", 30)
    toy.dvc("repro", "numbers")
    toy.git("add", ".")
    toy.git("commit", "-qm", "thirty")
    return toy


@pytest.fixture
def now(history, tmp_path):
    return history.copy(tmp_path / "toy")


def test_records_say_what_dvc_locked(history):
    books = Lineage.at(history.root)
    assert list(books.records) == list(books.dag.nodes)
    made = {path: item.md5 for r in books.records.values() for path, item in r.writes.items() if item.md5}
    assert made == history.md5s() and len(made) == 6
    record = books.records["grow@oak"]
    assert (record.name, record.item, record.built) == ("grow", "oak", True) and record.meta == {
        "prefect": {"gpu": True}
    }
    assert record.params == {"seed": 3, "threads": 1, "grow.plants.oak": {"steps": 3}}
    assert list(record.code) == ["flows/grow.py"] and record.code["flows/grow.py"].md5 == md5_of(
        history.root / "flows/grow.py"
    )
    assert list(record.deps) == ["data/01_numbers"]
    item = record.outs["data/03_grow/oak"]
    assert item.files == 2 and item.md5 == md5_of(history.root / item.path) and item.md5.endswith(".dir")
    unbuilt = books.records["harvest"]
    assert (
        not unbuilt.built
        and unbuilt.params["harvest"] == {"best": "oak"}
        and unbuilt.outs["report/report.md"].md5 is None
    )
    assert books.commit == git.head(history.root) and books.dirty == ()


def test_neighbours_makers_and_names(history):
    books = Lineage.at(history.root)
    assert books.upstream("grow@oak") == ("numbers",) and books.downstream("numbers") == (
        "grow@oak",
        "grow@fir",
        "harvest",
    )
    assert books.upstream("harvest", every=True) == ("numbers", "grow@oak", "grow@fir")
    assert books.downstream("grow@oak", every=True) == ("harvest",)
    assert books.maker("data/03_grow/oak/plant.json").stage == "grow@oak" and books.maker("metrics") is None
    for name, stage, path in [
        ("grow@oak", "grow@oak", None),
        ("grow/oak", "grow@oak", "data/03_grow/oak"),
        ("held_out/numbers.parquet", "numbers", "data/02_held_out"),
        (str(history.root / "data/01_numbers/"), "numbers", "data/01_numbers"),
        ("plots/grow/oak.csv", "grow@oak", "plots/grow/oak.csv"),
    ]:
        record, found = books.find(name)
        assert (record.stage, found) == (stage, path), name
    with pytest.raises(ParamsError, match="no stage is called `nubmers`.* did you mean numbers"):
        books.find("nubmers")


def edit_code(toy):
    (toy.root / "flows/grow.py").write_text(toy.read("flows/grow.py") + "# changed\n")


CHANGES = {
    "nothing": (lambda toy: None, {"grow@oak": "data/01_numbers has changed"}),
    "code": (edit_code, {"grow@oak": "flows/grow.py has changed"}),
    "a parameter": (lambda toy: toy.set("numbers.count", 31), {"numbers": "parameter numbers differs"}),
    "a missing file": (
        lambda toy: (toy.root / "flows/numbers.py").unlink(),
        {"numbers": "flows/numbers.py is missing"},
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changed_is_what_dvc_calls_stale(now, what, monkeypatch):
    change, expected = CHANGES[what]
    monkeypatch.chdir(now.root)  # DVC names stages relative to where it is asked
    change(now)
    books = Lineage.at(now.root)
    changed = {stage: lines for stage in books.records if (lines := books.changes(stage))}
    assert set(changed) == {"grow@oak", "grow@fir", "harvest"} | set(expected)
    assert changed["harvest"] == ["it was never built: dvc.lock does not know it"]
    for stage, words in expected.items():
        assert any(words in line for line in changed[stage]), changed[stage]
    assert stale(now.root, books.records) == set(changed)


def test_a_past_commit_has_its_own_books_and_contents(now):
    then, today = Lineage.at(now.root, "HEAD~1"), Lineage.at(now.root)
    assert then.commit == git.commit_of(now.root, "HEAD~1") and then.dirty == ()
    assert then.values["numbers"] == {"count": 20} and then.records["numbers"].params["numbers"] == {"count": 20}
    assert then.changes("numbers") == then.changes("grow@oak") == []
    old = then.folder("data/01_numbers")
    assert md5_of(old) == then.records["numbers"].outs["data/01_numbers"].md5
    assert (
        md5_of(old) != md5_of(today.folder("data/01_numbers"))
        and today.folder("data/01_numbers").parent == now.root / "data"
    )
    assert then.manifest("data/01_numbers")["params"]["numbers"] == {"count": 20}
    assert json.loads(then.folder("metrics/numbers.json").read_text())["rows"] == 20
    assert then.folder("data/01_numbers") == old, "laid out once"
    with pytest.raises(ParamsError, match="had not been made at HEAD~1"):
        then.folder("report/report.md")


def test_contents_that_are_not_here_name_the_remedy(now):
    then = Lineage.at(now.root, "HEAD~1")
    shutil.rmtree(now.root / ".dvc/cache/files")
    with pytest.raises(
        ParamsError, match=r"data/01_numbers of HEAD~1 .* fetch it with `dvc fetch --all-commits data/01_numbers`"
    ):
        then.folder("data/01_numbers")
    shutil.rmtree(now.root / "data/02_held_out")
    with pytest.raises(
        ParamsError, match="data/02_held_out is not here; .*`dvc pull data/02_held_out`.*`r1 run numbers`"
    ):
        Lineage.at(now.root).folder("data/02_held_out")


def test_a_listing_that_leads_outside_is_refused(now):
    then = Lineage.at(now.root, "HEAD~1")
    md5 = then.records["numbers"].outs["data/01_numbers"].md5
    place = now.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    place.chmod(0o644)
    place.write_text(json.dumps([{"md5": "0" * 32, "relpath": "../../escaped"}]))
    with pytest.raises(ParamsError, match="names '../../escaped', which lies outside"):
        then.folder("data/01_numbers")
    assert not (now.root / "work/escaped").exists()


def test_who_committed_an_artifact_and_what_is_not_committed(now):
    books = Lineage.at(now.root)
    assert (
        books.committed("data/01_numbers").subject == "thirty"
        and books.committed("data/03_grow/oak").subject == "twenty"
    )
    assert books.committed("data/03_grow/oak").author == "toy" and books.committed("report/report.md") is None
    now.set("numbers.count", 7)
    (now.root / "new file.txt").write_text("?")
    assert Lineage.at(now.root).dirty == ("new file.txt", "params.yaml")
    now.dvc("repro", "numbers")
    assert Lineage.at(now.root).committed("data/01_numbers") is None


def test_the_run_book_tells_who_and_from_what_and_only_of_its_own_artifact(now):
    books = Lineage.at(now.root)
    book = books.book("numbers")
    assert (
        book["user"]
        and book["host"]
        and book["seconds"] >= 0
        and set(book["published"]) == {"data/01_numbers", "data/02_held_out"}
    )
    assert book["commit"] == git.commit_of(now.root, "HEAD~1") and book["dirty"] == ["params.yaml"]
    assert books.book("grow@oak")["dirty"] == [] and books.book("harvest") is None
    assert Lineage.at(now.root, "HEAD~1").book("numbers") is None, "the last run made another artifact"
    manifest = now.root / "data/01_numbers/manifest.json"
    text = manifest.read_text()
    manifest.unlink()
    manifest.write_text(text.replace('"seed": 3', '"seed": 4'))
    assert books.book("numbers") is None
    (now.root / "work/runs/grow@oak.json").write_text('{"stage": "grow@oa')
    assert run_book.read(now.root, "grow@oak") is None


def test_books_of_a_commit_whose_artifacts_were_not_checked_out(now):
    """dvc.lock of twenty numbers beside an artifact of thirty: neither its run nor its manifest is shown as theirs."""
    now.git("checkout", "-q", "HEAD~1", "--", "dvc.lock", "params.yaml")
    books = Lineage.at(now.root)
    assert not books.stands("data/01_numbers") and books.stands("data/03_grow/oak")
    assert books.book("numbers") is None and books.manifest("data/01_numbers") is None
    assert books.changes("numbers")[0].startswith("data/01_numbers here is not what dvc.lock has")
    now.dvc("checkout", "--force", "numbers")
    assert books.manifest("data/01_numbers")["params"]["numbers"] == {"count": 20} and books.changes("numbers") == []
    with pytest.raises(ParamsError, match="data/01_numbers holds no `nope`"):
        books.find("numbers/nope")


def test_revisions_that_are_none(now, tmp_path):
    with pytest.raises(ParamsError, match="git knows no revision `mian`|did you mean"):
        Lineage.at(now.root, "mian")
    with pytest.raises(ParamsError, match="git knows no revision `--all`"):
        Lineage.at(now.root, "--all")
    shutil.rmtree(now.root / ".git")
    books = Lineage.at(now.root)
    assert books.commit is None and books.dirty == () and books.committed("data/01_numbers") is None
    with pytest.raises(ParamsError, match="is no git repository"):
        Lineage.at(now.root, "HEAD")
