"""Reading dvc.yaml: templates, edges through folders, and errors that say where."""

import pytest
import yaml

from flows.orchestration.dag import load_dag, short_name
from flows.orchestration.params import ParamsError

PARAMS = {"base": {"size": 2, "names": ["x", "y"]}, "kids": {"a": {"from": "x"}, "b": {"from": "y"}}, "off": None}


@pytest.fixture
def read(tmp_path):
    def _read(stages: dict, params: dict = PARAMS):
        (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
        return load_dag(tmp_path, params)

    return _read


def _stage(deps=(), outs=(), **more) -> dict:
    return {"cmd": "python -m flows.x", "deps": list(deps), "outs": list(outs), **more}


def test_foreach_over_a_mapping_and_over_a_list(read):
    dag = read(
        {
            "base": {"foreach": "${base.names}", "do": _stage(outs=["data/01_base/${item}"])},
            "kids": {
                "foreach": "${kids}",
                "do": _stage(["data/01_base/${item.from}"], ["data/02_kids/${key}"], params=["kids.${key}"]),
            },
            "named": {"foreach": ["p", "q"], "do": _stage(outs=["out/${item}-${base.size}"])},
        }
    )
    assert set(dag.nodes) == {"base@x", "base@y", "kids@a", "kids@b", "named@p", "named@q"}
    assert dag["kids@b"].params == ("kids.b",) and dag.upstream["kids@b"] == ("base@y",)
    assert dag["kids@b"].inputs == {"base/y": "data/01_base/y"} and dag["named@q"].outs == ("out/q-2",)


def test_a_parent_folder_is_an_edge_to_all_in_it_and_a_like_named_one_is_not(read):
    dag = read(
        {
            "a": _stage(outs=["data/1_a"], metrics=[{"metrics/a.json": {"cache": False}}]),
            "b": _stage(outs=["data/1_ab"], metrics=[{"metrics/deep/b.json": {"cache": False}}]),
            "end": _stage(["metrics"]),
            "inside": _stage(["data/1_a/file.txt", "models/mine", "flows/x.py"]),
        }
    )
    assert dag.upstream["end"] == ("a", "b") and dag["end"].others == ("metrics",)
    assert dag.upstream["inside"] == ("a",), "data/1_ab is another folder"
    assert dag["inside"].inputs == {"a/file.txt": "data/1_a/file.txt", "models/mine": "models/mine"}
    assert dag["inside"].code == ("flows/x.py",)


def test_selection(read):
    dag = read({"a": _stage(outs=["a"]), "b": _stage(["a"], ["b"]), "c": _stage(["b"], ["c"]), "d": _stage(outs=["d"])})
    assert dag.select([]) == list(dag.nodes)
    assert set(dag.select(["b"])) == {"a", "b"}
    assert set(dag.select(["b"], downstream=True)) == {"b", "c"}
    with pytest.raises(ParamsError, match="dvc.yaml has no stage `zz`"):
        dag.select(["zz"])


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ({"a": _stage(["${base.nothing}"])}, r"stages\.a\.deps: params\.yaml has no key for \$\{base\.nothing\}"),
        ({"a": _stage(["${off}"])}, r"\$\{off\} is None in params\.yaml; expected a text"),
        (
            {"a": {"foreach": "${base.size}", "do": _stage()}},
            r"stages\.a\.foreach: \$\{base\.size\} is 2; expected a mapping or a list",
        ),
        ({"a": _stage(["y"], ["x"]), "b": _stage(["x"], ["y"])}, "the stages form a circle"),
        ({"a": _stage(outs=["x"]), "b": _stage(outs=["x"])}, "x is written by both a and b"),
        ({"a": _stage(wdir="sub")}, "`wdir` is not used in this repository"),
        (
            {"a": _stage(meta={"prefect": {"retry": 2}})},
            r"meta\.prefect\.retry: unknown key; known: gpu, pool, retries",
        ),
        ({"a": _stage(meta={"prefect": {"retries": -1}})}, r"retries is -1; expected a number of attempts"),
        ({"a": _stage(meta={"prefect": {"pool": ""}})}, "pool is ''; expected the name of a Prefect work pool"),
        ({"a": _stage(meta={"prefect": "gpu"})}, r"meta\.prefect is 'gpu'; expected a mapping"),
    ],
)
def test_errors_say_where(read, stages, words):
    with pytest.raises(ParamsError, match=words):
        read(stages)


def test_short_names():
    assert [
        short_name(p) for p in ("data/01_prompts", "data/18_distill/qwen", "data/annotations/x.jsonl", "models/m")
    ] == [
        "prompts",
        "distill/qwen",
        "annotations/x.jsonl",
        "models/m",
    ]


def test_how_a_stage_is_run(read):
    dag = read(
        {"a": _stage(meta={"prefect": {"gpu": True, "pool": "big", "retries": 2, "retry_delay": 0.5}}), "b": _stage()}
    )
    assert (dag["a"].gpu, dag["a"].pool, dag["a"].retries, dag["a"].retry_delay) == (1, "big", 2, 0.5)
    assert (dag["b"].gpu, dag["b"].pool, dag["b"].retries, dag["b"].retry_delay) == (0, None, 0, 0.0)


def test_a_stage_takes_the_accelerators_that_its_recipe_needs_at_once(read, tmp_path):
    folder = tmp_path / "recipes/accelerate"
    folder.mkdir(parents=True)
    (folder / "two.yaml").write_text("num_machines: 2\nnum_processes: 16\n")
    stages = {
        "train": _stage(params=["accelerate", "train"], meta={"prefect": {"gpu": True}}),
        "draw": _stage(params=["draw"], meta={"prefect": {"gpu": True}}),
        "ask": _stage(params=["ask"], meta={"prefect": {"gpu": True}}),
        "said": _stage(params=["accelerate"], meta={"prefect": {"gpu": 2}}),
        "table": _stage(params=["accelerate"]),
    }
    split = {"engine": {"name": "vllm", "tensor_parallel": 4}}
    theirs = {"engine": {"name": "server", "url": "http://x/v1", "serving": {"tensor_parallel": 4}}}
    values = {"accelerate": "two", "train": split, "draw": split, "ask": theirs}
    dag = read(stages, values)
    assert {s: dag[s].gpu for s in stages} == {"train": 8, "draw": 4, "ask": 1, "said": 2, "table": 0}
    plain = read(stages, values | {"accelerate": None, "train": {"engine": "vllm"}})
    assert plain["train"].gpu == 1
