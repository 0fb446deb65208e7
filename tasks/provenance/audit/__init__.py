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
from dataclasses import dataclass, replace

from tasks.provenance.audit.books import Books, unreadable
from tasks.provenance.audit.finding import Check, Finding, Outcome


@dataclass(frozen=True)
class Plan:
    """A check that there is: where its function stands, and what it proves in one sentence."""

    name: str
    function: str  # module.function in this folder
    proves: str
    of_rows: bool = False  # it proves something of every row there is, so that every table must be here
    of_anything: bool = True  # to look at nothing proves nothing


PLANS = (
    Plan("checksums", "checksums.check", "Every file has the sha256 of its manifest and the md5 of dvc.lock, and no file is unvouched for"),
    Plan("chains", "chains.check", "Every row of every set has an unbroken chain to a place in a source", of_rows=True),
    Plan("row ids", "row_ids.check", "Every id is the hash of the content it names", of_rows=True),
    Plan("counts", "counts.check", "Stage by stage, rows in = rows kept + rows rejected, in tables and metrics alike"),
    Plan("contamination", "contamination.check", "No evaluation item is in any training set", of_rows=True),
    Plan("licences", "licensing.check", "The licences of all sources of each set and checkpoint are known and go together", of_rows=True),
    Plan("protocols", "protocols.check", "Numbers that are compared were measured alike, and follow from their rows"),
    Plan("up to date", "repository.up_to_date", "Every artifact was made from the code, parameters and inputs in force"),
    Plan("git clean", "repository.clean", "What stands in the working tree is what is committed", of_anything=False),
)  # fmt: skip
FETCH = "fetch it with `dvc pull`, or make it: `r1 run`"
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
    """The check's outcome; what cannot be read or is not here is what it found, and keeps no other check from running."""
    module, function = plan.function.split(".")
    try:
        outcome = getattr(importlib.import_module(f"tasks.provenance.audit.{module}"), function)(books)
    except unreadable() as error:
        told = str(error).strip().splitlines()[0]
        return Outcome(0, "rows", (Finding(plan.name, f"a table cannot be read: {told}", UNREADABLE),))
    gone = [Finding(path, "is not here: nothing in it was looked at", FETCH) for path in books.absent if plan.of_rows]
    if plan.of_anything and not outcome.looked_at and not gone and not outcome.findings:
        gone = [Finding(plan.name, "there was nothing to look at, so nothing is proved", FETCH)]
    return replace(outcome, findings=(*gone, *outcome.findings))
