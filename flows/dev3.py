"""Dev3 (paper 2.3.3): two epochs of SFT of the base on the union of reasoning and non-reasoning data."""

from flows import dev1
from flows.orchestration.stage import Run, stage


class Params(dev1.Params):
    pass


def body(p: Params, run: Run) -> dict:
    return dev1.fine_tune_base(p, run, "sft_data")


if __name__ == "__main__":
    stage(body, Params)
