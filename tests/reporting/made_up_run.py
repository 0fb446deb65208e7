"""A finished run made up: metrics and curves of the shapes that the stages write, with plausible numbers."""

import functools
import math
import random

from tasks.evaluation.intervals import ci95, paired_difference
from tasks.evaluation.protocol import Protocol
from tasks.reporting.card import Inputs

PROTOCOL = Protocol(
    problems=200, k=16, seed=0, temperature=1.0, top_p=1.0, max_tokens=128, split="final", template="bare",
    template_hash="3f9a1c22", verifier="77aa01b2", sources=["running-sums"],
)  # fmt: skip
MODELS = {
    "base": ("data/02_base", 0.18, 0.76), "r1_zero": ("data/05_r1_zero", 0.91, 0.7), "dev1": ("data/07_dev1", 0.53, 0.94),
    "dev2": ("data/08_dev2", 0.87, 0.99), "dev3": ("data/14_dev3", 0.92, 0.999), "r1": ("data/17_r1", 0.955, 0.999),
    "student-qwen": ("data/03_student_base/qwen", 0.19, 0.75), "student-llama": ("data/03_student_base/llama", 0.04, 0.75),
    "distill-qwen": ("data/18_distill/qwen", 0.95, 0.998), "distill-llama": ("data/18_distill/llama", 0.06, 0.9),
    "distill-qwen-control": ("data/18_distill/qwen-control", 0.955, 0.999), "student-rl": ("data/19_student_rl", 0.83, 0.7),
}  # fmt: skip
SIZES = {"student-qwen": 314_112, "distill-qwen": 314_112, "distill-qwen-control": 314_112, "student-rl": 314_112,
         "student-llama": 401_520, "distill-llama": 401_520}  # fmt: skip


@functools.cache
def scores(name: str, mean: float) -> dict[str, float]:
    """Per-problem pass@1 around `mean`; models share the difficulty of each problem."""
    out = {}
    for i in range(PROTOCOL.problems):
        hard = random.Random(i).gauss(0, 0.5)
        p = 1 / (1 + math.exp(-(math.log(mean / (1 - mean)) + hard)))
        out[f"prompt_{i}"] = sum(random.Random(f"{name}/{i}/{j}").random() < p for j in range(16)) / 16
    return out


def evaluated(name: str, language: float, per_problem: dict[str, float]) -> dict:
    values = list(per_problem.values())
    p = round(sum(values) / len(values), 6)
    full = 0.45 if name in ("base", "dev1") or name.startswith("student-") else 0.998
    return {
        "model": name, "checkpoint": MODELS[name][0], "pass_at_1": p, "pass_at_1_ci95": ci95(values), "pass_at_k": min(1.0, p + 0.77 * (1 - p)),
        "pass_at_k_ci95": [0.9 * p, 1.0], "cons_at_k": min(1.0, p + 0.02), "cons_at_k_ci95": [p, 1.0], "format_rate": 0.87 + 0.12 * p,
        "language_consistency": language, "mixed_language_rate": round(1 - language, 6), "mean_length": 21.2 + 10 * p,
        "truncation_rate": 0.001, "recheck_rate": 0.05 if name == "base" else 0.001, "parameters": SIZES.get(name, 525_312),
        "cots_without_words": 3, "timeouts": 0, "infra": 0, "problems_without_verdict": 0, "per_problem_pass_at_1": None,
        "elicitation": {
            "full_cot_share": full, "accuracy_given_full_cot": min(1.0, p / full), "direct_share": 0.3 * (1 - p), "accuracy_given_direct": 0.05,
            "forced_direct_pass_at_1": 0.04, "forced_direct_ci95": [0.03, 0.05], "forced_cot_pass_at_1": 0.42, "forced_cot_ci95": [0.38, 0.46],
        },
        "protocol": PROTOCOL.model_dump(),
    }  # fmt: skip


