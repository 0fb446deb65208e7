"""The commands of `r1` as one typer application; each is imported when it is called."""

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
    "serve": "serve",
    "annotate": "annotate",
    "ui": "ui",
    "trace": "trace",
    "openlineage": "openlineage",
    "impact": "impact",
    "revoke": "impact",
    "why": "why",
    "audit": "audit",
    "export": "export",
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
