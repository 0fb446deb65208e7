"""A student (paper 2.4): SFT on the teacher's set, no RL.

Departure: a control student is trained on the same prompts, whose chains of thought come from the generator of the
problems, not from the teacher: what it lacks against the distilled one is what the teacher gave.
"""

from typing import Literal

from pydantic import Field

from flows.orchestration.stage import Run, stage
from tasks.curation.examples import read_examples, with_generator_solutions
from tasks.prompts.stored import read_prompts
from tasks.prompts.templates import render
from tasks.settings import Settings
from tasks.training.settings import SFT
from tasks.training.sft import fine_tune_checkpoint


class Student(Settings):
    base: str = Field(description="name in student_base.students")
    data: Literal["teacher", "generator"] = Field("teacher", description="whose chains of thought")
    sft: SFT


class Params(Settings):
    students: dict[str, Student] = Field(description="name -> base, data and SFT settings; paper: six")


def body(p: Params, run: Run) -> dict:
    student = p.students[run.item]
    examples, unsolved = read_examples(run.input("sft_data")), 0
    if student.data == "generator":
        examples, unsolved = with_generator_solutions(examples, read_prompts(run.input("prompts"), "train"))
    pairs = [(render(run.template, e["prompt"]), e["response"]) for e in examples]
    metrics, curve = fine_tune_checkpoint(
        run.input(f"student_base/{student.base}"), run.out, pairs, student.sft, run.seed, run.work, run.progress,
        run.threads, run.accelerate,
    )  # fmt: skip
    run.curve(curve)
    return metrics | {"data": student.data, "without_solution": unsolved}


if __name__ == "__main__":
    stage(body, Params)
