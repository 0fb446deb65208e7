"""`r1 why` as a command: what people and machines get, what it refuses and how."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.dag_tables import generate
from flows.cli import why_quickly
from flows.cli.main import app
from tasks.provenance import story

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(checkout with tables, planted answers)"""
    folder = tmp_path_factory.mktemp("why")
    planted = generate(folder, 240, 120)
    for name in ("dvc.yaml", "params.yaml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder, planted


@pytest.fixture
def r1(made, monkeypatch, capsys):
    """Calls `r1 why` as main() does, in this process: (status, standard output, standard error)."""
    monkeypatch.chdir(made[0])
    monkeypatch.delenv("DVC_ROOT", raising=False)

    def call(*words):
        with pytest.raises(SystemExit) as end:
            why_quickly.quickly(list(words))
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return call


def test_the_command_in_a_process_of_its_own(made):
    command = [sys.executable, "-m", "flows.cli.main", "why", made[1]["near_within_prompt"]["id"]]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=made[0], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second, *rest = done.stdout.splitlines()
    assert first.startswith(made[1]["near_within_prompt"]["id"]) and "rejected by near_within_prompt" in first
    text = " ".join(" ".join(rest).split())
    assert "value 0.95, threshold 0.9" in " ".join([second, *rest])
    assert f"{made[1]['near_within_prompt']['kept_id']} (near, within_prompt, Jaccard 0.950): kept" in text
    assert (
        "licence MIT" in text
        and "data/08_dev2" in text
        and "verifier bbc1c5eb25388e82" in text
        and "Siblings: 3" in text
    )


def test_the_start_loads_none_of_the_slow_libraries(made):
    code = (
        "import sys; sys.argv = ['r1', 'why', sys.argv[1], '--json']\n"
        "from flows.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "slow = {'typer', 'pydantic', 'numpy', 'duckdb', 'rich', 'pyarrow.compute', 'prefect', 'yaml'}\n"
        "print(sorted(m for m in slow if sys.modules.get(m)), file=sys.stderr)\n"
    )
    id = made[1]["kept"]["id"]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    for _ in range(2):  # the first one builds the index
        done = subprocess.run(
            [sys.executable, "-c", code, id], cwd=made[0], env=env, capture_output=True, text=True, check=False
        )
    assert done.stderr == "[]\n" and json.loads(done.stdout)["id"] == id


def test_the_call_that_builds_the_index_says_only_so(made, tmp_path):
    command = [sys.executable, "-m", "flows.cli.main", "why", made[1]["kept"]["id"], "--json", "--index", "index"]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "DVC_ROOT": str(made[0])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("indexing the ids of ") and done.stderr.count("\n") == 1
    assert done.returncode == 0 and (tmp_path / "index").is_dir()


def test_json_is_complete_and_the_same_by_typer(made, r1, monkeypatch):
    id = made[1]["example"]["id"]
    status, out, _ = r1(id, "--json")
    found = json.loads(out)
    assert status == 0 and found["id"] == id and found["completion"]["id"] == made[1]["example"]["completion_id"]
    monkeypatch.chdir(made[0])
    typed = CliRunner().invoke(app, ["why", id, "--json"])
    assert typed.exit_code == 0 and json.loads(typed.stdout) == found


def test_an_unknown_id_ends_in_status_1_with_near_ones(made, r1):
    id = made[1]["kept"]["id"]
    wrong = id[:-1] + ("0" if id[-1] != "0" else "1")
    status, out, err = r1(wrong)
    assert (status, out) == (1, "") and f"near it: {id}" in err and "tables in" in err
    status, out, _ = r1(wrong, "--json")
    assert status == 1 and json.loads(out)["near"][0] == id


def test_a_text_is_found_told_or_named(made, r1):
    text = json.loads(r1(made[1]["kept"]["id"], "--json")[1])["row"]["text"]
    status, out, _ = r1("--text", text)
    assert status == 0 and out.startswith("Found exactly in 2 rows") and "kept: in data/11_reasoning" in out
    status, out, _ = r1(f"--text={text.upper()}", "--json")
    assert json.loads(out)["match"] == "normalised" and len(json.loads(out)["chains"]) == 2
    status, out, _ = r1("--text", text[:-20])
    assert status == 0 and "No row has this text. The nearest ones" in out
    status, out, err = r1("--text", "zq xj vw")
    assert (status, out) == (1, "") and "no text comes near" in err
    status, out, _ = r1("--text", "zq xj vw", "--json")
    assert status == 1 and (json.loads(out)["match"], json.loads(out)["chains"]) == ("none", [])


def test_a_leftover_of_a_stage_of_the_past_is_no_set(made, r1):
    folder = made[0] / "data/12_once"
    shutil.copytree(made[0] / "data/12_non_reasoning", folder)
    try:
        found = json.loads(r1(made[1]["general_example"]["id"], "--json")[1])
    finally:
        shutil.rmtree(folder)
    assert {s["artifact"] for s in found["sets"]} == {"data/12_non_reasoning", "data/13_sft_data"}
    assert {c["artifact"] for c in found["checkpoints"]} >= {"data/14_dev3"}


def test_signs_that_a_terminal_obeys_are_shown_and_not_sent():
    assert (
        story.printable("a\x1b]0;title\x07b\x9b2J\u202e\r\n\tcafé") == r"a\x1b]0;title\x07b\x9b2J\u202e\r" + "\n\tcafé"
    )
    assert "\x1b" not in story._text("\x1b[31mred").plain


def test_a_damaged_table_ends_in_one_line(made, monkeypatch, tmp_path, capsys):
    shutil.copytree(made[0], tmp_path / "x")
    file = tmp_path / "x/data/09_candidates/candidates.parquet"
    monkeypatch.chdir(tmp_path / "x")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    for cached in (False, True):
        index = str(made[0] / "work/index" if cached else tmp_path / "new")
        with pytest.raises(SystemExit, match="candidates.parquet"):
            why_quickly.quickly([made[1]["kept"]["id"], "--index", index])
    assert capsys.readouterr().out == ""


def test_other_words_are_left_to_typer(made, monkeypatch):
    monkeypatch.chdir(made[0])
    for words in ([], ["a", "b"], ["a", "--text", "b"], ["--nonsense"], ["-h"], ["--text"]):
        assert why_quickly.quickly(words) is None
    assert CliRunner().invoke(app, ["why"]).exit_code == 2
    shown = CliRunner().invoke(app, ["why", "--help"])
    assert shown.exit_code == 0 and "r1 why 000ac8f4" in shown.output


def test_outside_a_checkout_and_before_anything_was_built(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="not inside a checkout"):
        why_quickly.quickly(["x"])
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(SystemExit, match="no finished table"):
        why_quickly.quickly(["x"])


def test_an_index_that_cannot_be_written_names_the_folder_and_the_remedy(made, monkeypatch, tmp_path):
    monkeypatch.chdir(made[0])
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="--index DIR"):
        why_quickly.quickly(["x", "--index", str(tmp_path / "file" / "index")])
