"""Commands that a run from the UI starts."""

from pathlib import Path

import typer

from flows.cli import contamination
from flows.orchestration.commands import _checks, contamination_words
from tasks.provenance.audit.finding import Check, Collector


def test_what_was_typed_into_the_form_is_no_option():
    app = typer.Typer()
    contamination.register(app)
    _, *words = contamination_words("--html=/tmp/x", "-b", 8, Path("page.html"))
    read = typer.main.get_command(app).make_context("contamination", words).params
    assert (read["a"], read["b"], str(read["html"]), read["ngram"]) == ("--html=/tmp/x", "-b", "page.html", 8)


def test_an_audit_in_the_ui_names_its_checks_and_what_they_found():
    found = Collector()
    found.add("data/x", "is missing", "fetch it")
    checks = [Check("counts", "all agree", Collector().outcome(3, "equations"), 0.1), Check("chains", "all lead somewhere", found.outcome(1, "rows"), 0.1)]  # fmt: skip
    said = _checks({"checks": [check.as_json() for check in checks]}).splitlines()
    assert said[2:] == [
        "| ✓ | counts | all agree |", "| ✗ | chains | all lead somewhere |", "", "- chains, violation: `data/x` is missing"
    ]  # fmt: skip
