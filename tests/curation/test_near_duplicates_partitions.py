"""Keys of bands shuffled by partition join what the one table in memory joins, however many partitions and shards."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tasks.curation.near_duplicates_partitions as partitions
from tasks.curation.near_duplicates_candidates import flatten, join_buckets
from tasks.execution import Local

TEXTS, ROWS, BANDS, SHARDS = 3_000, 4_000, 6, 3


@pytest.fixture
def measured(tmp_path):
    """Bands with many equal keys, in the files of three shards: (heads, bands, shard, position, prompt, files)."""
    rng = np.random.default_rng(7)
    heads = np.sort(rng.choice(ROWS, TEXTS, replace=False)).astype(np.int32)
    bands = rng.integers(0, 9_000, (BANDS, TEXTS)).astype(np.uint64) << np.uint64(40)
    bands[1] = bands[0]  # the same keys in another band are other buckets, and the same rows join only once
    prompt = rng.integers(0, 40, TEXTS).astype(np.int32)
    shard, position = rng.integers(0, SHARDS, TEXTS).astype(np.int32), np.empty(TEXTS, np.int32)
    files = []
    for number in range(SHARDS):
        mine = rng.permutation(np.flatnonzero(shard == number))
        position[mine] = 2 * np.arange(len(mine))  # the odd ones are no heads: equal texts, or too short for a key
        both = np.sort(np.append(position[mine], 2 * np.arange(len(mine)) + 1))
        values = [bands[:, mine[p // 2]].tolist() if p % 2 == 0 else None for p in both]
        table = pa.table({"position": pa.array(both, pa.int32()), "bands": pa.array(values, pa.list_(pa.uint64()))})
        files.append(tmp_path / f"{number}.parquet")
        pq.write_table(table, files[-1], row_group_size=500)
    return heads, bands, shard, position, prompt, files


@pytest.mark.parametrize("salted", [False, True], ids=["all prompts", "within a prompt"])
@pytest.mark.parametrize("keys", [1 << 22, 700], ids=["one partition", "26 partitions"])
def test_the_trees_are_those_of_one_table(measured, tmp_path, monkeypatch, keys, salted):
    heads, bands, shard, position, prompt, files = measured
    salt = prompt if salted else np.empty(0, np.int32)
    expected = np.arange(ROWS, dtype=np.int32)
    with ThreadPoolExecutor(1) as pool:
        touched = join_buckets(bands, heads, salt, expected, pool)
    monkeypatch.setattr(partitions, "KEYS", keys)
    given = partitions.Shards(Local(), files, tmp_path / "bands")
    parent = np.arange(ROWS, dtype=np.int32)
    company = partitions.join_partitions(given, shard, position, heads, salt, BANDS, parent)
    assert len(list((tmp_path / "bands").glob("forest-*.npy"))) == -(-TEXTS * BANDS // keys)
    assert 100 < touched.sum() < TEXTS - 100 and np.array_equal(company, touched)
    assert np.array_equal(flatten(parent), flatten(expected)) and len(set(flatten(parent).tolist())) > 100


def test_no_text_is_no_pair(tmp_path):
    none = np.empty(0, np.int32)
    given = partitions.Shards(Local(), [], tmp_path / "bands")
    assert not len(partitions.join_partitions(given, none, none, none, none, 0, np.arange(3, dtype=np.int32)))
