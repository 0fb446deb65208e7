"""What a recipe would cost, stage by stage, without running anything: models, rows, tokens, FLOPs, hours, disk.

Everything is computed from the recipe and the assumptions below; each one used is named in the result. Where the
recipe says `null  # not published`, an assumed value stands in and is named too.
"""

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flows.orchestration.params import read_yaml, scalars
from flows.orchestration.recipe import validate
from tasks.reporting.cost import DEVICES, FORWARD, TRAIN, Device, Size, size_by_config, size_by_name, table_bytes
from tasks.responses import TAGS
from tasks.training.settings import GRPO, SFT, Pretrain
from tasks.training.tokenizer import train_tokenizer

PROMPT_SHARE = 0.15  # mean prompt, of prompts.max_prompt_tokens
RESPONSE_SHARE = 0.25  # mean response, of the token limit
KEPT_SHARE = 0.5  # candidates that survive rejection sampling
FORCED = 4  # samples a problem that are made to guess or made to reason: two of each (flows/evaluate.py)
UNPUBLISHED = {  # what stands in for a null of recipes/paper.yaml, and where it comes from
    "prompts.max_prompt_tokens": (1333, "200 tokens a prompt"),
    "judge.pairs": (0, "the paper prompts DeepSeek-V3 and trains no judge"),
    "judge.sft.epochs": (1, "no judge is trained"),
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
    "evaluate.problems": (500, "AIME, GPQA Diamond and part of MATH-500"),
}
PUBLISHED_GPU_HOURS = {  # S: on H800, 64 x 8 of them; the artifacts that each figure stands for
    "R1-Zero": (101_000, ("r1_zero",)),
    "data": (5_000, ("cold_start", "judge", "candidates", "verdicts", "reasoning", "non_reasoning", "sft_data")),
    "R1": (41_000, ("dev1", "dev2", "dev3", "preferences", "reward_models", "r1")),
}


@dataclass(frozen=True)
class Step:
    """One stage and what it is estimated to do."""

    stage: str
    does: str
    model: str = ""
    size: Size | None = None
    rows: float | None = None
    trained: float = 0.0  # tokens through forward and backward
    sampled: float = 0.0  # tokens generated or scored, prompts included
    train_flops: float = 0.0
    sample_flops: float = 0.0
    disk: float = 0.0  # bytes of the published artifact


@dataclass(frozen=True)
class Plan:
    recipe: str
    device: Device
    steps: list[Step]
    assumptions: list[str]

    def seconds(self, step: Step) -> float:
        """Device-seconds; a stage that uses no model is not counted."""
        return self.device.seconds(step.train_flops, step.sample_flops)

    def published(self) -> Iterator[tuple[str, float, float]]:
        """(what, published GPU-hours, estimated GPU-hours); only where the recipe is the paper's."""
        if self.recipe != "paper":
            return
        for what, (hours, stages) in PUBLISHED_GPU_HOURS.items():
            yield what, hours, sum(self.seconds(s) for s in self.steps if s.stage.split("@")[0] in stages) / 3600

    def as_json(self, price: float | None = None) -> dict:
        steps = [
            {
                "stage": s.stage, "does": s.does, "model": s.model or None,
                "parameters": s.size.total if s.size else None, "active_parameters": s.size.active if s.size else None,
                "rows": s.rows, "tokens_trained": s.trained, "tokens_sampled": s.sampled,
                "flops": s.train_flops + s.sample_flops, "device_seconds": self.seconds(s), "disk_bytes": s.disk,
            }
            for s in self.steps
        ]  # fmt: skip
        seconds = sum(s["device_seconds"] for s in steps)
        total = {k: sum(s[k] for s in steps) for k in ("tokens_trained", "tokens_sampled", "flops", "disk_bytes")}
        total |= {"device_seconds": seconds, "device_hours": seconds / 3600}
        if price is not None:
            total["cost"] = seconds / 3600 * price
        published = {w: {"gpu_hours": p, "estimated": e, "ratio": e / p} for w, p, e in self.published()}
        return {
            "recipe": self.recipe, "device": self.device.name, "unit": f"{self.device.unit}-hours", "stages": steps,
            "total": total, "published": published or None, "assumptions": self.assumptions,
        }  # fmt: skip


