"""A stage run by hand: what it publishes, what it refuses before any work, what it promises to a body."""

import json
import math

import numpy as np
import pytest

from flows.orchestration import publish, stage
from flows.orchestration.dag import load_dag
from flows.orchestration.params import Top
from flows.orchestration.stage import Run, StageError
from tasks.provenance.artifacts import read_manifest, read_rows
from tasks.rows import derive_seed


def test_publishes_outs_with_manifests_metrics_and_a_run_book(toy):
    toy.stage("numbers")
    manifest = read_manifest(toy.root / "data/01_numbers")
    assert manifest["stage"] == "numbers" and manifest["seed"] == 3 and manifest["params"]["numbers"] == {"count": 20}
    assert len(manifest["code"]) == 16 and manifest["files"]["numbers.parquet"]["rows"] == 18
    assert len(read_rows(toy.root / "data/02_held_out", "numbers")) == 2
    metrics = json.loads(toy.read("metrics/numbers.json"))
    assert metrics["rows"] == 20
    book = json.loads(toy.read("work/runs/numbers.json"))
    assert book["threads"] == 1 and book["seconds"] >= 0 and book["peak_rss_mb"] > 20 and not book["resumed"]
    assert book["disk_bytes"] > (toy.root / "data/01_numbers/numbers.parquet").stat().st_size
    assert not toy.has("work/numbers"), "the work folder is spent after publishing"


def test_what_is_published_stays_so_where_the_run_book_cannot_be_written(toy):
    (toy.root / "work/runs/numbers.json").mkdir(parents=True)  # stands for a disk that is full
    assert "done, and published; what it cost could not be noted" in toy.stage("numbers")
    assert toy.has("metrics/numbers.json")


def test_items_curves_and_progress(sown):
    toy = sown
    said = toy.stage(
        "grow", "oak", R1_PROGRESS=str(toy.root / "progress.json"), PYTHONHASHSEED="7", OMP_NUM_THREADS="9"
    )
    assert "hash seed 0" in said, "the environment that decides bits is the stage's own"
    assert toy.read("plots/grow/oak.csv").splitlines()[0] == "step,height"
    assert len(toy.read("plots/grow/oak.csv").splitlines()) == 4
    progress = json.loads(toy.read("progress.json"))
    assert (progress["stage"], progress["done"], progress["total"], progress["unit"]) == ("grow@oak", 3, 3, "steps")
    assert toy.has("data/03_grow/oak/plant.json") and not toy.has("data/03_grow/fir")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("numbers.cuont", 5, ["params.yaml: numbers.cuont: unknown key", "did you mean `count`?"]),
        (
            "numbers.count",
            0,
            ["params.yaml: numbers.count:", "greater than or equal to 1", "found 0", "how many numbers"],
        ),
        ("numbers.count", "many", ["params.yaml: numbers.count:", "found 'many'"]),
        ("numbers.count", None, ["params.yaml: numbers.count: required key is missing"]),
        ("seed", -1, ["params.yaml: seed:", "greater than or equal to 0"]),
        ("threads", 0, ["params.yaml: threads:"]),
        ("seeed", 1, ["params.yaml: seeed: unknown key", "did you mean `seed`?"]),
    ],
)
def test_bad_params_fail_before_any_work(toy, key, value, words):
    toy.set(key, value)
    said = toy.stage("numbers", ok=False)
    assert all(w in said for w in words), said
    assert "Traceback" not in said
    assert not toy.has("data") and not toy.has("work/numbers") and not toy.has("metrics")


def test_nested_and_doubled_keys_are_named(sown):
    toy = sown
    toy.set("grow.plants.oak.setps", 5)
    said = toy.stage("grow", "fir", ok=False)
    assert "params.yaml: grow.plants.oak.setps: unknown key; did you mean `steps`?" in said
    (toy.root / "params.yaml").write_text(toy.read("params.yaml") + "numbers: {count: 3}\n")
    assert "key `numbers` stands twice, in lines" in toy.stage("numbers", ok=False)


