"""Samples as COMPLETION rows whose id says what determined them."""

import json

from tasks.rows import row_id
from tasks.sampling.transformers_engine import Sample

ENGINE = "transformers"


def completion_rows(prompts: list[dict], samples: list[list[Sample]], model: str, settings: dict) -> list[dict]:
    """COMPLETION rows of `samples[i]` for `prompts[i]` (PROMPT rows); `settings` must hold everything that was set."""
    text = json.dumps(settings, sort_keys=True)
    rows = []
    for prompt, group in zip(prompts, samples, strict=True):
        for index, s in enumerate(group):
            what = {"prompt": prompt["id"], "model": model, "engine": ENGINE, "settings": settings, "index": index}
            rows.append(
                {
                    "id": row_id("completion", **what, text=s.text),
                    "prompt_id": prompt["id"],
                    "model": model,
                    "engine": ENGINE,
                    "settings": text,
                    "index": index,
                    "text": s.text,
                    "tokens": len(s.ids),
                    "finish": s.finish,
                    "logprob": sum(s.logprobs),
                }
            )
    return rows
