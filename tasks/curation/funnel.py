"""The funnel: how many candidates entered, how many each rule rejected and how many stayed; as JSON, table, picture."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from tasks.curation.errors import CurationError


@dataclass(frozen=True)
class Rule:
    rule: str
    rejected: int  # candidates of which it is the first reason
    failed: int  # candidates that fail it, whatever else they fail


@dataclass(frozen=True)
class Step:
    step: str
    entered: int
    kept: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Funnel:
    """Candidates in, kept and rejected, step by step; in = kept + rejected at every one."""

    entered: int
    kept: int
    steps: tuple[Step, ...]

    def __post_init__(self):
        left = self.entered
        for step in self.steps:
            rejected = sum(rule.rejected for rule in step.rules)
            if step.entered != left or step.entered != step.kept + rejected:
                raise AssertionError(f"{step.step}: {left} in, {step.kept} kept + {rejected} rejected")
            left = step.kept
        if left != self.kept:
            raise AssertionError(f"{left} candidates passed the last step, {self.kept} were kept")

    @property
    def rejected(self) -> int:
        return self.entered - self.kept

    def as_json(self) -> dict:
        steps = [
            {"step": s.step, "in": s.entered, "kept": s.kept, "rules": [asdict(r) for r in s.rules]} for s in self.steps
        ]
        return {"in": self.entered, "kept": self.kept, "rejected": self.rejected, "steps": steps}

    def write(self, folder: Path, picture: bool = True) -> None:
        """funnel.json and, as a picture, funnel.svg and funnel.png."""
        (folder / "funnel.json").write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")
        if picture:
            draw(self, folder)

    def table(self):
        """For a terminal (rich)."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE, pad_edge=False)
        for name in ("step", "rule"):
            table.add_column(name, no_wrap=True)
        for name in ("rejected", "share of in", "fail it at all", "left"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_row("candidates", "", "", "", "", f"{self.entered:,}")
        left = self.entered
        for step in self.steps:
            table.add_section()
            for i, rule in enumerate(step.rules):
                left -= rule.rejected
                share = f"{rule.rejected / self.entered:.2%}" if self.entered else ""
                name = step.step if i == 0 else ""
                table.add_row(name, rule.rule, f"{rule.rejected:,}", share, f"{rule.failed:,}", f"{left:,}")
        table.add_section()
        share = f"{self.rejected / self.entered:.2%}" if self.entered else ""
        table.add_row("kept", "", f"{self.rejected:,}", share, "", f"[bold]{self.kept:,}[/bold]")
        return table


def read_funnel(folder: Path) -> Funnel:
    """The funnel of a finished run."""
    path = Path(folder) / "funnel.json"
    if not path.is_file():
        raise CurationError(f"{path} is missing: {folder} is no result of `r1 curate`")
    data = json.loads(path.read_text(encoding="utf-8"))
    steps = tuple(Step(s["step"], s["in"], s["kept"], tuple(Rule(**r) for r in s["rules"])) for s in data["steps"])
    return Funnel(data["in"], data["kept"], steps)


@dataclass
class Counts:
    """What the export counts while it writes decisions."""

    candidates: int = 0
    bad: int = 0
    rules: list[tuple[str, str]] = field(default_factory=list)  # (step, rule) in their order
    failed: np.ndarray | int = 0
    rejected: np.ndarray | int = 0

    def add(self, steps: Sequence[str], rules: Sequence[str], failed: np.ndarray, first: np.ndarray) -> None:
        """`failed` is bool[candidates, rules], `first` the rule that each candidate fails first, -1 where none."""
        here = list(zip(steps, rules, strict=True))
        if self.rules and self.rules != here:
            raise AssertionError(f"rules differ between candidates: {self.rules} and {here}")
        self.rules = here
        self.candidates += len(failed)
        self.failed = self.failed + failed.sum(axis=0)
        self.rejected = self.rejected + np.bincount(first[first >= 0], minlength=len(here))

    def malformed(self, count: int) -> None:
        self.bad = count

    def funnel(self, steps: Sequence[str]) -> Funnel:
        left = self.candidates + self.bad
        made = [Step("input", left, left - self.bad, (Rule("malformed", self.bad, self.bad),))]
        left -= self.bad
        for name in steps:
            rules = tuple(
                Rule(rule, int(self.rejected[i]), int(self.failed[i]))
                for i, (step, rule) in enumerate(self.rules)
                if step == name
            )
            kept = left - sum(rule.rejected for rule in rules)
            made.append(Step(name, left, kept, rules))
            left = kept
        return Funnel(self.candidates + self.bad, left, tuple(made))


def draw(funnel: Funnel, folder: Path) -> None:
    """A bar for what is left after each rule, with what the rule took, in the look of the report."""
    from tasks.reporting import theme

    lines = [("candidates", funnel.entered, 0, theme.INK)]
    left = funnel.entered
    for i, step in enumerate(funnel.steps):
        colour = (theme.MUTED, theme.BLUE, theme.ORANGE, theme.PURPLE, theme.GREEN)[i % 5]
        for rule in step.rules:
            left -= rule.rejected
            lines.append((f"{step.step} · {rule.rule}", left, rule.rejected, colour))
    lines.append(("kept", funnel.kept, 0, theme.INK))
    figure, axes = theme.new(8, 0.8 + 0.27 * len(lines))
    whole = max(1, funnel.entered)
    for y, (_, stays, taken, colour) in enumerate(lines):
        axes.barh(y, stays, color=colour, height=0.68)
        axes.barh(y, taken, left=stays, color=theme.SOFT, height=0.68)
        label = f"{stays:,}" + (f"   −{taken:,} ({taken / whole:.1%})" if taken else "")
        axes.text(stays + taken + whole * 0.01, y, label, va="center", fontsize=7.5, color=theme.INK)
    axes.set_yticks(range(len(lines)), [name for name, *_ in lines])
    axes.invert_yaxis()
    axes.set_xlim(0, whole * 1.28)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x <= whole else "")
    axes.grid(axis="y", visible=False)
    axes.set_title(f"{funnel.kept:,} of {funnel.entered:,} candidates kept")
    theme.save(figure, folder, "funnel")
