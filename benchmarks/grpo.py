"""GRPO here beside plain TRL on the same model, prompts and settings: what a step costs, and whether both learn alike.

    .venv/bin/python benchmarks/grpo.py                        # the cpu recipe's base and R1-Zero settings: a few minutes
    .venv/bin/python benchmarks/grpo.py --seeds 0 1 2 3 --steps 25 --idle-steps 80 --out work/grpo.json    # all of it

Arms: `trl` is TRL's GRPOTrainer as it comes, sampling with its own `generate`; `trl + our rollout` gives it our samples;
`ours` is what the stages run. Order of arms changes from seed to seed. A step is timed from its first micro-batch to the
end of the optimizer step, in wall and in CPU seconds of this process; the first two steps of a run are not counted.

Do they learn alike? Stated beforehand: take each run's accuracy, averaged over windows of 5 steps; the distance of two
groups of runs is the mean over windows of the difference of their means. Over all ways to split the 2n runs into two
groups of n, p is the share that lies as far apart as `trl` and `ours` do. The curves are called different where p <= 0.05
(four seeds make that possible, with three the smallest p is 0.1). `trl + our rollout` draws the same samples as `ours`
while the policies agree, so its rewards must be the same to rounding in the first steps: that is exact.

Then what it saves that completions without advantage get no backward pass: at several checkpoints on the way of an
R1-Zero run, the training half of the very same step is run with and without it.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
ARMS = ("trl", "trl + our rollout", "ours")
WARM, WINDOW = 2, 5  # steps that are not timed; steps averaged for the comparison of curves


def settings(steps: int, recipe: Path, **changes):
    """(GRPO settings of the recipe's r1_zero with that many steps, its rewards, the sources of its prompts)."""
    import yaml

    from tasks.training.grpo_settings import GRPO

    section = yaml.safe_load(recipe.read_text())["r1_zero"]
    grpo = section["grpo"] | {"steps": steps, "save_every": steps} | changes
    return GRPO.model_validate(grpo), section["rewards"], section["sources"]


def meter(marks: list[dict]):
    """A trainer callback that notes wall and CPU seconds of each step, the same for every arm."""
    from transformers import TrainerCallback

    class Meter(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            self.began = time.perf_counter(), time.process_time()

        def on_step_end(self, *args, **kwargs):
            marks.append({"wall": time.perf_counter() - self.began[0], "cpu": time.process_time() - self.began[1]})

    return Meter()


def train(
    arm: str, base: Path, prompts: list[dict], p, rewards: dict, seed: int, folder: Path, trainer_class=None
) -> list[dict]:
    """One run of `arm`; per step: wall and CPU seconds, tokens, reward, accuracy, and our own split of the seconds."""
    import functools

    import torch
    from trl import GRPOTrainer

    from tasks.prompts.templates import render
    from tasks.rewards.reinforcement import named_rewards
    from tasks.training import checkpoints, grpo, grpo_log
    from tasks.training.packed_grpo import stopwatch
    from tasks.training.rollouts import own_rollout
    from tasks.training.trainer import run

    torch.set_num_threads(1)
    model, tokenizer = checkpoints.load(base)
    rollout = None if arm == "trl" else own_rollout(model, tokenizer, p.engine)
    chosen = trainer_class or (None if arm == "ours" else GRPOTrainer)
    data = grpo.dataset(grpo.lay_out(p, prompts, [], seed), functools.partial(render, "bare"))
    trainer = grpo.make_trainer(model, tokenizer, data, p, named_rewards(rewards), rollout, seed, folder, chosen)
    marks: list[dict] = []
    trainer.add_callback(stopwatch(trainer))
    trainer.add_callback(meter(marks))
    trainer.args.save_strategy = "no"
    log = run(trainer, folder)
    own = grpo_log.timings(log, p.prompts_per_step * p.group_size)
    kept = ("step", "reward", "accuracy", "zero_advantage_share", "length")
    return [
        mark
        | {c: row[c] for c in kept}
        | {"tokens": t["tokens"], "split": {k: t[k] for k in ("rollout", "reward", "training")}}
        for mark, row, t in zip(marks, grpo_log.curve(log), own, strict=True)
    ]


def costs(runs: dict[str, dict[int, list[dict]]]) -> dict[str, dict]:
    """Median seconds of a step and tokens a second, for each arm over all its seeds, and the ratios to plain TRL."""
    out = {}
    for arm, by_seed in runs.items():
        steps = [s for run in by_seed.values() for s in run[WARM:] or run]
        out[arm] = {clock: statistics.median(s[clock] for s in steps) for clock in ("wall", "cpu")}
        out[arm]["tokens_per_cpu_second"] = sum(s["tokens"] for s in steps) / sum(s["cpu"] for s in steps)
        out[arm]["steps"] = len(steps)
    plain = out.get("trl")
    for facts in out.values():
        if plain:
            facts |= {f"speedup_{clock}": plain[clock] / facts[clock] for clock in ("wall", "cpu")}
    return out


def windows(run: list[dict]) -> list[float]:
    """Accuracy of a run in means over WINDOW steps."""
    values = [s["accuracy"] for s in run]
    return [statistics.fmean(values[i : i + WINDOW]) for i in range(0, len(values), WINDOW)]


def distance(a: list[list[float]], b: list[list[float]]) -> float:
    """Mean over windows of the difference between the means of two groups of curves."""
    return statistics.fmean(
        abs(statistics.fmean(x) - statistics.fmean(y)) for x, y in zip(zip(*a), zip(*b), strict=True)
    )


def alike(first: list[list[float]], second: list[list[float]]) -> dict:
    """The permutation test of the docstring, and the spread between runs of one arm that it is measured against."""
    both, n = [*first, *second], len(first)
    seen = distance(first, second)
    splits = [set(c) for c in itertools.combinations(range(2 * n), n) if 0 in c]  # a split and its mirror are one
    far = [
        distance([both[i] for i in part], [both[i] for i in range(2 * n) if i not in part]) >= seen - 1e-12
        for part in splits
    ]
    within = [distance([a], [b]) for group in (first, second) for a, b in itertools.combinations(group, 2)]
    return {
        "distance": seen,
        "between_seeds": statistics.fmean(within) if within else None,
        "p": sum(far) / len(far),
        "smallest_p": 1 / len(far),
        "different": sum(far) / len(far) <= 0.05,
    }


def same_start(ours: list[dict], other: list[dict], tolerance: float = 1e-6) -> int:
    """Number of first steps in which two runs have the same mean reward."""
    pairs = itertools.takewhile(
        lambda ab: abs(ab[0]["reward"] - ab[1]["reward"]) <= tolerance, zip(ours, other, strict=False)
    )
    return sum(1 for _ in pairs)


def idle_savings(base: Path, prompts: list[dict], p, rewards: dict, seed: int, every: int, folder: Path) -> list[dict]:
    """Every so many steps of a run of ours: CPU seconds of the training half of one step, with and without idle rows."""
    from tasks.training.packed_grpo import make_trainer_class

    found: list[dict] = []

    class Measured(make_trainer_class()):
        def _training_seconds(self, model, inputs, skip: bool) -> float:
            self.skip_idle, began = skip, time.process_time()
            self.accelerator.backward(super()._compute_loss(model, inputs))
            model.zero_grad()
            self.skip_idle = True
            return time.process_time() - began

        def _compute_loss(self, model, inputs):
            step = self.state.global_step
            if step % every == 0:
                twice = [[self._training_seconds(model, inputs, skip) for skip in (True, False)] for _ in range(2)]
                idle = float((inputs["advantages"] == 0).float().mean())
                least = [min(times) for times in zip(*twice, strict=True)]
                found.append({"step": step, "idle_rows": idle, "skipped": least[0], "all_rows": least[1]})
            return super()._compute_loss(model, inputs)

    train("ours", base, prompts, p, rewards, seed, folder, Measured)
    return found


def markdown(result: dict) -> str:
    """The tables of docs/performance.md."""
    head = "| arm | s/step, CPU | s/step, wall | tokens per CPU-second | against plain TRL |"
    lines = [head, "|---|---:|---:|---:|---:|"] if result["costs"] else []
    for arm, c in result["costs"].items():
        ratio = f"{c['speedup_cpu']:.2f} x" if "speedup_cpu" in c else ""
        lines.append(f"| {arm} | {c['cpu']:.2f} | {c['wall']:.2f} | {c['tokens_per_cpu_second']:,.0f} | {ratio} |")
    if test := result.get("curves"):
        lines += [
            "",
            "| seed | " + " | ".join(f"accuracy, last {WINDOW} steps: {arm}" for arm in result["last"]) + " |",
        ]
        lines.append("|---|" + "---:|" * len(result["last"]))
        for seed in next(iter(result["last"].values())):
            lines.append(f"| {seed} | " + " | ".join(f"{by[seed]:.3f}" for by in result["last"].values()) + " |")
        lines += [
            "",
            f"Distance of the curves of `trl` and `ours`: {test['distance']:.3f}; of two seeds of one arm: "
            f"{test['between_seeds']:.3f}; p = {test['p']:.2f} (smallest possible {test['smallest_p']:.2f}): "
            + ("they differ." if test["different"] else "no difference."),
        ]
    for seed, steps in result.get("same_start", {}).items():
        lines.append(f"Seed {seed}: `trl + our rollout` and `ours` have the same reward in the first {steps} steps.")
    if idle := result.get("idle"):
        lines += [
            "",
            "| step | completions without advantage | training half, s CPU | with their backward | saved |",
            "|---:|---:|---:|---:|---:|",
        ]
        for r in idle:
            saved = 1 - r["skipped"] / r["all_rows"]
            lines.append(
                f"| {r['step']} | {r['idle_rows']:.0%} | {r['skipped']:.2f} | {r['all_rows']:.2f} | {saved:.0%} |"
            )
        total = 1 - sum(r["skipped"] for r in idle) / sum(r["all_rows"] for r in idle)
        mean = statistics.fmean(r["idle_rows"] for r in idle)
        lines.append(
            f"\nSaved over the measured steps: {total:.1%} of the training half, at {mean:.0%} idle completions."
        )
    return "\n".join(lines)


def picture(runs: dict[str, dict[int, list[dict]]], path: Path) -> None:
    """Accuracy over the steps, `trl` and `ours`: each seed thin, their mean bold; as path.png and path.svg."""
    from tasks.reporting import theme

    figure, axis = theme.new(6.4, 2.9)
    for arm, colour in (("trl", theme.ORANGE), ("ours", theme.BLUE)):
        curves = [[100 * s["accuracy"] for s in run] for run in runs[arm].values()]
        steps = range(1, len(curves[0]) + 1)
        for values in curves:
            axis.plot(steps, values, color=colour, linewidth=0.8, alpha=0.45)
        means = [statistics.fmean(v) for v in zip(*curves, strict=True)]
        axis.plot(steps, means, color=colour, linewidth=2.2, label=f"{arm}, mean of {len(curves)} seeds")
    axis.set_title("accuracy of the rollouts, %")
    axis.set_xlabel("RL step")
    axis.legend(loc="lower right", fontsize=8)
    theme.save(figure, path.parent, path.stem)


def compared(runs: dict[str, dict[int, list[dict]]]) -> dict:
    """All that is said of these runs: arm -> seed -> what each step took and gave."""
    runs = {arm: {int(seed): run for seed, run in by.items()} for arm, by in runs.items() if by}
    result = {"runs": runs, "costs": costs(runs)}
    both = sorted(set(runs.get("trl", ())) & set(runs.get("ours", ())))
    if len(both) > 1:
        result["curves"] = alike(*([windows(runs[arm][s]) for s in both] for arm in ("trl", "ours")))
        result["last"] = {arm: {s: windows(runs[arm][s])[-1] for s in both} for arm in ("trl", "ours")}
    seeds = sorted(set(runs.get("trl + our rollout", ())) & set(runs.get("ours", ())))
    return result | {"same_start": {s: same_start(runs["ours"][s], runs["trl + our rollout"][s]) for s in seeds}}


def merged(files: list[Path]) -> dict:
    """Runs of several files of --out, e.g. of processes side by side, as one result."""
    runs: dict[str, dict] = {}
    idle: list[dict] = []
    for found in (json.loads(file.read_text()) for file in files):
        for arm, by_seed in found["runs"].items():
            runs.setdefault(arm, {}).update(by_seed)
        idle += found.get("idle", [])
    return compared(runs) | ({"idle": idle} if idle else {})


def compare(base: Path, prompts: list[dict], o: argparse.Namespace) -> dict:
    """All arms and seeds; prints each run as it ends."""
    p, rewards, sources = settings(o.steps, o.recipe, **json.loads(o.settings))
    prompts = sorted((r for r in prompts if r["source"] in sources), key=lambda r: r["id"])
    runs: dict[str, dict[int, list[dict]]] = {arm: {} for arm in o.arms}
    for turn, seed in enumerate(o.seeds):
        first = turn % max(1, len(o.arms))
        for arm in o.arms[first:] + o.arms[:first]:
            if arm == "trl + our rollout" and seed != o.seeds[0]:
                continue  # it learns what `ours` learns: one seed shows where its time goes
            with tempfile.TemporaryDirectory() as folder:
                runs[arm][seed] = run = train(arm, base, prompts, p, rewards, seed, Path(folder))
            if o.out:  # after each run: what is measured is measured
                o.out.write_text(json.dumps({"runs": runs}) + "\n")
            print(f"{arm}, seed {seed}: {statistics.median(s['cpu'] for s in run):.2f} CPU-s a step, accuracy "
                  f"{run[0]['accuracy']:.3f} -> {windows(run)[-1]:.3f}", file=sys.stderr, flush=True)  # fmt: skip
    result = compared(runs) | {"steps": o.steps}
    if o.idle_steps:
        p, *_ = settings(o.idle_steps, o.recipe, **json.loads(o.settings))
        with tempfile.TemporaryDirectory() as folder:
            every = max(1, o.idle_steps // 16)
            result["idle"] = idle_savings(base, prompts, p, rewards, o.seeds[0], every, Path(folder))
    return result


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--base", type=Path, default=ROOT / "data" / "02_base", help="checkpoint that all arms start from"
    )
    parser.add_argument(
        "--prompts", type=Path, default=ROOT / "data" / "01_prompts", help="artifact of the stage prompts"
    )
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "cpu.yaml", help="its r1_zero is what is run")
    parser.add_argument("--settings", default="{}", help="JSON of GRPO settings to change")
    parser.add_argument("--steps", type=int, default=8, help="of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=list(ARMS), help="none: only what idle rows save")
    parser.add_argument("--idle-steps", type=int, default=4, help="length of the run that measures idle rows; 0: none")
    parser.add_argument("--out", type=Path, help="every step of every run as JSON")
    parser.add_argument(
        "--picture", type=Path, help="learning curves of `trl` and `ours`, as PNG and SVG under this name"
    )
    parser.add_argument(
        "--again", type=Path, nargs="+", help="measure nothing: tables and picture of what is in these files"
    )
    return parser.parse_args(arguments)


def main() -> int:
    from tasks.prompts.stored import read_prompts

    o = options()
    if o.again:
        result = merged(o.again)
        print(markdown(result))
        if o.picture:
            picture(result["runs"], o.picture)
        return 0
    if not (o.base / "config.json").is_file():
        print(f"no checkpoint at {o.base}: build it with `r1 run base`, or name another with --base", file=sys.stderr)
        return 2
    if o.out:
        o.out.parent.mkdir(parents=True, exist_ok=True)
    result = compare(o.base, read_prompts(o.prompts, "train"), o)
    if o.out:
        o.out.write_text(json.dumps(result) + "\n")
    if o.picture:
        picture(result["runs"], o.picture)
    print(markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
