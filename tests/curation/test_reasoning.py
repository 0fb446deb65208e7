import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.curation.curate import curate
from tasks.curation.errors import CurationError
from tasks.curation.policy import Policy
from tasks.curation.reasoning import join_candidates, kept_examples
from tasks.provenance.artifacts import read_rows, write_rows
from tasks.rows import COMPLETION, DECISION, PROMPT, VERDICT

GOOD = "<think> First A-1=53. Then B+3=56. </think> The result is 56. <answer>56</answer>"
LONG = GOOD.replace("Then", "Then " * 60)
POLICY = Policy.model_validate(
    {
        "filters": {
            "min_language_share": 0.9, "max_paragraph_chars": 200, "max_code_fences": 0, "well_formed": True, "complete": True,
        },
        "deduplication": {"exact_scope": "prompt"},
        "selection": {"per_prompt": 2},
    }
)  # fmt: skip


def candidate(i, text, prompt="p0", finish="stop"):
    return {"id": f"c{i}", "prompt_id": prompt, "model": "m", "engine": "e", "settings": "{}", "index": i, "text": text,
            "tokens": 9, "finish": finish, "logprob": -1.0}  # fmt: skip


def verdict(row, status="ok"):
    return {"completion_id": row["id"], "prompt_id": row["prompt_id"], "status": status, "extracted": "56", "gold": "56",
            "method": "maths/fast", "detail": "", "verifier": "v"}  # fmt: skip


def prompt(key, language="en"):
    return {"id": key, "source": "sums", "domain": "maths", "split": "train", "text": f"Compute {key}", "gold": "56",
            "solution": None, "language": language, "licence": "MIT", "origin": f"f:{key}", "meta": None}  # fmt: skip


def curated(folder, rows, statuses, language="en"):
    """(kept example by completion id, first failing rule by candidate id) of COMPLETION rows and their statuses."""
    prompts = {key: prompt(key, language) for key in sorted({r["prompt_id"] for r in rows})}
    write_rows(folder, "candidates", rows, COMPLETION)
    write_rows(folder, "verdicts", [verdict(r, s) for r, s in zip(rows, statuses, strict=True) if s], VERDICT)
    write_rows(folder, "prompts", prompts.values(), PROMPT)
    files = [folder / "candidates.parquet", folder / "verdicts.parquet", [folder / "prompts.parquet"]]
    assert join_candidates(*files, folder / "joined.parquet") == len(rows)
    curate([folder / "joined.parquet"], POLICY, folder / "out")
    examples = {e["completion_id"]: e for e in kept_examples(folder / "out" / "kept.parquet", prompts)}
    failing = {}
    for d in read_rows(folder / "out", "decisions", DECISION):
        if not d["keep"]:
            failing.setdefault(d["row_id"], d["rule"])
    return examples, failing


def test_what_the_old_sql_decided_is_decided(tmp_path):
    """One candidate per rule, each of a prompt of its own, and what the first reason must be."""
    told = [
        (GOOD, "stop", "ok", None), (GOOD, "stop", "wrong", "verdict"), (GOOD, "stop", "infra", "verdict"),
        (GOOD, "stop", None, "verdict"), (GOOD, "length", "ok", "truncated"),
        ("The result is <answer>56</answer>", "stop", "ok", "bad_format"),
        (GOOD.replace("Then", "然后"), "stop", "ok", "mixed_language"), (LONG, "stop", "ok", "long_paragraph"),
        (GOOD.replace("Then", "Then ```x``` so"), "stop", "ok", "code_block"),
        ("<think> 54-1=53 </think> <answer>53</answer>", "stop", "ok", None),  # no words, no mixture
    ]  # fmt: skip
    rows = [candidate(i, text, f"p{i}", finish) for i, (text, finish, _, _) in enumerate(told)]
    examples, failing = curated(tmp_path, rows, [status for _, _, status, _ in told])
    assert [failing.get(f"c{i}") for i in range(len(told))] == [rule for *_, rule in told]
    assert set(examples) == {"c0", "c9"} and examples["c0"]["response"] == GOOD
    assert examples["c0"]["prompt"] == "Compute p0" and examples["c0"]["origin"] == "candidates"


def test_a_wrong_candidate_never_displaces_a_right_one_and_the_cap_counts_clean_ones(tmp_path):
    texts = [GOOD, GOOD, *(GOOD.replace("First", word) for word in ("So", "Now", "Well", "Here"))]
    rows = [candidate(i, text) for i, text in enumerate(texts)]
    examples, failing = curated(tmp_path, rows, ["wrong", "ok", "ok", "wrong", "ok", "ok"])
    assert set(examples) == {"c1", "c2"}, "the lowest indices among the right ones"
    assert failing["c0"] == "exact_duplicate" and failing["c3"] == "verdict"
    assert (failing["c4"], failing["c5"]) == ("per_prompt", "per_prompt")


def test_the_language_is_the_prompts(tmp_path):
    rows = [candidate(0, GOOD), candidate(1, "<think> 首先计算第一项，然后得到结果。 </think> 答案 <answer>56</answer>")]
    examples, failing = curated(tmp_path, rows, ["ok", "ok"], language="zh")
    assert set(examples) == {"c1"} and failing == {"c0": "mixed_language"}


def test_a_candidate_of_an_unknown_prompt_is_an_error(tmp_path):
    write_rows(tmp_path, "candidates", [candidate(0, GOOD, "p0"), candidate(1, GOOD, "lost")], COMPLETION)
    write_rows(tmp_path, "verdicts", [], VERDICT)
    write_rows(tmp_path, "prompts", [prompt("p0")], PROMPT)
    files = [tmp_path / "candidates.parquet", tmp_path / "verdicts.parquet", [tmp_path / "prompts.parquet"]]
    with pytest.raises(CurationError, match="2 candidates .* 1 with their prompts"):
        join_candidates(*files, tmp_path / "joined.parquet")


def test_tables_are_written_a_row_group_at_a_time(tmp_path):
    """What `write_rows` streams is what one table would hold."""
    rows = [prompt(f"p{i}") for i in range(20_000)]
    assert write_rows(tmp_path, "prompts", iter(rows), PROMPT) == 20_000
    assert pq.read_table(tmp_path / "prompts.parquet").equals(pa.Table.from_pylist(rows, schema=PROMPT))
    assert pq.read_metadata(tmp_path / "prompts.parquet").num_row_groups == 3
