"""Bug fixing (paper, S: 8K prompts): a program that fails hidden tests, to be repaired; the same tests judge it then.

Columns: the task as `text`, the failing program as `broken`, `tests` as tasks/verification/code wants them (or a list
of `{"input", "output"}`), and, where there are any, `language` (python, cpp), `prelude`, `time_s`, `memory_mb`,
`tolerance`, and a repaired program as `solution`. The gold check runs both: the broken one must fail.
"""

from tasks.prompts.formats.found import Found, parsed, text_of
from tasks.prompts.formats.programs import fenced

DOMAIN = "code"
COLUMNS = ("text", "broken", "tests")
QUESTION = """The program below is meant to solve this task and fails some of its tests.

{text}

```{language}
{program}
```

Find the fault and reply with the whole repaired program in one ```{language} block."""


def convert(row: dict) -> Found:
    tests, language = parsed(row["tests"]), row.get("language") or "python"
    if isinstance(tests, list):
        tests = {"kind": "stdio", "cases": tests}
    meta = {"tests": tests, "broken": text_of(row, "broken")}
    meta |= {k: row[k] for k in ("language", "prelude", "time_s", "memory_mb", "tolerance", "solution") if row.get(k)}
    text = QUESTION.format(text=text_of(row, "text"), program=meta["broken"], language=language)
    return Found(text, None, fenced(meta["solution"], language) if "solution" in meta else None, meta)
