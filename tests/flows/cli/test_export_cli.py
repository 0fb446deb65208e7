"""`r1 export` as people and machines call it, on a checkout whose every row is known."""

import json

import pytest
import yaml

from tasks.provenance.artifacts import read_manifest
from tests.flows.cli.test_impact import project, r1, template  # noqa: F401  (fixtures)


@pytest.fixture
def licensed(project):  # noqa: F811
    """The same project with a licence for every prompt, and its lock written anew."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from flows.orchestration.lineage import md5_of
    from tasks.provenance.artifacts import write_manifest

    lock = yaml.safe_load((project / "dvc.lock").read_text())
    md5s = {}
    for name, stage in (
        ("01_prompts/train", "prompts"),
        ("01_final/final", "prompts"),
        ("03_candidates/prompts", "candidates"),
    ):
        file = project / f"data/{name}.parquet"
        table = pq.read_table(file)
        pq.write_table(
            pa.Table.from_pylist([r | {"licence": "MIT"} for r in table.to_pylist()], schema=table.schema), file
        )
        write_manifest(file.parent, stage=stage)
        md5s[f"data/{name.partition('/')[0]}"] = md5_of(file.parent)
    for entry in lock["stages"].values():
        for item in (*entry.get("deps", ()), *entry.get("outs", ())):
            if item["path"] in md5s:
                item.update(md5=md5s[item["path"]])
                item.pop("size", None), item.pop("nfiles", None)
    (project / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    return project


def test_a_set_is_written_and_told_of(licensed, tmp_path):
    text = r1("export", "sft_data", "--to", str(tmp_path / "out"), "--licence", "mit")
    assert text.startswith(f"data/05_sft_data as trl: {tmp_path}/out (README.md ")
    assert "1 rows of algebra, MIT: the notice" in text and "licence: MIT" in text and "not to be published" not in text
    found = json.loads((tmp_path / "out/lineage.json").read_text())
    assert {s["source"] for s in found["sources"]} == {"algebra", "poems", "teacher"} and found["licence"] == "MIT"
    assert found["made_from"]["candidates"]["outs"]["data/03_candidates"].endswith(".dir")


def test_json_and_a_dry_run_of_a_push(licensed, tmp_path):
    said = r1(
        "export",
        "data/05_sft_data",
        "--to",
        str(tmp_path / "out"),
        "--push",
        "me/set",
        "--dry-run",
        "--format",
        "rows",
        "--json",
    )
    found = json.loads(said)
    assert (found["pushed"], found["format"], found["problems"]) == (None, "rows", []) and found["folder"] == str(
        tmp_path / "out"
    )
    assert (tmp_path / "out/README.md").read_text().split("# ")[1].startswith("set\n"), "named after the repository"
    text = r1("export", "sft_data", "--to", str(tmp_path / "out"), "--push", "me/set", "--dry-run")
    assert "would go to me/set, private; nothing was sent" in text


def test_a_push_that_must_not_be_writes_nothing(licensed, tmp_path):
    r1("revoke", "poems", "--reason", "withdrawn", "--by", "Grace")
    said = r1(
        "export", "sft_data", "--to", str(tmp_path / "out"), "--push", "me/set", "--dry-run", "--public", ok=False
    )
    assert "me/set: nothing was pushed" in said and "poems was revoked by Grace" in said and "needs a licence" in said
    assert "candidates: data/revoked" not in said and not (tmp_path / "out").exists()
    text = r1("export", "sft_data", "--to", str(tmp_path / "out"))
    assert "not to be published: poems was revoked by Grace" in text and (tmp_path / "out/README.md").is_file()
    assert "poems was revoked" in (tmp_path / "out/README.md").read_text()


def test_rows_without_a_licence_are_exported_and_not_pushed(project, tmp_path):  # noqa: F811
    text = r1("export", "sft_data", "--to", str(tmp_path / "out"))
    assert "not to be published: data/05_sft_data/examples.parquet: licence 'not stated'" in text
    assert "nothing was pushed" in r1("export", "sft_data", "--to", str(tmp_path / "x"), "--push", "me/set", ok=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sft_dat",), "did you mean sft_data"),
        (("prompts",), "stage prompts has 2 outputs: name one, data/01_prompts, data/01_final"),
        (("sft_data", "--format", "sharegpt"), "has no format 'sharegpt'; it has trl, sft, rows"),
        (("sft_data", "--licence", "GPL-9"), "licence 'GPL-9' is none that is known"),
        (("sft_data", "--public"), "give --push OWNER/NAME"),
        (("sft_data", "--push", "name"), "'name' is no name of a repository"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, tuple) else "",
)
def test_what_cannot_be_is_said_with_what_can(licensed, words, said, tmp_path):
    assert said in r1("export", *words, "--to", str(tmp_path / "out"), ok=False)
    assert not (tmp_path / "out").exists() and read_manifest(licensed / "data/05_sft_data")["stage"] == "sft_data"
