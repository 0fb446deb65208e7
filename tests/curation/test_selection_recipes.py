"""The shipped policies: each loads, says where its values come from, and keeps what it should of planted candidates."""

import re
from pathlib import Path

import pyarrow as pa
import pytest
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from tasks.curation.policy import load_policy
from tasks.curation.selection import rules, select

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "recipes" / "selection"
NAMES = sorted(p.stem for p in FOLDER.glob("*.yaml"))
SOURCE = re.compile(r"#.*(\bours\b|not published|\b(P|S|Y|O|L|L1|L3|G|R|D|W|B|s1)\b)")
STRUCTURE = {"rule", "by", "column", "name"}  # how a value is reached; the line beside it says whose it is


def test_the_surveys_recipes_are_here():
    assert {"r1", "openthoughts", "light-r1", "s1k", "limo", "deepscaler", "skywork-or1", "bigmath"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_loads_and_selects(name):
    policy = load_policy(name, FOLDER)
    assert rules(policy.selection) and policy.decontamination.against == ()


def leaves(node, at=""):
    """(dotted key, comment on its line) of every value; a list or mapping on one line is one value."""
    if isinstance(node, CommentedMap) and not node.fa.flow_style():
        for key, value in node.items():
            if isinstance(value, CommentedMap | CommentedSeq) and not value.fa.flow_style():
                yield from leaves(value, f"{at}.{key}")
            elif key not in STRUCTURE:
                yield f"{at}.{key}", node.lc.value(key)[0]
    elif isinstance(node, CommentedSeq):
        for value in node:
            yield from leaves(value, f"{at}[]")


@pytest.mark.parametrize("name", NAMES)
def test_every_value_names_its_source(name):
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    found = list(leaves(YAML().load("\n".join(lines))))
    assert len(found) > 5
    assert [(key, lines[line]) for key, line in found if not SOURCE.search(lines[line])] == []


def test_a_value_without_a_source_would_be_seen():
    tree = YAML().load("selection:\n  per_prompt: 2\n  bands:\n    - column: pass_rate\n      above: 0  # W 6.2\n")
    assert [key for key, _ in leaves(tree)] == [".selection.per_prompt", ".selection.bands[].above"]
    assert not SOURCE.search("  per_prompt: 2  # two are enough")


class Planted:
    """Candidates made prompt by prompt; what a policy must keep is written down as they are made."""

    def __init__(self):
        self.rows, self.wanted = [], set()

    def prompt(self, verdicts, domain="maths", tokens=None, probe=None, wanted=()):
        """One prompt with a candidate per verdict; `wanted`: positions of those that the policy must keep."""
        prompt = f"p{len({r['prompt_id'] for r in self.rows})}"
        for i, verdict in enumerate(verdicts):
            if i in wanted:
                self.wanted.add(len(self.rows))
            self.rows.append({
                "id": f"{len(self.rows):06}", "prompt_id": prompt, "index": i, "verdict": verdict, "domain": domain,
                "tokens": tokens[i] if tokens else 100, "probe_pass_rate": probe, "passes": True,
            })  # fmt: skip

    def run(self, name):
        """Kept rows and the decisions of all, by the policy's selection."""
        import duckdb

        with duckdb.connect(config={"threads": 1}) as con:
            table = pa.Table.from_pylist(self.rows)
            con.register("given", table.append_column("row", pa.array(range(table.num_rows), pa.int32())))
            con.execute("CREATE TABLE measured AS SELECT * FROM given")
            con.execute("CREATE VIEW passing AS SELECT row, passes FROM measured")
            select(con, load_policy(name, FOLDER).selection, seed=0)
            found = dict(con.execute("SELECT row, decisions FROM selection").fetchall())
        return {row for row, decisions in found.items() if all(d["keep"] for d in decisions)}, found


@pytest.mark.parametrize("name", ["r1", "openthoughts"])
def test_correct_responses_only(name):
    planted = Planted()
    planted.prompt(["ok", "wrong", "ok", "unparsable", None], wanted=(0, 2))
    planted.prompt(["wrong", "timeout", "infra"])
    planted.prompt(["ok"] * 20, wanted=range(20))
    assert planted.run(name)[0] == planted.wanted


def test_openthoughts3_takes_sixteen_unverified_answers_in_its_mixture():
    planted = Planted()
    planted.prompt(["wrong"] * 10 + [None] * 10, wanted=range(16))
    planted.prompt(["ok"] * 3, domain="code", wanted=range(3))
    planted.prompt(["ok"] * 3, domain="puzzle")  # not in the mixture
    kept, found = planted.run("openthoughts3")
    assert kept == planted.wanted
    mixture = {
        planted.rows[r]["domain"]: d["threshold"] for r, ds in found.items() for d in ds if d["rule"] == "mixture"
    }
    assert mixture == {"maths": 927272, "code": 272727, "puzzle": 0}  # of 1.2 M, as there is no science: 85 to 25


def test_light_r1_takes_one_correct_answer_a_prompt_in_two_stages():
    planted = Planted()
    planted.prompt(["ok", "wrong", "wrong", "wrong"], wanted=(0,))
    planted.prompt(["wrong", "wrong"])
    planted.prompt(["ok"] * 8)
    kept, found = planted.run("light-r1")
    easy = range(6, 14)
    assert 0 in kept and len(kept & set(easy)) == 1 and len(kept) == 2
    stages = {row: next(d for d in found[row] if d["rule"] == "difficulty_stage")["evidence"] for row in kept}
    assert stages == {0: "stage 2", (kept - {0}).pop(): "stage 1"}


def test_s1k_spreads_a_thousand_over_domains_and_prefers_long_traces():
    planted = Planted()
    for i in range(700):
        planted.prompt(["wrong", "ok"], "geometry", tokens=[10 + i, 5], probe=0.0, wanted=(0,) if i >= 210 else ())
    for i in range(700):
        planted.prompt(["ok"], "algebra", tokens=[10 + i], probe=0.0, wanted=(0,) if i >= 210 else ())
    for _ in range(20):
        planted.prompt([None], "biology", tokens=[1], probe=0.0, wanted=(0,))
    for _ in range(50):
        planted.prompt(["ok"], "biology", tokens=[9999], probe=0.5)  # solved by a model: too easy
    kept, _ = planted.run("s1k")
    assert len(kept) == 1000 and kept == planted.wanted  # 20 of biology, all it has; 490 of each of the others


def test_limo_takes_the_817_hardest_and_of_each_the_longest_correct_chain():
    planted = Planted()
    for i in range(800):
        planted.prompt(["ok", "ok", "wrong"], tokens=[50, 60 + i, 9999], probe=1 / 32, wanted=(1,))
    for i in range(40):
        planted.prompt(["ok"], tokens=[i], probe=3 / 32, wanted=(0,) if i >= 23 else ())
    planted.prompt(["ok"], tokens=[99999], probe=4 / 32)
    planted.prompt(["ok"], tokens=[99999], probe=0.0)
    kept, _ = planted.run("limo")
    assert len(kept) == 817 and kept == planted.wanted


@pytest.mark.parametrize("name", ["deepscaler", "bigmath"])
def test_problems_without_a_gold_go_and_one_row_a_problem_stays(name):
    planted = Planted()
    planted.prompt([None, "wrong"], wanted=(0,))  # gradable: some candidate of it was graded
    planted.prompt([None])
    planted.prompt(["infra", None])
    planted.prompt(["ok"], wanted=(0,))
    assert planted.run(name)[0] == planted.wanted


def test_skywork_keeps_prompts_solved_sometimes():
    planted = Planted()
    planted.prompt(["ok"] * 16)
    planted.prompt(["wrong"] * 16)
    planted.prompt(["wrong"] * 15 + ["ok"], wanted=(0,))
    planted.prompt(["ok"] * 15 + ["unparsable"], wanted=(0,))
    planted.prompt(["ok", "wrong"])  # two rollouts are no estimate
    planted.prompt(["ok", "wrong", *["infra"] * 14])
    planted.prompt([None] * 16)
    assert planted.run("skywork-or1")[0] == planted.wanted


def test_a_policy_that_needs_a_column_says_so():
    planted = Planted()
    planted.prompt(["ok"])
    del planted.rows[0]["probe_pass_rate"]
    with pytest.raises(ValueError, match="names 'probe_pass_rate', which the candidates lack: add it"):
        planted.run("s1k")
