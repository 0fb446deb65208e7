"""What pretraining must learn first: teacher-forced accuracy on clean chains of thought that were held out."""

import re
from collections.abc import Callable

COLUMNS = ("copy_accuracy", "step_accuracy", "answer_accuracy")


def copy_probe(tokenizer, examples: list[tuple[str, str]]) -> Callable[[object], dict]:
    """`probe(model)` -> copy_accuracy (the operand of the next step), step_accuracy (its result), answer_accuracy.

    `examples` are (prompt, response) texts; accuracy is that of the argmax under teacher forcing.
    """
    import torch

    prompts = [tokenizer(p)["input_ids"] for p, _ in examples]
    responses = [tokenizer(r)["input_ids"] for _, r in examples]
    width = max(len(p) + len(r) for p, r in zip(prompts, responses, strict=True))
    pad = tokenizer.pad_token_id
    x = torch.tensor([p + r + [pad] * (width - len(p) - len(r)) for p, r in zip(prompts, responses, strict=True)])
    kind: dict[tuple[int, int], str] = {}
    for row, (p, r) in enumerate(zip(prompts, responses, strict=True)):
        words = tokenizer.convert_ids_to_tokens(r)
        for j, word in enumerate(words):
            if re.fullmatch(r"[+-]\d", word):
                kind[row, len(p) + j] = "copy_accuracy"
            elif word.isdigit():
                kind[row, len(p) + j] = "step_accuracy" if words[j - 1] == "=" else "answer_accuracy"

    def probe(model) -> dict:
        was = model.training
        model.eval()
        with torch.no_grad():
            best = model(input_ids=x).logits.argmax(-1)
        model.train(was)
        hits: dict[str, list[bool]] = {}
        for (row, j), name in kind.items():
            hits.setdefault(name, []).append(best[row, j - 1].item() == x[row, j].item())
        return {name: sum(h) / len(h) for name, h in sorted(hits.items())}

    return probe

