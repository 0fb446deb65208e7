"""The console command `r1`: one file of this folder for each group of commands, imported when one of them is called."""

import sys
from importlib import import_module

import typer
from typer.core import TyperGroup

COMMANDS = {  # command -> the file of this folder that registers it, in the order of the help
    "run": "run",
    "use": "run",
    "status": "run",
    "plan": "plan",
    "report": "report",
    "verify": "verify",
    "canary": "canary",
    "contamination": "contamination",
    "curate": "curate",
    "annotate": "annotate",
    "ui": "ui",
    "trace": "trace",
    "why": "why",
    "worker": "worker",
}


class Commands(TyperGroup):
    """Commands that are imported when they are asked for: `r1 why` must not wait for the libraries of `r1 run`."""

    def list_commands(self, ctx) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx, name: str):
        if name in COMMANDS and name not in self.commands:
            group = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            group.callback()(lambda: None)  # so that one command alone is a group as well
            import_module(f"flows.cli.{COMMANDS[name]}").register(group)
            self.commands |= typer.main.get_command(group).commands
        return self.commands.get(name)


app = typer.Typer(
    cls=Commands,
    help="DeepSeek-R1 as one reproducible DAG. `r1 run` rebuilds it; `r1 COMMAND --help` says more.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def r1() -> None:
    """Keeps sub-commands sub-commands, however few there are."""


def _explained() -> tuple[type[Exception], ...]:
    """Errors whose message is all that a person needs."""
    from flows.orchestration.params import ParamsError
    from tasks.curation.policy import CurationError
    from tasks.verification.verdict import VerificationError

    return ParamsError, CurationError, VerificationError


def main() -> None:
    if sys.argv[1:2] == ["why"]:
        sys.modules.setdefault("numpy", None)  # pyarrow does without, and half of its import time is numpy's
    try:
        app()
    except Exception as exc:
        if isinstance(exc, _explained()):
            sys.exit(str(exc))
        raise


if __name__ == "__main__":
    main()
