"""The compiled kernel against the same measures in plain SQL, column by column."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tasks.curation.kernel import GramIndex, Spec, measure, oracle

SHARED = Path(os.environ.get("R1_SHARED_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
HARD = [
    "", " ", "\n\n", "a", "\x00", "a\x00b a\x00b", None, "e\u0301 \u00e9", "\u2000x\u00a0\u3000y\u2028",
    "\r\n\r\nx\r\n \r\ny\r\n",
    "<think>", "</think>", "<think></think>",
    " \u3000<think>a</think>b<answer></answer>c", "<think>a</think><answer>1</answer></think>",
    "<think>``` code ``` `x` $a b$ $5 and $6 \\(x + y\\) \\[a \\( b\\] \\frac{ab}{cd}ef http://x.y/z words</think>```",
    "x<think>unopened</think> and then <answer>one</answer><answer>two</answer>", "````` `` ` ``", "$$$ a $$ b $$ c $",
    "\\( never closed \\( one \\) two \\\\( three \\) four \\[ \\",
    "it's rock'n'roll, l'été ''quoted'' don''t I'm a b'c'",
    "naïve cafe\u0301 μέτρο π r слово имя 한국어 단어 日本語テキスト हिन्दी शब्द বাংলা",
    "لغة עברית ไทย ქართული ⟨Ⅳ⟩ ²½ 𝒳 😀👩‍👩‍👧",
    "same\n\nsame\n\nother\n \t\nsame  \n\n  same", "0123456789abcdefghijABCDEFGHIJ" * 5, "3+4 3-4 3*4 3<4 a!=b 50%",
    "xhttp://no.word/ _http://also.no/ (https://yes.it/a'b) https:// https://\u00e9t\u00e9 end",
]  # fmt: skip
PIECES = st.one_of(
    st.sampled_from(
        "<think>|</think>|<answer>|</answer>|```|`|$|$$|\\(|\\)|\\[|\\]|\\frac{|}|\n|\n\n|\r\n| |\t|\u00a0|\u3000|\x00"
        "|'|\u2019|http://|https://a|e\u0301|the|don't|I|x|42|π|中文|かな|한국|слово|हिन्दी|ไทย|עברית|😀|K|ﬁ|=".split("|")
    ),
    st.text(st.characters(codec="utf-8", max_codepoint=0x2FFFF, exclude_categories=("Cn", "Co", "Cs")), max_size=8),
    st.text("ab \n", max_size=70),
)
TEXTS = st.lists(st.lists(PIECES, max_size=40).map("".join), min_size=20, max_size=30)


def assert_equal(texts: list[str | None], spec: Spec = Spec(), items: list[str] | None = None, **index) -> None:
    array = pa.array(texts, pa.string())
    benchmark = None if items is None else pa.array(items)
    grams = items and GramIndex.build(index["gram_n"], benchmark, index["max_document_frequency"])
    ours, reference = measure(array, spec, grams), oracle.measure(array, spec, benchmark, **index)
    assert ours.schema == reference.schema
    for name in ours.schema.names:
        for text, value, wanted in zip(texts, ours[name].to_pylist(), reference[name].to_pylist()):
            assert value == (pytest.approx(wanted, abs=1e-12) if isinstance(wanted, float) else wanted), (name, text)


def shared_texts(name: str, read) -> list[str]:
    if not (SHARED / name).is_dir():
        pytest.skip(f"real inputs are not at {SHARED} (set R1_SHARED_DATA)")
    return read(SHARED / name)


def star1(folder: Path) -> list[str]:
    return [row["response"] for row in json.loads((folder / "STAR-1.json").read_text())]


def tora(folder: Path) -> list[str]:
    lines = next(folder.glob("*.jsonl")).read_text().splitlines()
    return ["".join(json.loads(line)["code"]) for line in lines]


def test_hard_texts():
    assert_equal(HARD, items=[text for text in HARD if text], gram_n=2, max_document_frequency=3)


def test_other_settings():
    assert_equal(HARD, Spec(shingle=2, permutations=40, bands=5, rows=7))


@settings(
    max_examples=4, derandomize=True, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(TEXTS)
def test_any_text(texts):
    assert_equal(texts, items=texts[:10], gram_n=3, max_document_frequency=2)


def test_star1_with_planted_contamination():
    texts = shared_texts("star1-r1-safety", star1)[:60]
    items = [text[200:500] for text in texts[:20]] + [texts[0][300:700], "short"]
    assert_equal(texts, items=items, gram_n=8, max_document_frequency=1)


def test_tora():
    assert_equal(shared_texts("tora-outputs", tora)[:80])


def test_a_megabyte():
    sentence = "Wait, let me check: 12*(3+4) = 84, so x² ≤ 84 — yes.\n\n中文 also. "
    assert_equal([sentence * 4_000, "z" * 1_000_000], Spec(permutations=8, bands=2, rows=4))
