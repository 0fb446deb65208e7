"""The forecast of a recipe as one object, and as JSON: `make_plan(recipe_values(root, path), root)`.

Everything is computed from the recipe, data sheets and the assumptions in tasks/reporting/forecast/devices.py; what a
forecast used is listed with it. Where a recipe says `null  # not published`, an assumed value stands in and is named.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from flows.orchestration.dag import load_dag
from flows.orchestration.forecast import wall
from flows.orchestration.forecast.disk import Disk, disk_of, is_linked
from flows.orchestration.forecast.recipe import Recipe
from flows.orchestration.forecast.stages import FORCED, STAGES
from flows.orchestration.forecast.work import Means, Step
from flows.orchestration.params import ParamsError, check, read_yaml, scalars
from flows.orchestration.recipe import validate
from flows.orchestration.schedule import START
from tasks.reporting.forecast.devices import DEVICES, Assumptions, Device, assumptions
from tasks.reporting.forecast.memory import USABLE, most_rows, peak
from tasks.reporting.forecast.roofline import NODE

GB = 1e9
DEFAULT_DEVICES = {"cpu": 2, "gpu": 1, "node": 8, "paper": 512}  # recipe -> how many it is written for; N: 64 x 8 H800
PUBLISHED_GPU_HOURS = {  # S: on H800, 64 x 8 of them; the artifacts that each figure stands for
    "R1-Zero": (101_000, ("r1_zero",)),
    "data": (5_000, ("cold_start", "judge", "candidates", "verdicts", "reasoning", "non_reasoning", "sft_data")),
    "R1": (41_000, ("dev1", "dev2", "dev3", "preferences", "reward_models", "r1")),
}


@dataclass(frozen=True)
class Plan:
    recipe: str
    means: Means
    devices: int
    price: float  # dollars for an hour of one device
    steps: list[Step]
    upstream: dict[str, tuple[str, ...]]
    notes: list[str]
    linked: bool = False  # DVC's cache shares its bytes with data/

    @property
    def device(self) -> Device:
        return self.means.device

    @cached_property
    def tasks(self) -> dict[str, wall.Task]:
        return {s.stage: self._task(s) for s in self.steps}

    def _task(self, step: Step) -> wall.Task:
        seconds = cache(lambda n: START + self.seconds(step, max(1, n)))
        if not step.on_device(self.means):
            return wall.Task(seconds, 0, 0)
        least = min(step.fewest(self.means) or (step.most if step.memory else 1), self.devices)
        if step.memory and step.memory.sharded:  # recipes/accelerate/ describes whole machines
            least = max(least, min(NODE, step.most, self.devices))
        most = wide = max(1, least)
        while wide < min(step.most, self.devices):
            wide, before = min(2 * wide, step.most, self.devices), wide
            if seconds(wide) > (1 - self.means.a.worth) ** math.log2(wide / before) * seconds(before):
                break
            most = wide
        return wall.Task(seconds, least, most)

    def seconds(self, step: Step, devices: int) -> float:
        return sum(step.parts(self.means, devices).values())

    @cached_property
    def placed(self) -> dict[str, wall.Placed]:
        return wall.play(self.tasks, self.upstream, self.devices)

    @property
    def wall_hours(self) -> float:
        return wall.finish(self.placed) / 3600

    def hours(self, step: Step) -> float:
        """Device-hours: those it holds, waiting ones included."""
        place = self.placed[step.stage]
        return place.devices * (place.end - place.start) / 3600

    @property
    def total_hours(self) -> float:
        return sum(self.hours(s) for s in self.steps)

    @property
    def usd(self) -> float:
        return self.total_hours * self.price

    @cached_property
    def disk(self) -> Disk:
        return disk_of(self.steps, linked=self.linked)

    def fits(self, step: Step) -> bool:
        """Whether the devices that there are hold it."""
        fewest = step.fewest(self.means)
        return fewest is not None and fewest <= self.devices

    def peak_gb(self, step: Step) -> float:
        return step.peak(self.means, max(1, self.placed[step.stage].devices)) / GB

    def warnings(self) -> list[str]:
        """What would not work as the recipe stands."""
        out = []
        for s in self.steps:
            if s.on_device(self.means) and not self.fits(s):
                usable = f"{USABLE * self.device.memory / GB:,.0f} of {self.device.memory / GB:,.0f} GB usable"
                out.append(
                    f"{s.stage} would at worst take {self.peak_gb(s):,.0f} GB on one {self.device.name}, {usable}; {self._remedy(s)}"
                )
        return out

    def _remedy(self, s: Step) -> str:
        """More devices, fewer sequences in a pass, or neither."""
        fewest, t = s.fewest(self.means), s.memory
        if t is None:
            return f"it needs {fewest:,} of them"
        ways = [f"{fewest:,} of them hold it"] if fewest else []
        if rows := most_rows(t, self.device, self.means.a, self.devices):
            less = peak(t.in_passes(rows), self.device, self.means.a, self.devices) / GB
            setting = f"`micro_batch: {rows}`" + (" and `accumulate: true`" if t.longest else "")
            ways.append(f"with {setting} it would take {less:,.0f} GB")
        if not t.sharded:
            ways.append("`accelerate` names no configuration that shards it")
        return (
            "; ".join(ways)
            or "not even one sequence of the longest fits: split it over GPUs (sequence or tensor parallelism, which no recipe has)"
        )

    def published(self) -> Iterator[tuple[str, float, float]]:
        """(what, published GPU-hours, estimated GPU-hours); only where the recipe is the paper's."""
        if self.recipe != "paper":
            return
        for what, (hours, stages) in PUBLISHED_GPU_HOURS.items():
            yield what, hours, sum(self.hours(s) for s in self.steps if s.stage.split("@")[0] in stages)

    def assumed(self) -> Iterator[str]:
        """Every assumption with its value and unit, as `--what-if` takes it."""
        for name, field in type(self.means.a).model_fields.items():
            yield f"assume.{name} = {getattr(self.means.a, name):g}: {field.description}"

    def as_json(self) -> dict:
        stages = [self._stage_json(s) for s in self.steps]
        keys = ("tokens_trained", "tokens_sampled", "flops", "disk_bytes", "device_seconds")
        total = {k: sum(s[k] for s in stages) for k in keys}
        total |= {"device_hours": self.total_hours, "cost": self.usd}
        published = {w: {"gpu_hours": p, "estimated": e, "ratio": e / p} for w, p, e in self.published()}
        return {
            "recipe": self.recipe, "device": self.device.name, "devices": self.devices, "unit": f"{self.device.unit}-hours",
            "gpu_hours": {"total": self.total_hours} | {s["stage"]: s["gpu_hours"] for s in stages},
            "wall_hours": self.wall_hours, "disk_gb": self.disk.total / GB, "disk": self.disk.as_json(), "usd": self.usd,
            "price_per_hour": self.price, "critical_path": wall.critical_path(self.tasks, self.upstream, self.devices),
            "stages": stages, "total": total, "published": published or None, "warnings": self.warnings(),
            "assumptions": self.notes, "assumed": self.means.a.model_dump(),
        }  # fmt: skip

    def _stage_json(self, s: Step) -> dict:
        place = self.placed[s.stage]
        return {
            "stage": s.stage, "does": s.does, "model": s.model or None,
            "parameters": s.shape.total if s.shape else None, "active_parameters": s.shape.active if s.shape else None,
            "rows": s.rows, "tokens_trained": s.trained, "tokens_sampled": s.sampled, "flops": s.flops(),
            "device_seconds": self.hours(s) * 3600, "gpu_hours": self.hours(s), "wall_hours": (place.end - place.start) / 3600,
            "starts_hours": place.start / 3600, "devices": place.devices,
            "seconds": {k: v for k, v in s.parts(self.means, max(1, place.devices)).items() if v},
            "memory_gb": {k: v / GB for k, v in s.held(self.means, max(1, place.devices)).items() if v},
            "peak_memory_gb": self.peak_gb(s) if s.on_device(self.means) else None,
            "fits": self.fits(s) if s.on_device(self.means) else True, "usd": self.hours(s) * self.price,
            "disk_bytes": s.artifact, "disk_gb": s.artifact / GB, "work_gb": s.state / GB,
        }  # fmt: skip


