"""Published formats: rows of each become PROMPT rows that their verifier accepts; bad rows are counted rejections."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from tasks.prompts.bank import build
from tasks.prompts.columns import RawRow
from tasks.prompts.formats import options
from tasks.prompts.formats.found import BadRow, Format, convert, load
from tasks.prompts.readers import SourceError
from tasks.prompts.sources import Source, read_source
from tasks.verification.code.jail import INSTALL
from tasks.verification.verify import DOMAINS, gold_problems, verify_all

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))
sandbox = pytest.mark.skipif(shutil.which("bwrap") is None, reason=f"bubblewrap is not installed: {INSTALL}")
KNIGHTS = {"quiz": "You meet Ann and Bob …", "names": ["Ann", "Bob"], "solution": [True, False]}
ZEBRA = {"puzzle": "There are 2 houses …",
         "solution": {"header": ["House", "Name"], "rows": [["1", "Eric"], ["2", "Ann"]]}}  # fmt: skip
GYM = {"question": "What is 1 + 2?", "answer": "3", "metadata": {"source_dataset": "chain_sum", "source_index": 0}}
IFEVAL = {"prompt": "Write about tea without commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
MMLU = {"question": "2 + 2?", "choices": ["3", "4", "5", "6"], "answer": 1}
VERL_TEXT = "1+1? Let's think step by step and output the final answer within \\boxed{}."
VERL = {"prompt": [{"role": "user", "content": VERL_TEXT}], "reward_model": {"ground_truth": "2", "style": "rule"}}
ADD = "def add(a, b):\n    return a + b\n"
HUMANEVAL = {"prompt": 'def add(a, b):\n    """ Sum. """\n', "entry_point": "add",
             "canonical_solution": "    return a + b\n",
             "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n"}  # fmt: skip
MBPP = {"text": "Write a function to add.", "code": ADD, "test_setup_code": "", "challenge_test_list": [],
        "test_list": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"]}  # fmt: skip
MBPP_PLUS = {"prompt": '"""\nWrite a function to add.\nassert add(1, 2) == 3\n"""', "entry_point": "add",
             "canonical_solution": ADD, "assertion": "assert add(1, 2) == 3\nassert add(5, 5) == 10\n"}  # fmt: skip
LEETCODE = {"problem": "Complete:\n```python\nclass Solution:\n    def add(self, a: int, b: int) -> int:\n```",
            "solutions": "class Solution:\n    def add(self, a: int, b: int) -> int:\n        return a + b\n",
            "tests": {"functional": "def check(f):\n    assert f(a=1, b=2) == 3\ncheck(Solution().add)"}}  # fmt: skip
STDIO = {"problem": "Print twice the number.\n\nTime Limit: 1500 ms\nMemory Limit: 64 MB",
         "tests": [{"input": "4\n", "output": "8\n"}], "solution": "print(2 * int(input()))"}  # fmt: skip
CPP = STDIO | {"solution": "#include <iostream>\nint main() { int n; std::cin >> n; std::cout << 2 * n; }",
               "tests": json.dumps({"inputs": ["4\n", ["5"]], "outputs": ["8\n", ["10"]]})}  # fmt: skip
BUG = {"text": "Print twice the number.", "broken": "print(3 * int(input()))", "tests": STDIO["tests"],
       "solution": STDIO["solution"]}  # fmt: skip
LCB = {"question_content": "Add.\n\nInput: a = 1, b = 2\nOutput: 3\nThat is all.",
       "starter_code": "class Solution:\n    def add(self, a: int, b: int) -> int:\n        ", "graded_list": [True],
       "code_list": [LEETCODE["solutions"]], "metadata": ["{}"]}  # fmt: skip
ALPACA = {"instruction": "Name the colour.", "input": "grass", "output": "Green."}
# format -> (row, a response that is right, a response that is wrong); None: the row's own solution
ROWS = {
    "knights_and_knaves": (KNIGHTS, "<answer>Ann: knight, Bob: knave</answer>",
                           "<answer>Ann: knave, Bob: knave</answer>"),
    "zebra": (ZEBRA, f"<answer>{json.dumps(ZEBRA['solution'])}</answer>",
              '<answer>{"1": {"Name": "Ann"}, "2": {"Name": "Eric"}}</answer>'),
    "reasoning_gym": (GYM, "<answer>3</answer>", "<answer>4</answer>"),
    "ifeval": (IFEVAL, "Tea is good.", "Tea, good."),
    "mmlu": (MMLU, "<answer>B</answer>", "<answer>A</answer>"),
    "verl": (VERL, "<answer>2</answer>", "<answer>3</answer>"),
    "humaneval": (HUMANEVAL, None, f"```python\n{ADD.replace('+', '-')}```"),
    "mbpp": (MBPP, None, f"```python\n{ADD.replace('+', '-')}```"),
    "mbpp_plus": (MBPP_PLUS, None, f"```python\n{ADD.replace('+', '-')}```"),
    "leetcode": (LEETCODE, None, "```python\nclass Solution:\n    def add(self, a, b):\n        return 4\n```"),
    "livecodebench": (LCB, None, "```python\nclass Solution:\n    def add(self, a, b):\n        return 4\n```"),
    "stdio": (STDIO, None, f"```python\n{BUG['broken']}\n```"),
    "bug_fixing": (BUG, None, f"```python\n{BUG['broken']}\n```"),
    "stdio_cpp": (CPP, None, f"```cpp\n{CPP['solution'].replace('2 *', '3 *')}\n```"),
}  # fmt: skip
CODE = [name for name in ROWS if load(name).DOMAIN == "code"]


def bank(tmp_path, form, rows, **given):
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = Source(name="s", path="x.jsonl", format=form, licence="MIT", split="train", **given)
    return build([read_source(source, tmp_path, 0)], gold_problems, 0.0, 0.0, 4000, 1.0)


def test_every_format_has_a_row_here():
    outputs = {name for name in get_args(Format) if hasattr(load(name), "outputs")}  # tests/sampling/test_imported.py
    assert set(ROWS) | {"alpaca"} | outputs == set(get_args(Format))


@pytest.mark.parametrize("form", [pytest.param(f, marks=sandbox) if f in CODE else f for f in ROWS])
def test_a_row_becomes_a_prompt_that_tells_right_from_wrong(tmp_path, form):
    if form == "stdio_cpp" and shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    row, right, wrong = ROWS[form]
    out = bank(tmp_path, form, [row])
    assert out.decisions == [] and out.rows[0]["domain"] == load(form).DOMAIN in DOMAINS
    right = right or f"<think>Easy.</think>\n{out.rows[0]['solution']}"
    assert [v.status for v in verify_all(out.rows * 2, [right, wrong])] == ["ok", "wrong"]


BAD = {
    "knights_and_knaves": ({"solution": [True]}, "not lists of the same length"),
    "zebra": ({"solution": {"header": ["House", "Name"], "rows": [["1", "___"]]}}, "blanked out"),
    "reasoning_gym": ({"metadata": {}}, "names the reasoning-gym task"),
    "ifeval": ({"kwargs": "{"}, "JSONDecodeError"),
    "mmlu": ({"answer": 4}, "no option's text and no position"),
    "verl": ({"reward_model": {"ground_truth": ["1", "2"]}}, "is a list, not one answer"),
    "humaneval": ({"canonical_solution": "    return ("}, "SyntaxError"),
    "mbpp": ({"test_list": ["assert subtract(1, 2) == 3"]}, "no test calls what the solution defines"),
    "mbpp_plus": ({"assertion": None}, "assertion is empty"),
    "leetcode": ({"tests": {"inputs": []}}, "no `functional` test"),
    "livecodebench": ({"question_content": "Add."}, "no example"),
    "stdio": ({"tests": []}, "it has no tests"),
    "stdio_cpp": ({"problem": " "}, "there is no statement"),
    "bug_fixing": ({"broken": 7}, "broken is a int"),
    "alpaca": ({"output": ""}, "output is empty"),
}


@pytest.mark.parametrize("form", BAD)
def test_a_bad_row_is_a_counted_rejection_that_says_why(tmp_path, form):
    change, message = BAD[form]
    row = ALPACA if form == "alpaca" else ROWS[form][0]
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | change) + "\n")
    source = Source(name="s", path="x.jsonl", format=form, licence="MIT")
    good, bad = read_source(source, tmp_path, 0).rows
    assert good.problem is None and bad.problem[0] == f"format_{form}" and message in bad.problem[1]
    rows = [RawRow("anchor", "1", None, "qa", "en", "x:9"), bad]
    out = build([read_source(source, tmp_path, 0)], lambda asked: [None] * len(asked), 0, 0, 4000, 1.0)
    assert [d["rule"] for d in out.decisions] == [f"format_{form}"] and len(out.rows) == 1 and len(rows) == 2


@sandbox
def test_golds_that_their_verifier_refuses_are_rejected(tmp_path):
    wrong = MBPP | {"test_list": ["assert add(1, 2) == 4"]}
    out = bank(tmp_path, "mbpp", [MBPP, wrong])
    assert [d["rule"] for d in out.decisions] == ["gold"] and "meta.solution is wrong" in out.decisions[0]["evidence"]
    out = bank(tmp_path, "bug_fixing", [BUG, BUG | {"text": "again", "broken": BUG["solution"]}])
    assert "meta.broken is ok" in out.decisions[0]["evidence"] and len(out.rows) == 1
    out = bank(tmp_path, "verl", [VERL, {**VERL, "reward_model": {"ground_truth": "notfound"}}])
    assert [d["rule"] for d in out.decisions] == ["gold"]


def test_a_file_of_another_format_is_an_error_not_a_thousand_rejections(tmp_path):
    with pytest.raises(SourceError, match="no column 'quiz' .format knights_and_knaves"):
        bank(tmp_path, "knights_and_knaves", [MBPP])


def test_prompts_say_how_the_program_is_handed_in(tmp_path):
    texts = {form: convert(form, ROWS[form][0]).text for form in CODE}
    assert all("```" in text for text in texts.values())
    assert "`add`" in texts["humaneval"] and "`add`" in texts["mbpp"] and "assert add(1, 2) == 3" in texts["mbpp"]
    assert "assert add(2, 2)" not in texts["mbpp"], "the hidden tests stay hidden"
    assert "standard input" in texts["stdio"] and "C++" in texts["stdio_cpp"] and "```cpp" in texts["stdio_cpp"]
    assert BUG["broken"] in texts["bug_fixing"] and BUG["solution"] not in texts["bug_fixing"]
    assert "class Solution" in texts["livecodebench"]


def test_limits_come_from_the_statement_or_columns():
    meta = convert("stdio", STDIO).meta
    assert (meta["time_s"], meta["memory_mb"]) == (1.5, 256)
    nanos = {**STDIO, "problem": "x\n\nTime Limit: {'seconds': 2, 'nanos': 500000000}\nMemory Limit: 512000000 Bytes"}
    assert [convert("stdio", nanos).meta[k] for k in ("time_s", "memory_mb")] == [2.5, 512]
    assert convert("stdio", STDIO | {"time_limit": 4}).meta["time_s"] == 4.0


def test_alpaca_joins_instruction_and_input():
    assert convert("alpaca", ALPACA).text == "Name the colour.\n\ngrass"
    assert convert("alpaca", ALPACA | {"input": None}).text == "Name the colour."


def test_verl_prompts_lose_the_sentence_that_asks_for_a_box():
    assert convert("verl", VERL).text == "1+1?"


@pytest.mark.parametrize(
    "gold, label",
    [("B", "B"), ("b", "B"), (1, "B"), ("1", "B"), ("four", "B"), (" C ", "C"), (0, "A")],
)
def test_golds_of_a_choice(gold, label):
    assert options.gold_label(gold, options.labelled(["three", "four", "five"])) == label


@pytest.mark.parametrize("gold", ["E", 3, -1, True, None, "seven", 1.0])
def test_golds_of_a_choice_that_name_no_option(gold):
    with pytest.raises(BadRow):
        options.gold_label(gold, options.labelled(["three", "four", "five"]))


def test_digits_that_are_options_are_read_as_options():
    assert options.gold_label("4", options.labelled(["3", "4", "5"])) == "B"
    assert options.gold_label("1", {"1": "x", "2": "y"}) == "1"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"format": "zebra", "columns": {"text": "q"}}, "`columns`, or `format`"),
        ({"columns": None}, "`columns`, or `format`"),
        ({"format": "mbpp", "domain": "maths"}, "of domain code, not maths"),
        ({"format": "mbpp", "gold_pattern": "(x)"}, "`gold_pattern` means nothing beside `format`"),
        ({"format": "bigbench"}, "format"),
        ({"columns": {"text": "q"}, "domain": "code"}, "give `format`, or `meta`"),
        ({"columns": {"text": "q", "gold": "a"}, "domain": "choice"}, "a choice needs its options"),
        ({"columns": {"text": "q", "gold": "a", "options": "o"}, "domain": "maths"}, "for domain choice"),
        ({"columns": {"text": "q", "id": "i"}, "domain": "code", "meta": {"tests": {"value": 1}}}, "no place in"),
        ({"columns": {"text": "q"}, "domain": "code", "meta": {"tests": {"column": "t", "value": 1}}}, "exactly one of"),
        ({"columns": {"text": "q", "gold": "a"}, "domain": "maths", "drop_pattern": "("}, "drop_pattern is no"),
    ],
)  # fmt: skip
def test_bad_entries_fail_before_any_reading(given, message):
    with pytest.raises(ValidationError, match=message):
        Source(**({"name": "s", "licence": "MIT", "path": "x"} | given))


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"real inputs are not at {SHARED} (set R1_SHARED_DATA)")
@pytest.mark.parametrize(
    "form, path, limit, bad",
    [
        ("knights_and_knaves", "kk-logic", 950, {}),
        ("zebra", "zebra-logic", 300, {}),
        ("ifeval", "ifeval-qwq/ifeval.jsonl", None, {}),
        ("mmlu", "mmlu/mmlu.zip/data/val/*.csv", None, {"gold": 1, "duplicate": 2}),
        ("verl", "dsr-sub-1209", None, {"gold": 4, "duplicate": 2}),
        ("alpaca", "alpaca-52k-en/alpaca_data-0-3252-*.json", None, {"format_alpaca": 4}),
        ("stdio", "code-contests-test", None, {}),
        ("stdio_cpp", "codeforces/rllm", None, {}),
    ],
)
def test_real_rows(form, path, limit, bad):
    out = _real(form, path, limit)
    dropped = Counter(d["rule"] for d in out.decisions)
    assert dropped == bad and len(out.rows) > 150


def _real(form, path, limit):
    source = Source(
        name=form, path=str(SHARED / path), format=form, licence="see MANIFEST.jsonl", split="train", limit=limit
    )
    return build([read_source(source, ROOT, 0)], gold_problems, 0.0, 0.0, 8192, 1.0)


@sandbox
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"real inputs are not at {SHARED} (set R1_SHARED_DATA)")
@pytest.mark.parametrize(
    "form, path",
    [
        ("humaneval", "humaneval/HumanEval.jsonl.gz"),
        ("mbpp", "mbpp/mbpp.jsonl"),
        ("mbpp_plus", "mbpp-plus"),
        ("leetcode", "leetcode-rllm/test"),
        ("livecodebench", "livecodebench-submissions/*/*.json"),
    ],
)
def test_reference_solutions_of_real_code_sets_are_ok_as_responses(form, path):
    out = _real(form, path, 40)
    solved = [row for row in out.rows if row["solution"]]
    assert len(solved) > 15
    assert {v.status for v in verify_all(solved, [f"<think>…</think>{row['solution']}" for row in solved])} == {"ok"}