def rl_curve(steps: int, start: float, end: float, language: tuple[float, float], seed: int) -> dict[str, list[float]]:
    rng = random.Random(seed)
    curve = {
        c: [] for c in ("step", "reward", "accuracy", "format", "language", "length", "truncated", "recheck", "tokens")
    }
    for step in range(steps):
        rise = 1 - math.exp(-4 * step / steps)
        acc = min(1, max(0, start + (end - start) * rise + rng.gauss(0, 0.025)))
        row = {"step": step + 1, "accuracy": acc, "reward": acc + 0.1, "format": 0.9 + 0.1 * rise, "truncated": 0.01 * (1 - rise),
               "language": min(1, language[0] + (language[1] - language[0]) * rise + rng.gauss(0, 0.01)), "length": 21 + 9 * rise + rng.gauss(0, 0.5),
               "recheck": max(0, 0.06 * (1 - rise) + rng.gauss(0, 0.004)), "tokens": 5000 * (step + 1)}  # fmt: skip
        for key, value in row.items():
            curve[key].append(value)
    return curve


def rl_metrics(curve: dict[str, list[float]]) -> dict:
    def ends(column: str) -> dict:
        return {f"{column}_first": round(curve[column][0], 6), f"{column}_last": round(curve[column][-1], 6)}

    return {
        "steps": len(curve["step"]),
        "tokens": 500_000,
        **ends("reward"),
        **ends("accuracy"),
        **ends("length"),
        **ends("language"),
    }


def stage(name: str, desc: str, outs: list[str], upstream: list[str], item: str | None = None) -> dict:
    full = f"{name}@{item}" if item else name
    return {"stage": full, "name": name, "item": item, "desc": desc, "outs": outs, "upstream": upstream}


