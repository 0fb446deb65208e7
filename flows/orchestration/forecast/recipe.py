"""The values of a recipe as a forecast needs them: typed blocks, models with their shapes, what stands in for a null."""

import inspect
import json
from dataclasses import dataclass, field
from pathlib import Path

from flows.orchestration.params import ParamsError
from tasks.reporting.forecast.devices import Assumptions
from tasks.reporting.forecast.shapes import Shape, shape_by_config, shape_by_name, shape_of_size
from tasks.responses import TAGS
from tasks.training.settings import Pretrain
from tasks.training.tokenizer import train_tokenizer

UNPUBLISHED = {  # what stands in for a null of recipes/paper.yaml, and where it comes from
    "prompts.max_prompt_tokens": (1333, "200 tokens a prompt"),
    "judge.pairs": (0, "the paper prompts DeepSeek-V3 and trains no judge"),
    "judge.held_out": (0, "the paper prompts DeepSeek-V3 and trains no judge"),
    "judge.sft.epochs": (1, "no judge is trained"),
    "judge.sft.batch_size": (128, "no judge is trained"),
    "judge.sft.max_length": (8192, "no judge is trained"),
    "cold_start.rows": (5000, "'thousands' in the paper"),
    "cold_start.asked_per_row": (4, "as in the other recipes"),
    "cold_start.samples": (4, "as in the other recipes"),
    "cold_start.max_tokens": (32_768, "the limit of everything else"),
    "candidates.prompts": (88_000, "all reasoning prompts, S"),
    "candidates.samples": (14, "gives about the 627K reasoning rows of S"),
    "candidates.max_tokens": (21_420, "gives the mean of 5,355 tokens of S"),
    "verdicts.judge_share": (0.1, "'part of the data' in the paper"),
    "reasoning.selection.per_prompt": (10**9, "no limit"),
    "dev2.grpo.steps": (1700, "as many as r1"),
    "student_rl.grpo.rollout_batches": (16, "as R1-Zero"),
    "r1.grpo.general_share": (0.25, "as in the other recipes"),
    "evaluate.problems": (500, "AIME, GPQA Diamond and part of MATH-500"),
}


@dataclass
class Recipe:
    """The values of a recipe, with what stands in for the unpublished ones."""

    values: dict
    root: Path
    a: Assumptions
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def get(self, key: str):
        """The value at a dotted key; None where it is null or absent and nothing stands in for it."""
        value = self.values
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None and key in UNPUBLISHED:
            value, why = UNPUBLISHED[key]
            self.note(f"{key} is not published: {value:,} assumed ({why})")
        return value

    def engine(self, key: str) -> dict:
        """The engine of a stage as a mapping with `name`; transformers where the recipe says nothing."""
        value = self.get(key)
        return {"name": "transformers"} if value is None else {"name": value} if isinstance(value, str) else value

    @property
    def sharded(self) -> bool:
        """Whether training runs on several GPUs: `accelerate` names a file that shards."""
        return self.get("accelerate") not in (None, "single_gpu")

    @property
    def prompt(self) -> float:
        return self.a.prompt_share * self.get("prompts.max_prompt_tokens")

    @property
    def prompt_limit(self) -> float:
        return float(self.get("prompts.max_prompt_tokens"))

    def response(self, limit: float) -> float:
        return self.a.response_share * limit

    @property
    def example(self) -> float:
        """Tokens of one row of the SFT set."""
        return self.prompt + self.response(self.get("candidates.max_tokens"))

    @property
    def kept(self) -> float:
        """Rows of the reasoning set."""
        each = min(self.get("candidates.samples") * self.a.kept_share, self.get("reasoning.selection.per_prompt"))
        return self.get("candidates.prompts") * each

    @property
    def total_rows(self) -> float:
        """Rows of the SFT set."""
        return self.kept + self.get("non_reasoning.rows")

    def rows_of(self, key: str) -> float | None:
        """Rows of a list of sources, as far as they say how many."""
        counts = [s.get("count") or s.get("limit") for s in self.get(key) or []]
        if None in counts:
            self.note(
                f"{key}: a source without `count` or `limit` gives as many rows as it has, not known before it is read"
            )
        return sum(c for c in counts if c) or None

    @property
    def preferences(self) -> tuple[float, float]:
        """Pairs and labels of the preference data."""
        sources = self.get("preferences.sources")
        if self.rows_of("preferences.sources") is None:
            rows = 300.0 if self.get("base.model").get("pretrain") else 20_000.0
            self.note(f"preferences.sources give no count: {rows:,.0f} rows assumed, two thirds of them pairs")
            return 2 * rows / 3, rows / 3
        given = [(s.get("gives"), s.get("count") or s.get("limit") or 0) for s in sources]
        labels = sum(n if gives == "labels" else n / 3 if gives != "pairs" else 0 for gives, n in given)
        return sum(n for _, n in given) - labels, labels

    def model(self, key: str) -> tuple[str, Shape]:
        """Name and shape of base.model or of one student's base."""
        spec = self.get(key)
        if spec is None:
            raise ParamsError(f"the recipe names a model at {key}, and has none there")
        if pretrain := spec.get("pretrain"):
            p = Pretrain.model_validate(pretrain)
            vocabulary = inspect.signature(train_tokenizer).parameters["vocabulary"].default + len(TAGS)
            config = {
                "model_type": p.architecture, "hidden_size": p.hidden, "num_hidden_layers": p.layers,
                "num_attention_heads": p.heads, "intermediate_size": 3 * p.hidden, "vocab_size": vocabulary,
                "tie_word_embeddings": True,
            }  # fmt: skip
            return f"{p.architecture} from scratch", shape_by_config(config)
        name = spec.get("hub") or spec["path"]
        config = self.root / name / "config.json" if spec.get("path") else None
        if config and config.is_file():
            return name, shape_by_config(json.loads(config.read_text()))
        shape = shape_by_name(name)
        if shape is None:
            self.note(f"{key}: {name} says no size and is not on disk: 1B parameters assumed")
            return name, shape_of_size(1e9)
        if shape.guessed:
            self.note(f"{key}: the shape of {name} is guessed from its size: {shape.layers} layers of {shape.hidden}")
        return name, shape

    @property
    def base(self) -> tuple[str, Shape]:
        return self.model("base.model")

    def owner(self, folder: str) -> tuple[str, Shape]:
        """The model whose checkpoint lies at `data/18_distill/<item>`, `data/03_student_base/<item>`, or elsewhere."""
        kind, _, item = folder.removeprefix("data/").partition("/")
        student = None
        if kind.endswith("student_base"):
            student = item
        elif kind.endswith("distill"):
            student = self.get(f"distill.students.{item}.base") or item
        elif kind.endswith("student_rl"):
            student = self.get("student_rl.student")
        if student is not None:
            return self.model(f"student_base.students.{student}")
        if kind[:2].isdigit():
            return self.base
        return folder, shape_by_name(folder) or self.base[1]
