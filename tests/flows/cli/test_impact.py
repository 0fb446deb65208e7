"""`r1 impact` and `r1 revoke` on small tables written by the real writers, in which every touched row is known."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli.main import app, main
from flows.orchestration.lineage import md5_of
from tasks.prompts.revoked import read_tombstones
from tasks.provenance.artifacts import sha256, write_manifest, write_rows
from tasks.rows import COMPLETION, DECISION, PREFERENCE_PAIR, PROMPT, SFT_EXAMPLE, VERDICT, row_id

STAGES = {  # name -> deps, outs; the params of each are its section
    "prompts": (["data/revoked/prompts.jsonl", "tasks/verification"], ["data/01_prompts", "data/01_final"]),
    "rl": (["data/01_prompts", "tasks/verification"], ["data/02_rl"]),
    "candidates": (["data/01_prompts", "data/02_rl", "data/revoked/candidates.jsonl"], ["data/03_candidates"]),
    "verdicts": (["data/01_prompts", "data/03_candidates", "tasks/verification"], ["data/04_verdicts"]),
    "sft_data": (["data/03_candidates", "data/04_verdicts"], ["data/05_sft_data"]),
    "student": (["data/05_sft_data"], ["data/06_student"]),
    "preferences": (["data/01_prompts", "data/revoked/preferences.jsonl"], ["data/07_preferences"]),
    "evaluate": (["data/01_final", "data/06_student"], ["data/08_evaluate"]),
}
PARAMS = {
    "prompts": {"sources": [{"name": "algebra"}, {"name": "poems"}]},
    "rl": {"sources": ["algebra"]},
    "candidates": {"imported": [{"name": "teacher"}]},
    "verdicts": {},
    "sft_data": {},
    "student": {},
    "preferences": {"sources": [{"name": "oracle", "family": "general"}, {"name": "scored", "path": "x.jsonl"}]},
    "evaluate": {},
}


def prompt(key: str, source: str, split: str = "train") -> dict:
    return dict.fromkeys(PROMPT.names) | {
        "id": key,
        "source": source,
        "split": split,
        "text": f"text of {key}",
        "domain": "maths",
    }


def completion(key: str, asked: str, model: str) -> dict:
    return dict.fromkeys(COMPLETION.names) | {"id": key, "prompt_id": asked, "model": model, "index": 0, "text": "?"}


def verdict(of: str, asked: str, verifier: str, method: str = "maths/fast") -> dict:
    return dict.fromkeys(VERDICT.names) | {
        "completion_id": of,
        "prompt_id": asked,
        "verifier": verifier,
        "method": method,
    }


def example(key: str, asked: str, of: str | None, source: str) -> dict:
    return dict.fromkeys(SFT_EXAMPLE.names) | {
        "id": key,
        "prompt_id": asked,
        "completion_id": of,
        "source": source,
        "origin": "?",
    }


def pair(key: str, asked: str, by: str) -> dict:
    return dict.fromkeys(PREFERENCE_PAIR.names) | {"id": key, "prompt_id": asked, "prompt": "Why?", "labelled_by": by}


def decision(row: str, stage: str, evidence: str) -> dict:
    return dict.fromkeys(DECISION.names) | {
        "row_id": row,
        "stage": stage,
        "rule": "r",
        "keep": False,
        "evidence": evidence,
    }


def publish(root: Path, stage: str, path: str, weights: str = "", **tables) -> None:
    """One artifact; `weights` is what the checkpoint's file holds."""
    folder = root / path
    folder.mkdir(parents=True)
    for name, (rows, schema) in tables.items():
        write_rows(folder, name, rows, schema)
    if weights:
        (folder / "model.safetensors").write_text(weights)
    write_manifest(folder, stage=stage)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A prompt of each source and an imported one, two completions each by the RL model or the teacher, some examples."""
    root = tmp_path_factory.mktemp("impact") / "project"
    (root / "tasks/verification").mkdir(parents=True)
    (root / "tasks/verification/maths.py").write_text("X = 1\n")
    (root / "data/revoked").mkdir(parents=True)
    for stage in ("prompts", "candidates", "preferences"):
        (root / f"data/revoked/{stage}.jsonl").write_text("\n")
    stages = {
        n: {"cmd": f"python -m flows.{n}", "params": [n], "deps": deps, "outs": outs}
        for n, (deps, outs) in STAGES.items()
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    (root / "params.yaml").write_text(yaml.safe_dump({"seed": 0} | PARAMS, sort_keys=False))
    train = [prompt("p_algebra", "algebra"), prompt("p_poems", "poems")]
    publish(
        root, "prompts", "data/01_prompts", train=(train, PROMPT),
        decisions=([decision("row_1", "prompts", "algebra f:9: too long"), decision("row_2", "prompts", "algebraic f:1: x")], DECISION),
    )  # fmt: skip
    publish(root, "prompts", "data/01_final", final=([prompt("p_final", "algebra", "final")], PROMPT))
    publish(root, "rl", "data/02_rl", weights="rl")
    rl, student = (sha256_of(root, text) for text in ("rl", "student"))
    asked = {"c_algebra": "p_algebra", "c_poems": "p_poems"}
    sampled = [completion(c, p, rl) for c, p in asked.items()]
    publish(
        root, "candidates", "data/03_candidates",
        candidates=([*sampled, completion("c_teacher", "p_teacher", "big")], COMPLETION),
        prompts=([prompt("p_teacher", "teacher")], PROMPT),
    )  # fmt: skip
    given = [
        verdict("c_algebra", "p_algebra", "aa11"),
        verdict("c_poems", "p_poems", "bb22", "judge"),
        verdict("c_teacher", "p_teacher", "aa11"),
    ]
    publish(root, "verdicts", "data/04_verdicts", verdicts=(given, VERDICT))
    kept = [
        example("e_algebra", "p_algebra", "c_algebra", "algebra"),
        example("e_teacher", "p_teacher", "c_teacher", "teacher"),
    ]
    own = example("e_poems", "p_poems", None, "poems")
    lengths = [decision(e["id"], "sft_data", "") for e in (*kept, own)]
    publish(root, "sft_data", "data/05_sft_data", examples=([*kept, own], SFT_EXAMPLE), decisions=(lengths, DECISION))
    publish(root, "student", "data/06_student", weights="student")
    scored = row_id("prompt", source="scored", text="Why?")
    pairs = [
        pair("pair_1", "p_poems", "procedural-oracle"),
        pair("pair_2", scored, "judge:m"),
        pair("pair_3", "other", "judge:m"),
    ]
    publish(root, "preferences", "data/07_preferences", pairs=(pairs, PREFERENCE_PAIR))
    publish(
        root, "evaluate", "data/08_evaluate", problems=([prompt("p_final", "algebra", "final")], PROMPT),
        samples=([completion("c_final", "p_final", student)], COMPLETION), verdicts=([verdict("c_final", "p_final", "cc33")], VERDICT),
    )  # fmt: skip
    lock = {name: locked(root, name, *edges) for name, edges in STAGES.items()}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}, sort_keys=False))
    return root


def locked(root: Path, stage: str, deps: list[str], outs: list[str]) -> dict:
    """What DVC would lock of this stage."""
    files = lambda path: [p for p in (root / path, *(root / path).rglob("*")) if p.is_file()]
    size = lambda path: sum(p.stat().st_size for p in files(path))
    entry = lambda path: {"path": path, "md5": md5_of(root / path), "size": size(path), "nfiles": len(files(path))}
    params = {"params.yaml": {stage: PARAMS[stage]}}
    return {
        "cmd": f"python -m flows.{stage}",
        "deps": [*map(entry, deps)],
        "params": params,
        "outs": [*map(entry, outs)],
    }


def sha256_of(root: Path, text: str) -> str:
    (root / "text").write_text(text)
    return sha256(root / "text")


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    import shutil

    root = shutil.copytree(template, tmp_path / "project")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(root)
    return root


def r1(*words: str, ok: bool = True) -> str:
    done = CliRunner().invoke(app, list(words))
    assert (done.exit_code == 0) is ok, done.output
    return str(done.exception) if isinstance(done.exception, Exception) else done.output


def impact(*words: str) -> tuple[dict, dict[str, tuple[list[str], int, int]]]:
    """The JSON, and table -> (sorted ids, direct, through) of the tables that are touched."""
    found = json.loads(r1("impact", *words, "--json"))
    name = lambda t: f"{t['artifact'].split('/')[1]}/{t['table']}"
    return found, {name(t): (sorted(t["ids"]), t["direct"], t["through_models"]) for t in found["tables"] if t["ids"]}


def test_a_source_is_followed_to_rows_checkpoints_and_evaluations(project):
    found, rows = impact("--source", "algebra")
    assert (
        found["enters"] == ["prompts"] and set(found["rebuild"]) == set(STAGES) and found["named_in"] == ["rl.sources"]
    )
    assert rows == {
        "01_prompts/train": (["p_algebra"], 1, 0),
        "01_prompts/decisions": (["row_1"], 1, 0),
        "01_final/final": (["p_final"], 1, 0),
        "03_candidates/candidates": (
            ["c_algebra", "c_poems"],
            1,
            1,
        ),  # poems' was sampled from a model trained on algebra
        "04_verdicts/verdicts": (["c_algebra", "c_poems"], 1, 1),
        "05_sft_data/examples": (["e_algebra"], 1, 0),
        "05_sft_data/decisions": (["e_algebra"], 1, 0),
        "08_evaluate/problems": (["p_final"], 1, 0),
        "08_evaluate/samples": (["c_final"], 1, 0),
        "08_evaluate/verdicts": (["c_final"], 1, 0),
    }
    trained = {c["path"]: c["trained_on"] for c in found["checkpoints"]}
    assert trained == {
        "data/02_rl": {"data/01_prompts/train": {"direct": 1, "rows": 2}},
        "data/06_student": {"data/05_sft_data/examples": {"direct": 1, "rows": 3}},
    }
    assert found["not_here"] == []


def test_a_source_that_a_model_does_not_train_on_leaves_it_alone(project):
    found, rows = impact("--source", "poems")
    assert [c["path"] for c in found["checkpoints"]] == ["data/06_student"], "rl draws from algebra alone"
    assert rows["03_candidates/candidates"] == (["c_poems"], 1, 0) and rows["05_sft_data/examples"] == (
        ["e_poems"],
        1,
        0,
    )
    assert rows["08_evaluate/samples"] == (["c_final"], 0, 1), "sampled from the student"
    assert rows["07_preferences/pairs"] == (["pair_1"], 1, 0)


@pytest.mark.parametrize(
    ("source", "ids", "stages"),
    [
        ("scored", ["pair_2"], ["preferences"]),
        ("oracle", ["pair_1"], ["preferences"]),
        ("teacher", None, ["candidates"]),
    ],
)
def test_sources_of_preferences_and_of_imported_outputs(project, source, ids, stages):
    found, rows = impact("--source", source)
    assert found["enters"] == stages
    if ids:
        assert rows == {"07_preferences/pairs": (ids, 1, 0)} and found["rebuild"] == ["preferences"]
    else:
        assert rows["03_candidates/prompts"][0] == ["p_teacher"] and rows["05_sft_data/examples"] == (
            ["e_teacher"],
            1,
            0,
        )
        assert "rl" not in found["rebuild"] and "01_prompts/train" not in rows


def test_a_wrong_gold_reaches_everything_of_its_prompt(project):
    found, rows = impact("--prompt", "p_teacher")
    assert found["enters"] == ["candidates"]
    assert [rows[t][0] for t in ("03_candidates/candidates", "04_verdicts/verdicts")] == [["c_teacher"], ["c_teacher"]]
    assert rows["05_sft_data/examples"] == (["e_teacher"], 1, 0)
    final, rows = impact("--prompt", "p_final")
    assert final["enters"] == ["prompts"] and set(rows) == {
        "01_final/final",
        *(f"08_evaluate/{t}" for t in ("problems", "samples", "verdicts")),
    }
    assert final["checkpoints"] == [], "nothing is trained on the final split"
    assert "no table of prompts has the id `nothing`" in r1("impact", "--prompt", "nothing", ok=False)


def test_a_faulty_verifier_touches_verdicts_what_they_chose_and_what_it_rewarded(project):
    found, rows = impact("--verifier", "aa")
    assert found["fault"] == {"verifier": "aa11"} and found["enters"] == ["prompts", "rl", "verdicts"]
    assert rows["04_verdicts/verdicts"] == (["c_algebra", "c_poems", "c_teacher"], 2, 1)
    assert rows["05_sft_data/examples"] == (["e_algebra", "e_teacher"], 2, 0)
    assert rows["03_candidates/candidates"] == (["c_algebra", "c_poems"], 0, 2), (
        "their texts stand, but for the model's reward"
    )
    rewarded = {c["path"]: c["through"] for c in found["checkpoints"]}
    assert rewarded["data/02_rl"] == ["rewarded by the verification code of aa11"]
    judge, rows = impact("--verifier", "bb22")
    assert judge["enters"] == ["verdicts"] and rows == {"04_verdicts/verdicts": (["c_poems"], 1, 0)}, (
        "a model's verdicts, no code's"
    )
    assert "versions in the tables of verdicts: aa11, bb22, cc33" in r1("impact", "--verifier", "zz", ok=False)


def test_text_rows_and_errors(project):
    text = r1("impact", "--source", "algebra")
    assert "To rebuild, at most: 8 of 8 stages" in text and "Checkpoints touched: 2" in text
    assert "data/06_student: trained on 1 touched of 3 rows of data/05_sft_data/examples" in text
    assert "data/08_evaluate: problems 1 of 1, samples 1 of 1, verdicts 1 of 1" in text
    assert r1("impact", "--prompt", "p_final", "--rows").splitlines()[0] == "data/01_final/final.parquet\tp_final"
    assert "did you mean algebra?" in r1("impact", "--source", "algbra", ok=False)
    assert "exactly one of" in r1("impact", "--source", "algebra", "--prompt", "p_final", ok=False)
    assert "the least there are" not in text
    (project / "data/03_candidates").rename(project / "elsewhere")
    assert "Not here, so not counted (`dvc pull` fetches them): data/03_candidates" in r1(
        "impact", "--source", "algebra"
    )


def test_checkpoints_that_are_not_here_are_told_all_the_same(project):
    """Sets pulled, models not: a stage trains by its code, and what it read is known; what it made is not."""
    trainer, books = "tasks/training/sft.py", yaml.safe_load((project / "dvc.yaml").read_text())
    (project / trainer).parent.mkdir(parents=True)
    (project / trainer).write_text("X = 1\n")
    for stage in ("rl", "student"):
        books["stages"][stage]["deps"].append(trainer)
    (project / "dvc.yaml").write_text(yaml.safe_dump(books, sort_keys=False))
    whole, _ = impact("--source", "algebra")
    for path in ("data/02_rl", "data/06_student"):
        (project / path).rename(project / path.replace("/", "_"))
    found, _ = impact("--source", "algebra")
    assert found["checkpoints"] == whole["checkpoints"] and len(found["checkpoints"]) == 2
    assert (
        found["lower_bounds"] and found["not_here"] == ["data/02_rl", "data/06_student"] and not whole["lower_bounds"]
    )
    text = r1("impact", "--source", "algebra")
    assert "Checkpoints touched: 2" in text and "the least there are" in text


def test_a_damaged_manifest_is_said_in_one_line(project, monkeypatch, capsys):
    (project / "data/03_candidates/manifest.json").write_text("{")
    monkeypatch.setattr("sys.argv", ["r1", "impact", "--source", "algebra"])
    with pytest.raises(SystemExit, match="03_candidates/manifest.json"):
        main()


def test_revoke_is_recorded_once_and_can_be_undone(project):
    file = project / "data/revoked/prompts.jsonl"
    told = r1("revoke", "poems", "--reason", "the poet asked", "--by", "Ada")
    assert "poems: revoked in data/revoked/prompts.jsonl" in told and "will rebuild at most 8 of 8 stages" in told
    (stone,) = read_tombstones(file).values()
    assert (stone.what, stone.name, stone.reason, stone.by, len(stone.on)) == (
        "source",
        "poems",
        "the poet asked",
        "Ada",
        10,
    )
    before = file.read_bytes()
    assert (
        "revoked already, by Ada" in r1("revoke", "poems", "--reason", "again", "--by", "Bob")
        and file.read_bytes() == before
    )
    found = json.loads(r1("revoke", "teacher", "--reason", "licence", "--by", "Ada", "--json"))
    assert (
        found["changed"] == ["data/revoked/candidates.jsonl"]
        and found["rebuild"][0] == "candidates"
        and "rl" not in found["rebuild"]
    )
    assert "no longer revoked" in r1("revoke", "poems", "--undo") and file.read_bytes() == b"\n"
    assert "not revoked; nothing changed" in r1("revoke", "poems", "--undo")


def test_revoke_refuses_what_it_does_not_know(project):
    assert "no source is called `poem`; did you mean poems?" in r1("revoke", "poem", "--reason", "x", ok=False)
    assert "--reason" in r1("revoke", "poems", ok=False)
    (project / "data/revoked/prompts.jsonl").write_text('{"name": "poems"}\n')
    said = r1("revoke", "poems", "--reason", "x", "--by", "Ada", ok=False)
    assert "data/revoked/prompts.jsonl:1: expected the keys by, name, on, reason, what" in said
    (project / "data/revoked/prompts.jsonl").unlink()
    assert "prompts.jsonl is missing; restore it with git" in r1("revoke", "poems", "--undo", ok=False)


def test_who_revokes_is_gits_user(project):
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "config", "user.name", "Grace"], check=True)
    r1("revoke", "algebra", "--reason", "x")
    assert read_tombstones(project / "data/revoked/prompts.jsonl")["algebra"].by == "Grace"
