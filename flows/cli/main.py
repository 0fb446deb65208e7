"""The console command `r1`: one file of this folder for each group of commands."""

import sys

import typer

from flows.cli import annotate, canary, contamination, curate, plan, report, run, trace, ui, verify, worker
from flows.orchestration.params import ParamsError
from tasks.curation.policy import CurationError
from tasks.verification.verdict import VerificationError

app = typer.Typer(
    help="DeepSeek-R1 as one reproducible DAG. `r1 run` rebuilds it; `r1 COMMAND --help` says more.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (run, plan, annotate, report, verify, canary, contamination, curate, ui, trace, worker):
    group.register(app)


@app.callback()
def r1() -> None:
    """Keeps sub-commands sub-commands, however few there are."""


def main() -> None:
    try:
        app()
    except (ParamsError, CurationError, VerificationError) as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main()
