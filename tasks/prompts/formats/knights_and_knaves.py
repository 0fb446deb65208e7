"""Knights & Knaves as published by K-and-K (Xie et al. 2024) and Logic-RL: `quiz`, `names`, `solution` as booleans."""

from tasks.prompts.formats.found import BadRow, Found, text_of

DOMAIN = "logic"
PROCEDURAL = True
COLUMNS = ("quiz", "names", "solution")


def convert(row: dict) -> Found:
    names, solution = row["names"], row["solution"]
    if not (isinstance(names, list) and isinstance(solution, list) and names and len(names) == len(solution)):
        raise BadRow("names and solution are not lists of the same length")
    if wrong := [value for value in solution if not isinstance(value, bool)]:
        raise BadRow(f"solution holds {wrong[0]!r}, neither true nor false")
    gold = "\n".join(f"({i}) {name} is a {'knight' if knight else 'knave'}"
                     for i, (name, knight) in enumerate(zip(names, solution), 1))  # fmt: skip
    return Found(text_of(row, "quiz"), gold, None, {"puzzle": "knights-and-knaves", "people": names})
