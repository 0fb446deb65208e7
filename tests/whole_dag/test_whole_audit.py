"""`r1 audit` on the whole DAG, built by DVC: its books hold, and one change of any kind is found in a copy of it."""

import json
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from flows.orchestration.books import books_of
from tasks.prompts.revoked import Tombstone
from tasks.provenance.audit import audit
from tests.provenance.audit.made_books import edit
from tests.whole_dag.checkout import command

LEFT = (".venv", "work", "__pycache__", ".site")  # what an audit does not look at


def commit(folder):
    who = ("-c", "user.name=t", "-c", "user.email=t@t")
    for words in (["add", "-A"], [*who, "commit", "-qm", "built"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


@pytest.fixture(scope="module")
def audited(built, tmp_path_factory):
    """A copy of the built checkout, its results committed."""
    folder = tmp_path_factory.mktemp("audited") / "r1flow"
    shutil.copytree(built[0], folder, symlinks=True, ignore=shutil.ignore_patterns(*LEFT))
    commit(folder)
    return folder


@pytest.fixture()
def checkout(audited, tmp_path):
    """A copy of the data to tamper with; artifacts are read-only links of DVC's, so they are unlinked."""
    folder = tmp_path / "r1flow"
    shutil.copytree(audited, folder, symlinks=True, ignore=shutil.ignore_patterns("cache", *LEFT))
    for path in (folder / "data").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    return folder


def violations(folder, *only):
    """Where and what."""
    return [(f.where, f.problem) for c in audit(books_of(folder), only) for f in c.violations]


def test_the_books_of_the_whole_dag_hold_and_the_command_writes_the_page(audited, tmp_path, monkeypatch):
    """All checks once, which takes long; in this process, since torch and the checkpoints' readers are here."""
    page = tmp_path / "audit.html"
    monkeypatch.chdir(audited)
    run = CliRunner().invoke(app, ["audit", "--json", "--html", str(page)])
    said = json.loads(run.stdout)
    assert [f for c in said["checks"] for f in c["findings"] if f["level"] == "violation"] == []
    assert run.exit_code == 0 and said["passed"] and not said["not_run"], run.output
    assert "13_sft_data/examples" in page.read_text()


def test_part_of_an_audit_leaves_no_page_and_says_what_was_not_run(audited):
    one = command(audited, sys.executable, "-m", "flows.cli.main", "audit", "--only", "counts")
    assert one.returncode == 0 and "holds" in one.stdout and "Not run: checksums, chains" in one.stdout
    assert not (audited / "report/audit.html").exists(), "part of an audit is no audit"
    wrong = command(audited, sys.executable, "-m", "flows.cli.main", "audit", "--only", "everything")
    assert wrong.returncode == 1 and "there is no check 'everything'; checks: checksums" in wrong.stderr


@pytest.mark.parametrize(
    "table, change, check, says",
    [
        ("13_sft_data/examples", lambda r: r[0].update(response="5"), "checksums", "its md5 is"),
        ("06_cold_start/examples", lambda r: r[0].update(completion_id="completion_lost"), "chains", "names a completion"),
        ("06_cold_start/examples", lambda r: r[0].update(response="5"), "row ids", "is not the hash of its row"),
        ("15_preferences/pairs", lambda r: r[0].update(prompt_id="prompt_lost"), "chains", "is in no table and of no preference source"),
        ("15_preferences/pairs", lambda r: r[1:], "counts", "pairs"),
        ("06_cold_start/candidates", lambda r: r[1:], "counts", "sampled responses = responses asked for"),
        ("12_non_reasoning/decisions", lambda r: r[1:], "counts", "training prompts of its sources = prompts decided on"),
        ("10_verdicts/agreement", lambda r: [*r, {}], "counts", "judged candidates"),
        ("20_evaluate/r1/samples", lambda r: r[1:], "protocols", "samples of each problem"),
        ("01_prompts/train", lambda r: [x.update(licence="CC-BY-ND-4.0") for x in r] and None, "licences", "allows no shared adaptation"),
    ],
    ids=lambda v: v.replace("/", ".") if isinstance(v, str) and "/" in v else None,
)  # fmt: skip
def test_one_change_is_found(checkout, table, change, check, says):
    edit(checkout, table, change)
    assert any(says in problem for _, problem in violations(checkout, check))


def test_an_unreadable_table_is_told_before_the_page_is_made_without_it(checkout, tmp_path):
    file = checkout / "data/13_sft_data/examples.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    page = str(tmp_path / "audit.html")
    run = command(checkout, sys.executable, "-m", "flows.cli.main", "audit", "--only", "row ids", "--html", page)
    assert run.returncode == 1 and "a table cannot be read" in run.stdout and page in run.stdout, run.stderr


def test_decisions_on_revoked_sources_and_annotators_are_no_rows(checkout):
    for table, what, name in (("06_cold_start", "annotator", "a test"), ("15_preferences", "source", "oracle")):
        made = Tombstone(what, name, "no consent", "me", "2025-11-02").decision("?")
        edit(checkout, f"{table}/decisions", lambda rows, made=made: [*rows, made])
    assert violations(checkout, "chains", "counts") == []


def test_a_final_problem_among_the_training_prompts_is_found(checkout):
    import pyarrow.parquet as pq

    text = pq.read_table(checkout / "data/01_final/final.parquet")["text"][0].as_py()
    sets = ("11_reasoning/examples", "12_non_reasoning/examples")  # the first is empty where no candidate was right
    table = next(t for t in sets if pq.read_metadata(checkout / f"data/{t}.parquet").num_rows)
    edit(checkout, table, lambda rows: rows[0].update(prompt=f"  {text.upper()}"))
    assert violations(checkout, "contamination") == [
        (f"data/{table}.parquet", "its prompt is an evaluation item (prompt_exact)")
    ]


def test_changed_code_and_parameters_are_found(checkout):
    with open(checkout / "tasks/rows.py", "a") as file:
        file.write("# changed\n")
    values = (checkout / "params.yaml").read_text()
    (checkout / "params.yaml").write_text(values.replace("held_out_share: 0.2", "held_out_share: 0.3"))
    assert {w for w, _ in violations(checkout, "git clean")} == {"params.yaml", "tasks/rows.py"}
    changed = {where for where, _ in violations(checkout, "up to date")}
    assert "tasks/rows.py has changed" in changed and any("preferences" in where for where in changed)
