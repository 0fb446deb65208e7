"""The verdict: what a verifier says about one response. Only rewards turn verdicts into numbers."""

from dataclasses import dataclass

FIELDS = ("status", "extracted", "gold", "method", "detail", "verifier")
MAX_DETAIL = 1000  # characters
Decided = tuple[str, str, str]  # status, method, detail


class VerificationError(Exception):
    """A prompt cannot be verified at all; the message names the prompt, what is missing and the remedy."""


@dataclass(frozen=True)
class Verdict:
    status: str  # ok, wrong, unparsable, timeout, infra; infra is a failure of ours and gives no reward at all
    extracted: str | None  # the final answer as found in the response
    gold: str | None
    method: str  # which rule decided, e.g. "maths/fast", "maths/math-verify", "logic/scorer", "judge"
    detail: str  # why, for people
    verifier: str  # version hash of code and libraries

    def __post_init__(self):
        from tasks.rows import STATUSES  # here: it brings pyarrow, which no worker needs

        if self.status not in STATUSES:
            raise ValueError(f"verdict status {self.status!r} is none of {', '.join(STATUSES)}")

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    def row(self, completion_id: str, prompt_id: str) -> dict:
        """This verdict as a VERDICT row."""
        return {"completion_id": completion_id, "prompt_id": prompt_id} | {f: getattr(self, f) for f in FIELDS}


def writable(text: str | None) -> str | None:
    """`text` without what UTF-8 or a Parquet reader cannot hold: lone surrogates and NUL become U+FFFD."""
    if text is None or text.isascii() and "\0" not in text:
        return text
    return (
        text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
        if _lone(text)
        else text.replace("\0", "\ufffd")
    )


def _lone(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)
