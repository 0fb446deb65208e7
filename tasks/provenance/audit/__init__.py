"""The audit: checks that prove the books, each a function of them.

    from tasks.provenance.audit import audit
    checks = audit(books)          # flows/orchestration/books.py reads the books of a checkout
    all(check.passed for check in checks)

A check says what it proves, how much it looked at, and what it found, with evidence and remedy. Nothing is booked for
the audit's sake: it reads what the stages leave anyway.
"""

import importlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tasks.provenance.audit.books import Books
from tasks.provenance.audit.finding import Check, Finding, Outcome


@dataclass(frozen=True)
class Plan:
    """A check that there is: where its function stands, and what it proves in one sentence."""

    name: str
    function: str  # module.function in this folder
    proves: str


PLANS = (
    Plan("checksums", "checksums.check", "Every file has the sha256 of its manifest and the md5 of dvc.lock, and no file is unvouched for"),
    Plan("chains", "chains.check", "Every row of every set has an unbroken chain to a place in a source"),
    Plan("row ids", "row_ids.check", "Every id is the hash of the content it names"),
    Plan("counts", "counts.check", "Stage by stage, rows in = rows kept + rows rejected, in tables and metrics alike"),
    Plan("contamination", "contamination.check", "No evaluation item is in any training set"),
    Plan("licences", "licensing.check", "The licences of all sources of each set and checkpoint are known and go together"),
    Plan("protocols", "protocols.check", "Numbers that are compared were measured alike, and follow from their rows"),
    Plan("up to date", "repository.up_to_date", "Every artifact was made from the code, parameters and inputs in force"),
    Plan("git clean", "repository.clean", "What stands in the working tree is what is committed"),
)  # fmt: skip
UNREADABLE = "the check `checksums` names what is damaged; `dvc checkout --force` restores it"
NAMES = tuple(plan.name for plan in PLANS)


def audit(books: Books, only: Iterable[str] = (), told: Callable[[str], None] = lambda name: None) -> list[Check]:
    """Run the checks, or those named in `only`; `told` hears the name of each before it starts.

    Raises ArtifactError where a manifest cannot be read at all: then there are no books to prove.
    """
    wanted = tuple(only)
    checks = []
    for plan in PLANS:
        if wanted and plan.name not in wanted:
            continue
        told(plan.name)
        began = time.monotonic()
        outcome = _run(plan, books)
        checks.append(Check(plan.name, plan.proves, outcome, time.monotonic() - began))
    return checks


def _run(plan: Plan, books: Books) -> Outcome:
    """The check's outcome; a table that cannot be read is what it found, and does not keep the other checks from running."""
    import duckdb
    import pyarrow as pa

    module, function = plan.function.split(".")
    try:
        return getattr(importlib.import_module(f"tasks.provenance.audit.{module}"), function)(books)
    except (OSError, duckdb.Error, pa.ArrowException) as error:
        told = str(error).strip().splitlines()[0]
        return Outcome(0, "rows", (Finding(plan.name, f"a table cannot be read: {told}", UNREADABLE),))
