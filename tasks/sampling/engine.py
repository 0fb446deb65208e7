"""One interface to whatever samples: rendered prompts and settings in, completions with ids and log-probabilities out.

    with open_engine(settings, run.input("dev2"), run.work, run.threads) as engine:
        groups = engine.sample(texts, k=4, temperature=1.0, top_p=1.0, max_tokens=128, seed=run.seed)

In a recipe `engine:` is a name (`transformers`, `vllm`, `server`) or a block, `{name: server, url: …}`. All engines
continue the very text that tasks/prompts/templates.py renders, and all keep what is finished in a ledger in `work`, so
that a stage that was killed samples nothing twice.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, TypeAdapter, model_validator

from tasks.provenance.artifacts import ArtifactError
from tasks.sampling.servers import Serving
from tasks.settings import Settings

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


class TransformersSettings(Settings):
    """transformers in this process: tasks/sampling/transformers_engine.py."""

    name: Literal["transformers"] = "transformers"
    batch_rows: int | None = Field(
        None, ge=1, description="sequences decoded together at most; null: what memory holds, 1,024 at most"
    )
    static_cache: bool = Field(
        False, description="keys and values in one block of the full length, for fixed shapes on a GPU"
    )
    compile: bool = Field(False, description="torch.compile of the decoding step; needs static_cache")

    @model_validator(mode="after")
    def _fixed_shapes(self):
        if self.compile and not self.static_cache:
            raise ValueError("compile needs static_cache: true, or every step has a shape of its own to compile")
        return self


class VLLMSettings(Settings):
    """vLLM in this process (extra `vllm`): tasks/sampling/vllm_engine.py."""

    name: Literal["vllm"] = "vllm"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: the checkpoint's own")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of each GPU's memory that vLLM takes")
    tensor_parallel: int = Field(1, ge=1, description="GPUs that hold one copy of the model")
    max_model_len: int | None = Field(
        None, ge=16, description="tokens of prompt and completion together; null: what the checkpoint's config says"
    )
    enforce_eager: bool = Field(False, description="no CUDA graphs: starts sooner, decodes slower")
    prompts_per_call: int = Field(
        512, ge=1, description="prompts given to vLLM at once, and finished together in the ledger"
    )


class Wire(Settings):
    """How patiently a server is asked: tasks/sampling/http.py."""

    key_variable: str = Field(
        "OPENAI_API_KEY", description="environment variable with the API key; unset: no key is sent"
    )
    concurrency: int = Field(64, ge=1, description="requests on the wire at the same time")
    attempts: int = Field(5, ge=1, description="tries of a request that the server answers badly")
    timeout: float = Field(1800.0, gt=0, description="seconds of one try, from the connection to the last byte")
    backoff: float = Field(1.0, ge=0, description="seconds before the second try; doubled before each further one")
    max_wait: float = Field(60.0, ge=0, description="seconds between two tries at most, whatever Retry-After says")
    give_up: float = Field(
        600.0, gt=0, description="seconds without any answer from the server after which the stage fails"
    )


class ServerSettings(Wire):
    """Any OpenAI-compatible server: tasks/sampling/server_engine.py."""

    name: Literal["server"] = "server"
    url: str | None = Field(None, description="base URL up to and including /v1; null: $R1_SERVER_URL, or `start`")
    start: bool = Field(
        False, description="start a server on the checkpoint, as `r1 serve` does; it ends with the stage"
    )
    serving: Serving = Field(Serving(), description="how it is started")
    dialect: Literal["vllm", "openai", "transformers"] = Field(
        "vllm",
        description="vllm: token ids in and out, vLLM's extension; openai: text alone; transformers: `transformers serve`, "
        "which samples only where a generation config says so. With `start`, that of what was started",
    )
    api: Literal["completions", "chat"] = Field(
        "completions", description="chat only where a server has no /completions"
    )
    model: str | None = Field(None, description="name at the server; null: the one model that it serves")
    revision: str | None = Field(
        None,
        description="where `model` is not the artifact but, say, a vendor's: which version of it; names the weights",
    )
    logprobs: bool = Field(True, description="false for a server that gives none: completions are then without")
    send_seed: bool = Field(True, description="false for a server that refuses `seed`: another run gives other samples")
    samples_per_request: int = Field(16, ge=1, description="n of a request; 1 for a server that knows no n")

    @model_validator(mode="after")
    def _one_way(self):
        if self.start and (self.url or self.model or self.revision or self.api != "completions"):
            raise ValueError("start: true serves the checkpoint here: leave out url, model, revision and api")
        if self.revision and not self.model:
            raise ValueError("revision is a version of `model`: name that")
        if self.dialect != "openai" and (self.revision or self.api == "chat"):
            raise ValueError("token ids need the artifact's own tokenizer and /completions: set dialect: openai")
        return self


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _name(value: Any) -> Any:
    return value.get("name") if isinstance(value, dict) else getattr(value, "name", None)


EngineSettings = Annotated[
    Annotated[TransformersSettings, Tag("transformers")]
    | Annotated[VLLMSettings, Tag("vllm")]
    | Annotated[ServerSettings, Tag("server")],
    Discriminator(
        _name,
        custom_error_type="engine",
        custom_error_message="expected transformers, vllm or server, or a block whose `name` is one of them",
    ),
    BeforeValidator(_named),
]


def engine_settings(value: str | dict) -> TransformersSettings | VLLMSettings | ServerSettings:
    """`value` as a recipe states it under `engine:`; pydantic's ValidationError says what is wrong with it."""
    return TypeAdapter(EngineSettings).validate_python(value)


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
