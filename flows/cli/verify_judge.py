"""The judge beside `r1 verify`: rows of domain `judge`, and for `--agreement` the answers of all other rows too."""

import sys
from collections import defaultdict, deque
from concurrent.futures import Future
from pathlib import Path

import typer

HELD = 4096  # answers of rule rows that wait for the judge; reading goes on when there are fewer
SHOWN = 5  # disagreements that the summary names


def settings_of(file: Path | None, url: str | None, model: str | None):
    """EndpointSettings from a YAML file and the options that override it, or None where there is neither."""
    from flows.orchestration.params import ParamsError, check, read_yaml
    from tasks.verification.endpoint import EndpointSettings

    given = {name: value for name, value in (("url", url), ("model", model)) if value is not None}
    if file is None and not given:
        return None
    try:
        return check(
            EndpointSettings, (read_yaml(file) if file else {}) | given, str(file or "--judge-url, --judge-model")
        )
    except ParamsError as error:
        raise typer.BadParameter(str(error), param_hint="--endpoint") from None


class Judging:
    """Puts answers to the judge while rows come in, and counts how far it and the rules agree."""

    def __init__(self, settings, cache: Path | None, agreement: bool):
        from tasks.verification.endpoint import Endpoint
        from tasks.verification.judge import JudgeStream

        self.engine = Endpoint(settings, cache) if settings else None
        self.stream = JudgeStream(self.engine) if settings else None
        self.agreement = agreement
        self.waiting: deque[tuple[str, str, str, Future]] = deque()  # domain, name, the rules' status, the judge's
        self.pairs: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.differ: list[str] = []

    def row(self, prompt: dict, completion):
        """The verdict on a row of domain `judge`, or the future of it."""
        from tasks.verification.answers import NoAnswer, final_answer
        from tasks.verification.verdict import Verdict

        hint = None
        if self.stream is None:
            hint = "no judge: give --judge-url and --judge-model, or --endpoint FILE"
        elif not isinstance(prompt["text"], str) or not isinstance(prompt["gold"], str) or not prompt["gold"].strip():
            hint = f"{prompt['id']}: the judge reads the question and the answer: give `prompt` and `gold` as text"
        if hint:
            return Verdict("infra", None, None, "input", hint, "")
        try:
            prediction = final_answer(completion, multiline=True) if isinstance(completion, str) else None
            return self.stream.submit(prompt["text"], prompt["gold"], prediction)
        except NoAnswer as reason:
            return Verdict("unparsable", None, None, "judge/extraction", str(reason), self.stream.hash)

    def second(self, prompt: dict, verdict) -> None:
        """Puts an answer that the rules have decided to the judge too, where there is a gold to compare with."""
        if self.agreement and None not in (prompt["text"], prompt["gold"], verdict.extracted):
            asked = self.stream.submit(str(prompt["text"]), prompt["gold"], verdict.extracted)
            self.waiting.append((prompt["domain"], prompt["id"], verdict.status, asked))
        while self.waiting and (self.waiting[0][3].done() or len(self.waiting) > HELD):
            self._count(*self.waiting.popleft())

    def _count(self, domain: str, name: str, rule: str, asked: Future) -> None:
        said = asked.result()
        self.pairs[domain].append((said.status, rule))
        if (said.ok != (rule == "ok")) and not {said.status, rule} & {"infra", "timeout"}:
            self.differ.append(f"{name} ({domain}): the rules say {rule}, the judge {said.status}: {said.detail[:100]}")

    def summary(self) -> None:
        """The agreement, on standard error."""
        from tasks.verification.judge import agreement

        while self.waiting:
            self._count(*self.waiting.popleft())
        if not self.agreement:
            return
        both = {"all": [pair for pairs in self.pairs.values() for pair in pairs]}
        for domain, pairs in (both | (self.pairs if len(self.pairs) > 1 else {})).items():
            told = agreement([judge for judge, _ in pairs], [rule for _, rule in pairs])
            share = "nothing to compare"
            if told["agreement"] is not None:
                low, high = told["agreement_ci95"]
                share = f"{told['agreement']:.2%} (95 % interval {low:.2%} to {high:.2%})"
            rates = "; ".join(
                f"{words} {told[key]:.2%}"
                for key, words in (
                    ("judge_false_accept", "judge accepts of what the rules reject"),
                    ("judge_false_reject", "rejects of what they accept"),
                )
                if told[key] is not None
            )
            line = f"agreement of judge and rules, {domain}: {share} of {told['judged'] - told['undecided']:,} answers"
            print("; ".join(filter(None, [line, rates, f"{told['undecided']:,} undecided"])), file=sys.stderr)
        for line in self.differ[:SHOWN]:
            print(f"  {line}", file=sys.stderr)

    def close(self) -> None:
        if self.stream is not None:
            self.engine.close()  # first: it ends the questions that are on the wire
            self.stream.close()