STAGES = [
    stage(
        "prompts",
        "Prompt bank: sources, deduplicated and split by content hash (paper 2.2.4, S)",
        ["data/01_prompts", "data/01_final"],
        [],
    ),
    stage("base", "Base model: pretrained from scratch (paper 2: DeepSeek-V3-Base)", ["data/02_base"], []),
    stage(
        "student_base",
        "Base of a student, of another size or architecture (paper 2.4)",
        ["data/03_student_base/qwen"],
        [],
        "qwen",
    ),
    stage(
        "student_base",
        "Base of a student, of another size or architecture (paper 2.4)",
        ["data/03_student_base/llama"],
        [],
        "llama",
    ),
    stage(
        "judge",
        "Generative verifier: question, ground truth, prediction -> verdict (paper 2.3.3: DeepSeek-V3 as judge)",
        ["data/04_judge"],
        ["base"],
    ),
    stage(
        "r1_zero",
        "R1-Zero: GRPO on the base, rule rewards only, no SFT (paper 2.2)",
        ["data/05_r1_zero"],
        ["prompts", "base"],
    ),
    stage(
        "cold_start",
        "Cold-start CoT set: four collection routes (paper 2.3.1)",
        ["data/06_cold_start"],
        ["prompts", "base", "r1_zero"],
    ),
    stage(
        "dev1", "Dev1: SFT of the base on the cold-start set (paper 2.3.1)", ["data/07_dev1"], ["base", "cold_start"]
    ),
    stage(
        "dev2",
        "Dev2: reasoning RL from Dev1, plus the language-consistency reward (paper 2.3.2)",
        ["data/08_dev2"],
        ["prompts", "dev1"],
    ),
    stage(
        "candidates",
        "Candidates: k samples of Dev2 per prompt (paper 2.3.3)",
        ["data/09_candidates"],
        ["prompts", "dev2"],
    ),
    stage(
        "verdicts",
        "Verdicts: rules for every candidate, the judge for a share (paper 2.3.3)",
        ["data/10_verdicts"],
        ["prompts", "judge", "candidates"],
    ),
    stage(
        "reasoning",
        "Reasoning set (~600k in the paper): rejection sampling (paper 2.3.3)",
        ["data/11_reasoning"],
        ["candidates", "verdicts", "prompts"],
    ),
    stage(
        "non_reasoning",
        "Non-reasoning set (~200k in the paper): writing, factual QA (paper 2.3.3)",
        ["data/12_non_reasoning"],
        ["prompts"],
    ),
    stage(
        "sft_data",
        "SFT and distillation set (~800k in the paper): the union (paper 2.3.3)",
        ["data/13_sft_data"],
        ["base", "reasoning", "non_reasoning"],
    ),
    stage(
        "dev3",
        "Dev3: two epochs of SFT of the base on the SFT set (paper 2.3.3)",
        ["data/14_dev3"],
        ["base", "sft_data"],
    ),
    stage(
        "preferences",
        "Preference pairs for helpfulness, labels for safety (paper 2.3.4, N)",
        ["data/15_preferences"],
        ["prompts"],
    ),
    stage(
        "reward_models",
        "Reward models: helpfulness (pairwise) and safety (pointwise) (N, Methods)",
        ["data/16_reward_models"],
        ["base", "preferences"],
    ),
    stage(
        "r1",
        "R1: RL for all scenarios from Dev3, rule and preference rewards (paper 2.3.4)",
        ["data/17_r1"],
        ["prompts", "dev3", "reward_models"],
    ),
    stage(
        "distill",
        "A student: SFT on the teacher's set, no RL (paper 2.4)",
        ["data/18_distill/qwen"],
        ["prompts", "student_base@qwen", "sft_data"],
        "qwen",
    ),
    stage(
        "distill",
        "A student: SFT on the teacher's set, no RL (paper 2.4)",
        ["data/18_distill/llama"],
        ["prompts", "student_base@llama", "sft_data"],
        "llama",
    ),
    stage(
        "student_rl",
        "The same student by RL alone, for the comparison (paper 4.1)",
        ["data/19_student_rl"],
        ["prompts", "student_base@qwen"],
    ),
    stage(
        "evaluate",
        "Evaluation of one checkpoint (paper 3)",
        ["data/20_evaluate/r1"],
        ["prompts", "r1", "distill@qwen", "student_rl"],
        "r1",
    ),
    stage("report", "Report card: tables and pictures", ["report/results.json"], ["evaluate@r1"]),
]


