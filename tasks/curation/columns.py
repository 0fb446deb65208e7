"""The columns of a candidate, and of the tables that are made of candidates."""

REQUIRED = ("id", "prompt_id", "prompt", "text")
OPTIONAL = ("verdict", "language", "domain", "source", "index", "finish")
KEYS = ("id", "prompt_id")  # text or whole numbers; the same in all files of a run
LINE = "_line"  # of converted JSON lines: the line a row stood in
MEASURES = (  # of a text, by the kernel: a policy may name them as it names columns
    "chars", "bytes", "tokens", "shingles", "repeated_ngrams", "paragraphs", "longest_paragraph", "repeated_paragraphs",
    "code_fences", "think_open", "think_close", "answer_open", "answer_close", "well_formed", "thought_chars", "words",
    "language_share",
)  # fmt: skip
INTERNAL = (  # columns beside these of `measured`; no policy can name them
    "row", "shard", "position", "line", "exact", "normal", "bands", "opening", "prompt_findings", "text_findings",
    "passes", "filename",
)  # fmt: skip
