"""Cards: README.md of a set or a model, from its lineage alone, with the metadata that the Hub reads.

Every number on a card is one of metrics/, with the protocol that it was measured under; every source carries its licence.
"""

from pathlib import Path
from typing import Any

from tasks.publishing import licence
from tasks.publishing.facts import Facts

HERE = Path(__file__).parent
SHOWN = 40  # numbers of a stage on its card; lineage.json has all
SCORES = ("pass_at_1", "pass_at_k", "cons_at_k", "format_rate", "language_consistency")  # of an evaluation
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"), (10**8, "10M<n<100M"))  # fmt: skip


def write(facts: Facts, folder: Path, format: str, own: str | None, name: str, written: dict) -> None:
    """Write `folder`/README.md. `own`: the licence; `written`: the configs of a set, or the config of a model."""
    make = _model if facts.is_checkpoint else _dataset
    (folder / "README.md").write_text(make(facts, format, own, name, written), encoding="utf-8")


def _dataset(facts: Facts, format: str, own: str | None, name: str, written: dict) -> str:
    from huggingface_hub import DatasetCardData

    configs = written["configs"]
    total = sum(sum(c["splits"].values()) for c in configs.values())
    data = DatasetCardData(
        **licence.metadata(own),
        pretty_name=name,
        size_categories=[next((word for limit, word in SIZES if total < limit), "n>100M")],
        task_categories=["text-generation"],
        tags=["r1flow", "reasoning", *(["trl"] if format in ("trl", "sft") else [])],
        configs=[
            {
                "config_name": config,
                "data_files": [
                    {"split": split, "path": f"{c['folder']}/{split}-*.parquet"} for split in c["splits"]
                ],
            }
            for config, c in configs.items()
        ],
    )  # fmt: skip
    return _render("dataset_card.md.j2", data, facts, own, name, format=format, configs=configs, total=total)


def _model(facts: Facts, format: str, own: str | None, name: str, written: dict) -> str:
    from huggingface_hub import ModelCardData

    config = written["config"]
    classifies = any("SequenceClassification" in a for a in config.get("architectures") or ())
    data = ModelCardData(
        **licence.metadata(own),
        library_name="transformers",
        pipeline_tag="text-classification" if classifies else "text-generation",
        tags=["r1flow", "reasoning"],
        base_model=_base(facts),
        model_name=name,
        eval_results=_results(facts) or None,
    )
    return _render(
        "model_card.md.j2", data, facts, own, name, config=config, classifies=classifies, bases=data.base_model
    )


def _render(template: str, data: Any, facts: Facts, own: str | None, name: str, **more) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"cell": cell, "number": number}
    text = environment.get_template(template).render(
        metadata=data.to_yaml(), f=facts, own=own, name=name, numbers=_leaves(facts.numbers), shown=SHOWN,
        commit=(facts.books.commit or "none")[:12], scores=SCORES, **more,
    )  # fmt: skip
    return text.rstrip() + "\n"


def cell(value: Any) -> str:
    """Text in a table of Markdown: one line, no bar or tag of its own making."""
    text = " ".join(str("" if value is None else value).split())
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def number(value: Any) -> str:
    """Whole numbers with thousands marked, others to four significant digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return cell(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _leaves(values: Any, at: str = "") -> list[tuple[str, Any]]:
    """(dotted name, value) of every single number or text."""
    if isinstance(values, dict):
        return [leaf for key, value in values.items() for leaf in _leaves(value, f"{at}.{key}" if at else str(key))]
    return [] if isinstance(values, list) or values is None else [(at, values)]


def _base(facts: Facts) -> list[str] | None:
    """Models on the Hub that this one comes from, as the recipe names them."""
    found = []
    for stage in (*facts.made_from, facts.stage):
        if stage.name not in ("base", "student_base"):
            continue
        for value in stage.params.values():
            entry = (value.get("model") or value) if isinstance(value, dict) else {}
            found += [entry["hub"]] if entry.get("hub") else []
    return list(dict.fromkeys(found)) or None


def _results(facts: Facts) -> list:
    """Scores as the Hub's model-index has them; the protocol is part of the name of the set."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="text-generation",
            dataset_type="r1flow",
            dataset_name=e["words"],
            metric_type=score,
            metric_name=score.replace("_at_k", f"@{e['protocol']['k']}").replace("_at_", "@").replace("_", " "),
            metric_value=e[score],
        )
        for e in facts.evaluations
        for score in SCORES
        if e.get(score) is not None
    ]