def data_metrics() -> dict:
    return {
        "base": {"parameters": 525_312, "tokens": 1_600_000, "steps": 1000, "final_loss": 0.312},
        "student_base/qwen": {"parameters": 314_112, "tokens": 1_600_000, "steps": 1000, "final_loss": 0.35},
        "prompts": {"rows": 8480, "train": 7210, "validation": 420, "final": 850, "dropped": {"duplicate": 20}, "sources": {}},
        "cold_start": {"rows": 118, "routes": {
            "few_shot": {"asked": 120, "kept": 36, "rejected": {"wrong": 70, "unreadable": 14}},
            "direct": {"asked": 80, "kept": 24, "rejected": {"wrong": 50, "no_reflection": 6}},
            "r1_zero": {"asked": 60, "kept": 46, "rejected": {"wrong": 4, "long": 10}},
            "human": {"asked": 12, "kept": 12, "rejected": {}}}},
        "dev1": {"examples": 118, "left_out": 0, "steps": 30, "tokens": 9000, "loss_first": 1.1, "loss_last": 0.42},
        "candidates": {"prompts": 2000, "candidates": 8000, "tokens": 260_000, "truncated": 4},
        "verdicts": {"candidates": 8000, "status": {"ok": 6900, "wrong": 1080, "unparsable": 20}, "judge_prompts": 500, "judge_candidates": 2000,
                     "agreement": 0.981, "agreement_ci95": [0.972, 0.988], "judge_false_accept": 0.02, "judge_false_reject": 0.01},
        "judge": {"pairs": 3000, "held_out": 300, "accuracy": 0.983, "accuracy_ci95": [0.967, 0.997]},
        "reasoning": {"candidates": 8000, "kept": 2673, "rejected": 5327, "funnel": [{"rule": "not_correct", "rejected": 1100, "failed": 1100}, {"rule": "mixed_language", "rejected": 61},
                      {"rule": "long_paragraph", "rejected": 0}, {"rule": "code_block", "rejected": 0}, {"rule": "duplicate", "rejected": 2566}, {"rule": "max_per_prompt", "rejected": 1600, "failed": 2914}]},
        "non_reasoning": {"rows": 800, "domains": {"qa": 200}, "with_cot": 300},
        "sft_data": {"rows": 3473, "reasoning": 2673, "non_reasoning": 800, "domains": {}, "left_out": 0},
        "dev3": {"examples": 3473, "left_out": 0, "steps": 436, "tokens": 150_000, "loss_first": 1.2, "loss_last": 0.21},
        "preferences": {"pairs": 600, "labels": 400, "faults": {"wrong": 150}, "labelled_by": ["procedural-oracle"]},
        "reward_models": {"helpful": {"accuracy": 0.96, "accuracy_ci95": [0.92, 0.99], "pairs": 120}, "safe": {"accuracy": 0.99, "accuracy_ci95": [0.97, 1.0], "labels": 80}},
        "distill/qwen": {"examples": 3473, "left_out": 0, "steps": 870, "tokens": 300_000, "loss_first": 1.2, "loss_last": 0.19},
    }  # fmt: skip


def inputs(**changes) -> Inputs:
    curves = {
        "r1_zero": rl_curve(100, 0.18, 0.93, (0.76, 0.71), 1), "dev2": rl_curve(50, 0.53, 0.89, (0.94, 0.99), 2),
        "r1": rl_curve(50, 0.92, 0.96, (0.998, 0.999), 3), "student_rl": rl_curve(70, 0.18, 0.84, (0.76, 0.7), 4),
    }  # fmt: skip
    per_problem = {name: scores(name, mean) for name, (_, mean, _) in MODELS.items()}
    metrics = {f"evaluate/{n}": evaluated(n, language, per_problem[n]) for n, (_, _, language) in MODELS.items()}
    metrics |= {name: rl_metrics(curve) for name, curve in curves.items()} | data_metrics()
    text = "<think> First A-1=53. 然后 B+3=56. Then C-9=47. </think> The result is 47. <answer>47</answer>"
    rollout = {"problem": "Compute 54 A-1 B+3 C-9", "gold": "47", "answers": [
        {"label": "Base", "model": "base", "text": "<think> </think><answer>45</answer> https & <b>", "status": "wrong"},
        {"label": "R1-Zero", "model": "r1_zero", "text": text, "status": "ok"}, {"label": "R1", "model": "r1", "text": text, "status": "ok"}]}  # fmt: skip
    values = {
        "recipe": "cpu", "seed": 0, "models": {n: folder for n, (folder, _, _) in MODELS.items()}, "metrics": metrics, "curves": curves,
        "protocol": PROTOCOL.model_dump(), "protocol_words": PROTOCOL.words(), "rollouts": [rollout] * 2, "stages": STAGES,
        "paired": lambda a, b: paired_difference(per_problem[a], per_problem[b]),
    }  # fmt: skip
    return Inputs(**values | changes)


RUN_BOOK = {
    s["stage"]: {"stage": s["stage"], "seconds": 20.5 + 7 * i, "cpu_seconds": 20.1 + 7 * i, "peak_rss_mb": 900 + 10 * i, "threads": 1,
                 "cpu": "A processor", "started_at": 1000.0 + 20 * i, "finished_at": 1020.5 + 27 * i, "resumed": False, "disk_bytes": 3_000_000 * i}
    for i, s in enumerate(STAGES)
}  # fmt: skip
