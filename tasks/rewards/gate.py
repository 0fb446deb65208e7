"""The gate before RL: reasoning must already pay, or GRPO collapses to short guesses.

RL elicits and sharpens what the base can do. On a base whose sampled chains of thought are no better than direct
guesses, the cheapest way to more reward is to stop thinking.
"""

from tasks.prompts.templates import render
from tasks.provenance.artifacts import ArtifactError
from tasks.responses import parse
from tasks.sampling.sample import Engine
from tasks.training.settings import Gate
from tasks.verification.verify import verify

DIRECT = "<think> </think><answer>"  # forces an answer without reasoning


class GateError(ArtifactError):
    """The base is not worth running RL on; the message gives both accuracies."""


def _accuracy(pairs: list[tuple[dict, str]]) -> float:
    return sum(verify(prompt, text).status == "ok" for prompt, text in pairs) / len(pairs) if pairs else 0.0


def measure(
    engine: Engine, prompts: list[dict], p: Gate, template: str, max_tokens: int, temperature: float, seed: int
) -> dict:
    """Accuracy of sampled answers that reason (a non-empty think block) and of forced direct guesses."""
    chosen = sorted(prompts, key=lambda row: row["id"])[: p.prompts]
    if not chosen:
        raise GateError("no validation prompts to measure the base on: raise prompts.validation_share")
    if not engine.continues:
        raise GateError(
            "a chat endpoint cannot be made to guess, which the gate compares with: set gate.engine to another"
        )
    texts = [render(template, row["text"]) for row in chosen]
    settings = {"k": p.samples, "temperature": temperature, "top_p": 1.0}
    free = engine.sample(texts, max_tokens=max_tokens, seed=seed, **settings)
    forced = engine.sample([t + DIRECT for t in texts], max_tokens=16, seed=seed + 1, **settings)
    flat = [(row, s.text) for row, group in zip(chosen, free, strict=True) for s in group]
    reasoned = [(row, text) for row, text in flat if (parse(text).think or "").strip()]
    guesses = [(row, DIRECT + s.text) for row, group in zip(chosen, forced, strict=True) for s in group]
    return {
        "prompts": len(chosen),
        "samples": len(flat),
        "full_cot_share": len(reasoned) / len(flat),
        "full_cot_accuracy": _accuracy(reasoned),
        "direct_accuracy": _accuracy(guesses),
    }


def require(result: dict, p: Gate) -> dict:
    """`result` where the base passes; otherwise GateError."""
    gain = result["full_cot_accuracy"] - result["direct_accuracy"]
    if gain < p.min_advantage:
        raise GateError(
            f"the base does not pass the gate before RL: its sampled chains of thought are right in "
            f"{result['full_cot_accuracy']:.3f} of cases and direct guesses in {result['direct_accuracy']:.3f}, an "
            f"advantage of {gain:.3f} where gate.min_advantage asks for {p.min_advantage}. RL would shorten its answers "
            "instead of improving them. Train the base longer, give easier prompts, or start from an SFT checkpoint."
        )
    return result
