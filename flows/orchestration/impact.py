"""What a fault touches: the stages to rebuild, and the rows of which sets, checkpoints and evaluations.

Stages by dvc.yaml and dvc.lock, rows by their ids (tasks/provenance/impact.py). A checkpoint is touched by the rows that it
was trained on, or through a checkpoint it started from or rows that such a one made. What was rewarded by a verifier
is touched by it, though no row says so: dvc.lock shows which stages ran the same verification code.
"""

from dataclasses import dataclass, field

from flows.orchestration.lineage import Lineage, Record
from flows.orchestration.params import ParamsError
from tasks.provenance.artifacts import read_manifest
from tasks.provenance.impact import Fault, Followed, Touched, holds, values
from tasks.provenance.reviewed import reviewed
from tasks.provenance.tables import Table, tables
from tasks.provenance.weights import weights

VERIFICATION = "tasks/verification"
TRAINERS = {f"tasks/training/{name}.py" for name in ("pretrain", "sft", "grpo", "reward_model")}
TRAINED_ON = ("sft_example", "preference_pair", "safety_label")


@dataclass
class Checkpoint:
    """A touched checkpoint: rows of its own training data, and what it is touched through."""

    stage: str
    path: str
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)  # table -> (touched directly, of how many)
    through: list[str] = field(default_factory=list)


@dataclass
class Impact:
    fault: Fault
    enters: list[str]  # stages at which the fault enters
    rebuild: list[str]  # those and all after them, in an order in which they can run
    touched: dict[str, list[Touched]]  # artifact -> its tables
    checkpoints: list[Checkpoint]
    missing: list[str]  # artifacts that are not here: their rows are not counted, nor is what their models made
    named_in: list[str]  # parameters that name the source


def outside(books: Lineage) -> dict[str, dict[str, str]]:
    """Stage -> name -> "source" or "annotator": what the stages that have a file of tombstones read from outside."""
    found = {}
    for stage, record in books.records.items():
        if tombstones(stage) not in books.dag[stage].deps:
            continue
        section = books.values.get(record.name) or {}
        entries = [e for value in section.values() if isinstance(value, list) for e in value]
        found[stage] = {e["name"]: "source" for e in entries if isinstance(e, dict) and "name" in e}
        if isinstance(store := section.get("annotations"), str):
            found[stage] |= dict.fromkeys((a.annotator for a in reviewed(books.root / store)), "annotator")
    return found


def tombstones(stage: str) -> str:
    return f"data/revoked/{stage}.jsonl"


def named_in(values_: dict, name: str, at: str = "") -> list[str]:
    """Dotted keys of params.yaml whose lists name this source, such as r1_zero.sources; not where it is defined."""
    found = []
    for key, value in values_.items():
        where = f"{at}.{key}" if at else str(key)
        if isinstance(value, dict):
            found += named_in(value, name, where)
        elif isinstance(value, list) and name in value:
            found.append(where)
    return found


def of_source(books: Lineage, name: str, ids: bool = False) -> Impact:
    """If this source, or annotator, is revoked. ParamsError where no stage reads one of this name."""
    from tasks.prompts.revoked import unknown

    known = outside(books)
    enters = [stage for stage, names in known.items() if name in names]
    if not enters:
        raise ParamsError(str(unknown(name, [n for names in known.values() for n in names])))
    defined = [
        e
        for s in enters
        for v in (books.values.get(books.records[s].name) or {}).values()
        if isinstance(v, list)
        for e in v
    ]
    oracle = any(
        isinstance(e, dict) and e.get("name") == name and "preferences" in enters and "family" in e for e in defined
    )
    impact = _follow(books, Fault("source", name, oracle), enters, set(), ids)
    impact.named_in = named_in(books.values, name)
    return impact


def of_prompt(books: Lineage, prompt: str, ids: bool = False) -> Impact:
    """If the gold of this prompt was wrong. ParamsError where no table of prompts that is here has it."""
    found, _ = _tables(books)
    held = holds([t for each in found.values() for t in each], prompt)
    if not held:
        raise ParamsError(
            f"no table of prompts has the id `{prompt}`; `r1 why --text …` finds the id of a text, and `dvc pull` artifacts "
            "that are not here"
        )
    makers = [s for s, each in found.items() if any(t in held for t in each)]
    first = [s for s in makers if not set(books.upstream(s, every=True)) & set(makers)]
    return _follow(books, Fault("prompt", prompt), first, set(), ids)


