"""Shared n-grams as spans of characters."""

from tasks.curation.contamination_report import parts
from tasks.curation.contamination_spans import shared_spans


def marked(text, spans):
    return [text[s.start : s.end] for s in spans]


def test_stretches_are_maximal_and_numbered_alike():
    a = "Now: one two, three FOUR! And then five six seven eight."
    b = "five six seven eight; one two three four"
    in_a, in_b = shared_spans(a, b, 3)
    assert marked(a, in_a) == ["one two, three FOUR", "five six seven eight"]
    assert marked(b, in_b) == ["five six seven eight", "one two three four"]
    assert [s.run for s in in_a] == [1, 0] and [s.run for s in in_b] == [0, 1]


def test_non_ascii_signs_are_tokens_and_short_texts_are_compared_whole():
    a, b = "求证：$x^2$ 是偶数", "证明 x^2 是偶数。"
    in_a, in_b = shared_spans(a, b, 4)
    assert marked(a, in_a) == ["x^2$ 是偶数"] and marked(b, in_b) == ["x^2 是偶数"]
    assert marked("2 + 3", shared_spans("2 + 3", "2 - 3", 8)[0]) == ["2 + 3"]
    assert shared_spans("", "words", 8) == ([], [])


def test_what_does_not_count_is_not_marked():
    a = "find the least number such that it is even"
    spans, _ = shared_spans(a, a, 3, lambda grams: [gram[0] in ("find", "it") for gram in grams])
    assert marked(a, spans) == ["find the least", "it is even"]
    none, _ = shared_spans(a, a, 3, lambda grams: [False] * len(grams))
    assert none == []


def test_parts_lose_nothing():
    a = "<b>one two three</b> & four"
    spans, _ = shared_spans(a, "one two three", 3)
    cut = parts(a, spans)
    assert "".join(text for text, _ in cut) == a and [run for _, run in cut] == [None, 0, None]
