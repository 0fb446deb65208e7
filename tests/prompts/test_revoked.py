"""Tombstones: what a stage does not read, what its decisions say of it, and files that cannot be understood."""

from types import SimpleNamespace

import pytest

from tasks.prompts.revoked import Tombstone, read_tombstones, standing, write_tombstones
from tasks.provenance.artifacts import ArtifactError
from tasks.rows import DECISION

STONE = Tombstone("source", "gsm8k", "licence – withdrawn", "Ada", "2026-11-21")
LINE = '{"what": "source", "name": "gsm8k", "reason": "r", "by": "b", "on": "2026-11-21"}\n'


def test_written_and_read_again_with_the_same_bytes(tmp_path):
    path = tmp_path / "revoked/prompts.jsonl"
    other = Tombstone("source", "aime", "x", "Bob", "2026-11-22")
    write_tombstones(path, [STONE, other])
    assert list(read_tombstones(path).values()) == [STONE, other]
    before = path.read_bytes()
    write_tombstones(path, read_tombstones(path).values())
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["prompts.jsonl"]
    write_tombstones(path, [])
    assert path.read_bytes() == b"\n" and read_tombstones(path) == {}


def test_a_revoked_source_is_left_out_with_a_decision():
    sources = [SimpleNamespace(name=name) for name in ("math", "gsm8k", "aime")]
    left, decisions = standing(sources, {"gsm8k": STONE, "elsewhere": STONE}, "prompts")
    assert [s.name for s in left] == ["math", "aime"]
    (decision,) = decisions
    assert set(decision) == set(DECISION.names) and (decision["stage"], decision["rule"], decision["keep"]) == (
        "prompts",
        "revoked",
        False,
    )
    assert decision["evidence"] == "gsm8k: source revoked by Ada on 2026-11-21: licence – withdrawn"
    assert standing(sources, {}, "prompts") == (sources, [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "revoked.jsonl:1: is no JSON in UTF-8"),
        (b"\xff\n", "revoked.jsonl:1: is no JSON in UTF-8"),
        ("\n[1]\n", "revoked.jsonl:2: expected the keys by, name, on, reason, what"),
        (LINE.replace('"r"', '""'), "revoked.jsonl:1: expected the keys"),
        (LINE.replace('"b"', "3"), "revoked.jsonl:1: expected the keys"),
        (LINE.replace('"by"', '"who"'), "revoked.jsonl:1: expected the keys"),
        (LINE + LINE, "revoked.jsonl:2: gsm8k is already revoked in this file"),
        (None, "revoked.jsonl is missing; restore it with git"),
    ],
    ids=["half", "bytes", "a list", "empty text", "a number", "another key", "twice", "no file"],
)
def test_files_that_cannot_be_understood(tmp_path, text, words):
    path = tmp_path / "revoked.jsonl"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ArtifactError, match=words):
        read_tombstones(path)
