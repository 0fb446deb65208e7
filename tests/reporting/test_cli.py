"""`r1 report`: renders the page again, prints the main table, and says what to do where there is no report."""

import json

import typer
from made_up_run import inputs
from typer.testing import CliRunner

from flows.cli import report
from tasks.reporting import card, markdown, sources


def app() -> typer.Typer:
    made = typer.Typer()
    report.register(made)
    made.callback()(lambda: None)
    return made


def test_report_command(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    missing = CliRunner().invoke(app(), ["report"])
    assert missing.exit_code == 2 and "r1 run report" in missing.output
    results = card.build(inputs())
    (tmp_path / "report" / "figures").mkdir(parents=True)
    (tmp_path / "report" / "results.json").write_text(sources.as_json(results))
    (tmp_path / "report" / "report.md").write_text(markdown.render(results, []))
    shown = CliRunner().invoke(app(), ["report"])
    assert shown.exit_code == 0, shown.output
    assert "| R1-Zero |" in shown.output and "index.html" in shown.output
    assert (tmp_path / "report" / "index.html").is_file()
    as_json = CliRunner().invoke(app(), ["report", "--json"])
    assert json.loads(as_json.output)["recipe"] == "cpu"
