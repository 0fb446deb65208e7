"""Rewards made into one: weights, gates, and what happens where a verifier fails.

The sum of a completion is TRL's: each reward times its weight, None left out. A completion that any reward could not
judge through a fault of ours ("infra") gets None from all of them, so that it takes no part in its group: with one
term missing it would only look like a bad response.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tasks.rewards.registry import Rewards

WINDOW = 512  # completions over which the share of infra is taken
FEWEST = 3  # one worker that died is no trend


class InfraError(Exception):
    """Too many completions got no verdict; the message gives the share and the faults."""


@dataclass
class Composition:
    """The rewards of one stage. `functions()` is for a trainer, `evaluate()` for anybody else."""

    terms: dict[str, Callable]  # name -> reward function
    weights: dict[str, float]
    gates: dict[str, list[str]]  # name -> the rewards without whose full marks it gives its lowest value
    max_infra_share: float
    recent: deque = field(default_factory=lambda: deque(maxlen=WINDOW))  # the fault of each completion, or None
    _batch: tuple | None = None
    _values: dict[str, list[float | None]] = field(default_factory=dict)

    def rules(self) -> "Composition":
        """The same without the rewards that ask a model."""
        terms = {name: term for name, term in self.terms.items() if not getattr(term, "learned", False)}
        weights = {name: self.weights[name] for name in terms}
        gates = {name: [g for g in gates if g in terms] for name, gates in self.gates.items() if name in terms}
        return Composition(terms, weights, gates, self.max_infra_share)

    def functions(self) -> dict[str, tuple[Callable, float]]:
        """name -> (reward function, weight). The functions share one evaluation of each batch."""
        return {name: (self._function(name), weight) for name, weight in self.weights.items()}

    def _function(self, name: str) -> Callable:
        def function(prompts, completions, **columns):
            batch = (
                list(prompts),
                list(completions),
                columns.get("completion_ids"),
                columns.get("gold"),
                columns.get("meta"),
            )
            if batch != self._batch:
                self._values, faults = self.evaluate(prompts, completions, **columns)
                self._batch = batch
                self._watch(faults, len(batch[0]))
                self._log_gates(columns.get("log_metric"))
            return self._values[name]

        function.__name__ = name
        return function

    def evaluate(self, prompts, completions, **columns) -> tuple[dict[str, list[float | None]], dict[int, str]]:
        """name -> rewards after gates, and what failed for each completion that got no verdict."""
        faults: dict[int, str] = {}
        raw = {
            name: term(prompts=prompts, completions=completions, log_infra=faults.__setitem__, **columns)
            for name, term in self.terms.items()
        }
        values = {name: list(given) for name, given in raw.items()}
        for name, gates in self.gates.items():
            for i, value in enumerate(raw[name]):
                if value is not None and not all(raw[gate][i] == self.terms[gate].best for gate in gates):
                    values[name][i] = self.terms[name].lowest
        for i in faults:
            for given in values.values():
                given[i] = None
        return values, faults

    def totals(self, values: dict[str, list[float | None]]) -> list[float | None]:
        """The weighted sums; None where no reward said anything."""
        sums = []
        for given in zip(*values.values(), strict=True):
            parts = [w * v for w, v in zip(self.weights.values(), given, strict=True) if v is not None]
            sums.append(sum(parts) if parts else None)
        return sums

    def _log_gates(self, log_metric: Callable[[str, float], None] | None) -> None:
        """How often a gated reward was at its lowest: shut out, or earned."""
        for name in self.gates if log_metric else ():
            given = [v for v in self._values[name] if v is not None]
            if given:
                log_metric(f"gate/{name}_lowest", sum(v == self.terms[name].lowest for v in given) / len(given))

    def _watch(self, faults: dict[int, str], count: int) -> None:
        self.recent.extend(faults.get(i) for i in range(count))
        failed = [fault for fault in self.recent if fault is not None]
        share = len(failed) / max(1, len(self.recent))
        if len(failed) >= FEWEST and share > self.max_infra_share:
            kinds = {fault: failed.count(fault) for fault in dict.fromkeys(failed)}
            details = "; ".join(f"{fault} ({times} times)" for fault, times in list(kinds.items())[:5])
            raise InfraError(
                f"{len(failed)} of the last {len(self.recent)} completions got no verdict through a fault of the "
                f"verifier, {share:.1%} where rewards.max_infra_share allows {self.max_infra_share:.1%}: {details}. "
                "A policy trained on the rest would learn what the verifier cannot check. Repair the verifier (missing "
                "sandbox, too little memory, an endpoint that is down) and run the stage again: it resumes"
            )


def compose(rewards: Rewards, more: dict[str, tuple[Callable, float]] | None = None) -> Composition:
    """The rewards of params.yaml as one; `more`: name -> (reward function, weight) of models that are loaded."""
    terms, more = rewards.terms(), more or {}
    return Composition(
        terms={**terms, **{name: function for name, (function, _) in more.items()}},
        weights={name: t.weight for name, t in terms.items()} | {name: weight for name, (_, weight) in more.items()},
        gates={name: t.only_with for name, t in terms.items() if t.only_with},
        max_infra_share=rewards.max_infra_share,
    )
