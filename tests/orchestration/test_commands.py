"""Commands that a run from the UI starts."""

from pathlib import Path

import typer

from flows.cli import contamination
from flows.orchestration.commands import contamination_words


def test_what_was_typed_into_the_form_is_no_option():
    app = typer.Typer()
    contamination.register(app)
    _, *words = contamination_words("--html=/tmp/x", "-b", 8, Path("page.html"))
    read = typer.main.get_command(app).make_context("contamination", words).params
    assert (read["a"], read["b"], str(read["html"]), read["ngram"]) == ("--html=/tmp/x", "-b", "page.html", 8)