@dataclass
class _Recipe:
    """The values of a recipe, with what stands in for the unpublished ones."""

    values: dict
    root: Path
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def get(self, key: str):
        value = self.values
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None and key in UNPUBLISHED:
            value, why = UNPUBLISHED[key]
            self.note(f"{key} is not published: {value:,} assumed ({why})")
        return value

    @property
    def prompt(self) -> float:
        return PROMPT_SHARE * self.get("prompts.max_prompt_tokens")

    @property
    def example(self) -> float:
        """Tokens of one SFT example."""
        return self.prompt + RESPONSE_SHARE * self.get("candidates.max_tokens")

    @property
    def kept(self) -> float:
        """Rows of the reasoning set."""
        prompts = self.get("candidates.prompts")
        return prompts * min(self.get("candidates.samples") * KEPT_SHARE, self.get("reasoning.selection.per_prompt"))

    def model(self, key: str) -> tuple[str, Size]:
        """Name and size of base.model or of one student's base."""
        spec = self.get(key)
        if pretrain := spec.get("pretrain"):
            p = Pretrain.model_validate(pretrain)
            vocabulary = inspect.signature(train_tokenizer).parameters["vocabulary"].default + len(TAGS)
            config = {
                "model_type": p.architecture, "hidden_size": p.hidden, "num_hidden_layers": p.layers,
                "num_attention_heads": p.heads, "intermediate_size": 3 * p.hidden, "vocab_size": vocabulary,
                "tie_word_embeddings": True,
            }  # fmt: skip
            return f"{p.architecture} from scratch", size_by_config(config)
        name = spec.get("hub") or spec["path"]
        config = self.root / name / "config.json" if spec.get("path") else None
        if config and config.is_file():
            return name, size_by_config(json.loads(config.read_text()))
        if size := size_by_name(name):
            return name, size
        self.note(f"{key}: {name} says no size and is not on disk: 1B parameters assumed")
        return name, Size(1e9, 1e9)

    @property
    def base(self) -> tuple[str, Size]:
        return self.model("base.model")


def recipe_values(root: Path, path: Path) -> dict:
    """A recipe checked and with the defaults of its stages filled in, as plain mappings; nulls of the paper's stay."""
    sections = validate(root, path, unpublished=True)
    return scalars(read_yaml(path)) | {name: section.model_dump() for name, section in sections.items()}


def make_plan(values: dict, root: Path, device: str | None = None) -> Plan:
    """The plan of a validated recipe (see recipe_values)."""
    recipe = _Recipe(values, root)
    pretrained = bool(values["base"]["model"].get("pretrain"))
    default = "cpu-core" if pretrained else "h800-80gb" if values["recipe"] == "paper" else "h100-80gb"
    chosen = DEVICES[device or default]
    recipe.note(f"{chosen.name}: {chosen.source}")
    recipe.note(f"trained and sampled are tokens; FLOPs: {TRAIN} per active parameter and trained token, {FORWARD} per sampled one")
    recipe.note(
        f"mean prompt {PROMPT_SHARE:.0%} of prompts.max_prompt_tokens, mean response {RESPONSE_SHARE:.0%} of the token "
        f"limit, {KEPT_SHARE:.0%} of the candidates kept; evaluation also samples {FORCED} forced responses a problem"
    )
    recipe.note(
        f"disk: published artifacts only, {chosen.parameter_bytes} bytes a parameter; a training stage's resumable state "
        "takes up to 12 bytes a parameter more while it runs"
    )
    steps = [step for estimate in STAGES.values() for step in estimate(recipe)]
    steps = [_on_disk(s, chosen) for s in steps]
    return Plan(values["recipe"], chosen, steps, recipe.notes)


def _on_disk(step: Step, device: Device) -> Step:
    checkpoint = step.size.total * device.parameter_bytes if step.size and step.trained else 0.0
    if step.stage.split("@")[0] in ("base", "student_base"):
        checkpoint = step.size.total * device.parameter_bytes
    if step.stage == "reward_models":
        checkpoint *= 2
    return Step(**{**step.__dict__, "disk": step.disk + checkpoint})


