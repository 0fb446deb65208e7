"""Collecting cold-start rows route by route: ask, verify, screen, keep the first readable response of each prompt."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tasks.curation import cold_start
from tasks.curation.annotation import Annotation
from tasks.curation.examples import example
from tasks.prompts.split import held_out
from tasks.prompts.templates import render, template_hash
from tasks.provenance.artifacts import write_rows
from tasks.rows import COMPLETION, DECISION, SFT_EXAMPLE, derive_seed, row_id
from tasks.sampling.rows import completion_rows
from tasks.sampling.sample import Engine

Verify = Callable[[dict, str], object]  # (PROMPT row, text) -> Verdict


def _own_prompt(a: Annotation) -> dict:
    """A PROMPT row of an annotation whose prompt is not in this run's bank."""
    return {
        "id": a.prompt_id, "source": "annotations", "domain": "maths", "text": a.prompt, "gold": a.gold, "language": "en",
        "meta": "{}", "origin": f"annotation/{a.annotator}/{a.id}",
    }  # fmt: skip


class Collection:
    """The rows of every route so far, with a decision for every response that was looked at."""

    def __init__(
        self, verify: Verify, template: str, procedural: bool, samples: int, temperature: float, max_tokens: int,
        seed: int, progress=None,
    ):  # fmt: skip
        """`procedural` says whether the rule-based refiner makes sampled responses readable before the screen."""

        self.verify, self.template, self.procedural = verify, template, procedural
        self.seed, self.progress = seed, progress
        self.samples, self.temperature, self.max_tokens = samples, temperature, max_tokens
        self.examples: list[dict] = []
        self.candidates: list[dict] = []
        self.decisions: list[dict] = []
        self.routes: dict[str, dict] = {}

    def few_shot(self, base: Engine, wanted: int, prompts: list[dict], examples: list[dict]) -> None:
        """Route 1: few-shot prompting of the base with a long chain of thought."""
        rng = random.Random(derive_seed(self.seed, "few_shot"))
        shots = sorted(examples, key=lambda r: r["id"])
        texts = [cold_start.few_shot(self.template, rng.choice(shots), p["text"]) for p in prompts]
        self._sampled("few_shot", base, wanted, prompts, texts)

    def direct(self, base: Engine, wanted: int, prompts: list[dict]) -> None:
        """Route 2: prompting the base directly for an answer with reflection and verification."""
        self._sampled("direct", base, wanted, prompts, [cold_start.direct(self.template, p["text"]) for p in prompts])

    def r1_zero(self, engine: Engine, wanted: int, prompts: list[dict]) -> None:
        """Route 3: R1-Zero's outputs, made readable."""
        texts = [render(self.template, p["text"]) for p in prompts]
        self._sampled("r1_zero", engine, wanted, prompts, texts)

    def _sampled(self, route: str, engine: Engine, wanted: int, prompts: list[dict], texts: list[str]) -> None:
        seed = derive_seed(self.seed, route)
        settings = {"temperature": self.temperature, "top_p": 1.0, "max_tokens": self.max_tokens}
        report = (lambda *where, **more: self.progress(*where, note=route, **more)) if self.progress else None
        groups = engine.sample(texts, self.samples, **settings, seed=seed, progress=report)
        settings |= {"seed": seed, "template": template_hash(self.template), "route": route}
        rows = completion_rows(engine, prompts, groups, settings)
        self.candidates += rows
        by_id = {p["id"]: p for p in prompts}
        kept: dict[str, dict] = {}
        reasons: Counter[str] = Counter()
        for row in rows:
            prompt, text = by_id[row["prompt_id"]], cold_start.refine(row["text"], self.procedural)
            reason = self._screen(row["id"], prompt, text, row["finish"], route)
            reason = reason or self._surplus(row["id"], prompt["id"] in kept, len(kept), wanted)
            if reason:
                reasons[reason] += 1
            else:
                kept[prompt["id"]] = example(prompt, text, row["id"], f"cold_start/{route}")
        self._close(route, len(rows), list(kept.values()), reasons)

    def _screen(self, row_id: str, prompt: dict, text: str, finish: str, route: str) -> str | None:
        correct = self.verify(prompt, text).status == "ok"
        made = cold_start.screen(row_id, cold_start.values(text, prompt["language"], finish, correct), route)
        self.decisions += made
        return cold_start.first_reason(made)

    def _surplus(self, row_id: str, has_one: bool, kept: int, wanted: int) -> str | None:
        """One row per prompt, and no more than the route's share."""
        full = kept >= wanted
        for rule, value, keep in (
            ("one_per_prompt", float(has_one), not has_one),
            ("route_share", float(kept), not full),
        ):
            limit = 0.0 if rule == "one_per_prompt" else float(wanted - 1)
            self._decide(row_id, rule, value, limit, keep)
        return "one_per_prompt" if has_one else "route_share" if full else None

    def _decide(
        self, row_id: str, rule: str, value: float | None, limit: float | None, keep: bool, evidence: str = ""
    ) -> None:
        self.decisions.append(
            {
                "row_id": row_id,
                "stage": "cold_start",
                "rule": rule,
                "value": value,
                "threshold": limit,
                "keep": keep,
                "evidence": evidence,
            }
        )

    def human(self, annotations: list[Annotation], wanted: int, prompts: list[dict]) -> None:
        """Route 4: rows a person accepted or edited (`r1 annotate`); the screen checks them as well.

        A prompt of the held-out band is left out: an annotation must not smuggle in a final problem. One that this run
        did not draw (another seed, another source) stands for itself.
        """
        by_text = {p["text"]: p for p in prompts}
        kept: dict[str, dict] = {}
        reasons: Counter[str] = Counter()
        for a in annotations:
            row = row_id("annotation", of=a.id, annotator=a.annotator, response=a.response)
            evidence = f"annotator {a.annotator}"
            prompt = by_text.get(a.prompt) or _own_prompt(a)
            train = not held_out(a.prompt)
            self._decide(row, "accepted", float(a.response is not None), 1.0, a.response is not None, evidence)
            self._decide(row, "train_prompt", float(train), 1.0, train, evidence)
            if a.response is None or not train:
                reason = "accepted" if a.response is None else "train_prompt"
            else:
                reason = self._screen(row, prompt, a.response, "stop", evidence)
                reason = reason or self._surplus(row, prompt["id"] in kept, len(kept), wanted)
            if reason:
                reasons[reason] += 1
            else:
                kept[prompt["id"]] = example(prompt, a.response, None, f"annotation/{a.annotator}/{a.id}")
        self._close("human", len(annotations), list(kept.values()), reasons)

    def _close(self, route: str, asked: int, kept: list[dict], reasons: Counter) -> None:
        if asked != len(kept) + sum(reasons.values()):
            raise AssertionError(
                f"cold_start/{route}: {asked} responses in, {len(kept)} kept, {dict(reasons)} rejected"
            )
        self.examples += kept
        self.routes[route] = {"asked": asked, "kept": len(kept), "rejected": dict(sorted(reasons.items()))}

    def write(self, out: Path) -> None:
        if not self.examples:
            raise ValueError(f"no cold-start row passed the screen: {self.routes}; ask more, or train R1-Zero longer")
        write_rows(out, "examples", self.examples, SFT_EXAMPLE)
        write_rows(out, "candidates", self.candidates, COMPLETION)
        write_rows(out, "decisions", self.decisions, DECISION)

    def metrics(self) -> dict:
        return {"rows": len(self.examples), "routes": self.routes}
