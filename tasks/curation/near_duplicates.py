"""Duplicates among candidates: equal texts, equal normalised texts, near duplicates, and embeddings where given.

Rows are taken in one order (rows that pass every earlier step, then the policy's preference, sample index, id), and a
row is removed only where a row already kept is its duplicate by a rule that is on: it names that row. Near means an
exact Jaccard similarity of at least the threshold of its scope, between texts of one component of near candidate pairs
(MinHash bands, then exact Jaccard). Texts shorter than one n-gram are compared by their hashes alone.

Memory: the bands of all texts and a few integers per row; shingles of texts with candidates go through a file.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tasks.curation.near_duplicates_partitions import Shards
from tasks.curation.policy import Deduplication

Texts = Callable[[np.ndarray], Iterator[tuple[np.ndarray, pa.Array]]]
Progress = Callable[[int, int], None]
BATCH = 1 << 22  # shingles of the groups that one thread holds at a time: 32 MB, and one group of any size
COLUMNS = ("prompt", "text", "preference", "shingles", "exact", "normal", "head")
NO_ROWS = np.empty(0, np.int32)


def deduplicate(
    con, policy: Deduplication, texts: Texts, work: Path, progress: Progress | None = None, shards: Shards | None = None
) -> None:
    """Create table `duplicates` (row, kept_row, jaccard, scope, kind), view `deduplication` (row, decisions) in `con`.

    `con` has `measured` (near_duplicates.sql); `texts(rows)` streams the texts of ascending rows in any order, as
    (rows, string array); `work` is a folder for temporary files. As many threads as DuckDB is set to use. `progress`
    counts the texts that are read again. `shards`: candidate pairs are looked for on the machines that see these files.
    Raises OSError naming path and bytes where their shingles do not fit on the disk, ValueError where a text is not the
    one that was measured.
    """
    import duckdb

    parameters = policy.model_dump() | {
        "across": policy.across_prompts is not None,
        "embedding": bool(policy.embedding),
    }
    script = duckdb.extract_statements(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))

    def run(statement):
        con.execute(statement, {name: parameters[name] for name in statement.named_parameters})

    run(script[0])
    found = con.execute(f"SELECT {', '.join(COLUMNS)} FROM compared ORDER BY row").fetchnumpy()
    columns = {name: np.ascontiguousarray(np.ma.filled(found[name], 0), np.int32) for name in COLUMNS}
    threads = con.execute("SELECT current_setting('threads')").fetchall()[0][0]
    with ThreadPoolExecutor(threads) as pool:
        hits = _search(con, policy, columns, texts, Path(work), pool, threads, progress, shards)
    con.register("hits", _listed(hits, columns["prompt"]))
    for statement in script[1:]:
        run(statement)
    con.unregister("hits")


def _listed(hits, prompt: np.ndarray) -> pa.Table:
    """`duplicates` of near_duplicates.sql: a row for each row and rule that removes it, in this order."""
    ones = np.ones(len(prompt))
    rules = (
        ("exact", hits.exact, ones), ("normal", hits.normal, ones), ("near", hits.within, hits.within_jaccard),
        ("near", hits.across, hits.across_jaccard), ("embedding", hits.embedding, hits.similarity),
    )  # fmt: skip
    rows = [np.flatnonzero(kept >= 0) for _, kept, _ in rules]
    order = np.argsort(np.concatenate(rows), kind="stable")
    row, kept, jaccard, rule = (
        np.concatenate(parts)[order]
        for parts in zip(
            *((r, kept[r], value[r], np.full(len(r), i)) for i, (r, (_, kept, value)) in enumerate(zip(rows, rules)))
        )
    )
    kinds = pa.array([kind for kind, *_ in rules]).take(pa.array(rule))
    scopes = pa.array(["across_prompts", "within_prompt"]).take(pa.array((prompt[row] == prompt[kept]).astype(np.int8)))
    columns = {"row": row.astype(np.int32), "kept_row": kept, "jaccard": jaccard, "scope": scopes, "kind": kinds}
    return pa.table(columns)


class _Groups(NamedTuple):
    """Closed groups of rows: nothing outside a group can be a duplicate of a row in it."""

    members: np.ndarray  # int64, rows by group, then preference
    rows: np.ndarray  # int64[groups + 1], into members
    nodes: np.ndarray  # int64[groups + 1], into node_rows
    node_rows: np.ndarray  # int64, rows that stand for a text with candidates, by group, then size
    offsets: np.ndarray  # int64[nodes + 1], into the shingles


def _search(con, policy, columns, texts, work, pool, threads, progress, shards):
    """The kept row of every superfluous row, by rule (near_duplicates_cover.Hits)."""
    from tasks.curation.near_duplicates_candidates import flatten, unite_groups
    from tasks.curation.near_duplicates_cover import OFF, Hits, Kept, Links, Rows, cover_groups

    count = len(columns["prompt"])
    parent = np.arange(count, dtype=np.int32)
    thresholds = [OFF if t is None else t for t in (policy.within_prompt, policy.across_prompts)]
    near = min(thresholds) < OFF
    heads, bands = (
        _join_near(con, columns, policy, parent, pool, shards) if near else (NO_ROWS, np.empty((0, 0), np.uint64))
    )
    links = Links(np.empty(0, np.int64), NO_ROWS, np.empty(0))
    if policy.embedding:
        links = _embedded(policy, columns["text"], texts, parent)
    on = (policy.exact, policy.exact, near, bool(policy.embedding))
    exact, normal, head, text = [
        columns[k] if used else NO_ROWS for k, used in zip(("exact", "normal", "head", "text"), on)
    ]
    for group in (exact, normal, head, text):
        unite_groups(parent, group)
    groups, order = _group(flatten(parent), columns, heads)
    node = np.full(count, -1, np.int32)
    node[groups.node_rows] = np.arange(len(groups.node_rows), dtype=np.int32)
    head = head if near else np.full(count, -1, np.int32)
    node = np.where(head >= 0, node[head], np.int32(-1))
    rows = Rows(columns["prompt"], exact, normal, head, node, text)
    nodes = _nodes(groups, rows, bands[order])
    none = [np.full(count, -1, np.int32) for _ in range(9)]
    hits = Hits(none[0], none[1], none[2], np.zeros(count), none[3], np.zeros(count), none[4], np.zeros(count))
    kept = Kept(*none[5:])

    with _Spool(work, groups, policy.shingle) as spool:
        spool.fill(texts, node, pool, threads, progress)

        def settle(batch):
            hashes, base = spool.read(batch)
            cover_groups(
                batch, groups.rows, groups.nodes, groups.members, rows, nodes, hashes, base, links,
                columns["preference"], kept, hits, *map(float, thresholds),
            )  # fmt: skip

        list(pool.map(settle, _batches(groups)))
    return hits


def _join_near(con, columns: dict, policy: Deduplication, parent: np.ndarray, pool: Executor, shards: Shards | None):
    """Join in `parent` what shares a band: (rows that stand for such a text, their bands uint64[texts, bands])."""
    from tasks.curation.near_duplicates_candidates import join_buckets
    from tasks.curation.near_duplicates_partitions import join_partitions

    rows = np.flatnonzero(columns["head"] == np.arange(len(parent))).astype(np.int32)
    salt = NO_ROWS if policy.across_prompts is not None else columns["prompt"][rows]
    if shards is None:
        bands = _bands(con, rows, len(parent))
        touched = join_buckets(bands, rows, salt, parent, pool)
        return rows[touched], np.ascontiguousarray(bands[:, touched].T)
    places = con.execute("SELECT shard, position FROM measured ORDER BY row").fetchnumpy()
    count = len(_bands(con, rows[:1], len(parent)))
    touched = join_partitions(shards, places["shard"][rows], places["position"][rows], rows, salt, count, parent)
    return rows[touched], np.ascontiguousarray(_bands(con, rows[touched], len(parent)).T)


def _bands(con, rows: np.ndarray, count: int) -> np.ndarray:
    """uint64[bands, rows] of some of the `count` rows; [0, rows] where nothing was measured."""
    place = np.full(count, -1, np.int32)
    place[rows] = np.arange(len(rows))
    bands = np.empty((0, len(rows)), np.uint64)
    reader = con.sql("SELECT row, bands FROM measured WHERE bands IS NOT NULL").to_arrow_reader(1 << 16)
    for batch in reader:
        places = place[batch.column(0).to_numpy()]
        values = batch.column(1).flatten().to_numpy(zero_copy_only=False).reshape(len(places), -1)
        if not len(bands):
            bands = np.empty((values.shape[1], len(rows)), np.uint64)
        bands[:, places[places >= 0]] = values.astype(np.uint64, copy=False)[places >= 0].T
    return bands


def _embedded(policy: Deduplication, text: np.ndarray, texts: Texts, parent: np.ndarray):
    """Links between texts whose embeddings are near, joined in `parent`."""
    from tasks.curation.embedding import similar_pairs
    from tasks.curation.near_duplicates_candidates import unite_pairs
    from tasks.curation.near_duplicates_cover import Links

    rows = np.flatnonzero(text == np.arange(len(text)))
    left, right, similarity = similar_pairs(policy.embedding, texts(rows), policy.embedding_similarity)
    unite_pairs(parent, left, right)
    ends, others, both = np.append(left, right), np.append(right, left), np.append(similarity, similarity)
    order = np.lexsort((others, ends))
    offsets = np.zeros(len(text) + 1, np.int64)
    np.cumsum(np.bincount(ends, minlength=len(text)), out=offsets[1:])
    return Links(offsets, others[order].astype(np.int32), both[order])


def _group(roots: np.ndarray, columns: dict, heads: np.ndarray) -> tuple[_Groups, np.ndarray]:
    """Groups of more than one row, and the order in which they take `heads`, the rows with candidates."""
    members = np.flatnonzero(np.bincount(roots, minlength=len(roots))[roots] > 1)
    members = members[np.lexsort((columns["preference"][members], roots[members]))]
    names, starts = np.unique(roots[members], return_index=True)
    order = np.lexsort((heads, columns["shingles"][heads], roots[heads]))
    node_rows = heads[order].astype(np.int64)
    nodes = np.append(np.searchsorted(roots[node_rows], names), len(node_rows))
    offsets = np.append(0, np.cumsum(columns["shingles"][node_rows], dtype=np.int64))
    return _Groups(members, np.append(starts, len(members)), nodes, node_rows, offsets), order


def _nodes(groups: _Groups, rows, bands: np.ndarray):
    from tasks.curation.near_duplicates_cover import Nodes

    count = len(groups.node_rows)
    some = np.flatnonzero(rows.node >= 0)
    pairs = np.unique(rows.node[some].astype(np.int64) << 32 | rows.prompt[some])
    prompt_offsets = np.searchsorted(pairs >> 32, np.arange(count + 1))
    kept, first, last, following = (np.full(count, -1, np.int32) for _ in range(4))
    parent = np.arange(count, dtype=np.int32)
    prompts = (pairs & 0xFFFFFFFF).astype(np.int32)
    return Nodes(groups.offsets, bands, prompt_offsets, prompts, parent, kept, first, last, following)


def _batches(groups: _Groups) -> list[np.ndarray]:
    """(first, end) of runs of groups that hold about BATCH shingles and rows."""
    weight = groups.offsets[groups.nodes] + groups.rows
    cuts = np.flatnonzero(np.diff(weight[:-1] // BATCH, prepend=-1))
    return [np.array(cut) for cut in zip(cuts, np.append(cuts[1:], len(groups.rows) - 1))]


class _Spool:
    """A file with the shingles of every node, in the order of the groups, so that a batch is one stretch of it."""

    def __init__(self, work: Path, groups: _Groups, shingle: int):
        self.path, self.groups, self.shingle = work / "shingles.u64", groups, shingle

    def __enter__(self):
        size = 8 * int(self.groups.offsets[-1])
        free = shutil.disk_usage(self.path.parent).free
        if size > free:
            message = f"{size:,} bytes of shingles are needed for the near-duplicate check, {free:,} are free"
            raise OSError(errno.ENOSPC, message, str(self.path))
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.truncate(self.file, size)
        return self

    def __exit__(self, *_):
        os.close(self.file)
        self.path.unlink()

    def fill(self, texts: Texts, node: np.ndarray, pool: Executor, threads: int, progress: Progress | None) -> None:
        """Write the shingles of all nodes; as many batches of text in memory as threads, and one more."""
        total, done, pending = len(self.groups.node_rows), 0, set()

        def collect(finished):
            nonlocal done
            done += sum(f.result() for f in finished)
            if progress:
                progress(done, total)

        for rows, batch in texts(np.sort(self.groups.node_rows)) if total else ():
            if len(pending) > threads:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                collect(finished)
            pending.add(pool.submit(self._write, node[rows], rows, batch))
        collect(pending)
        if done != total:
            raise ValueError(
                f"{total:,} texts were asked for, {done:,} came: a shard has lost rows since it was measured"
            )

    def _write(self, nodes: np.ndarray, rows: np.ndarray, texts: pa.Array) -> int:
        from tasks.curation.kernel import shingle_sets

        offsets, hashes = shingle_sets(texts, self.shingle)
        sizes, starts = np.diff(offsets), self.groups.offsets[nodes]
        wrong = np.flatnonzero(sizes != self.groups.offsets[nodes + 1] - starts)
        if len(wrong):
            raise ValueError(f"the text of row {rows[wrong[0]]} has changed since it was measured: start again")
        data = memoryview(np.ascontiguousarray(hashes)).cast("B")
        for start, begin, end in zip((8 * starts).tolist(), (8 * offsets[:-1]).tolist(), (8 * offsets[1:]).tolist()):
            while begin < end:
                written = os.pwrite(self.file, data[begin:end], start)
                begin, start = begin + written, start + written
        return len(rows)

    def read(self, batch: np.ndarray) -> tuple[np.ndarray, int]:
        """Shingles of a batch of groups, mapped, and the place of the first one."""
        base, end = self.groups.offsets[self.groups.nodes[batch]].tolist()
        if base == end:
            return np.empty(0, np.uint64), base
        return np.asarray(np.memmap(self.path, np.uint64, "r+", 8 * base, (end - base,))), base