def _sources(r: _Recipe, key: str) -> float | None:
    counts = [s.get("count") or s.get("limit") for s in r.get(key) or []]
    if None in counts:
        r.note(f"{key}: a source without `count` or `limit` gives as many rows as it has, not known before it is read")
    return sum(c for c in counts if c) or None


def _prompts(r: _Recipe) -> Iterator[Step]:
    rows = _sources(r, "prompts.sources")
    yield Step("prompts", "read, deduplicate, split", rows=rows, disk=table_bytes(rows or 0, (rows or 0) * r.prompt))


def _origin(r: _Recipe, stage: str, key: str) -> Step:
    name, size = r.model(key)
    pretrain = r.get(key).get("pretrain")
    if not pretrain:
        return Step(stage, "take a published model", name, size)
    tokens = Pretrain.model_validate(pretrain).tokens
    return Step(stage, "pretrain from scratch", name, size, trained=tokens, train_flops=TRAIN * size.active * tokens)


def _student_bases(r: _Recipe) -> Iterator[Step]:
    for name in r.get("student_base.students"):
        yield _origin(r, f"student_base@{name}", f"student_base.students.{name}")


def _judge(r: _Recipe) -> Iterator[Step]:
    pairs = r.get("judge.pairs")
    yield _training("judge", "SFT into a verifier", *r.base, pairs, (r.prompt + 32) * r.get("judge.sft.epochs"))


def _training(stage: str, does: str, name: str, size: Size, rows: float, tokens_a_row: float) -> Step:
    tokens = rows * tokens_a_row
    return Step(stage, does, name, size, rows, trained=tokens, train_flops=TRAIN * size.active * tokens)


def _sft(r: _Recipe, stage: str, key: str, model: tuple[str, Size], rows: float, of_what: str) -> Step:
    p = SFT.model_validate(r.get(key), context={"unpublished": True})
    return _training(stage, f"SFT, {of_what}, {p.epochs} epochs", *model, rows, r.example * p.epochs)


def _grpo(r: _Recipe, stage: str, model: tuple[str, Size]) -> Step:
    p = GRPO.model_validate(r.get(f"{stage}.grpo"), context={"unpublished": True})
    steps = p.steps if p.steps is not None else r.get(f"{stage}.grpo.steps")
    completions = steps * p.prompts_per_step * p.group_size
    ends = [start for start, _ in p.max_tokens[1:]] + [steps]
    limit = sum(
        max(0, min(end, steps) - start) * cap for (start, cap), end in zip(p.max_tokens, ends, strict=True)
    ) / max(steps, 1)
    tokens = completions * (r.prompt + RESPONSE_SHARE * limit)
    passes = (1 if p.kl_beta else 0) + (1 if (p.rollout_batches or 1) * (p.inner_epochs or 1) > 1 else 0)
    active = model[1].active
    r.note("GRPO: one scoring pass for the reference where kl_beta > 0, one for the old policy where a rollout is used more than once")
    return Step(
        stage, f"GRPO, {steps:,} steps x {p.prompts_per_step * p.group_size}", *model, rows=completions,
        trained=tokens * (p.inner_epochs or 1), sampled=tokens * (1 + passes),
        train_flops=TRAIN * active * tokens * (p.inner_epochs or 1), sample_flops=FORWARD * active * tokens * (1 + passes),
    )  # fmt: skip


def _sampling(stage: str, does: str, model: tuple[str, Size], rows: float, tokens_a_row: float) -> Step:
    tokens = rows * tokens_a_row
    flops = FORWARD * model[1].active * tokens
    return Step(stage, does, *model, rows=rows, sampled=tokens, sample_flops=flops, disk=table_bytes(rows, tokens))


def _cold_start(r: _Recipe) -> Iterator[Step]:
    rows = r.get("cold_start.rows") * r.get("cold_start.asked_per_row") * r.get("cold_start.samples")
    tokens = r.prompt + RESPONSE_SHARE * r.get("cold_start.max_tokens")
    yield _sampling("cold_start", "sample and filter, four routes", r.base, rows, tokens)


def _candidates(r: _Recipe) -> Iterator[Step]:
    rows = r.get("candidates.prompts") * r.get("candidates.samples")
    yield _sampling("candidates", f"{r.get('candidates.samples')} samples a prompt", r.base, rows, r.example)


