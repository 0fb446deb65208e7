"""Decontamination: which candidates have what an evaluation set asks (paper 3: n-gram overlap with the benchmarks).

Prompts are compared by n-grams and by normalised exact match, chains of thought by longer n-grams and their coverage of
one problem. Decisions depend on the row alone, so shards are decided one by one.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.curation.contamination_index import build_index, equal_pairs, gram_sets
from tasks.curation.contamination_keys import letter_keys
from tasks.curation.contamination_scan import overlaps
from tasks.curation.contamination_sets import read_set
from tasks.curation.kernel import GramIndex
from tasks.curation.policy import Decontamination
from tasks.prompts.readers import SourceError

GRAMS = pa.schema([("n", pa.int32()), ("hash", pa.uint64()), ("item", pa.int32())])
ITEMS = pa.schema([("benchmark", pa.string()), ("item", pa.string()), ("normal", pa.binary(16))])
FINDING = pa.struct(
    [
        ("rule", pa.string()), ("value", pa.float64()), ("threshold", pa.float64()), ("keep", pa.bool_()),
        ("evidence", pa.string()),
    ]
)  # fmt: skip
Grams = tuple[np.ndarray, np.ndarray]  # as of gram_sets


@dataclass(frozen=True)
class Benchmarks:
    """All problems of the evaluation sets in use, as hashes and names: no text of a problem is in here.

    normals fixed_size_binary(16) are the letter_keys of the items; grams[n] their gram_sets, boilerplate included.
    """

    names: tuple[str, ...]  # the benchmark of each item
    items: tuple[str, ...]  # file:line or file#row of each item
    normals: pa.Array
    grams: dict[int, Grams]
    _made: dict = field(default_factory=dict, compare=False, repr=False)  # indexes by n and document frequency

    def index(self, n: int, max_document_frequency: int | None) -> GramIndex:
        """The index of the n-grams; made once."""
        key = n, max_document_frequency
        if key not in self._made:
            self._made[key] = build_index(n, self.items, self.normals, self.grams[n], max_document_frequency)[0]
        return self._made[key]

    def text_index(self, policy: Decontamination) -> GramIndex | None:
        """What `measure` is given to check chains of thought; None where the policy does not ask for it."""
        if policy.text_ngram is None or not self.items:
            return None
        return self.index(policy.text_ngram, policy.max_document_frequency)

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """(GRAMS, ITEMS), the published form."""
        grams = [
            pa.table(
                [np.full(len(hashes), n), hashes, np.repeat(np.arange(len(self.items)), np.diff(offsets))], GRAMS.names
            )
            for n, (offsets, hashes) in sorted(self.grams.items())
        ]
        items = pa.table(
            [pa.array(self.names, pa.string()), pa.array(self.items, pa.string()), self.normals], schema=ITEMS
        )
        return (pa.concat_tables(grams).cast(GRAMS) if grams else GRAMS.empty_table()), items

    def save(self, folder: Path) -> None:
        """grams.parquet and items.parquet, by which others can be checked without reading the problems."""
        import pyarrow.parquet as pq

        folder.mkdir(parents=True, exist_ok=True)
        lengths = {"lengths": json.dumps(sorted(self.grams))}  # also of those that no problem is long enough for
        for name, table in zip(("grams", "items"), self.tables()):
            pq.write_table(table.replace_schema_metadata(lengths), folder / f"{name}.parquet", compression="zstd")

    @classmethod
    def load(cls, folder: Path) -> "Benchmarks":
        """What `save` wrote; SourceError naming the file where it is none, or not what its manifest says."""
        import pyarrow.parquet as pq

        from tasks.provenance.artifacts import checked

        sealed = (folder / "manifest.json").is_file()
        tables = []
        for name, schema in (("grams", GRAMS), ("items", ITEMS)):
            path = checked(folder, f"{name}.parquet") if sealed else folder / f"{name}.parquet"
            try:
                tables.append(pq.read_table(path))
            except (OSError, pa.ArrowException) as error:
                raise SourceError(f"{path}: no readable index of benchmarks: {str(error).splitlines()[0]}") from None
            if not tables[-1].schema.equals(schema):
                raise SourceError(
                    f"{path}: columns {tables[-1].schema.names}, expected {schema.names}; publish it again"
                )
        grams, items = tables
        found = {}
        for n in json.loads((grams.schema.metadata or {}).get(b"lengths", b"[]")):
            rows = grams.filter(pc.equal(grams["n"], n))
            sizes = np.bincount(rows["item"].to_numpy(), minlength=len(items))
            found[n] = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), rows["hash"].to_numpy()
        normals = pa.concat_arrays(items["normal"].chunks) if len(items) else pa.array([], pa.binary(16))
        return cls(tuple(items["benchmark"].to_pylist()), tuple(items["item"].to_pylist()), normals, found)

    def sha(self) -> str:
        """sha256 of everything that decides, for the names of what is derived from it."""
        digest = hashlib.sha256(json.dumps([self.names, self.items, sorted(self.grams)]).encode())
        digest.update(b"".join(key or bytes(16) for key in self.normals.to_pylist()))
        for _, arrays in sorted(self.grams.items()):
            for array in arrays:
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def benchmarks(policy: Decontamination, root: Path, progress: Callable[[str], None] | None = None) -> Benchmarks:
    """The evaluation sets of a policy, from their files or published indexes; SourceError where one cannot be read."""
    wanted = [n for n in (policy.prompt_ngram, policy.text_ngram) if n is not None]
    parts = []
    for benchmark in policy.against:
        folder = root / benchmark.path
        if (folder / "grams.parquet").is_file():
            part = Benchmarks.load(folder)
            if missing := sorted(set(wanted) - set(part.grams)):
                has = ", ".join(map(str, sorted(part.grams))) or "none"
                raise SourceError(f"{benchmark.path}: has no {missing[0]}-grams ({has}); publish it again with them")
        else:
            problems = read_set(
                root, benchmark.path, benchmark.text, benchmark.limit, progress=progress, header=benchmark.columns
            )
            grams = {n: gram_sets(problems.texts, n) for n in sorted(set(wanted))}
            names = (benchmark.name,) * len(problems.texts)
            part = Benchmarks(names, tuple(problems.origins), letter_keys(problems.texts), grams)
        parts.append(part)
    return merged(parts, wanted)


def merged(parts: list[Benchmarks], wanted: list[int]) -> Benchmarks:
    """The items of all parts, in order, with their n-grams of the wanted lengths."""
    grams = {}
    for n in sorted(set(wanted)):
        sizes = [np.diff(part.grams[n][0]) for part in parts]
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]) if sizes else np.zeros(1)
        hashes = np.concatenate([part.grams[n][1] for part in parts]) if parts else np.zeros(0, np.uint64)
        grams[n] = offsets.astype(np.int64), hashes
    normals = pa.concat_arrays([part.normals for part in parts]) if parts else pa.array([], pa.binary(16))
    return Benchmarks(sum((p.names for p in parts), ()), sum((p.items for p in parts), ()), normals, grams)


def prompt_decisions(prompts: pa.Array, problems: Benchmarks, policy: Decontamination) -> pa.ListArray:
    """FINDINGs of each prompt: prompt_exact and prompt_ngram, as far as the policy has them. Each distinct prompt is
    checked once.

    prompt_exact: value 1 where the prompt equals a problem but for case, spacing and punctuation. prompt_ngram: value
    is the share of the distinct n-grams of one problem that the prompt has. Both are kept below the threshold; no overlap
    is kept at any.
    """
    encoded = prompts.dictionary_encode()
    distinct = encoded.dictionary.cast(pa.large_string())
    findings = []
    if problems.items and policy.prompt_exact:
        findings.append(_exact(distinct, problems))
    if problems.items and policy.prompt_ngram is not None:
        index = problems.index(policy.prompt_ngram, policy.max_document_frequency)
        findings.append(_by_ngram(distinct, overlaps(distinct, index), problems, policy))
    return _lists(findings, len(distinct)).take(encoded.indices)


def text_decisions(measures: pa.RecordBatch, problems: Benchmarks, policy: Decontamination) -> pa.ListArray:
    """FINDINGs of each text: text_coverage, where the policy has it; `measures` are of `measure` with `text_index`.

    The value is the share of the distinct n-grams of one problem that the text has; kept below the threshold.
    """
    if policy.text_ngram is None or not problems.items:
        return _lists([], len(measures))
    coverage = measures["gram_coverage"].fill_null(0.0).to_numpy(zero_copy_only=False)
    keep = coverage < policy.text_coverage
    evidence = [None] * len(keep)
    for at in np.flatnonzero(~keep):
        start, end, hits = (measures[f"gram_{name}"][at].as_py() for name in ("start", "end", "hits"))
        item = measures["gram_item"][at].as_py()
        evidence[at] = _evidence(problems, item, coverage=coverage[at], hits=hits, bytes=[start, end])
    return _lists([_finding("text_coverage", coverage, policy.text_coverage, keep, evidence)], len(keep))


def _exact(prompts: pa.Array, problems: Benchmarks) -> pa.StructArray:
    value, evidence = np.zeros(len(prompts)), [None] * len(prompts)
    for prompt, item in zip(*equal_pairs(letter_keys(prompts), problems.normals)):
        if not value[prompt]:
            value[prompt], evidence[prompt] = 1, _evidence(problems, item)
    return _finding("prompt_exact", value, 1.0, value < 1, evidence)


def _by_ngram(
    prompts: pa.Array, found: pa.RecordBatch, problems: Benchmarks, policy: Decontamination
) -> pa.StructArray:
    coverage = found["gram_coverage"].to_numpy()
    keep = (coverage == 0) | (coverage < policy.prompt_coverage)
    evidence = [None] * len(keep)
    for at in np.flatnonzero(~keep):
        hits, item, start, end = (found[f"gram_{name}"][at].as_py() for name in ("hits", "item", "start", "end"))
        span = prompts[at].as_py().encode()[start:end].decode()
        evidence[at] = _evidence(problems, item, coverage=coverage[at], hits=hits, span=span)
    return _finding("prompt_ngram", coverage, policy.prompt_coverage, keep, evidence)


def _evidence(problems: Benchmarks, item: int, **more) -> str:
    """Where the problem stands, and what of it was found."""
    if "coverage" in more:
        more["coverage"] = round(float(more["coverage"]), 4)
    return json.dumps({"benchmark": problems.names[item], "item": problems.items[item], **more}, ensure_ascii=False)


def _finding(rule: str, value: np.ndarray, threshold: float, keep: np.ndarray, evidence: list) -> pa.StructArray:
    rows = len(value)
    columns = (
        pa.repeat(rule, rows), pa.array(value, pa.float64()), pa.repeat(float(threshold), rows),
        pa.array(keep, pa.bool_()), pa.array(evidence, pa.string()),
    )  # fmt: skip
    return pa.StructArray.from_arrays(columns, fields=list(FINDING))


def _lists(findings: list[pa.StructArray], rows: int) -> pa.ListArray:
    """One list for each row, of its finding by each rule, in order."""
    offsets = pa.array(np.arange(rows + 1) * len(findings), pa.int32())
    if not findings:
        return pa.ListArray.from_arrays(offsets, pa.array([], FINDING))
    by_row = np.arange(rows * len(findings)).reshape(len(findings), rows).T.reshape(-1)
    return pa.ListArray.from_arrays(offsets, pa.concat_arrays(findings).take(pa.array(by_row)))
