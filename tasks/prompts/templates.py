"""How a question becomes the text a model continues; its hash goes into every completion and every protocol."""

import hashlib

# The wording of `r1` is ours: the paper's R1-Zero template asks for reasoning, then an answer, in tags, and
# constrains nothing else (paper 2.2, table 1).
TEMPLATES = {
    "bare": "User: {question}\nAssistant: ",
    "r1": (
        "The assistant first thinks about the user's question and writes its reasoning inside <think> </think>, "
        "then gives a short summary with the final answer inside <answer> </answer>.\n"
        "User: {question}\nAssistant: "
    ),
}


def render(template: str, question: str) -> str:
    """The prompt text of `question`; raises ValueError naming the known templates."""
    if template not in TEMPLATES:
        raise ValueError(f"unknown template {template!r}; known: {', '.join(TEMPLATES)}")
    return TEMPLATES[template].replace("{question}", question)


def template_hash(template: str) -> str:
    """12 hex digits that change whenever the template's wording does."""
    return hashlib.blake2b(render(template, "{question}").encode(), digest_size=6).hexdigest()