def _verdicts(r: _Recipe) -> Iterator[Step]:
    rows = r.get("candidates.prompts") * r.get("candidates.samples") * r.get("verdicts.judge_share")
    yield _sampling("verdicts", "rules, and the judge for a share", r.base, rows, r.prompt + 64)


def _table(stage: str, does: str, rows: float, r: _Recipe) -> Step:
    return Step(stage, does, rows=rows, disk=table_bytes(rows, rows * r.example))


def _total_rows(r: _Recipe) -> float:
    return r.kept + r.get("non_reasoning.rows")


def _reward_models(r: _Recipe) -> Iterator[Step]:
    rows = _sources(r, "preferences.sources")
    if rows is None:
        rows = 20_000 if not r.get("base.model").get("pretrain") else r.get("non_reasoning.rows")
        r.note(f"preferences.sources give no count: {rows:,} pairs and labels assumed")
    yield _training(
        "reward_models", "a pairwise and a pointwise model", *r.base, rows, 2 * r.example * r.get("reward_models.epochs")
    )


def _distill(r: _Recipe) -> Iterator[Step]:
    for name, student in r.get("distill.students").items():
        model = r.model(f"student_base.students.{student['base']}")
        yield _sft(r, f"distill@{name}", f"distill.students.{name}.sft", model, _total_rows(r), "the teacher's set")


def _owner(r: _Recipe, folder: str) -> tuple[str, Size]:
    """The model whose checkpoint lies at `data/18_distill/<item>`, `data/03_student_base/<item>`, or elsewhere."""
    kind, _, item = folder.removeprefix("data/").partition("/")
    if kind.endswith("student_base"):
        return r.model(f"student_base.students.{item}")
    if kind.endswith("distill"):
        return r.model(f"student_base.students.{r.get('distill.students')[item]['base']}")
    if kind.endswith("student_rl"):
        return r.model(f"student_base.students.{r.get('student_rl.student')}")
    if kind[:2].isdigit():
        return r.base
    size = size_by_name(folder)
    return folder, size or r.base[1]


def _evaluate(r: _Recipe) -> Iterator[Step]:
    rows = r.get("evaluate.problems") * (r.get("evaluate.k") + FORCED)
    tokens = r.prompt + RESPONSE_SHARE * r.get("evaluate.max_tokens")
    for name, folder in r.get("evaluate.models").items():
        yield _sampling(f"evaluate@{name}", f"{r.get('evaluate.k')} samples a problem", _owner(r, folder), rows, tokens)


def _one(estimate: Callable[[_Recipe], Step]) -> Callable[[_Recipe], Iterator[Step]]:
    return lambda r: iter([estimate(r)])


STAGES: dict[str, Callable[[_Recipe], Iterator[Step]]] = {
    "prompts": _prompts,
    "base": _one(lambda r: _origin(r, "base", "base.model")),
    "student_base": _student_bases,
    "judge": _judge,
    "r1_zero": _one(lambda r: _grpo(r, "r1_zero", r.base)),
    "cold_start": _cold_start,
    "dev1": _one(lambda r: _sft(r, "dev1", "dev1.sft", r.base, r.get("cold_start.rows"), "the cold-start set")),
    "dev2": _one(lambda r: _grpo(r, "dev2", r.base)),
    "candidates": _candidates,
    "verdicts": _verdicts,
    "reasoning": _one(lambda r: _table("reasoning", "keep correct and readable ones", r.kept, r)),
    "non_reasoning": _one(lambda r: _table("non_reasoning", "select and render", r.get("non_reasoning.rows"), r)),
    "sft_data": _one(lambda r: _table("sft_data", "union of both", _total_rows(r), r)),
    "dev3": _one(lambda r: _sft(r, "dev3", "dev3.sft", r.base, _total_rows(r), "the union")),
    "preferences": _one(lambda r: _table("preferences", "pairs and labels", _sources(r, "preferences.sources") or 0, r)),
    "reward_models": _reward_models,
    "r1": _one(lambda r: _grpo(r, "r1", r.base)),
    "distill": _distill,
    "student_rl": _one(lambda r: _grpo(r, "student_rl", r.model(f"student_base.students.{r.get('student_rl.student')}"))),
    "evaluate": _evaluate,
    "report": _one(lambda r: Step("report", "tables and pictures")),
}
