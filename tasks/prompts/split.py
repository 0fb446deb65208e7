"""Train / validation / final split by content hash: the same prompt lands in the same split in every run and recipe.

Everything that makes training text without going through the prompt bank (the pretraining corpus) leaves out the
whole held-out band, so neither validation nor final prompts are ever trained on.
"""

import hashlib

HELD_OUT = 0.2  # upper bound of validation_share + final_share


def position(text: str) -> float:
    """Uniform [0, 1) position of a prompt, from its text with white space folded."""
    digest = hashlib.blake2b(" ".join(text.split()).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def split_of(text: str, validation_share: float, final_share: float) -> str:
    """"final", "validation" or "train"; the shares together are at most HELD_OUT."""
    if not 0 <= validation_share + final_share <= HELD_OUT:
        raise ValueError(f"validation_share + final_share is {validation_share + final_share}, above {HELD_OUT}")
    u = position(text)
    return "final" if u < final_share else "validation" if u < final_share + validation_share else "train"


def held_out(text: str) -> bool:
    """True where a prompt may be in validation or final under any allowed shares."""
    return position(text) < HELD_OUT
