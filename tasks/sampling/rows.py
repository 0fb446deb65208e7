"""Samples as COMPLETION rows whose id says what determined them."""

import json

from tasks.rows import row_id
from tasks.sampling.sample import Engine, Sample


def completion_rows(engine: Engine, prompts: list[dict], samples: list[list[Sample]], settings: dict) -> list[dict]:
    """COMPLETION rows of `samples[i]` for `prompts[i]` (PROMPT rows).

    `settings` must hold all that was set; what the engine's own options add to it comes along.
    """
    settings = settings | engine.protocol
    text = json.dumps(settings, sort_keys=True)
    rows = []
    for prompt, group in zip(prompts, samples, strict=True):
        for index, s in enumerate(group):
            what = {
                "prompt": prompt["id"], "model": engine.sha, "engine": engine.name, "settings": settings, "index": index,
            }  # fmt: skip
            rows.append(
                {
                    "id": row_id("completion", **what, text=s.text),
                    "prompt_id": prompt["id"],
                    "model": engine.sha,
                    "engine": engine.name,
                    "settings": text,
                    "index": index,
                    "text": s.text,
                    "tokens": s.tokens,
                    "finish": s.finish,
                    "logprob": None if s.logprobs is None else sum(s.logprobs),
                }
            )
    return rows
