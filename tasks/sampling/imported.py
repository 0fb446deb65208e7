"""Outputs that somebody has sampled already, as candidates: PROMPT and COMPLETION rows with the file and line they
came from.

A teacher's outputs on disk so become a training set without any sampling: imported, they are verified, filtered,
deduplicated and selected like one's own (paper 2.3.3 from its second step on). Sets of a known format say themselves
what was asked and answered (`outputs` of tasks/prompts/formats); for other files `completions` names the columns.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from tasks.prompts.columns import MISSING, RawRow, lookup
from tasks.prompts.formats.found import Output, load
from tasks.prompts.readers import SourceError
from tasks.prompts.sources import Source, read_rows_of
from tasks.rows import row_id
from tasks.settings import Settings

ENGINE = "imported"
GoldCheck = Callable[[list[dict]], list[str | None]]  # rows with domain, gold, meta -> None or what is wrong
Rejection = tuple[str, float | None, float | None, str]  # rule, value, threshold, evidence


class Completions(Settings):
    """Which column of a file holds what a model answered; dots reach into nested values."""

    text: str = Field(description="the response, or a list of responses to the prompt of the row")
    reasoning: str | None = Field(None, description="the chain of thought, where the response does not hold it")
    model: str | None = Field(None, description="which model answered; overrides the source's `model`")
    finish: str | None = Field(None, description='"stop" or "length"')
    tokens: str | None = Field(None, description="generated tokens")


class ImportedSource(Source):
    """A source of prompts whose rows also hold what a model answered."""

    completions: Completions | None = Field(None, description="beside columns, and beside a format without outputs")
    model: str | None = Field(None, description="the model that answered, where its name is in no column")

    @model_validator(mode="after")
    def _has_outputs(self):
        known = self.format is not None and hasattr(load(self.format), "outputs")
        if not (self.path or self.hub):
            raise ValueError(f"source {self.name}: outputs are imported from `path` or `hub`")
        if self.completions is None and not known:
            raise ValueError(f"source {self.name}: name the columns of the responses under `completions`")
        if self.completions is not None and known:
            raise ValueError(
                f"source {self.name}: format {self.format} says itself where the responses are, without `completions`"
            )
        return self


@dataclass(frozen=True)
class _Answer:
    """One output with its prompt; `number` is its place among the outputs of the row."""

    raw: RawRow
    output: Output
    number: int


def imported_candidates(
    source: ImportedSource, root: Path, check_golds: GoldCheck = lambda rows: [None] * len(rows)
) -> tuple[list[dict], list[dict], list[dict]]:
    """(PROMPT rows, COMPLETION rows, DECISION rows of the rejected outputs) of one source.

    Every output is in one of the last two. A prompt stands once, however many rows ask it, and its completions count up
    in the order of the files. Raises SourceError where the source cannot be read or is empty.
    """
    answers = list(_answers(source, root))
    if not answers:
        raise SourceError(f"source {source.name}: is empty, not one output in {source.path or source.hub}")
    problems = _gold_problems(answers, check_golds)
    prompts, completions, rejected = {}, [], []
    counts: Counter[str] = Counter()
    for answer in answers:
        if problem := _reject(answer) or problems[id(answer.raw)]:
            rejected.append(_decision(source, answer, problem))
            continue
        prompt = _prompt(source, answer.raw)
        prompts.setdefault(prompt["id"], prompt)
        completions.append(_completion(source, prompt["id"], answer, counts[prompt["id"]]))
        counts[prompt["id"]] += 1
    if len(completions) + len(rejected) != len(answers):
        raise AssertionError(f"{len(answers)} outputs in, {len(completions)} kept + {len(rejected)} rejected")
    return list(prompts.values()), completions, rejected


def _answers(source: ImportedSource, root: Path) -> Iterator[_Answer]:
    """Every output of every row; a row whose outputs cannot be read counts as one."""
    module = load(source.format) if source.format else None
    for row, raw in read_rows_of(source, root):
        try:
            found = module.outputs(row) if hasattr(module, "outputs") else _in_columns(source.completions, row)
        except (AttributeError, LookupError, TypeError, ValueError):
            if not raw.problem:
                raise SourceError(f"source {source.name}: {raw.origin}: its outputs are none of format {source.format}") from None
            found = []
        for number, output in enumerate(found or [Output("")] if raw.problem else found):
            yield _Answer(raw, output, number)


def _in_columns(columns: Completions, row: dict) -> list[Output]:
    """The outputs of a row of one's own; a list in one column goes with lists in the others."""
    named = {key: _values(row, column) for key, column in columns.model_dump(exclude_none=True).items()}
    count = len(named["text"])
    at = lambda key, i: named[key][i if len(named[key]) > 1 else 0] if named.get(key) else None
    return [_output({key: at(key, i) for key in Completions.model_fields}) for i in range(count)]


