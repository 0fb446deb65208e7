"""One interface to whatever samples: rendered prompts and settings in, completions with ids and log-probabilities out.

    with open_engine(settings, run.input("dev2"), run.work, run.threads) as engine:
        groups = engine.sample(texts, k=4, temperature=1.0, top_p=1.0, max_tokens=128, seed=run.seed)

In a recipe `engine:` is a name (`transformers`, `vllm`, `server`) or a block, `{name: server, url: …}`. All engines
continue the very text that tasks/prompts/templates.py renders, and all keep what is finished in a ledger in `work`, so
that a stage that was killed samples nothing twice.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from tasks.provenance.artifacts import ArtifactError
from tasks.sampling.settings import (  # noqa: F401 - an engine and its settings are looked for in one place
    EngineSettings,
    ServerSettings,
    TransformersSettings,
    VLLMSettings,
    engine_settings,
)

if TYPE_CHECKING:
    from tasks.execution import Execution
    from tasks.progress import Progress


class EngineError(ArtifactError):
    """An engine cannot be opened, or could not finish; the message names what, where and the remedy."""


@dataclass(frozen=True)
class Sample:
    """One completion. A server that gives no ids or log-probabilities leaves them None, where the recipe allows it."""

    text: str
    ids: list[int] | None  # generated tokens, end of sequence included
    logprobs: list[float] | None  # of each generated token at temperature 1 and top-p 1, nats
    finish: str  # "stop" or "length"
    counted: int | None = None  # generated tokens by a server's own count, where it gives no ids

    @property
    def tokens(self) -> int | None:
        """Generated tokens, end of sequence included."""
        return self.counted if self.ids is None else len(self.ids)


class Engine(Protocol):
    """A checkpoint ready to sample from. Use it as a context manager: leaving it frees the GPU or the connections."""

    name: str  # "transformers", "vllm" or "server", in every completion
    sha: str  # sha256 of the weights, which names the model in every completion
    tokenizer: Any  # of the checkpoint, a PreTrainedTokenizerFast
    continues: bool  # whether responses continue the prompt's very text; a chat endpoint answers it instead
    protocol: dict  # further settings that decide the samples, for the completions' `settings`; {} for none

    def sample(
        self,
        prompts: list[str],
        k: int,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
        progress: "Progress | None" = None,
    ) -> list[list[Sample]]:
        """k samples of each rendered prompt, in order; temperature 0 is greedy. EngineError where one cannot be had."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_) -> None: ...


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
