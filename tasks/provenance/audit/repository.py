"""The repository: what stands in the working tree is what is committed, and every artifact is of today's books."""

from tasks.provenance.audit.books import Books
from tasks.provenance.audit.finding import Collector, Outcome

BOOKS = ("dvc.yaml", "dvc.lock", "params.yaml")
DECISIVE = ("flows/", "tasks/", "metrics/", "plots/", "data/", "recipes/")  # what determines or states a result


def clean(books: Books) -> Outcome:
    """Nothing that determines or states a result differs from the commit; the rest is remarked."""
    found = Collector()
    if books.commit is None:
        found.add(".", "is no git checkout with a commit: nothing says which code this is", "commit everything first")
    for path in books.dirty:
        decisive = path in BOOKS or path.startswith(DECISIVE)
        found.add(
            path,
            "differs from the commit, or is in none",
            "commit it, or put it back with `git checkout`",
            level="violation" if decisive else "remark",
        )
    return found.outcome(len(books.dirty), "changed paths", commit=books.commit)


def up_to_date(books: Books) -> Outcome:
    """Code, parameters and inputs of every stage are still those that dvc.lock says its outputs were made from."""
    found = Collector()
    for stage in books.stages.values():
        for change in stage.changes:
            found.add(change, "since stages were built that depend on it", "run `r1 run`, or go back to the commit they were built at", stage.stage)  # fmt: skip
    return found.outcome(len(books.stages), "stages")
