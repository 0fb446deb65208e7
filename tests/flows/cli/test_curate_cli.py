"""`r1 curate` as a command: what it prints, what it refuses and how."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.cli import curate as cli
from flows.cli.main import app
from tests.curation.made_candidates import candidate, candidates, response, write

ROOT = Path(__file__).resolve().parents[3]
POLICY = "filters: {max_code_fences: 0, complete: true}\ndeduplication: {exact: true}\nselection: {verdict: null}\n"


def r1(*arguments, cwd=ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "flows.cli.main", "curate", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=None, capture_output=True, text=True)


def called(*arguments):
    return CliRunner().invoke(app, ["curate", *map(str, arguments)])


@pytest.fixture
def files(tmp_path):
    """(candidates by other names, a policy, an evaluation set)"""
    (tmp_path / "policy.yaml").write_text(POLICY)
    rows = [{("completion" if k == "text" else k): v for k, v in r.items()} for r in candidates(48)]
    rows[5]["prompt"] = "What would the old farmer's wife say of seven green bottles on the wall?"
    write(tmp_path / "in" / "a.parquet", rows)
    question = json.dumps({"text": rows[5]["prompt"]})
    (tmp_path / "final:exam.jsonl").write_text(question + "\n")
    return tmp_path


def test_a_run_prints_the_funnel_and_tells_a_story(files):
    out = files / "out"
    done = r1(
        files / "in", "--policy", files / "policy.yaml", "--out", out, "--columns", "text=completion", "--threads", 1,
        "--against", files / "final:exam.jsonl",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "code_block" in done.stdout and "prompt_exact" in done.stdout and "of 48 candidates are in" in done.stdout
    assert "reading texts" in done.stderr
    kept = pq.read_table(out / "kept.parquet").to_pylist()
    assert "completion" not in kept[0] and len(kept) == json.loads((out / "funnel.json").read_text())["kept"]
    told = r1("--why", candidates(48)[7]["id"], "--out", out)
    assert told.returncode == 0 and "rejected by code_block (filters)" in told.stdout and "REJECTS" in told.stdout
    assert "Other candidates of the prompt: 3" in told.stdout
    told = r1("--why", candidates(48)[5]["id"], "--out", out)
    assert "rejected by prompt_exact (decontamination)" in told.stdout and "final" in told.stdout
    nobody = r1("--why", "[red]nobody", "--out", out)
    assert nobody.returncode == 1 and "no candidate has the id '[red]nobody'" in nobody.stderr


def test_errors_are_one_message_without_a_traceback(files):
    said = r1(files / "nothing", "--policy", files / "policy.yaml", "--out", files / "out")
    assert said.returncode == 1 and "nothing: no such file" in said.stderr and "Traceback" not in said.stderr
    (files / "policy.yaml").write_text("filters: {max_fences: 1}\n")
    said = r1(files / "in", "--policy", files / "policy.yaml", "--out", files / "out")
    assert said.returncode == 1 and "filters.max_fences: unknown key" in said.stderr and "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.parquet", "--policy", "r1"], "--out"),
        (["--policy", "r1", "--out", "x"], "INPUT"),
        (["a.parquet", "--out", "x"], "INPUT"),
        (["a.parquet", "--policy", "r1", "--out", "x", "--columns", "text"], "--columns"),
        (["a.parquet", "--policy", "r1", "--out", "x", "--memory", "lots"], "--memory"),
        (["a.parquet", "--policy", "r1", "--out", "x", "--memory", "1M"], "--memory"),
        (["a.parquet", "--policy", "r1", "--out", "x", "--max-bad-share", "2"], "--max-bad-share"),
    ],
)
def test_wrong_usage_names_the_option(arguments, said):
    result = called(*arguments)
    assert result.exit_code == 2 and said in result.output


def test_help_says_what_goes_in_and_what_comes_out():
    result = called("--help")
    assert result.exit_code == 0
    for word in ("INPUT", "--policy", "kept.parquet", "--why", "--against", "--columns"):
        assert word in result.output


def test_every_policy_of_the_repository_is_valid_and_runs(tmp_path):
    from tasks.curation.policy import load_policy

    folder = ROOT / "recipes" / "selection"
    names = sorted(p.stem for p in folder.glob("*.yaml"))
    assert "r1" in names
    for name in names:
        load_policy(name, folder)


def test_sizes_and_benchmarks_from_the_command_line(tmp_path):
    assert [cli._bytes(s) for s in ("4G", "512m", "0.5 GiB", "268435456")] == [4 << 30, 1 << 29, 1 << 29, 1 << 28]
    colon = tmp_path / "a:b.jsonl"
    colon.touch()
    assert cli._benchmark(str(colon)).path == str(colon)
    given = cli._benchmark(f"{colon}:question.0.text")
    assert (given.path, given.text, given.name) == (str(colon), "question.0.text", "a:b")


def test_markup_in_a_row_is_shown_as_it_is(tmp_path, capsys):
    from tests.curation.made_candidates import POLICY as policy
    from tests.curation.made_candidates import curated

    path = write(tmp_path / "a.parquet", [candidate(1, response("a"), id="[bold]x[/]", finish="[red]length")])
    curated([path], policy, tmp_path / "out")
    cli.tell(tmp_path / "out", "[bold]x[/]")
    assert capsys.readouterr().out.startswith("[bold]x[/], a candidate of prompt p0")
