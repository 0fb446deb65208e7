"""One small prompt of each kind that a verifier knows: canaries for `r1 canary` before there is a prompt bank."""

import json

from tasks.rewards import code_canaries


def _row(
    name: str, domain: str, text: str, gold: str | None, meta: dict | None = None, solution: str | None = None
) -> dict:
    return {
        "id": f"canary-{name}", "domain": domain, "text": text, "gold": gold, "solution": solution, "language": "en",
        "meta": json.dumps(meta) if meta else None,
    }  # fmt: skip


PROMPTS = [
    _row("integer", "maths", "What is 30 + 42?", "72"),
    _row("fraction", "maths", "What is the probability of two heads or two tails in three throws?", r"\frac{3}{4}"),
    _row("root", "maths", r"Solve $x^2 = 12$ for positive $x$.", r"2\sqrt{3}"),
    _row("pair", "maths", "Where do the lines y = x and y = 2x - 3 meet?", "(3, 3)"),
    _row("choice", "choice", "Which gas do plants take up?\nA. oxygen\nB. carbon dioxide\nC. helium\nD. neon", "B",
         {"options": {"A": "oxygen", "B": "carbon dioxide", "C": "helium", "D": "neon"}}),
    _row("quantity", "quantity", "150 m in 12 s: how fast?", "12.5 m/s", {"unit": "m/s", "tolerance": 0.01}),
    _row("knights", "logic", "Ann says: Bob is a knave. Bob says: we are both knights. Who is what?",
         "Ann is a knight, and Bob is a knave.", {"puzzle": "knights-and-knaves", "people": ["Ann", "Bob"]}),
    _row("instructions", "instructions", "Describe the sea. Write no commas, and mention the word salt.", None,
         {"instruction_ids": ["punctuation:no_comma", "keywords:existence"], "kwargs": [{}, {"keywords": ["salt"]}],
          "strict": True},
         "<think> Short and without commas. </think> The sea is wide and blue and tastes of salt."),
    *code_canaries.PROMPTS,
    _row("general", "qa", "What is the capital of France?", None, None, "Paris."),
]  # fmt: skip
