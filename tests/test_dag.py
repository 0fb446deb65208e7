"""The house rules that a machine can hold: one DAG, one room per artifact, code deps as imported, imports downward."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from flows.orchestration.dag import Dag, load_dag
from flows.orchestration.params import Top
from tests import code_deps

ROOT = Path(__file__).resolve().parents[1]
STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
FLOORS = (  # a module may import from its own floor and from below
    ("tasks/rows.py", "tasks/settings.py", "tasks/responses.py", "tasks/progress.py", "tasks/execution.py", "tasks/execution_ray.py"),
    (
        "tasks/curation/",
        "tasks/sampling/",
        "tasks/prompts/",
        "tasks/training/",
        "tasks/evaluation/",
        "tasks/provenance/",
        "tasks/publishing/",
        "tasks/reporting/",
    ),
    ("tasks/verification/",),
    ("tasks/rewards/",),
    ("flows/orchestration/",),
    ("flows/",),
)


@pytest.fixture(scope="module")
def dag() -> Dag:
    return load_dag(ROOT)


def _modules() -> list[Path]:
    return sorted(p for top in ("flows", "tasks") for p in (ROOT / top).rglob("*.py"))


def test_our_reading_of_the_graph_is_dvcs(dag):
    with Repo(str(ROOT)) as repo:
        stages = {s.addressing: s for s in repo.index.stages}
        edges = {s.addressing: {up.addressing for up in repo.index.graph.successors(s)} for s in stages.values()}
    assert set(dag.nodes) == set(stages) and len(stages) > 19
    for name, node in dag.nodes.items():
        theirs = stages[name]
        assert node.cmd == theirs.cmd
        assert set(node.deps) == {d.def_path for d in theirs.deps if not hasattr(d, "params")}
        assert set(node.params) == {p for d in theirs.deps if hasattr(d, "params") for p in d.params}
        assert set(node.writes) == {o.def_path for o in theirs.outs}
        assert (node.desc, node.meta) == (theirs.desc or "", theirs.meta or {})
        assert set(dag.upstream[name]) == edges[name], name


def test_order_puts_every_stage_behind_what_it_needs(dag):
    place = {stage: i for i, stage in enumerate(dag.nodes)}
    assert all(place[up] < place[stage] for stage in dag.nodes for up in dag.upstream[stage])


def test_a_room_for_every_stage_and_a_stage_for_every_room():
    assert sorted(p.stem for p in (ROOT / "flows").glob("*.py") if p.stem != "__init__") == sorted(STAGES)


@pytest.mark.parametrize(
    "file", ["params.yaml", *sorted(f"recipes/{p.name}" for p in (ROOT / "recipes").glob("*.yaml"))]
)
def test_params_sections_are_the_stages(file):
    values = yaml.safe_load((ROOT / file).read_text())
    assert [k for k, v in values.items() if isinstance(v, dict)] == STAGES, "same sections, in the order of dvc.yaml"
    assert set(values) - set(STAGES) == set(Top.model_fields)


def test_each_command_runs_its_own_room(dag):
    for node in dag.nodes.values():
        assert node.cmd == " ".join(["python -m", f"flows.{node.name}", *([node.item] if node.item else [])])


def test_only_evaluation_reads_the_final_split(dag):
    readers = {n.name for n in dag.nodes.values() if any(d == "data/01_final" or d == "data" for d in n.deps)}
    assert readers == {"evaluate"}


def test_one_reward_weight_reaches_only_what_depends_on_it(dag):
    users = {s for s, n in dag.nodes.items() if any(p == "r1" or p.startswith("r1.") for p in n.params)}
    assert users == {"r1"}
    assert set(dag.select(["r1"], downstream=True)) == {"r1", "evaluate@r1", "report"}


@pytest.mark.parametrize("name", STAGES)
def test_code_deps_are_the_imports(name, dag):
    node = next(n for n in dag.nodes.values() if n.name == name)
    assert sorted(node.code) == sorted(code_deps.closure(ROOT / "flows" / f"{name}.py")), (
        "python tests/code_deps.py --write"
    )


def test_closure_follows_local_imports_data_files_and_skips_the_runners(tmp_path):
    for path, text in {
        "flows/a.py": "from flows.orchestration.stage import Run\nfrom tasks import rows\n"
        "def body():\n    from tasks.x.deep import f\n",
        "flows/orchestration/stage.py": "import tasks.never\n",
        "tasks/rows.py": "",
        "tasks/x/deep.py": "from typing import TYPE_CHECKING\n"
        "Q = 'query.sql'\nif TYPE_CHECKING:\n    import tasks.types\n",
        "tasks/x/query.sql": "select 1",
        "tasks/types.py": "",
        "tasks/never.py": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text + " ")
    found = code_deps.closure(tmp_path / "flows/a.py", tmp_path)
    assert found == ["flows/a.py", "tasks/rows.py", "tasks/x/deep.py", "tasks/x/query.sql"]


def test_a_module_that_is_only_started_is_a_dep_and_no_import(tmp_path):
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/a.py").write_text("import flows.b\nRUN = ['-m', 'flows.c']\n")
    (tmp_path / "flows/b.py").write_text("X = 1\n")
    (tmp_path / "flows/c.py").write_text("X = 1\n")
    assert code_deps.closure(tmp_path / "flows/a.py", tmp_path) == ["flows/a.py", "flows/b.py", "flows/c.py"]
    assert code_deps.imports(tmp_path / "flows/a.py", tmp_path, started=False) == {tmp_path / "flows/b.py"}


def test_what_imports_a_registry_depends_on_its_whole_folder(tmp_path):
    for path, text in {
        "flows/a.py": "from tasks.verification.verify import verify\nfrom tasks import rows\n",
        "flows/b.py": "from tasks.verification.judge import judge\n",
        "tasks/rows.py": "X = 1\n",
        "tasks/verification/verify.py": "DOMAINS = {'maths': 'tasks.verification.maths'}\n",
        "tasks/verification/maths.py": "from tasks import rows\n",
        "tasks/verification/judge.py": "Y = 1\n",
        "tasks/verification/jail/runs_inside.py": "Z = 1\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert code_deps.closure(tmp_path / "flows/a.py", tmp_path) == ["flows/a.py", "tasks/rows.py", "tasks/verification"]
    assert code_deps.closure(tmp_path / "flows/b.py", tmp_path) == ["flows/b.py", "tasks/verification/judge.py"]


def test_the_version_of_a_folder_of_code_is_that_of_its_files(tmp_path):
    from types import SimpleNamespace

    from flows.orchestration.publish import code_version

    folder = tmp_path / "tasks/verification"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "maths.py").write_text("X = 1\n")
    node = SimpleNamespace(code=("tasks/verification",))
    before = code_version(tmp_path, node)
    (folder / "__pycache__/maths.pyc").write_bytes(b"compiled")
    assert code_version(tmp_path, node) == before
    (folder / "maths.py").write_text("X = 2\n")
    assert code_version(tmp_path, node) != before


def test_rewriting_code_deps_keeps_data_comments_and_quotes(tmp_path):
    (tmp_path / "flows").mkdir()
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/t.py").write_text("X = 1\n")
    (tmp_path / "flows/a.py").write_text("import tasks.t\n")
    text = '# why\nstages:\n  a:\n    # the first\n    cmd: python -m flows.a\n    deps: [flows/a.py, "data/${a.b}"]\n'
    (tmp_path / "dvc.yaml").write_text(text)
    assert code_deps.main(write=True, root=tmp_path) == 0
    new = text.replace('[flows/a.py, "data/${a.b}"]', '["data/${a.b}", flows/a.py, tasks/t.py]')
    assert (tmp_path / "dvc.yaml").read_text() == new
    assert code_deps.main(write=False, root=tmp_path) == 0


def _floor(path: Path) -> int:
    name = path.relative_to(ROOT).as_posix()
    return next(i for i, floor in enumerate(FLOORS) if name.startswith(floor))


def test_imports_go_down_and_never_round():
    graph = {}
    for module in _modules():
        if module.name == "__init__.py":
            continue
        found = code_deps.imports(module, started=False)
        graph[module] = {m for m in found if m.suffix == ".py" and m.name != "__init__.py"}
        for other in graph[module]:
            assert _floor(other) <= _floor(module), (
                f"{module.relative_to(ROOT)} imports {other.relative_to(ROOT)}, a floor above"
            )
    list(TopologicalSorter(graph).static_order())  # a circle is an error here


def test_tasks_know_neither_prefect_nor_dvc_nor_flows():
    for module in _modules():
        if module.is_relative_to(ROOT / "tasks"):
            for node in ast.walk(ast.parse(module.read_text())):
                names = (
                    [a.name for a in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
                assert not {n.split(".")[0] for n in names} & {"prefect", "dvc", "flows"}, module
