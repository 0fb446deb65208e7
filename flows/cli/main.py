"""The console command `r1`: one file of this folder for each group of commands, imported when one of them is called."""

import sys


def __getattr__(name: str):
    """`app`, the typer application: made when it is asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flows.cli.app import app

    return app


def _explained() -> tuple[type[Exception], ...]:
    """Errors whose message is all that a person needs."""
    from flows.orchestration.params import ParamsError
    from tasks.curation.errors import CurationError
    from tasks.execution import ExecutionError
    from tasks.provenance.artifacts import ArtifactError
    from tasks.verification.verdict import VerificationError

    return ArtifactError, ParamsError, CurationError, ExecutionError, VerificationError


def main() -> None:
    if sys.argv[1:2] == ["why"]:
        from flows.cli.why_quickly import quickly

        quickly(sys.argv[2:])
    from flows.cli.app import app

    try:
        app()
    except Exception as exc:
        if isinstance(exc, _explained()):
            sys.exit(str(exc))
        raise


if __name__ == "__main__":
    main()
