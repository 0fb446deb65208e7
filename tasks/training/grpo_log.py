"""TRL's log of a GRPO run as what people look at: the curve, its summary, rollouts, and what each step took."""

from tasks.training.packed_grpo import IDLE, REWARD, ROLLOUT, STEP

COLUMNS = {  # of plots/<stage>.csv -> TRL's key
    "reward": "reward",
    "accuracy": "rewards/accuracy/mean",
    "format": "rewards/format/mean",
    "language": "monitor/language",
    "length": "completions/mean_length",
    "truncated": "completions/clipped_ratio",
    "entropy": "entropy",
    "grad_norm": "grad_norm",
    "kl": "kl",
    "zero_advantage_share": "frac_reward_zero_std",
    "recheck": "monitor/recheck",
    "general_reward": "rewards/preference/mean",
    "learning_rate": "learning_rate",
}


def curve(log: list[dict]) -> list[dict]:
    """TRL's log as the columns of plots/<stage>.csv."""
    rows, before = [], 0.0
    for entry in log:
        row = {"step": entry["step"]}
        for column, key in COLUMNS.items():
            value = entry.get(key)
            row[column] = float(value) if value is not None and value == value else None
        seen = entry.get("num_tokens", before)  # logged at each rollout, not at its further mini-batches
        row["tokens"], before = int(seen - before), seen
        rows.append(row)
    return rows


def summary(rows: list[dict], window: int = 10) -> dict:
    """First and last `window` steps of the curve, for metrics/<stage>.json."""

    def mean(part: list[dict], column: str) -> float | None:
        values = [r[column] for r in part if r[column] is not None]
        return sum(values) / len(values) if values else None

    out = {"steps": len(rows), "tokens": sum(r["tokens"] for r in rows)}
    for column in ("reward", "accuracy", "length", "language"):
        out[f"{column}_first"] = mean(rows[: max(1, min(window, len(rows) // 3))], column)
        out[f"{column}_last"] = mean(rows[-window:], column)
    return out


def timings(log: list[dict], completions: int) -> list[dict]:
    """What each step took: seconds, split into rollout, reward and training, and completion tokens a second.

    `completions`: of one rollout, over all processes. A step that trains on an earlier step's rollout has none of its
    own: its tokens are 0. These numbers differ from run to run, so they go to the run book and not into plots/.
    """
    rows = []
    for entry in log:
        if STEP not in entry:
            continue
        seconds, rollout, reward = entry[STEP], entry.get(ROLLOUT) or 0.0, entry.get(REWARD) or 0.0
        tokens = round((entry.get("completions/mean_length") or 0.0) * completions)
        row = {"step": entry["step"], "seconds": seconds, "rollout": rollout, "reward": reward}
        row |= {
            "training": max(0.0, seconds - rollout - reward),
            "tokens": tokens,
            "tokens_per_second": tokens / seconds,
        }
        rows.append({k: round(v, 4) for k, v in row.items()} | {"idle_share": entry.get(IDLE)})
    return rows


def latest_rollouts(trainer, weights: dict[str, float], shown: int = 4) -> list[dict]:
    """Best and worst completions of the last step's group in which rewards differ most; what they got for what."""
    logs, group = trainer._logs, trainer.num_generations
    given = {name: list(logs["rewards"][name]) for name in weights}
    total = [
        sum(w * given[n][i] for n, w in weights.items() if given[n][i] == given[n][i])
        for i in range(len(logs["prompt"]))
    ]
    groups = [sorted(range(a, a + group), key=lambda i: -total[i]) for a in range(0, len(total) - group + 1, group)]
    if not groups:
        return []
    best = max(groups, key=lambda g: total[g[0]] - total[g[-1]])
    chosen = best if group <= shown else [*best[: shown // 2], *best[-(shown // 2) :]]
    return [
        {
            "prompt": logs["prompt"][i],
            "completion": logs["completion"][i],
            "reward": total[i],
            **{name: values[i] for name, values in given.items() if values[i] == values[i]},
            "advantage": logs["advantages"][i],
        }
        for i in chosen
    ]
