"""The shapes in which rows leave: as they are, TRL's conversational ones, or the text that was trained on.

TRL's dataset types (docs of TRL 1.16, "Dataset formats"): `messages` for SFT, `prompt` for GRPO, `prompt`, `chosen` and
`rejected` for preferences, `prompt`, `completion` and `label` for unpaired preferences; in each a text is a list of messages.
"""

from collections.abc import Callable, Iterable

import pyarrow as pa

from tasks.prompts.chat import assistant, user
from tasks.prompts.templates import render
from tasks.provenance.artifacts import ArtifactError

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
TEXT = pa.string()
Make = Callable[[dict], dict]
SPLITS = {"held_out": "test", "final": "test"}  # our word -> the word that `datasets` uses; others stay

_SFT = [
    ("id", TEXT),
    ("prompt_id", TEXT),
    ("completion_id", TEXT),
    ("source", TEXT),
    ("licence", TEXT),
    ("domain", TEXT),
]
_TRL = {  # kind of row -> (columns, the row's shape)
    "sft_example": (
        [*_SFT, ("messages", MESSAGES)],
        lambda r: {"messages": [user(r["prompt"]), assistant(r["response"])]},
    ),
    "prompt": (
        [("id", TEXT), ("source", TEXT), ("licence", TEXT), ("domain", TEXT), ("prompt", MESSAGES), ("gold", TEXT), ("solution", TEXT)],
        lambda r: {"prompt": [user(r["text"])]},
    ),
    "preference_pair": (
        [("id", TEXT), ("prompt_id", TEXT), ("prompt", MESSAGES), ("chosen", MESSAGES), ("rejected", MESSAGES),
         ("fault", TEXT), ("gap", pa.float64()), ("labelled_by", TEXT)],
        lambda r: {"prompt": [user(r["prompt"])], "chosen": [assistant(r["chosen"])], "rejected": [assistant(r["rejected"])]},
    ),
    "safety_label": (
        [("id", TEXT), ("prompt_id", TEXT), ("prompt", MESSAGES), ("completion", MESSAGES), ("label", pa.bool_()), ("labelled_by", TEXT)],
        lambda r: {"prompt": [user(r["prompt"])], "completion": [assistant(r["response"])], "label": r["safe"]},
    ),
}  # fmt: skip
FORMATS = {
    "trl": "conversational, as TRL's trainers take it: a text is a list of messages",
    "sft": "prompt and completion as texts, rendered with the recipe's template: what the models here were trained on",
    "rows": "the tables as they are, all of them",
    "transformers": "a checkpoint: config, safetensors, tokenizer with chat template",
}
TABLE_FORMATS = ("trl", "sft", "rows")


def formats_of(kinds: Iterable[str]) -> list[str]:
    """The formats that tables of these kinds can take, the usual one first."""
    kinds = set(kinds)
    found = ["trl"] if kinds & set(_TRL) else []
    return [*found, *(["sft"] if "sft_example" in kinds else []), "rows"]


def shape(
    format: str, kind: str, template: str | None, licences: dict[str, str]
) -> tuple[pa.Schema | None, Make] | None:
    """(columns, row -> row) of a table of this kind, the schema None where it is the table's own; None: it is left out.

    `licences`: source -> licence, put beside each row. ArtifactError where the format needs a template and none is known.
    """
    if format == "rows":
        return None, lambda row: row
    if format == "sft":
        if kind != "sft_example":
            return None
        if template is None:
            raise ArtifactError(
                "format sft renders the prompt, and no template of the recipe is known; use --format trl"
            )
        columns = [*_SFT, ("prompt", TEXT), ("completion", TEXT)]
        made = lambda r: {"prompt": render(template, r["prompt"]), "completion": r["response"]}
    elif kind in _TRL:
        columns, made = _TRL[kind]
    else:
        return None
    names = [name for name, _ in columns]

    def make(row: dict) -> dict:
        whole = (
            {"licence": licences.get(row.get("source"))} | {k: v for k, v in row.items() if v is not None} | made(row)
        )
        return {name: whole.get(name) for name in names}

    return pa.schema(columns), make
