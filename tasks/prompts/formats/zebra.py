"""Zebra puzzles as ZebraLogic publishes them: `puzzle`, and `solution` as `{"header": […], "rows": [[…], …]}`.

The statement does not say in which form the grid is wanted; the prompt does, with the puzzle's own header.
"""

import json

from tasks.prompts.formats.found import BadRow, Found, parsed, text_of

DOMAIN = "logic"
PROCEDURAL = True
COLUMNS = ("puzzle", "solution")


def convert(row: dict) -> Found:
    solution = parsed(row["solution"])
    header, rows = solution["header"], [list(line) for line in solution["rows"]]
    if not rows or any(len(line) != len(header) for line in rows):
        raise BadRow("a row of the solution has more or fewer cells than its header")
    if "___" in {cell for line in rows for cell in line}:  # the public test set hides its solutions so
        raise BadRow("the solution is blanked out (`___`), as in the public test set")
    grid = {"header": header, "rows": rows}
    shape = json.dumps({"header": header, "rows": [["1", *["…"] * (len(header) - 1)], ["2", "…"]]}, ensure_ascii=False)
    text = f"{text_of(row, 'puzzle').strip()}\n\nGive the solution as JSON with one row for each house: {shape}"
    return Found(text, json.dumps(grid, ensure_ascii=False), None, {"puzzle": "zebra", "solution": grid})
