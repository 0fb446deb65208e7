"""What every engine gives and how it is asked: the types; tasks/sampling/engine.py opens one."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from tasks.provenance.artifacts import ArtifactError

if TYPE_CHECKING:
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


def checked(prompts: list[str], k: int, temperature: float, top_p: float, max_tokens: int) -> None:
    """EngineError where no engine could draw what is asked."""
    if k < 1 or max_tokens < 1:
        raise EngineError(f"{k} samples of at most {max_tokens} tokens cannot be drawn: both must be 1 or more")
    if not (0 <= temperature < math.inf and 0 < top_p <= 1):
        raise EngineError(f"temperature {temperature} and top_p {top_p}: 0 or more, and above 0 up to 1")
    if "" in prompts:
        raise EngineError(f"prompt {prompts.index('')} is empty: there is nothing to continue")


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