def _values(row: dict, column: str) -> list:
    value = lookup(row, column)
    return [None] if value is MISSING else value if isinstance(value, list) else [value]


def _output(found: dict) -> Output:
    text = found["text"] if isinstance(found["text"], str) else ""
    if isinstance(found["reasoning"], str) and found["reasoning"].strip():
        text = f"<think>\n{found['reasoning'].strip()}\n</think>\n\n{text}"
    tokens = found["tokens"] if isinstance(found["tokens"], int) else None
    return Output(text, found["model"], found["finish"], tokens)


def _gold_problems(answers: list[_Answer], check: GoldCheck) -> dict[int, Rejection | None]:
    """By identity of the raw row: what is wrong with its gold."""
    rows = {id(a.raw): a.raw for a in answers if not a.raw.problem}
    found = check([{"domain": r.domain, "gold": r.gold, "meta": json.dumps(r.meta)} for r in rows.values()])
    bad = {
        key: ("gold", 0.0, 1.0, f"gold {raw.gold!r}: {problem}") if problem else None
        for (key, raw), problem in zip(rows.items(), found, strict=True)
    }
    return {id(a.raw): bad.get(id(a.raw)) for a in answers}


def _reject(answer: _Answer) -> Rejection | None:
    if answer.raw.problem:
        return answer.raw.problem[0], None, None, answer.raw.problem[1]
    if not answer.raw.text.strip():
        return "empty_prompt", 0.0, 1.0, "the prompt is empty"
    if not answer.output.text.strip():
        return "empty_text", 0.0, 1.0, "the response is empty"
    return None


def _prompt(source: ImportedSource, raw: RawRow) -> dict:
    text = raw.text.strip()
    return {
        "id": row_id("prompt", source=source.name, domain=raw.domain, text=text, gold=raw.gold),
        "source": source.name,
        "domain": raw.domain,
        "split": "train",
        "text": text,
        "gold": raw.gold,
        "solution": raw.solution,
        "language": raw.language,
        "licence": source.licence,
        "origin": raw.origin,
        "meta": json.dumps(raw.meta, sort_keys=True, ensure_ascii=False) if raw.meta else None,
    }


def _completion(source: ImportedSource, prompt: str, answer: _Answer, index: int) -> dict:
    """`settings` says where the output stood and whatever its record tells of the sampling."""
    output, model = answer.output, answer.output.model or source.model or source.name
    settings = {"source": source.name, "origin": answer.raw.origin, "output": answer.number, **output.settings}
    what = {"prompt": prompt, "model": model, "engine": ENGINE, "settings": settings}
    return {
        "id": row_id("completion", **what, text=output.text),
        "prompt_id": prompt,
        "model": model,
        "engine": ENGINE,
        "settings": json.dumps(settings, sort_keys=True),
        "index": index,
        "text": output.text,
        "tokens": output.tokens,
        "finish": output.finish,
        "logprob": None,
    }


def _decision(source: ImportedSource, answer: _Answer, problem: Rejection) -> dict:
    rule, value, threshold, evidence = problem
    origin = f"{answer.raw.origin} output {answer.number}"
    return {
        "row_id": row_id("row", source=source.name, origin=origin), "stage": "imported", "rule": rule, "value": value,
        "threshold": threshold, "keep": False, "evidence": f"{source.name} {origin}: {evidence}",
    }  # fmt: skip
