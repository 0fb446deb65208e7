"""`r1 curate`: candidates of any files to a training set, a reason for every row; `--why ID` tells a row's story."""

import os
import re
import sys
import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

MEMORY = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
LOG_EVERY = 30.0  # seconds between lines where standard error is no terminal
SHOWN = 12  # siblings of a row that `--why` lists


class Execution(str, Enum):
    """`execution:` of params.yaml."""

    local = "local"
    ray = "ray"


def register(app: typer.Typer) -> None:
    app.command()(curate)


def curate(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT", help="Parquet or JSON lines: files, folders, globs.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the result; replaced as a whole.", show_default=False)
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="A name in recipes/selection, or a YAML file.", show_default=False)
    ] = None,
    columns: Annotated[str, typer.Option(help="Where columns have other names: text=completion,prompt_id=pid")] = "",
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[:COLUMN]", help="An evaluation set beyond those of the policy.", show_default=False),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="By default one for each core.")] = None,
    memory: Annotated[str, typer.Option(help="Of all processes together.")] = "4G",
    max_bad_share: Annotated[
        float, typer.Option(min=0, max=1, help="Malformed rows among all that are put up with.")
    ] = 0.001,
    sha256: Annotated[
        Path | None, typer.Option(help="List of checksums of the inputs, as sha256sum prints it.", show_default=False)
    ] = None,
    verdicts: Annotated[
        Path | None,
        typer.Option(help="What r1 verify said of the one JSONL INPUT; of several, by id.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="For choices at random among equals.")] = 0,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for what a killed run goes on from; by default beside DIR.", show_default=False),
    ] = None,
    keep_work: Annotated[
        bool, typer.Option("--keep-work", help="Leave it there: another threshold is then quick.")
    ] = False,
    execution: Annotated[
        Execution, typer.Option(help="Where shards are read: here, or on the Ray cluster of $RAY_ADDRESS.")
    ] = Execution.local,
    why: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Tell the story of one row of the result in --out.", show_default=False),
    ] = None,
) -> None:
    """Filter, decontaminate, deduplicate and select candidates; each is kept or rejected with a reason.

    INPUT has columns id, prompt_id, prompt, text and may have verdict, language, domain, source, index, finish; others
    are carried through. DIR gets kept.parquet, decisions.parquet (every rule for every row), outcomes.parquet (the
    first reason), prompts.parquet (the same by prompt), near_duplicates.parquet, funnel.json, funnel.svg and .png,
    manifest.json.

    The result is the same for any number of threads, any cut into files and either execution; on Ray every node must see
    INPUT and the work folder under the same paths. A killed run goes on when it is started again. A file with a sha256
    in a manifest.json beside it, in FILE.sha256 or in --sha256 is checked against it.

    r1 curate outputs/*.jsonl --policy r1 --out sft
    r1 verify rows.jsonl > verdicts.jsonl
    r1 curate rows.jsonl --verdicts verdicts.jsonl --columns text=completion --policy r1 --out sft
    r1 curate --why ID --out sft
    """
    from tasks.curation.errors import CurationError

    if out is None:
        raise typer.BadParameter("give the folder of the result", param_hint="--out")
    if why is not None:
        tell(out, why)
        return
    if not inputs or policy is None:
        raise typer.BadParameter("give at least one file of candidates, and --policy", param_hint="INPUT")
    try:
        run(
            inputs,
            out,
            policy,
            _mapping(columns),
            against or [],
            threads,
            _bytes(memory),
            max_bad_share,
            sha256,
            seed,
            work,
            keep_work,
            verdicts,
            execution.value,
        )
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the same command goes on from the shards that are finished\n")
        raise typer.Exit(130) from None
    except (PermissionError, FileNotFoundError, NotADirectoryError) as error:
        raise CurationError(f"{error.filename}: {error.strerror}") from None


