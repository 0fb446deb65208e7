"""What is known of one artifact from its lineage: all that its card says, and every reason not to publish it.

Nothing is booked for it. Sources and licences are those that `r1 audit` proves, numbers those in metrics/, the sampling
and the verification those of the rows it comes from.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tasks.evaluation.protocol import Protocol
from tasks.prompts.revoked import read_tombstones
from tasks.provenance.artifacts import ArtifactError, read_manifest
from tasks.provenance.audit import audit
from tasks.provenance.audit.books import Books, Stage, connect, read
from tasks.provenance.audit.licences import known, together
from tasks.provenance.audit.licensing import UNSTATED
from tasks.provenance.tables import Table

OWN_LICENCES = (
    "sft_example",
    "preference_pair",
    "safety_label",
    "completion",
)  # kinds of which the audit says the sources
TOMBSTONES = "data/revoked/"


@dataclass(frozen=True)
class Facts:
    """One artifact: `path` is relative to the root; for a checkpoint inside an artifact (a reward model) that folder's."""

    books: Books
    stage: Stage
    path: str

    @property
    def folder(self) -> Path:
        return self.books.root / self.path

    @property
    def name(self) -> str:
        """`sft_data`, `distill-qwen`, `reward_models-helpful`."""
        inside = self.path[len(self.out) :].strip("/").replace("/", "-")
        return "-".join(filter(None, [self.stage.stage.replace("@", "-"), inside]))

    @property
    def out(self) -> str:
        """The stage's output that it is, or lies in."""
        return next(out for out in self.stage.outs if self.path == out or self.path.startswith(f"{out}/"))

    @cached_property
    def manifest(self) -> dict:
        return read_manifest(self.books.root / self.out)

    @property
    def is_checkpoint(self) -> bool:
        return self.path in self.books.weights

    @cached_property
    def tables(self) -> list[Table]:
        """The artifact's tables. Those in folders of it are indexes, such as that of the evaluation items: they stay here."""
        return [t for t in self.books.tables if t.file.parent == self.folder]

    @property
    def template(self) -> str | None:
        """Name of the prompt template it was made with."""
        return self.manifest.get("params", {}).get("template")

    @cached_property
    def made_from(self) -> tuple[Stage, ...]:
        """All stages above, in the order of the graph."""
        found, todo = set(), [self.stage]
        while todo:
            above = [self.books.stages[s] for s in todo.pop().upstream if s not in found]
            found |= {s.stage for s in above}
            todo += above
        return tuple(s for s in self.books.stages.values() if s.stage in found)

    @cached_property
    def sources(self) -> list[dict]:
        """source, licence, rows, asks: what the artifact is made of, as the audit's check of licences has it."""
        return self._licences[0]

    @cached_property
    def releases(self) -> tuple[str, ...]:
        """Licences that the whole may be released under (tasks/provenance/audit/licences.py), most liberal first."""
        return together([s["licence"] for s in self.sources]).releases if self.sources else ()

    @property
    def asks_nothing(self) -> bool:
        """Whether no source asks even for its notice, so that the whole may be given away under CC0 and its like."""
        return bool(self.sources) and all(s["asks"] == "nothing" for s in self.sources)

    @cached_property
    def _licences(self) -> tuple[list[dict], tuple[str, ...]]:
        """(sources, what is wrong with their licences)."""
        if not self.is_checkpoint and any(t.kind == "prompt" for t in self.tables):
            return self._of_prompts()
        check = audit(self.books, ["licences"])[0]
        own = {self.path} if self.is_checkpoint else {self.books.shown(t.file) for t in self.tables}
        listed = (*check.outcome.facts.get("sets", ()), *check.outcome.facts.get("checkpoints", ()))
        merged: dict[tuple[str, str], dict] = {}
        for entry in listed:
            for s in entry["sources"] if own & {entry.get("set"), entry.get("checkpoint")} else ():
                merged.setdefault((s["source"], s["licence"]), s)
        wheres = own | {out for stage in (*self.made_from, self.stage) for out in stage.outs}
        inside = lambda where: any(where == w or where.startswith(f"{w}/") for w in wheres)
        problems = [f"{f.where}: {f.problem}; {f.remedy}" for f in check.violations if self._ours(f.where, own, inside)]
        return list(merged.values()), tuple(problems)

    @staticmethod
    def _ours(where: str, own: set[str], inside) -> bool:
        """A finding on the artifact itself, on what cannot be looked at above it, or on the check as a whole."""
        return where in own or where == "licences" or (not where.endswith(".parquet") and inside(where))

    def _of_prompts(self) -> tuple[list[dict], tuple[str, ...]]:
        """The same of a prompt bank, whose rows state their licence."""
        with connect() as db:
            rows = db.sql(
                "SELECT source, licence, count(*) FROM "
                f"{read([t for t in self.tables if t.kind == 'prompt'])} GROUP BY ALL ORDER BY ALL"
            ).fetchall()
        found = together([licence or UNSTATED for _, licence, _ in rows])
        sources = [
            {"source": source, "licence": licence or UNSTATED, "rows": n, "asks": _asks(licence)}
            for source, licence, n in rows
        ]
        where, remedy = self.path, "state it by its SPDX name in params.yaml"
        problems = [f"{where}: licence {name!r} is none that is known; {remedy}" for name in found.unknown]
        problems += [f"{where}: {a} and {b} allow no common release; leave one out" for a, b in found.clashing]
        return sources, tuple(problems)

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """Why it must not be published, a line each; none: it may be.

        Licences unknown or in conflict; a revoked source; books that do not say what it was made of.
        """
        found = list(self._licences[1])
        if not self.sources:
            found.append(
                f"{self.path}: its rows lead to no source with a licence, so nobody can say what may be done with it"
            )
        if not found and not self.releases:
            found.append(f"{self.path}: its licences allow no common release")
        used = {s["source"] for s in self.sources}
        for stage in (*self.made_from, self.stage):
            for path in (p for p in stage.inputs if p.startswith(TOMBSTONES)):
                for stone in read_tombstones(self.books.root / path).values():
                    if stone.name in used:
                        found.append(
                            f"{stone.name} was revoked by {stone.by} on {stone.on} ({stone.reason}); `r1 run` rebuilds without it"
                        )
        for stage, change in self.changes:
            if not _of_code(change):
                found.append(
                    f"{stage}: {change}: what stands here is not what the artifact was made of; `r1 run {self.stage.stage}` first"
                )
        return tuple(dict.fromkeys(found))

    @cached_property
    def changes(self) -> list[tuple[str, str]]:
        """(stage, why it is out of date) of the artifact's stage and all above it."""
        return [(s.stage, change) for s in (*self.made_from, self.stage) for change in s.changes]

    @cached_property
    def numbers(self) -> dict:
        """The metrics of its stage."""
        return self.books.metrics(self.stage.stage) or {}

    @cached_property
    def evaluations(self) -> list[dict]:
        """Metrics of every evaluation of this checkpoint, with `words`: its protocol in a line."""
        found = []
        for stage in (s for s in self.books.stages.values() if s.name == "evaluate"):
            metrics = self.books.metrics(stage.stage) or {}
            if metrics.get("checkpoint") == self.path and metrics.get("protocol"):
                found.append(metrics | {"words": Protocol.model_validate(metrics["protocol"]).words()})
        return found

    @cached_property
    def sampled(self) -> list[dict]:
        """How the completions above were sampled: stage, checkpoint, engine, settings without the seed, rows."""
        folders = {sha: folder for folder, sha in self.books.weights.items()}
        found: dict[tuple, int] = {}
        for table in self._above("completion"):
            with connect() as db:
                rows = db.sql(f"SELECT model, engine, settings, count(*) FROM {read([table])} GROUP BY ALL").fetchall()
            for model, engine, settings, n in rows:
                plain = _without_seed(settings)
                key = (table.stage, folders.get(model, f"weights {(model or '?')[:12]}"), engine, plain)
                found[key] = found.get(key, 0) + n
        names = ("stage", "checkpoint", "engine", "settings")
        return [dict(zip(names, key)) | {"rows": n} for key, n in sorted(found.items(), key=lambda i: str(i[0]))]

    @cached_property
    def verified(self) -> list[dict]:
        """Which verifiers judged the completions above: stage, verifier (version), method, rows."""
        found = []
        for table in self._above("verdict"):
            with connect() as db:
                rows = db.sql(
                    f"SELECT verifier, method, count(*) FROM {read([table])} GROUP BY ALL ORDER BY ALL"
                ).fetchall()
            found += [{"stage": table.stage, "verifier": v, "method": m, "rows": n} for v, m, n in rows]
        return found

    def _above(self, kind: str) -> list[Table]:
        stages = {s.stage for s in (*self.made_from, self.stage)}
        return [t for t in self.books.of(kind) if t.stage in stages]

    def as_json(self) -> dict:
        """All of it, for lineage.json and machines."""
        m = self.manifest
        return {
            "artifact": self.path, "stage": self.stage.stage, "description": self.stage.desc, "code": m.get("code"),
            "seed": m.get("seed"), "params": m.get("params", {}), "commit": self.books.commit,
            "md5": self.stage.outs.get(self.out), "inputs": self.stage.inputs, "sources": self.sources,
            "releases": list(self.releases), "sampled": self.sampled, "verified": self.verified,
            "numbers": self.numbers, "evaluations": self.evaluations, "problems": list(self.problems),
            "changes": [f"{stage}: {change}" for stage, change in self.changes],
            "made_from": {s.stage: {"description": s.desc, "outs": s.outs} for s in self.made_from},
        }  # fmt: skip


def facts_of(books: Books, stage: str, path: str) -> Facts:
    """The facts of an output of `stage`, or of a folder in one; ArtifactError where it is not here."""
    found = Facts(books, books.stages[stage], path)
    if not found.folder.is_dir():
        raise ArtifactError(f"{path} is not here; fetch it with `dvc pull {path}` or make it: `r1 run {stage}`")
    return found


def _of_code(change: str) -> bool:
    """Whether a line of flows/orchestration/lineage.py tells of code or parameters: what is here is still what was read."""
    return change.startswith(("parameter ", "its command ", "flows/", "tasks/"))


def _without_seed(settings: str | None) -> str:
    try:
        found = json.loads(settings or "{}")
    except ValueError:
        return settings or ""
    return (
        ", ".join(f"{k} {v}" for k, v in sorted(found.items()) if k != "seed")
        if isinstance(found, dict)
        else str(found)
    )


def _asks(licence: str | None) -> str:
    return found.asks if (found := known(licence or "")) else "unknown"
