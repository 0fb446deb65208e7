"""What may be pushed, and the push itself: huggingface_hub over HTTP to a server that speaks the Hub's API."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from tasks.prompts.revoked import Tombstone, write_tombstones
from tasks.provenance.artifacts import ArtifactError
from tasks.publishing import hub
from tasks.publishing.export import export
from tasks.publishing.facts import facts_of
from tests.provenance.audit import made_books
from tests.publishing import hub_server
from tests.publishing.conftest import books_at


@pytest.fixture
def server(monkeypatch):
    """The other side; this side may use the network, and LFS, as the server knows no Xet."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", hub_server.WRITES)
    with hub_server.running() as running:
        yield running


@pytest.fixture(scope="module")
def folder(published, tmp_path_factory):
    target = tmp_path_factory.mktemp("folder") / "sft"
    export(facts_of(books_at(published), "sft_data", "data/13_sft_data"), target)
    return target


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_set_arrives_private_and_loads_from_there(server, folder, tmp_path):
    from datasets import load_dataset

    told = hub.push(folder, "me/sft", "dataset", False, "first", server.url)
    there = server.repositories["datasets", "me/sft"]
    assert there.private and told["visibility"] == "private" and told["url"] == f"{server.url}/datasets/me/sft"
    assert {k: v for k, v in there.files.items() if k != ".gitattributes"} == contents(folder)
    assert there.commits == [{"summary": "first"}] and told["commit"] == there.sha
    back = HfApi(endpoint=server.url).snapshot_download("me/sft", repo_type="dataset", local_dir=tmp_path / "back")
    assert len(load_dataset(back, cache_dir=str(tmp_path / "cache"))["train"]) == 64


def test_a_second_push_replaces_the_export_and_nothing_else(server, folder, tmp_path):
    longer = shutil.copytree(folder, tmp_path / "longer")
    (longer / "data/train-00001-of-00002.parquet").write_bytes(b"PAR1")
    lineage = json.loads((longer / "lineage.json").read_text())
    lineage["files"]["data/train-00001-of-00002.parquet"] = {}
    (longer / "lineage.json").write_text(json.dumps(lineage))
    hub.push(longer, "me/sft", "dataset", False, "two shards", server.url)
    there = server.repositories["datasets", "me/sft"]
    there.files["LICENSE"] = b"written there"
    assert "data/train-00001-of-00002.parquet" in there.files
    hub.push(folder, "me/sft", "dataset", False, "one shard", server.url)
    assert set(there.files) == {*contents(folder), "LICENSE", ".gitattributes"} and len(there.commits) == 2


def test_what_is_public_there_is_not_pushed_to_by_chance(server, folder):
    hub.push(folder, "me/open", "dataset", True, "meant so", server.url)
    there = server.repositories["datasets", "me/open"]
    assert not there.private
    before = there.sha
    with pytest.raises(hub.Refused, match="me/open is public at .*: say --public"):
        hub.push(folder, "me/open", "dataset", False, "not meant so", server.url)
    assert there.sha == before


@pytest.mark.parametrize(
    ("token", "said"),
    [(hub_server.READS, "403.*may not write there"), ("", "401.*hf auth login")],
    ids=["reader", "nobody"],
)
def test_who_may_not_write_is_told_so(server, folder, token, said, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ArtifactError, match=said):
        hub.push(folder, "me/sft", "dataset", False, "x", server.url)
    assert not server.repositories


def test_a_server_that_is_not_there_and_a_folder_that_is_no_export(server, folder, tmp_path):
    with pytest.raises(ArtifactError, match="http://127.0.0.1:1 cannot be reached .* push it again later"):
        hub.push(folder, "me/sft", "dataset", False, "x", "http://127.0.0.1:1")
    with pytest.raises(hub.Refused, match="is no export"):
        hub.push(tmp_path, "me/sft", "dataset", False, "x", server.url)


def test_offline_is_said(folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError, match="HF_HUB_OFFLINE is set"):
        hub.push(folder, "me/sft", "dataset", False, "x", "http://127.0.0.1:1")


def test_names_and_public_without_a_licence():
    hub.check("me/x", False, None, ())
    hub.check("me/x", True, "MIT", ())
    with pytest.raises(hub.Refused, match=r"(?s)'x' is no name.*what is public needs a licence"):
        hub.check("x", True, None, ())


def problems(books, stage="r1", path="data/17_r1") -> str:
    found = facts_of(books, stage, path).problems
    if found:
        with pytest.raises(hub.Refused, match="nothing was pushed"):
            hub.check("me/x", False, None, found)
    return "\n".join(found)


def test_what_holds_may_be_pushed(published):
    assert problems(books_at(published)) == problems(books_at(published), "sft_data", "data/13_sft_data") == ""


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("Secret-1.0", "licence 'Secret-1.0' of sums is none that is known"),
        ("CC-BY-NC-ND-4.0", "allows no shared adaptation"),
    ],
)
def test_licences_that_are_unknown_or_allow_nothing(checkout, licence, said):
    made_books.edit(
        checkout,
        "01_prompts/train",
        lambda rows: [r | {"licence": licence if r["source"] == "sums" else r["licence"]} for r in rows],
    )
    for stage, path in (("r1", "data/17_r1"), ("sft_data", "data/13_sft_data"), ("prompts", "data/01_prompts")):
        assert licence in problems(books_at(checkout), stage, path)
    assert said in problems(books_at(checkout), "sft_data", "data/13_sft_data")


def test_licences_that_do_not_go_together(checkout):
    ours = {"sums": "GPL-2.0-only", "general": "Apache-2.0"}
    made_books.edit(checkout, "01_prompts/train", lambda rows: [r | {"licence": ours[r["source"]]} for r in rows])
    assert "allow no common release" in problems(books_at(checkout), "sft_data", "data/13_sft_data")
    assert problems(books_at(checkout), "reasoning", "data/11_reasoning") == "", "a set of one of them alone"


def test_a_revoked_source_stops_what_was_made_of_it(checkout):
    write_tombstones(
        checkout / "data/revoked/prompts.jsonl", [Tombstone("source", "general", "withdrawn", "Ada", "2026-01-02")]
    )
    found = books_at(checkout)
    prompts = replace(found.stages["prompts"], inputs={"data/revoked/prompts.jsonl": None})
    found = replace(found, stages=found.stages | {"prompts": prompts})
    said = problems(found, "sft_data", "data/13_sft_data")
    assert "general was revoked by Ada on 2026-01-02 (withdrawn)" in said and "sums was revoked" not in said
    assert "general was revoked" in problems(found), "the checkpoint that was trained on it"
    assert problems(found, "reasoning", "data/11_reasoning") == ""


@pytest.mark.parametrize(
    ("change", "stops"),
    [
        ("data/09_candidates has changed", True),
        ("data/11_reasoning here is not what dvc.lock has: `dvc checkout data/11_reasoning`", True),
        ("it was never built: dvc.lock does not know it", True),
        ("tasks/curation/reasoning.py has changed", False),
        ("parameter reasoning differs from the one it was made with", False),
    ],
)
def test_books_that_do_not_say_what_it_was_made_of(published, change, stops):
    found = books_at(published)
    reasoning = replace(found.stages["reasoning"], changes=(change,))
    said = problems(replace(found, stages=found.stages | {"reasoning": reasoning}))
    assert (f"reasoning: {change}" in said) is stops and bool(said) is stops


def test_rows_without_any_source(published):
    assert "lead to no source with a licence" in problems(books_at(published), "verdicts", "data/10_verdicts")