def run(
    inputs, out, policy, columns, against, threads, memory, max_bad_share, sums, seed, work, keep_work, verdicts,
    execution="local",
) -> None:  # fmt: skip
    from rich.console import Console

    from flows.orchestration.execution import open_execution
    from flows.orchestration.guard import environment
    from tasks.curation.curate import curate as curated
    from tasks.curation.inputs import read_sums
    from tasks.curation.policy import load_policy

    root = Path(__file__).resolve().parents[2]
    settings = load_policy(policy, root / "recipes" / "selection")
    benchmarks = [_benchmark(given) for given in against]
    workers = threads or len(os.sched_getaffinity(0))
    with Bars() as bars, open_execution(execution, 1, environment(1), workers, Path.cwd()) as place:
        funnel = curated(
            inputs, settings, out, columns, work, workers, memory, benchmarks, max_bad_share,
            read_sums(sums) if sums else None, seed, root, keep_work, progress=bars, verdicts=verdicts, execution=place,
        )  # fmt: skip
    console = Console()
    console.width = max(console.width, 96)
    console.print(funnel.table())
    console.print(f"{funnel.kept:,} of {funnel.entered:,} candidates are in {out / 'kept.parquet'}", highlight=False)


def _mapping(given: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in given.split(",") if pair.strip()]
    for name, sign, column in pairs:
        if not (name.strip() and sign and column.strip()):
            raise typer.BadParameter(
                f"{given!r} is no list such as text=completion,prompt_id=pid", param_hint="--columns"
            )
    return {name.strip(): column.strip() for name, _, column in pairs}


def _bytes(given: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", given.strip().lower())
    if not match or (size := int(float(match[1]) * MEMORY[match[2]])) < 256 << 20:
        raise typer.BadParameter(f"{given!r} is no size such as 4G, of 256M at least", param_hint="--memory")
    return size


def _benchmark(given: str):
    """FILE[:COLUMN] as a benchmark; a colon may also belong to the file's name."""
    from tasks.curation.policy import Benchmark

    path, sign, column = (given, "", "") if os.path.exists(given) else given.rpartition(":")
    path = path or given
    named = {"text": column} if sign and column else {}
    return Benchmark(name=Path(path).name.split(".")[0] or path, path=os.path.abspath(path), **named)


class Bars:
    """Progress by step: bars on a terminal, now and then a line in a log."""

    def __enter__(self) -> "Bars":
        self.terminal, self.tasks, self.last = sys.stderr.isatty(), {}, 0.0
        if self.terminal:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description:18}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bars = Progress(*columns, console=Console(stderr=True))
            self.bars.start()
        return self

    def __exit__(self, *failure: object) -> None:
        if self.terminal:
            self.bars.stop()

    def __call__(self, step: str, done: int, total: int) -> None:
        if not self.terminal:
            if step not in self.tasks or time.monotonic() - self.last > LOG_EVERY:
                self.tasks[step], self.last = True, time.monotonic()
                print(f"{step}: {done:,} of {total:,}", file=sys.stderr, flush=True)
            return
        if step not in self.tasks:
            self.tasks[step] = self.bars.add_task(step, total=max(1, total))
        self.bars.update(self.tasks[step], completed=done if total else 1, total=max(1, total))


def tell(out: Path, id: str) -> None:
    """Print the story of a row."""
    from rich.console import Console

    from tasks.curation.story import story
    from tasks.provenance.story import came_of, duplicate, rules

    found = story(out, id)
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, 96)
    console.print(f"{found['id']}, a candidate of prompt {found['prompt_id']}: {came_of(found)}")
    console.print(rules(found["decisions"]))
    for title, key in (("Is a duplicate of", "duplicate_of"), ("Makes superfluous", "duplicates")):
        for other in found[key]:
            console.print(duplicate(title, other))
    siblings = found["siblings"]
    if siblings:
        console.print(
            f"Other candidates of the prompt: {len(siblings)}, {sum(s['kept'] for s in siblings)} of them kept"
        )
    for other in siblings[:SHOWN]:
        console.print(f"  {other['id']}: {came_of(other)}")
    if len(siblings) > SHOWN:
        console.print(f"  and {len(siblings) - SHOWN} more in {out / 'prompts.parquet'}")
