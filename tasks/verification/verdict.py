"""The verdict: what a verifier says about one response. Only rewards turn verdicts into numbers."""

from dataclasses import dataclass

from tasks.rows import STATUSES

FIELDS = ("status", "extracted", "gold", "method", "detail", "verifier")


@dataclass(frozen=True)
class Verdict:
    status: str  # ok, wrong, unparsable, timeout, infra; infra is a failure of ours and gives no reward at all
    extracted: str | None  # the final answer as found in the response
    gold: str | None
    method: str  # which rule decided, e.g. "maths/fast", "maths/math-verify", "logic/scorer", "judge"
    detail: str  # why, for people
    verifier: str  # version hash of code and libraries

    def __post_init__(self):
        if self.status not in STATUSES:
            raise ValueError(f"verdict status {self.status!r} is none of {', '.join(STATUSES)}")

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    def row(self, completion_id: str, prompt_id: str) -> dict:
        """This verdict as a VERDICT row."""
        return {"completion_id": completion_id, "prompt_id": prompt_id} | {f: getattr(self, f) for f in FIELDS}
