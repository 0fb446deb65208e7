"""Candidates to a training set: filters, decontamination, deduplication, selection, with a reason for every row.

Texts are read in one pass shard by shard, by the kernel; tables without text hold everything else, and DuckDB
decides on them. The result depends on the candidates and the policy alone: every table is in the order of ids.
"""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tasks.curation.errors import CurationError
from tasks.curation.funnel import Counts, Funnel
from tasks.curation.inputs import SHARD_BYTES, Shard, Source, agreed, checked_source, find_sources, register
from tasks.curation.named import named_columns
from tasks.curation.place import KIND, Place, writing
from tasks.curation.policy import Benchmark, Deduplication, Policy
from tasks.curation.statements import run_sql
from tasks.curation.verdicts import Verdicts
from tasks.execution import Execution, Local

MEMORY = 4 << 30  # bytes, of all processes together
DATABASE_SHARE = 0.4  # of the memory
BAD_SHARE = 0.001
Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a run may use; no result depends on it."""

    workers: int = 1
    memory: int = MEMORY
    shard_bytes: int = SHARD_BYTES


def curate(
    inputs: Sequence[str | Path],
    policy: Policy,
    out: Path,
    columns: Mapping[str, str] | None = None,
    work: Path | None = None,
    workers: int = 1,
    memory: int = MEMORY,
    benchmarks: Sequence[Benchmark] = (),
    max_bad_share: float = BAD_SHARE,
    sums: Mapping[str, str] | None = None,
    seed: int = 0,
    root: Path = Path(),
    keep_work: bool = False,
    picture: bool = True,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
    verdicts: str | Path | None = None,
    execution: Execution | None = None,
) -> Funnel:
    """Curate files of candidates into `out` (kept, decisions, outcomes, prompts, near_duplicates, funnel, manifest).

    columns: our name -> name in the files. benchmarks: evaluation sets beyond the policy's. sums: file name -> sha256
    that the file must have. root: where paths of benchmarks begin. max_bad_share: malformed rows among all from which
    the run stops. work: folder for what a killed run goes on from; beside `out` where none is given. picture: whether
    the funnel is drawn. verdicts: file of `r1 verify`, in the order of the one JSONL input, or with ids. execution:
    where shards are read, by default `workers` processes of this machine; tables stay here.
    progress(step, done, total). Raises CurationError, and ExecutionError where a worker is lost.
    """
    machine = Machine(workers, memory, shard_bytes)
    if benchmarks:
        against = (*policy.decontamination.against, *benchmarks)
        decontamination = policy.decontamination.model_copy(update={"against": against})
        policy = policy.model_copy(update={"decontamination": decontamination})
    with Place(out, work) as place, contextlib.ExitStack() as ours:
        execution = execution or ours.enter_context(Local(workers))
        session = _Session(policy, place, machine, execution, seed, root, progress or (lambda *_: None))
        sources = find_sources(inputs)
        session.verdicts = Verdicts.of(verdicts, [s.path for s in sources]) if verdicts else None
        session.read(sources, columns or {}, sums or {}, max_bad_share)
        made = place.work / "export"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        with _database(place.work / "tables", machine) as con:
            session.collect(con)
            funnel, kept = session.tables(con, session.decide(con), made)
        session.texts(kept, made)
        with writing(made):
            funnel.write(made, picture)
            session.seal(made)
        place.publish(made)
        if not keep_work:
            place.clear()
    return funnel


class _Session:
    """One run: what its steps hand on to each other."""

    def __init__(
        self, policy: Policy, place: Place, machine: Machine, execution: Execution, seed: int, root: Path,
        progress: Progress,
    ):  # fmt: skip
        self.policy, self.place, self.machine, self.execution = policy, place, machine, execution
        self.seed, self.root, self.progress = seed, root, progress
        self.sources: list[Source] = []
        self.shards: list[Shard] = []
        self.files: list[Path] = []
        self.malformed: list[dict] = []
        self.verdicts: Verdicts | None = None

    def read(
        self, sources: Sequence[Source], columns: Mapping[str, str], sums: Mapping[str, str], max_bad_share: float
    ) -> None:
        """Inputs to shards, shards to files of measures; stops where too many rows are malformed."""
        from tasks.curation.shards import malformed_rows, process_shard

        for i, source in enumerate(self.execution.map(checked_source, sources, [sums] * len(sources))):
            self.sources.append(source)
            self.progress("checking files", i + 1, len(sources))
        with writing(self.place.work / "converted"):
            self.shards, self.malformed = register(
                self.sources, columns, self.place.work, self.machine.shard_bytes, self.execution.map,
                lambda n, of: self.progress("converting JSON lines", n, of), self.verdicts,
            )  # fmt: skip
        if not self.shards and not self.malformed:
            raise CurationError(f"no candidates: {', '.join(s.path for s in self.sources)} hold no rows")
        self._refuse_bad(len(self.malformed) + sum(s.rows for s in self.shards), max_bad_share)
        self.schema = agreed(self.shards)
        scan, folder = self._scan(), self.place.work / "shards"
        folder.mkdir(exist_ok=True)
        total, count = sum(s.rows for s in self.shards), 0
        self.progress("reading texts", 0, total)
        jobs = [self.shards, [scan] * len(self.shards), [folder] * len(self.shards)]
        for shard, path in zip(self.shards, self.execution.map(process_shard, *jobs)):
            self.files.append(path)
            self.malformed += malformed_rows(path)
            count += shard.rows
            self.progress("reading texts", count, total)
        self.execution.rest()
        self._refuse_bad(sum(s.rows for s in self.shards) + len(self.malformed), max_bad_share)

    def _refuse_bad(self, total: int, max_bad_share: float) -> None:
        if len(self.malformed) <= max_bad_share * total:
            return
        first = "; ".join(_place(bad) for bad in self.malformed[:3])
        raise CurationError(
            f"{len(self.malformed):,} of about {total:,} rows are malformed, more than a share of {max_bad_share:g}: "
            f"{first}. Mend the files, map the columns, or allow more with --max-bad-share"
        )

    def _scan(self):
        """What the shards are measured for; the problems of evaluation sets go to the workers as a folder of hashes."""
        from tasks.curation.shards import Scan

        policy = self.policy
        named = named_columns(policy.selection, self.schema)
        scan = Scan(spec(policy.deduplication), policy.filters.refused_openings, named)
        if not policy.decontamination.against:
            return scan
        from tasks.curation.contamination import benchmarks
        from tasks.prompts.readers import SourceError

        try:
            problems = benchmarks(policy.decontamination, self.root)
        except SourceError as error:
            raise CurationError(f"decontamination.against: {error}") from None
        sha = problems.sha()
        folder = self.place.work / "benchmarks" / sha
        with writing(folder):
            problems.save(folder)
        return dataclasses.replace(scan, decontamination=policy.decontamination, benchmarks=folder, benchmarks_sha=sha)

    def collect(self, con) -> None:
        """Table `measured` of all candidates, in the order of their ids, which must differ."""
        import pyarrow as pa

        files = list(map(str, self.files))
        con.register(
            "shards",
            pa.table({"number": pa.array(range(len(files)), pa.int32()), "file": pa.array(files, pa.string())}),
        )
        self.progress("ordering ids", 0, 1)
        run_sql(con, "decisions", files=files)
        con.execute("CREATE OR REPLACE VIEW passing AS SELECT row, passes FROM measured")
        self.progress("ordering ids", 1, 1)
        twice = con.execute(
            "SELECT m.id, n.shard, n.position, n.line, m.shard, m.position, m.line "
            "FROM measured m JOIN measured n ON n.row = m.row - 1 WHERE m.id = n.id ORDER BY m.row"
        ).fetchall()  # fmt: skip
        if twice:
            key, shard_a, position_a, line_a, shard_b, position_b, line_b = twice[0]
            places = sorted(
                [self.shards[shard_a].place(position_a, line_a), self.shards[shard_b].place(position_b, line_b)]
            )
            raise CurationError(
                f"id {key!r} stands twice, in {places[0]} and {places[1]}, and {len(twice) - 1:,} other ids do so too: "
                "ids must differ; map another column with --columns id=COLUMN, or leave a file out"
            )

    def decide(self, con) -> list[str]:
        """The steps, each a table or view (row, decisions) of all candidates; their names in order."""
        filters = self.policy.filters.model_dump(exclude={"refused_openings"})
        run_sql(con, "filters", **filters, openings=len(self.policy.filters.refused_openings))
        self._passed(con, "filters")
        steps = ["filters"]
        if self.policy.decontamination.against:
            con.execute(
                "CREATE OR REPLACE VIEW decontamination AS "
                "SELECT row, list_concat(prompt_findings, text_findings) AS decisions FROM measured"
            )
            self._passed(con, "decontamination")
            steps.append("decontamination")
        if self.policy.deduplication.active:
            self._refused_verdicts(con)
            self._deduplicate(con)
            steps.append("deduplication")
        self._select(con)
        return [*steps, "selection"]

    def _refused_verdicts(self, con) -> None:
        """Selection, the last step, says so of them; but of equals none of these is kept in place of a right one."""
        accepted = self.policy.selection.verdict
        if accepted is not None:
            con.execute(
                "UPDATE measured SET passes = false WHERE passes AND NOT coalesce(list_contains($accepted, verdict), false)",
                {"accepted": list(accepted)},
            )

    def _deduplicate(self, con) -> None:
        from tasks.curation.near_duplicates import deduplicate
        from tasks.curation.near_duplicates_partitions import Shards
        from tasks.curation.shards import Texts

        places = con.sql("SELECT shard, position FROM measured ORDER BY row").fetchnumpy()
        texts = Texts(self.shards, places["shard"], places["position"], self.machine.workers)
        folder = self.place.work / "tables" / "shingles"
        folder.mkdir()
        progress = lambda n, of: self.progress("comparing texts", n, of)
        shards = Shards(self.execution, self.files, folder / "bands") if self.execution.remote else None
        deduplicate(con, self.policy.deduplication, texts, folder, progress, shards)
        self._passed(con, "deduplication")

    def _select(self, con) -> None:
        from tasks.curation.selection import select

        try:
            select(con, self.policy.selection, self.seed, lambda n, of: self.progress("selecting", n, of))
        except ValueError as error:
            raise CurationError(f"selection: {error}") from None
        self._passed(con, "selection")

    def _passed(self, con, step: str) -> None:
        """Those that fail the step pass no longer; `step` is one of our own names."""
        con.execute(
            f"UPDATE measured SET passes = false WHERE passes AND row IN "
            f"(SELECT row FROM {step} WHERE NOT list_bool_and(list_transform(decisions, lambda d: d.keep)))"
        )

    def tables(self, con, steps: Sequence[str], folder: Path) -> tuple[Funnel, dict]:
        """All files of the result without text, the funnel, and where the kept rows stand."""
        from tasks.curation import export

        counts, total = Counts(), sum(s.rows for s in self.shards)
        export.write_decisions(
            con, steps, self.malformed, folder, counts, lambda n: self.progress("writing decisions", n, total)
        )
        export.write_prompts(con, folder)
        export.write_near_duplicates(con, folder)
        funnel, kept = counts.funnel(steps), export.kept_rows(con)
        if funnel.kept != len(kept["row"]):
            raise AssertionError(f"{funnel.kept} candidates pass every rule, {len(kept['row'])} are kept")
        return funnel, kept

    def texts(self, kept: dict, folder: Path) -> None:
        """kept.parquet; the database is closed by now, and its memory free."""
        from tasks.curation import export

        runs = self.place.work / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        progress = lambda n, of: self.progress("writing kept rows", n, of)
        export.write_kept(kept, self.shards, self.schema, runs, folder, self.execution.map, progress)
        shutil.rmtree(runs)

    def seal(self, folder: Path) -> None:
        from tasks.provenance.artifacts import write_manifest

        inputs = sorted(
            ({"file": s.name, "sha256": s.sha256} for s in self.sources), key=lambda s: (s["file"], s["sha256"])
        )
        if self.verdicts:
            inputs.append({"file": Path(self.verdicts.path).name, "sha256": self.verdicts.sha256})
        write_manifest(
            folder, kind=KIND, policy=json.loads(self.policy.model_dump_json()), seed=self.seed, inputs=inputs
        )


def _place(bad: dict) -> str:
    return (
        f"{bad['origin']}:{bad['line']}" if "line" in bad else f"{bad['origin']} row {bad['row']}"
    ) + f": {bad['reason']}"


def spec(deduplication: Deduplication):
    """What the kernel measures for the thresholds of a policy; one band where texts are not compared."""
    from tasks.curation.kernel import Spec, banding

    thresholds = [t for t in (deduplication.within_prompt, deduplication.across_prompts) if t is not None]
    bands, rows = banding(min(thresholds), deduplication.permutations) if thresholds else (1, 1)
    return Spec(deduplication.shingle, deduplication.permutations, bands, rows)


@contextlib.contextmanager
def _database(folder: Path, machine: Machine) -> Iterator:
    """A database on disk, of this run alone: what it holds is made again from the shards' files."""
    import duckdb

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = {
        "threads": machine.workers,
        "memory_limit": f"{int(machine.memory * DATABASE_SHARE) >> 20}MiB",
        "temp_directory": str(folder / "spill"),
    }
    try:
        with writing(folder), duckdb.connect(str(folder / "curation.duckdb"), config=config) as con:
            yield con
    except duckdb.OutOfMemoryException as error:
        raise CurationError(
            f"{config['memory_limit']} are too little for the tables of this run ({str(error).splitlines()[0]}): "
            "give more --memory"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
