"""Places of the integers in a row of the compiled kernel's output."""

COUNTS = (
    "bytes", "chars", "tokens", "shingles", "paragraphs", "longest_paragraph", "paragraph_chars", "repeated_chars",
    "code_fences", "think_open", "think_close", "answer_open", "answer_close", "well_formed", "thought_chars",
    "not_nfc", "gram_hits", "gram_item", "gram_start", "gram_end", "gram_grams", "words",
)  # fmt: skip
(
    BYTES, CHARS, TOKENS, SHINGLES, PARAGRAPHS, LONGEST_PARAGRAPH, PARAGRAPH_CHARS, REPEATED_CHARS,
    CODE_FENCES, THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE, WELL_FORMED, THOUGHT_CHARS,
    NOT_NFC, GRAM_HITS, GRAM_ITEM, GRAM_START, GRAM_END, GRAM_GRAMS, WORDS,
) = range(len(COUNTS))  # fmt: skip
WIDTH = WORDS + 32  # the last 32 by script id
