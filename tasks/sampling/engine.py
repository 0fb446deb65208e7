"""One interface to whatever samples: rendered prompts and settings in, completions with ids and log-probabilities out.

    with open_engine(settings, run.input("dev2"), run.work, run.threads) as engine:
        groups = engine.sample(texts, k=4, temperature=1.0, top_p=1.0, max_tokens=128, seed=run.seed)

In a recipe `engine:` is a name (`transformers`, `vllm`, `server`) or a block, `{name: server, url: …}`. All engines
continue the very text that tasks/prompts/templates.py renders, and all keep what is finished in a ledger in `work`, so
that a stage that was killed samples nothing twice.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.sampling.sample import Engine, EngineError, Sample  # noqa: F401 - looked for here, as the settings are
from tasks.sampling.settings import (  # noqa: F401
    EngineSettings,
    ServerSettings,
    TransformersSettings,
    VLLMSettings,
    engine_settings,
)

if TYPE_CHECKING:
    from tasks.execution import Execution


def open_engine(
    settings: EngineSettings,
    checkpoint: Path,
    work: Path | None = None,
    threads: int = 1,
    execution: "Execution | None" = None,
) -> Engine:
    """The engine that `settings` asks for, on the checkpoint in folder `checkpoint`.

    `work`: folder of the ledgers and of a server's log, None for none; `threads`: of torch, on a CPU; `execution`: where
    the batches of transformers are sampled, None for this process. The other engines spread their work themselves.
    """
    checkpoint, work = Path(checkpoint), Path(work) if work else None
    if settings.name == "transformers" and execution is not None and execution.remote:
        from tasks.sampling.spread_engine import open_on

        return open_on(execution, settings, checkpoint, work, threads)
    if settings.name == "vllm":
        from tasks.sampling.vllm_engine import open_here
    elif settings.name == "server":
        from tasks.sampling.server_engine import open_here
    else:
        from tasks.sampling.transformers_engine import open_here
    return open_here(settings, checkpoint, work, threads)
