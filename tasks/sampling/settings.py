"""What a recipe says under `engine:`, typed; light, so that who only states settings imports no engine."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, TypeAdapter, model_validator

from tasks.settings import Settings


class TransformersSettings(Settings):
    """transformers in this process: tasks/sampling/transformers_engine.py."""

    name: Literal["transformers"] = "transformers"
    batch_rows: int | None = Field(
        None,
        ge=1,
        description="sequences decoded together at most, though all samples of a prompt are; null: what memory holds, 1,024 at most",
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


class Serving(Settings):
    """How a checkpoint is served."""

    engine: Literal["auto", "vllm", "transformers"] = Field(
        "auto", description="auto: vLLM where this machine has it, else `transformers serve`"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of weights and keys; auto: the checkpoint's own"
    )
    max_model_len: int | None = Field(
        None, ge=1, description="tokens of prompt and completion together; null: what the checkpoint's config says"
    )
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of each GPU's memory that vLLM takes")
    tensor_parallel: int = Field(1, ge=1, description="GPUs that hold one copy of the model")
    kv_cache_gb: int = Field(1, ge=1, description="GiB of keys and values where vLLM runs on the CPU; no GPU uses it")
    threads: int | None = Field(None, ge=1, description="CPU threads of the model; null: one for each core")
    start_timeout: float = Field(600.0, gt=0, description="seconds until it must answer")
    restarts: int = Field(3, ge=0, description="times a server that died is started anew, on the same port")


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
