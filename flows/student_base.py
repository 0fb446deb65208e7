"""The base of a student, of another size or architecture than R1's (paper 2.4: Qwen2.5 and Llama bases).

Departure: at `cpu` pretrained here like the base, with a seed of its own.
"""

from pydantic import Field

from flows.base import make
from flows.orchestration.stage import Run, stage
from tasks.settings import Settings
from tasks.training.settings import Model


class Params(Settings):
    students: dict[str, Model] = Field(description="name of the student's base -> where it comes from")


def body(p: Params, run: Run) -> dict:
    return make(p.students[run.item], run)


if __name__ == "__main__":
    stage(body, Params)
