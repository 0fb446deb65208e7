"""The columns of a candidate."""

REQUIRED = ("id", "prompt_id", "prompt", "text")
OPTIONAL = ("verdict", "language", "domain", "source", "index", "finish")
KEYS = ("id", "prompt_id")  # text or whole numbers; the same in all files of a run
LINE = "_line"  # of converted JSON lines: the line a row stood in