def test_item_and_input_errors_name_the_remedy(toy):
    assert "needs an item: oak, fir" in toy.stage("grow", ok=False)
    assert "dvc.yaml has no stage `grow@oka`; did you mean grow@oak" in toy.stage("grow", "oka", ok=False)
    said = toy.stage("grow", "oak", ok=False)
    assert "needs data/01_numbers, which is missing; make it with `r1 run numbers`" in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            '    return {"rows"',
            '    return {} and {"rows"',
            "returned no metrics, but dvc.yaml lists ['metrics/numbers.json']",
        ),
        ('write_rows(run.outs["held_out"]', 'print(run.outs["held_out"]', "ended without writing data/02_held_out"),
        (
            "random.Random(run.seed)",
            "random.Random(run.template)",
            "uses `template`, but dvc.yaml does not list it under `params`",
        ),
        (
            "random.Random(run.seed)",
            'run.input("oak")',
            "has no input `oak` among its deps in dvc.yaml; declared: none",
        ),
    ],
)
def test_a_body_that_breaks_its_contract_publishes_nothing(toy, old, new, words):
    flow = toy.root / "flows/numbers.py"
    assert old in flow.read_text()
    flow.write_text(flow.read_text().replace(old, new))
    assert words in toy.stage("numbers", ok=False)
    assert not toy.has("data/01_numbers") and not toy.has("data/02_held_out") and not toy.has("metrics")


def test_run_knows_its_inputs_outs_and_seed(toy, tmp_path):
    dag = load_dag(toy.root)
    top = Top(recipe="small", seed=3, threads=1, template="bare")

    def run(stage: str) -> Run:
        return Run(dag[stage], top, toy.root, publish.Workspace(toy.root, dag[stage], "x"))

    grow = run("grow@oak")
    assert grow.seed == derive_seed(3, "grow@oak") and grow.root_seed == 3
    assert grow.input("numbers") == toy.root / "data/01_numbers"
    assert grow.out == toy.root / "work/grow@oak/x/out/data/03_grow/oak" and grow.out.is_dir()
    harvest = run("harvest")
    assert set(harvest.inputs) == {"held_out", "grow/oak"} and harvest.input_path("metrics") == toy.root / "metrics"
    assert set(harvest.outs) == {"report.md", "figures"} and not harvest.outs["report.md"].exists()
    with pytest.raises(StageError, match="2 outs: name one"):
        _ = harvest.out
    with pytest.raises(StageError, match="no dep `plots`"):
        harvest.input_path("plots")


def test_fingerprint_follows_params_code_and_inputs(sown):
    toy = sown

    def key(steps: int = 3) -> str:
        node = load_dag(toy.root)["grow@oak"]
        return publish.fingerprint(toy.root, node, {"seed": 3, "steps": steps}, publish.code_version(toy.root, node))

    first = key()
    assert first == key() and first != key(steps=4)
    flow = toy.root / "flows/grow.py"
    flow.write_text(flow.read_text() + "# changed\n")
    assert (second := key()) != first
    toy.set("numbers.count", 30)
    toy.stage("numbers")
    assert key() != second


def test_measures_are_deterministic_text():
    value = {"b": np.float64(0.5), "a": np.arange(2), "nan": math.nan, "t": (1, None)}
    assert (
        publish.as_json(value)
        == '{\n "b": 0.5,\n "a": [\n  0,\n  1\n ],\n "nan": null,\n "t": [\n  1,\n  null\n ]\n}\n'
    )
    assert publish.as_csv([{"x": 1, "y": None}, {"x": 2, "y": 0.25}]) == "x,y\n1,\n2,0.25\n"
    with pytest.raises(ValueError):
        publish.as_csv([{"x": 1}, {"x": 1, "z": 2}])


@pytest.mark.parametrize(
    ("lora", "gpu", "hidden"), [(None, False, True), ({"rank": 8}, False, False), (None, True, False)]
)
def test_the_compiler_is_not_imported_for_a_quantisation_that_nobody_can_use(monkeypatch, lora, gpu, hidden):
    monkeypatch.setattr(stage.Path, "exists", lambda path: gpu and path.name == "nvidiactl")
    monkeypatch.setattr(stage.sys, "modules", {})
    stage._leave_out_quantisation({"seed": 0, "r1_zero": {"grpo": {"steps": 2, "lora": lora}}})
    assert ("bitsandbytes" in stage.sys.modules) == hidden
