"""`r1 serve`: a checkpoint behind an OpenAI-compatible server of this machine, until Ctrl-C."""

import json
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from flows.orchestration.root import ParamsError, find_root


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="Folder of a checkpoint, e.g. data/17_r1.", show_default=False)
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, vllm or transformers; auto: vLLM where it is installed.")] = "auto",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of 127.0.0.1; default: a free one.", show_default=False)
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="auto, float32, bfloat16 or float16; auto: the checkpoint's own.")
    ] = "auto",
    max_model_len: Annotated[
        int | None,
        typer.Option(
            min=1, help="Tokens of prompt and completion; default: the checkpoint's limit.", show_default=False
        ),
    ] = None,
    gpu_memory_utilization: Annotated[
        float, typer.Option(min=0.01, max=1, help="vLLM: share of each GPU's memory.")
    ] = 0.9,
    tensor_parallel: Annotated[int, typer.Option(min=1, help="vLLM: GPUs that hold one copy of the model.")] = 1,
    kv_cache_gb: Annotated[int, typer.Option(min=1, help="vLLM on a CPU: GiB of keys and values.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: one for each core.", show_default=False)
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="File for what the server says; default: in work/serve.", show_default=False)
    ] = None,
    programs: Annotated[
        bool, typer.Option("--programs", help="Only list the servers that this machine can run; exit status 1: none.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: url, model, engine, pid, log, seconds.")] = False,
) -> None:
    """Serve a checkpoint on this machine; prints the address once it answers, and ends the server with Ctrl-C.

    vLLM where it is installed: in this environment (its extra `vllm`, for a GPU), or in .venv-vllm, which `make vllm`
    builds; else `transformers serve`, which gives one sample a request and no log-probabilities. A server that dies is
    started anew on the same port, three times. A stage samples from it by `engine: {name: server, url: …}` in its
    section of params.yaml; by `engine: {name: server, start: true}` it starts one itself.

    Examples: `r1 serve data/17_r1`; `r1 serve data/17_r1 --port 8000 --json`; `r1 serve --programs`.
    """
    from pydantic import ValidationError

    from tasks.sampling import servers

    if programs:
        return _list(as_json)
    if checkpoint is None:
        raise typer.BadParameter("name the folder of a checkpoint, or ask --programs", param_hint="CHECKPOINT")
    try:
        serving = servers.Serving(
            engine=engine, dtype=dtype, max_model_len=max_model_len, gpu_memory_utilization=gpu_memory_utilization,
            tensor_parallel=tensor_parallel, kv_cache_gb=kv_cache_gb, threads=threads,
        )  # fmt: skip
    except ValidationError as error:
        what = error.errors()[0]
        raise typer.BadParameter(what["msg"], param_hint=f"--{str(what['loc'][0]).replace('_', '-')}") from None
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has background jobs ignore it
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    begun, log = time.monotonic(), log or _log(checkpoint)
    try:
        with servers.start(checkpoint, log, serving, port=port, say=_say) as server:
            _ready(server, time.monotonic() - begun, as_json)
            if why := servers.misread(checkpoint):
                typer.echo(f"{why}: send token ids, as stages do, not text", err=True)
            server.wait(lambda line: typer.echo(line, err=True))
    except KeyboardInterrupt:
        typer.echo("\nstopped", err=True)


def _ready(server, seconds: float, as_json: bool) -> None:
    program = server.program
    if as_json:
        facts = {"url": server.url, "model": server.model, "engine": program.name, "python": str(program.python)}
        typer.echo(json.dumps(facts | {"pid": server.pid, "log": str(server.log), "seconds": round(seconds, 1)}))
    else:
        typer.echo(f"{server.url} serves {server.model} ({program.name} of {program.where}, ready in {seconds:.0f} s)")
        typer.echo(f"its log: {server.log}. Ctrl-C ends it.")
    sys.stdout.flush()  # who reads it through a pipe waits for it


def _list(as_json: bool) -> None:
    from tasks.sampling import servers

    found = servers.programs()
    if as_json:
        typer.echo(json.dumps([{"engine": p.name, "python": str(p.python), "where": p.where} for p in found]))
    else:
        for p in found:
            typer.echo(f"{p.name:<12} {p.where} ({p.python})")
    if not any(p.name == "vllm" for p in found):
        typer.echo(f"{'no vLLM' if found else 'none'}: {servers.REMEDY}", err=True)
    raise typer.Exit(0 if found else 1)


def _say(seconds: float, line: str) -> None:
    """How long it has been starting: one line that is rewritten on a terminal, else one now and then."""
    text = f"starting, {seconds:.0f} s: {line}"
    if sys.stderr.isatty():
        typer.echo(f"\r\033[K{text[:100]}", nl=False, err=True)
    elif int(seconds) % 10 == 0:
        typer.echo(text[:200], err=True)


def _log(checkpoint: Path) -> Path:
    """In the checkout's work folder; outside of any, beside nothing of anybody's: the system's folder for such files."""
    import tempfile

    name = f"{checkpoint.resolve().name}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    try:
        return find_root() / "work" / "serve" / name
    except ParamsError:
        return Path(tempfile.gettempdir()) / f"r1-serve-{name}"


def _leave(number: int, frame) -> None:
    raise SystemExit(128 + number)
