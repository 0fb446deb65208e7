"""Before a run: will the disk hold what its stages leave behind?"""

from collections.abc import Collection
from pathlib import Path

from flows.orchestration.dag import stage_names
from flows.orchestration.forecast.disk import disk_of, is_linked, room
from flows.orchestration.forecast.plan import make_plan, recipe_values
from flows.orchestration.forecast.stages import STAGES


def check(root: Path, todo: Collection[str], at_once: int) -> None:
    """DiskError where the stages of `todo`, `at_once` side by side, need more than is free.

    What is published already stays in DVC's cache, so a stage that runs again needs its room again. A project whose
    dvc.yaml has other stages than ours has no forecast, and is not checked.
    """
    if set(stage_names(root)) != set(STAGES):
        return
    plan = make_plan(recipe_values(root, root / "params.yaml"), root)
    steps = [s for s in plan.steps if s.stage in todo]
    need = disk_of(steps, 1 if plan.device.is_gpu else at_once, is_linked(root))
    room(root, need, len(todo), plan.recipe)
