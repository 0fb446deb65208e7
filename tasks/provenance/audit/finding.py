"""What a check found: violations, which fail the audit, and remarks, which a reader should know."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal

SHOWN = 5  # pieces of evidence kept of one finding; `rows` says how many there are


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, however many rows it is wrong of."""

    where: str  # file, artifact, stage or path, relative to the root
    problem: str
    remedy: str
    rows: int = 1
    evidence: tuple[str, ...] = ()  # ids or values of the first ones
    level: Literal["violation", "remark"] = "violation"


@dataclass(frozen=True)
class Outcome:
    """What one check looked at and found. `facts` are the tables that it leaves for readers, plain JSON."""

    looked_at: int
    unit: str  # rows, files, counts …
    findings: tuple[Finding, ...] = ()
    facts: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """An outcome with the name of the check, what it proves, and how long it took."""

    name: str
    proves: str
    outcome: Outcome
    seconds: float

    @property
    def violations(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.outcome.findings if f.level == "violation")

    @property
    def remarks(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.outcome.findings if f.level == "remark")

    @property
    def passed(self) -> bool:
        return not self.violations

    def as_json(self) -> dict:
        return {
            "check": self.name,
            "proves": self.proves,
            "passed": self.passed,
            "looked_at": self.outcome.looked_at,
            "unit": self.outcome.unit,
            "seconds": round(self.seconds, 3),
            "findings": [asdict(f) for f in self.outcome.findings],
            "facts": self.outcome.facts,
        }


class Collector:
    """Findings, one for each place and problem, counting up their rows; evidence of the first ones."""

    def __init__(self):
        self._found: dict[tuple[str, str], dict] = {}

    def add(self, where: str, problem: str, remedy: str, evidence: str | None = None, rows: int = 1, **more) -> None:
        entry = self._found.setdefault((where, problem), {"remedy": remedy, "rows": 0, "evidence": [], **more})
        entry["rows"] += rows
        if evidence is not None and len(entry["evidence"]) < SHOWN:
            entry["evidence"].append(evidence)

    def extend(self, where: str, problem: str, remedy: str, evidence: Iterable[str], rows: int, **more) -> None:
        """Many rows at once, of which `evidence` are the first."""
        if rows:
            self.add(where, problem, remedy, None, rows, **more)
            for one in evidence:
                self.add(where, problem, remedy, one, 0)

    def __iter__(self) -> Iterator[Finding]:
        for (where, problem), entry in self._found.items():
            yield Finding(where, problem, **entry | {"evidence": tuple(entry["evidence"])})

    def outcome(self, looked_at: int, unit: str, **facts) -> Outcome:
        return Outcome(looked_at, unit, tuple(self), facts)
