"""A student by RL alone (paper 4.1: Qwen-32B-Zero), to compare with the same student distilled."""

from pydantic import Field

from flows import r1_zero
from flows.orchestration.stage import Run, stage


class Params(r1_zero.Params):
    student: str = Field(description="name in student_base.students")


def body(p: Params, run: Run) -> dict:
    return r1_zero.train_from_base(p, run, f"student_base/{p.student}")


if __name__ == "__main__":
    stage(body, Params)
