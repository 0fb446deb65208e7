"""Protocols: numbers that stand side by side were measured alike, and are what their rows say.

A protocol is what the metrics state (tasks/evaluation/protocol.py). It is believed only as far as the samples behind it
bear it out: the same problems, k samples of each, the settings, and the verifier of every verdict; and pass@1 is worked
out again from the verdicts.
"""

from collections import Counter

from pydantic import ValidationError

from tasks.evaluation.protocol import Protocol
from tasks.provenance.audit.books import Books, connect, read
from tasks.provenance.audit.finding import Collector, Outcome

AGAIN = "evaluate it again: `r1 run evaluate@{}`"
DIGITS = 6  # of the metrics


def check(books: Books) -> Outcome:
    """Every evaluated model: its protocol is the common one, its rows bear it out, its numbers follow from them."""
    found, stated, facts, rows = Collector(), {}, [], 0
    for stage in (s for s in books.stages.values() if s.name == "evaluate"):
        metrics = books.metrics(stage.stage) or {}
        try:
            stated[stage.item] = Protocol.model_validate(metrics.get("protocol"))
        except ValidationError:
            found.add(stage.stage, "its metrics carry no readable protocol", AGAIN.format(stage.item))
            continue
        facts.append(_rows_of(books, stage.item, metrics, found) | {"model": stage.item})
        rows += facts[-1].pop("rows")
    _one_protocol(stated, found)
    _one_exam(facts, found)
    _as_reported(books, {f["model"]: f["pass_at_1"] for f in facts}, found)
    return found.outcome(rows, "samples", models=facts, protocol=_words(stated))


def _words(stated: dict[str, Protocol]) -> str | None:
    return next(iter(stated.values())).words() if stated else None


def _one_protocol(stated: dict[str, Protocol], found: Collector) -> None:
    """The protocol most models share is the common one; who differs is named, with the keys."""
    if not stated:
        return
    as_text = {name: p.model_dump_json() for name, p in stated.items()}
    usual = Counter(as_text.values()).most_common(1)[0][0]
    reference = next(p for name, p in stated.items() if as_text[name] == usual).model_dump()
    for name, protocol in stated.items():
        mine = protocol.model_dump()
        if told := [f"{k}: {mine[k]!r} against {reference[k]!r}" for k in mine if mine[k] != reference[k]]:
            found.add(f"evaluate@{name}", "was measured under another protocol than the others", AGAIN.format(name), "; ".join(told))  # fmt: skip


def _rows_of(books: Books, model: str, metrics: dict, found: Collector) -> dict:
    """What the samples and verdicts of one model say, held against its metrics."""
    stage, protocol = f"evaluate@{model}", metrics["protocol"]
    samples, verdicts, problems = (books.made_by(stage, name) for name in ("samples", "verdicts", "problems"))
    facts = {
        "rows": 0,
        "pass_at_1": metrics.get("pass_at_1"),
        "problems": None,
        "checkpoint": metrics.get("checkpoint"),
    }
    if not (samples and verdicts and problems):
        found.add(stage, "its samples, verdicts or problems are not here", AGAIN.format(model))
        return facts
    with connect() as db:
        counts = db.sql(f"SELECT prompt_id, count(*) FROM {read([samples])} GROUP BY ALL").fetchall()
        settings = db.sql(f"SELECT DISTINCT model, settings FROM {read([samples])}").fetchall()
        verifiers = {v for (v,) in db.sql(f"SELECT DISTINCT verifier FROM {read([verdicts])}").fetchall()}
        asked = db.sql(f"SELECT id, text, gold FROM {read([problems])} ORDER BY id").fetchall()
        mean = db.sql(
            "SELECT avg(p) FROM (SELECT avg(CAST(v.status = 'ok' AS DOUBLE)) AS p FROM "
            f"{read([verdicts])} v WHERE v.status <> 'infra' GROUP BY v.prompt_id)"
        ).fetchall()[0][0]
    where = books.shown(samples.file)
    remedy = AGAIN.format(model)
    if len(asked) != protocol["problems"] or {i for i, *_ in asked} != {i for i, _ in counts}:
        found.add(where, f"answers {len(counts)} problems, its protocol says {protocol['problems']}", remedy)
    if wrong := [i for i, n in counts if n != protocol["k"]]:
        found.extend(where, f"does not have k = {protocol['k']} samples of each problem", remedy, wrong, len(wrong))
    _settings(books, where, metrics, settings, found, remedy)
    if verifiers != {protocol["verifier"]}:
        found.add(books.shown(verdicts.file), f"verified by {sorted(verifiers)}, its protocol says {protocol['verifier']}", remedy)  # fmt: skip
    if mean is None or round(mean, DIGITS) != metrics.get("pass_at_1"):
        found.add(f"metrics of {stage}", f"pass@1 is stated as {metrics.get('pass_at_1')}, its verdicts give {mean}", remedy)  # fmt: skip
    return facts | {"rows": samples.rows, "problems": hash(tuple(asked))}


def _settings(books: Books, where: str, metrics: dict, settings: list, found: Collector, remedy: str) -> None:
    """Sampling settings of the rows against the protocol; the checkpoint they name against the one that was evaluated."""
    import json

    protocol, sha = metrics["protocol"], books.weights.get(metrics.get("checkpoint"))
    for model, text in settings:
        said = json.loads(text)
        told = [k for k in ("temperature", "top_p", "max_tokens") if said.get(k) != protocol[k]]
        told += ["template_hash"] if said.get("template") != protocol["template_hash"] else []
        if told:
            found.add(where, f"was sampled with another {', '.join(told)} than its protocol says", remedy, text)
        if sha is not None and model != sha:
            found.add(where, f"was sampled from other weights than those of {metrics['checkpoint']}", remedy, model)


def _one_exam(facts: list[dict], found: Collector) -> None:
    """All models answered the same problems."""
    exams = Counter(f["problems"] for f in facts if f["problems"] is not None)
    for fact in facts:
        exam = fact.pop("problems")
        if exam is not None and exam != exams.most_common(1)[0][0]:
            found.add(
                f"evaluate@{fact['model']}", "answered other problems than the others", AGAIN.format(fact["model"])
            )


def _as_reported(books: Books, scores: dict[str, float], found: Collector) -> None:
    """report/results.json states the scores of the metrics."""
    results = books.json("report/results.json") if "report" in books.stages else None
    for row in (results or {}).get("models", []):
        if row["model"] in scores and row["pass_at_1"] != scores[row["model"]]:
            found.add("report/results.json", "states another pass@1 than the metrics", "make the report again: `r1 run report`", row["model"])  # fmt: skip