def recipe_values(root: Path, path: Path) -> dict:
    """A recipe checked and with the defaults of its stages filled in, as plain mappings; nulls of the paper's stay."""
    return filled(root, path, read_yaml(path))


def filled(root: Path, path: Path, values: dict) -> dict:
    """The same for values that were changed after they were read from `path`."""
    sections = validate(root, path, unpublished=True, values=values)
    return scalars(values) | {name: section.model_dump() for name, section in sections.items()}


def make_plan(
    values: dict, root: Path, device: str | None = None, devices: int | None = None, price: float | None = None,
    assumed: dict | None = None,
) -> Plan:  # fmt: skip
    """The forecast of a validated recipe (see recipe_values).

    Args:
        device: a key of DEVICES; by default one core where a model is trained from scratch, else an H100 or H800.
        devices: how many; by default what the recipe is written for.
        assumed: fields of Assumptions that replace its defaults; ParamsError where there is no such field.
    """
    pretrained = bool(values["base"]["model"].get("pretrain"))
    default = "cpu-core" if pretrained else "h800-80gb" if values["recipe"] == "paper" else "h100-80gb"
    chosen = DEVICES[device or default]
    a = check(Assumptions, assumptions(chosen).model_dump() | (assumed or {}), "--what-if", "assume")
    _known_launch(root, values.get("accelerate"))
    recipe = Recipe(values, root, a)
    steps = [step for estimate in STAGES.values() for step in estimate(recipe)]
    _fitting(values, steps)
    devices = devices or DEFAULT_DEVICES.get(values["recipe"], 1 if chosen.is_gpu else 2)
    cores = values["threads"] if chosen.is_gpu else 1
    means = Means(chosen, a, max(1, cores))
    plan = Plan(
        values["recipe"],
        means,
        devices,
        chosen.price if price is None else price,
        steps,
        _edges(root, values, steps),
        recipe.notes,
        is_linked(root),
    )
    recipe.notes[:0] = list(_notes(recipe, plan))
    return plan


