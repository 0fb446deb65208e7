"""Small candidates with every fault that a filter looks for, for the tests of curation."""

import functools
import random

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.curation.curate import curate
from tasks.curation.policy import Deduplication, Filters, Policy, Selection

curated = functools.partial(curate, picture=False)  # drawing takes most of a small run
WORDS = "the sum of both sides is even so we divide by two and find that every root must be real".split()
POLICY = Policy(
    filters=Filters(
        min_language_share=0.9, max_paragraph_chars=2000, max_code_fences=0, well_formed=True, complete=True,
        min_tokens=5,
        max_tokens=5000, max_repeated_ngrams=0.9, max_repeated_paragraphs=0.5, refused_openings=("I'm sorry",),
    ),
    deduplication=Deduplication(within_prompt=0.8, across_prompts=0.9),
    selection=Selection(per_prompt=2),
)  # fmt: skip


def response(thought: str, summary: str = "So it is <answer>4</answer>.") -> str:
    return f"<think>{thought}</think>\n{summary}"


def prose(seed: object, words: int = 60) -> str:
    chosen = random.Random(str(seed))
    return " ".join(chosen.choice(WORDS) + (chosen.choice("abcdefghij") * chosen.randint(0, 2)) for _ in range(words))


def candidate(i: int, text: str | None = None, **others) -> dict:
    prompt = i // 4
    return {
        "id": f"c{(i * 7919) % 100_003:06}", "prompt_id": f"p{prompt}", "prompt": f"What is {prompt} + {prompt}?",
        "text": response(prose(i)) if text is None else text, "verdict": "wrong" if i % 5 == 0 else "ok",
        "language": "en",
        "domain": "maths", "source": "made", "index": i % 4, "finish": "stop",
    } | others  # fmt: skip


def candidates(count: int = 240) -> list[dict]:
    """Sound ones, and of each fault a few; extra columns `score` and `tag`."""
    rows = []
    for i in range(count):
        text, finish = None, "stop"
        match i % 24:
            case 3:
                text = response("我们需要计算这个数的值并且检查结果是否正确 " + prose(i, 5))
            case 7:
                text = response(prose(i) + "```python\nprint(4)\n```")
            case 9:
                text = f"<think>{prose(i)}"
            case 10:
                finish = "length"
            case 11:
                text = response("wait " * 300)
            case 13:
                text = response(prose(i), "I'm sorry, I cannot help. <answer>4</answer>")
            case 15:
                text = response(prose(i - 1))  # its neighbour's
            case 17:
                text = response(prose(i - 1) + " indeed")
            case 19:
                text = response("x" * 2500)
        rows.append(candidate(i, text, finish=finish) | {"score": i / 10, "tag": f"t{i % 3}"})
    return rows


def write(path, rows: list[dict], group: int = 1000, schema: pa.Schema | None = None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=group)
    return path
