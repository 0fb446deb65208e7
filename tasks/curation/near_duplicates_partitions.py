"""Candidate pairs of near duplicates on many machines: the keys of all bands, shuffled by partition.

Two texts are a pair where they share (band, key). Each shard's keys are written once, sorted by the partition that a
key belongs to; one job then reads its partition's stretch of every file and joins what is equal. What comes back is
a forest, no more edges than texts, so the trees of all partitions together are those of near_duplicates_candidates.py.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks.execution import Execution, unique

KEYS = 1 << 22  # of a partition: 64 MB
KEY = np.dtype([("key", "<u8"), ("row", "<i4"), ("band", "<i4")])


class Shards(NamedTuple):
    """Where the measures lie, and who may read them."""

    execution: Execution
    files: Sequence[Path]  # of measures, in the order of `shard` in the table `measured`
    folder: Path  # that all machines of `execution` see


def join_partitions(
    shards: Shards, shard: np.ndarray, position: np.ndarray, heads: np.ndarray, salt: np.ndarray, bands: int,
    parent: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """`join_buckets` of near_duplicates_candidates.py over the machines of `shards`; which texts have company.

    Text i is the row `heads[i]` at (shard[i], position[i]) (int32[texts] each); `salt` int32[texts], or empty.
    """
    from tasks.curation.near_duplicates_candidates import unite_pairs

    if not len(heads):
        return np.zeros(0, bool)
    shards.folder.mkdir(parents=True, exist_ok=True)
    partitions = max(1, math.ceil(len(heads) * bands / KEYS))
    order = np.lexsort((position, shard))
    numbers, starts = np.unique(shard[order], return_index=True)
    jobs = []
    for number, mine in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
        path = shards.folder / f"places-{number:06}.npz"
        np.savez(path, position=position[mine], row=heads[mine], salt=salt[mine] if len(salt) else salt)
        jobs.append((shards.files[number].absolute(), path, partitions, shards.folder / f"keys-{number:06}.npy"))
    files = list(shards.execution.map(partition_keys, *zip(*jobs, strict=True)))
    outs = [shards.folder / f"forest-{i:06}.npy" for i in range(partitions)]
    touched = np.zeros(len(parent), bool)
    forests = shards.execution.map(join_partition, [files] * partitions, range(partitions), outs)
    for path in forests:
        left, right = np.load(path)
        unite_pairs(parent, left, right)
        touched[left] = touched[right] = True
    return touched[heads]


def partition_keys(measures: Path, places: Path, partitions: int, out: Path) -> Path:
    """On any machine: the keys of a shard's texts as KEY records by partition, and where each partition begins.

    `places`: position, row and salt of the texts to take, by position. The starts are in a second file beside `out`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with np.load(places) as found:
        wanted, rows, salt = found["position"], found["row"], found["salt"]
    parts = []
    for batch in pq.ParquetFile(measures).iter_batches(columns=["position", "bands"], use_threads=False):
        batch = batch.filter(pc.is_in(batch["position"], pa.array(wanted)))
        place = np.searchsorted(wanted, batch["position"].to_numpy())
        values = batch["bands"].flatten().to_numpy(zero_copy_only=False)
        if not len(place):
            continue
        keys = values.astype(np.uint64, copy=False).reshape(len(place), -1)
        if len(salt):
            keys = _salted(keys, salt[place].astype(np.uint64)[:, None])
        made = np.empty(keys.size, KEY)
        made["key"], made["row"] = keys.ravel(), np.repeat(rows[place], keys.shape[1])
        made["band"] = np.tile(np.arange(keys.shape[1]), len(place))
        parts.append(made)
    keys = np.concatenate(parts) if parts else np.empty(0, KEY)
    partition = _partition(keys, partitions)
    order = np.argsort(partition, kind="stable")
    _save(out.with_suffix(".starts.npy"), np.searchsorted(partition[order], np.arange(partitions + 1)))
    _save(out, keys[order])
    return out


def _salted(keys: np.ndarray, salt: np.ndarray) -> np.ndarray:
    """Keys that are equal only where the salt is, as near_duplicates_candidates.py has them."""
    keys = (keys ^ salt * np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xD6E8FEB86659FD93)
    return keys ^ keys >> np.uint64(32)


def _partition(keys: np.ndarray, partitions: int) -> np.ndarray:
    """Number of the partition of each key; equal keys of a band are always in one."""
    mixed = (keys["key"] ^ keys["band"].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(33)) % np.uint64(partitions)).astype(np.int64)


def join_partition(files: Sequence[Path], partition: int, out: Path) -> Path:
    """On any machine: int32[2, edges], a forest over the rows that share a key of this partition."""
    from tasks.curation.near_duplicates_candidates import forest

    parts = []
    for path in files:
        starts = np.load(path.with_suffix(".starts.npy"))
        parts.append(np.load(path, mmap_mode="r")[starts[partition] : starts[partition + 1]])
    keys = np.concatenate(parts)
    keys = keys[np.lexsort((keys["row"], keys["band"], keys["key"]))]
    equal = (keys["key"][1:] == keys["key"][:-1]) & (keys["band"][1:] == keys["band"][:-1])
    left, right = keys["row"][:-1][equal], keys["row"][1:][equal]
    names, places = np.unique(np.append(left, right), return_inverse=True)
    left, right = places[: len(left)], places[len(left) :]
    new = forest(np.arange(len(names), dtype=np.int32), left, right)
    _save(out, np.stack([names[left[new]], names[right[new]]]).astype(np.int32))
    return out


def _save(path: Path, array: np.ndarray) -> None:
    """All of the file or nothing, whoever writes it at the same time."""
    temporary = unique(path)
    with open(temporary, "wb") as file:
        np.save(file, array)
    temporary.rename(path)
