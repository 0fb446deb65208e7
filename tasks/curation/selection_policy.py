"""Selection as a policy states it: bands, bins and caps of candidates; how they are applied is in selection.py."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.settings import Settings


class Band(Settings):
    """A range of one number of a candidate: a column of the candidates, a measure of the kernel, or one of `samples`
    (graded candidates of its prompt) and `pass_rate` (share of them that is right). A row without a number is outside.
    """

    column: str
    at_least: float | None = Field(None, description="rule min_<column>")
    above: float | None = Field(None, description="rule min_<column>, the bound itself excluded")
    at_most: float | None = Field(None, description="rule max_<column>")
    below: float | None = Field(None, description="rule max_<column>, the bound itself excluded")

    @property
    def rules(self) -> list[str]:
        sides = {"min": (self.at_least, self.above), "max": (self.at_most, self.below)}
        return [f"{side}_{self.column}" for side, bounds in sides.items() if bounds != (None, None)]

    @model_validator(mode="after")
    def _one_bound_a_side(self):
        lower = (self.at_least is not None) + (self.above is not None)
        upper = (self.at_most is not None) + (self.below is not None)
        if lower > 1 or upper > 1 or not lower + upper:
            raise ValueError(f"band of {self.column!r}: give at_least or above, at_most or below, or one of each side")
        return self


class Bin(Settings):
    """Classes of one number (length, difficulty): a name to balance by, and a decision whose evidence is the class."""

    name: str = Field(description="rule name, and column for caps")
    column: str
    edges: tuple[float, ...] = Field((), description="a value equal to an edge belongs to the class below")
    quantiles: int | None = Field(None, ge=2, description="classes equally filled by the rows that pass so far")
    labels: tuple[str, ...] = Field((), description="names of the classes, from low to high values; default 1, 2, ...")

    @model_validator(mode="after")
    def _classes(self):
        if bool(self.edges) == bool(self.quantiles):
            raise ValueError(f"bin {self.name!r}: give edges or quantiles")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"bin {self.name!r}: edges must rise, got {list(self.edges)}")
        if self.labels and len(set(self.labels)) != self.classes:
            raise ValueError(f"bin {self.name!r}: {self.classes} classes need as many labels, got {list(self.labels)}")
        return self

    @property
    def classes(self) -> int:
        return self.quantiles or len(self.edges) + 1


class Cap(Settings):
    """So many rows at most, group by group, among those that pass everything before. Exactly one of:

    - `each`: rows of each group, or of the groups named (any other: none, unless `*` is named);
    - `total`: rows of all groups together; the groups take turns, so small ones are used up first;
    - `shares`: parts of the result by group, scaled to the groups present; with `total` a quota of that many rows,
      without it the largest result that has these parts.
    """

    rule: str
    by: str | None = Field(None, description="column, or name of a bin; null: all rows are one group")
    each: Annotated[int, Field(ge=1)] | dict[str, Annotated[int, Field(ge=0)]] | None = None
    total: int | None = Field(None, ge=1)
    shares: dict[str, Annotated[float, Field(gt=0)]] | None = None
    order: tuple[str, ...] = Field(
        (), max_length=3, description="columns, best first by lowest value, -column by highest; ties at random by seed"
    )

    @model_validator(mode="after")
    def _one_amount(self):
        if (self.each is None) == (self.total is None and self.shares is None):
            raise ValueError(f"cap {self.rule!r}: give each, or total, or shares (alone or with total)")
        if self.by is None and (self.shares or isinstance(self.each, dict)):
            raise ValueError(f"cap {self.rule!r}: amounts by group need `by`")
        return self


ORDERS = {"index": ("index",), "shortest": ("tokens",), "longest": ("-tokens",), "id": ("row",), "random": ()}


class Selection(Settings):
    """Which of the passing candidates are taken; see tasks/curation/selection.py. Rules in this order."""

    verdict: tuple[str, ...] | None = Field(("ok",), description="statuses accepted; null: no verdict is needed")
    verifiable: bool = Field(False, description="some candidate of the prompt has a verdict, whatever it is")
    min_samples: int | None = Field(None, ge=1, description="graded candidates of the prompt, for a pass rate")
    min_pass_rate: float | None = Field(None, ge=0, le=1, description="of the prompt's candidates; below: too hard")
    max_pass_rate: float | None = Field(None, ge=0, le=1, description="of the prompt's candidates; above: too easy")
    bands: tuple[Band, ...] = ()
    bins: tuple[Bin, ...] = ()
    per_prompt: int | None = Field(None, ge=1, description="candidates of one prompt at most")
    per_prompt_order: Literal["index", "shortest", "longest", "id", "random"] = "index"
    caps: tuple[Cap, ...] = Field((), description="applied one after the other")

    @model_validator(mode="after")
    def _rules_have_names_of_their_own(self):
        names = [] if self.verdict is None else ["verdict"]
        for rule, band in self.all_bands:
            names += [rule] if rule else band.rules
        names += [b.name for b in self.bins] + [cap.rule for cap in self.all_caps]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"rule {name!r} is named twice: decisions could not be told apart")
        return self

    @property
    def all_bands(self) -> list[tuple[str, Band]]:
        """(rule name or "" for the band's own, band), in order."""
        return [
            *([("verifiable", Band(column="samples", at_least=1))] if self.verifiable else []),
            *([("", Band(column="samples", at_least=self.min_samples))] if self.min_samples is not None else []),
            *([("", Band(column="pass_rate", at_least=self.min_pass_rate))] if self.min_pass_rate is not None else []),
            *([("", Band(column="pass_rate", at_most=self.max_pass_rate))] if self.max_pass_rate is not None else []),
            *(("", band) for band in self.bands),
        ]

    @property
    def all_caps(self) -> list[Cap]:
        order = ORDERS[self.per_prompt_order]
        first = [Cap(rule="per_prompt", by="prompt_id", each=self.per_prompt, order=order)] if self.per_prompt else []
        return [*first, *self.caps]