def of_verifier(books: Lineage, version: str, ids: bool = False) -> Impact:
    """If this version (or the unique beginning of one) of a verifier is faulty; ParamsError lists those that are known."""
    found, _ = _tables(books)
    by_stage = {s: values(each, "verdict", "verifier") for s, each in found.items()}
    known = sorted({v for versions in by_stage.values() for v in versions})
    named = [v for v in known if v.startswith(version)] if version else []
    if len(named) != 1:
        what = "no verdict here was given by" if not named else "several verifiers begin with"
        raise ParamsError(f"{what} `{version}`; versions in the tables of verdicts: {', '.join(known) or 'none'}")
    made = [s for s, versions in by_stage.items() if named[0] in versions]
    verdicts = [t for s in made for t in found[s]]
    judged = set(values(verdicts, "verdict", "method", verifier=named[0])) == {"judge"}  # no code: a model gave them
    same = set() if judged else {s for m in made for s in books.records if _same_verification(books, s, m)}
    return _follow(books, Fault("verifier", named[0]), [s for s in books.records if s in {*made, *same}], same, ids)


def _same_verification(books: Lineage, stage: str, other: str) -> bool:
    """Whether both ran the same verification code, as dvc.lock has it."""
    mine, theirs = (books.records[s].code.get(VERIFICATION) for s in (stage, other))
    return mine is not None and theirs is not None and mine.md5 is not None and mine.md5 == theirs.md5


def _tables(books: Lineage) -> tuple[dict[str, list[Table]], list[str]]:
    """Stage -> the tables of its artifacts, in the order of the DAG; and the artifacts that are not here."""
    found, missing = {}, []
    for stage, record in books.records.items():
        here = []
        for path in record.outs:
            try:
                here.append(books.folder(path))
            except ParamsError:
                missing.append(path)
        found[stage] = tables(here)
    return found, missing


def _follow(books: Lineage, fault: Fault, enters: list[str], rewarded: set[str], ids: bool) -> Impact:
    after = {s for e in enters for s in books.downstream(e, every=True)}
    rebuild = [s for s in books.records if s in after or s in enters]
    found, missing = _tables(books)
    followed, touched, checkpoints = Followed(fault, ids), {}, {}
    for stage, record in books.records.items():  # in an order in which they can run
        if shas := _weights(books, record, missing):
            checkpoint = _checkpoint(books, record, touched, checkpoints, fault if stage in rewarded else None)
            if checkpoint:
                checkpoints[checkpoint.path] = checkpoint
                for sha in filter(None, shas):
                    followed.distrust(sha)
        by_artifact = {path: [t for t in found[stage] if t.artifact == books.root / path] for path in record.outs}
        screened = stage in rewarded and not any(t.kind == "verdict" for t in found[stage])
        touched |= {path: followed.artifact(each, screened) for path, each in by_artifact.items() if each}
    return Impact(fault, enters, rebuild, touched, list(checkpoints.values()), missing, [])


def _weights(books: Lineage, record: Record, missing: list[str]) -> list[str | None]:
    """Names of a stage's checkpoints in the rows they made; None stands for one that is not here, but that it trains."""
    here = [path for path in record.outs if (books.root / path / "manifest.json").is_file()]
    shas = [sha for path in here for sha in weights(path, read_manifest(books.root / path)).values()]
    unseen = not shas and TRAINERS & record.code.keys() and set(missing) & record.outs.keys()
    return [None] if unseen else shas


def _checkpoint(
    books: Lineage, record: Record, touched: dict, checkpoints: dict, by: Fault | None
) -> Checkpoint | None:
    """The stage's checkpoint, if touched: by rows it was trained on, the checkpoint it started from, or its reward."""
    made = Checkpoint(record.stage, next(iter(record.outs)))
    if by:
        made.through.append(f"rewarded by the verification code of {by.name}")
    for dep in record.deps:
        if dep in checkpoints:
            made.through.append(f"through {dep}")
        for t in touched.get(dep, ()):
            rows = _used(books, record, t)
            if rows:
                made.rows[f"{dep}/{t.table.name}"] = (rows, t.table.rows)
            if t.through and t.table.kind in TRAINED_ON:
                made.through.append(f"trained on {t.through:,} rows of {dep}/{t.table.name} that a touched model made")
    return made if made.rows or made.through else None


def _used(books: Lineage, record: Record, t: Touched) -> int:
    """Rows touched directly among those that the stage trains on."""
    if t.table.kind in TRAINED_ON:
        return t.direct
    if t.table.kind != "prompt" or t.table.name == "validation":
        return 0
    section = record.params.get(record.name) or {}
    drawn = {s for key, names in section.items() if key.endswith("sources") and isinstance(names, list) for s in names}
    return sum(n for source, n in t.sources.items() if source in drawn)