def _known_launch(root: Path, name: str | None) -> None:
    """A file that is not there would shard nothing."""
    from tasks.training.launch import LaunchError, config_file

    try:
        config_file(root, name)
    except LaunchError as exc:
        raise ParamsError(str(exc)) from None


def _edges(root: Path, values: dict, steps: list[Step]) -> dict[str, tuple[str, ...]]:
    dag = load_dag(root, values)
    return {s.stage: dag.upstream.get(s.stage, ()) for s in steps}


def _fitting(values: dict, steps: list[Step]) -> None:
    """A stage that this file does not know would silently cost nothing."""
    if len({s.stage for s in steps}) != len(steps):
        raise ParamsError(f"recipe {values['recipe']}: two stages of a forecast have one name")


def _notes(r: Recipe, plan: Plan) -> Iterator[str]:
    a, device = r.a, plan.device
    yield f"{device.name}: {device.source}"
    yield f"{plan.devices} of them; {plan.price:g} dollars an hour each"
    yield (
        f"mean prompt {a.prompt_share:.0%} of prompts.max_prompt_tokens, mean response {a.response_share:.0%} of the token limit with "
        f"exponentially distributed lengths, {a.kept_share:.0%} of the candidates kept; evaluation adds {FORCED} forced samples a problem"
    )
    yield "training 6 FLOPs a parameter and token, 8 where activations are computed again, scoring 2; attention over half the length beside, long sequences counted by their tokens"
    if device.is_gpu:
        yield (
            f"{a.train_share:.0%} of the peak in training, {a.forward_share:.0%} in scoring and prefill, {a.bandwidth_share:.0%} of the "
            f"bandwidth in decoding, {a.decode_overhead * 1e3:g} ms a decoding step beside; {a.start_up:g} s to start a stage: assumed, not measured"
        )
        yield "rollouts are synchronous: training waits for the longest response, and verdicts for all of them"
    else:
        yield f"{a.start_up:.1f} s to start a stage and the other speeds are fitted to eight measured stages of this recipe (docs/plan.md)"
    yield f"a verdict takes {a.verify_seconds:g} s of a core; {plan.means.cores} cores a stage"
    if not r.sharded and device.is_gpu and plan.devices > 1:
        yield "accelerate names no configuration that shards: a training stage uses one GPU"
    if r.get("execution") != "ray" and device.is_gpu and plan.devices > 1:
        yield "execution: local: a sampling stage uses the GPUs of one engine; ray spreads batches of the transformers engine"
    yield (
        f"disk: artifacts in data/ {'linked to' if plan.linked else 'and once more in'} DVC's cache, 2 bytes a parameter trained in bf16, else {a.checkpoint_bytes:g}, downloads in the Hub's "
        "cache, and 24 bytes a parameter of resumable state of the largest training stage while it runs"
    )
