"""The whole DAG: stale stages through DVC, independent ones side by side, the longest remaining path first.

Each stage is a process of its own, `dvc repro --single-item <stage>`, so a run by hand and a run from here end in the
same dvc.lock. Where a Prefect server answers, the same is one flow run with a task for every stage that is not fresh.
"""

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from flows.orchestration import guard, in_force, mend, recipe, reproduced, schedule, slots, tracked
from flows.orchestration.child import CANCELLED, COMPLETED, FAILED, GOOD, NOT_READY, STATES, Children, Outcome
from flows.orchestration.dag import Dag, load_dag
from flows.orchestration.display import display, ended
from flows.orchestration.params import ParamsError, Top, check, read_yaml, scalars
from flows.orchestration.progress import human

TICK = 0.5  # seconds


def run(
    root: Path, targets: list[str], jobs: int | None = None, force: bool = False, downstream: bool = False,
    ignore_disk: bool = False,
) -> int:  # fmt: skip
    """Bring the targets up to date and say how it went; exit status. Nobody changes what is in force meanwhile.

    ParamsError, before anything runs, where the disk will not hold what the forecast says, unless `ignore_disk`.
    """
    with in_force.building(root):
        return _bring(root, targets, jobs, force, downstream, ignore_disk)


def _bring(root: Path, targets: list[str], jobs: int | None, force: bool, downstream: bool, ignore_disk: bool) -> int:
    values = read_yaml(root / "params.yaml")
    top = check(Top, scalars(values), "params.yaml")
    dag = load_dag(root, values)
    mend.mend(root)
    selected = dag.select(targets, downstream)
    changed = stale(root, selected)
    guard.unseal(root, (s for s in selected if s not in changed))
    forced = _forced(dag, selected, targets, downstream) if force else set()
    todo = with_downstream(dag, changed | forced, selected)
    if todo:
        recipe.validate(root, root / "params.yaml")
    elif not tracked.within():  # what was triggered from the UI shows its fresh stages there
        print(f"All {len(selected)} stages are up to date.")
        return conclude(root, dag, selected, {})
    children, jobs = Children(root, top.threads, forced), jobs or _jobs(top.threads)
    if todo and not ignore_disk:
        from flows.orchestration.forecast import room

        room.check(root, todo, jobs)
    print(f"Recipe {top.recipe}: {len(todo)} of {len(selected)} stages to visit, {jobs} side by side", flush=True)
    return _run(Pipeline(root, dag, selected, todo, jobs, children, top.recipe))


def _run(pipeline: "Pipeline") -> int:
    """Everything until nothing is left that can run; SIGTERM, Ctrl-C and Cancel leave no process behind."""
    flow_run = tracked.FlowRun(pipeline)
    main = threading.current_thread() is threading.main_thread()
    ours = main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # Prefect's own, in a run from the UI, stays
    if ours:
        signal.signal(signal.SIGTERM, _terminated)
    try:
        pipeline.execute(flow_run)
        return conclude(pipeline.root, pipeline.dag, pipeline.selected, pipeline.outcomes, pipeline)
    except KeyboardInterrupt:
        print("Stopped. What was finished stays; `r1 run` goes on from there.", flush=True)
        return 130
    finally:
        pipeline.cancel()
        flow_run.end()
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminated(*_) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _jobs(threads: int) -> int:
    """R1_JOBS, else as many stages as fit on this machine's cores."""
    if given := os.environ.get("R1_JOBS"):
        if not given.isdigit() or int(given) < 1:
            raise ParamsError(f"R1_JOBS is {given!r}; expected a number of stages, 1 or more")
        return int(given)
    return max(1, len(slots.cpus() or os.sched_getaffinity(0)) // threads)


def stale(root: Path, stages: Iterable[str]) -> set[str]:
    """The stages that DVC does not call up to date."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    wanted, found = set(stages), set()
    try:
        with Repo(str(root), _wait_for_lock=True) as repo, repo.lock:
            ours = [s for s in repo.index.stages if s.path_in_repo == "dvc.yaml" and s.name in wanted]
            for stage in ours:  # `name`: what DVC calls `addressing` depends on the folder that one is in
                try:
                    if stage.status():
                        found.add(stage.name)
                except LockError:  # somebody is building it right now: ask again when its turn comes
                    found.add(stage.name)
    except DvcException as exc:
        raise ParamsError(f"{root}: DVC says: {exc}") from exc
    return found


def _forced(dag: Dag, selected: list[str], targets: list[str], downstream: bool) -> set[str]:
    """What --force runs even where nothing changed: the targets, not what they need; without targets everything."""
    return {s for s in selected if downstream or not targets or s in targets or dag[s].name in targets}


def with_downstream(dag: Dag, stages: set[str], selected: list[str]) -> set[str]:
    todo = set(stages)
    for stage in selected:  # in an order in which they can run
        if any(up in todo for up in dag.upstream[stage]):
            todo.add(stage)
    return todo


class Pipeline:
    """The state of one run: what is to do, what is running, how what ended has ended."""

    def __init__(
        self,
        root: Path,
        dag: Dag,
        selected: list[str],
        todo: set[str],
        jobs: int,
        children: Children,
        recipe: str = "",
    ):
        self.root, self.dag, self.selected, self.todo = root, dag, selected, set(todo)
        self.jobs, self.children, self.recipe = jobs, children, recipe
        self.running: dict[str, float] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.seconds = schedule.estimates(root, dag)
        self.rank = schedule.ranks(dag, self.seconds)
        self.started = time.monotonic()
        self.ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self.gpus = len(slots.gpus())

    def execute(self, flow_run: tracked.FlowRun) -> None:
        """Start and await stages until nothing is left that can run."""
        with display() as screen:

            def say(text: str) -> None:
                screen.say(text)
                flow_run.say(text)

            while True:
                starting = self._startable()
                for stage in starting:
                    self.todo.remove(stage)
                    self.running[stage] = time.monotonic()
                    say(f"{stage}: started")
                flow_run.sync()  # a stage's own flow run hangs itself below its task run
                for stage in starting:
                    self._launch(stage, flow_run.parent(stage))
                if not self.running:
                    break
                self._await(say)
                self._obey(flow_run.cancelled(), say)
                screen.tick(self)

    def _launch(self, stage: str, parent: str | None) -> None:
        def work() -> None:
            try:
                outcome = self.children.run(self.dag[stage], parent)
            except Exception as exc:
                outcome = Outcome(stage, FAILED, 0.0, repr(exc))
            self.ended.put(outcome)

        threading.Thread(target=work, name=stage, daemon=True).start()

    def _await(self, say: Callable[[str], None]) -> None:
        try:
            outcome = self.ended.get(timeout=TICK)
        except queue.Empty:
            return
        del self.running[outcome.stage]
        self.outcomes[outcome.stage] = outcome
        if outcome.state == COMPLETED:
            self.seconds[outcome.stage] = outcome.seconds
        say(ended(outcome))
        if outcome.state == FAILED:
            say(f"  {outcome.message.replace(chr(10), chr(10) + '  ')}\n  log: {self.children.log(outcome.stage)}")
        if outcome.state not in GOOD:
            self._block(outcome.stage)

    def _obey(self, cancelled: list[str] | None, say: Callable[[str], None]) -> None:
        """End what is being cancelled in the UI: some stages, or with None everything."""
        if cancelled is None:
            say("Cancelled in Prefect. What was finished stays; `r1 run` goes on from there.")
            self.cancel()
        for stage in cancelled or []:
            if stage in self.running:
                self.children.cancel(stage)

    def cancel(self) -> None:
        """End every process of this run; what has not ended by itself is Cancelled."""
        self.children.stop()
        for stage in [*self.running, *(s for s in self.selected if s in self.todo)]:
            begun = self.running.pop(stage, None)
            self.todo.discard(stage)
            self.outcomes[stage] = Outcome(stage, CANCELLED, time.monotonic() - begun if begun else 0.0)

    def _block(self, failed: str) -> None:
        for stage in self.dag.select([failed], downstream=True):
            if stage in self.todo:
                self.todo.remove(stage)
                self.outcomes[stage] = Outcome(stage, NOT_READY, 0.0, f"needs {failed}")

    def _startable(self) -> list[str]:
        """Longest remaining path first, as far as places and accelerators go; the locks of `slots` have the last word."""
        free = self.jobs - sum(not self._elsewhere(s) for s in self.running)
        gpus = self.gpus - sum(self._gpus(s) for s in self.running)
        ready = [s for s in self.todo if not any(u in self.todo or u in self.running for u in self.dag.upstream[s])]
        chosen: list[str] = []
        for stage in sorted(ready, key=lambda s: (-self.rank[s], s)):
            place = 0 if self._elsewhere(stage) else 1
            if place <= free and self._gpus(stage) <= gpus:
                free, gpus = free - place, gpus - self._gpus(stage)
                chosen.append(stage)
        return chosen

    def _elsewhere(self, stage: str) -> bool:
        """Whether another machine builds it, and this one only waits."""
        if not self.dag[stage].pool:
            return False
        from flows.orchestration import pools

        return pools.elsewhere(self.dag[stage]) is not None

    def _gpus(self, stage: str) -> int:
        """Accelerators of this machine that the stage takes."""
        return 0 if self._elsewhere(stage) else min(self.dag[stage].gpu, self.gpus)

    def time_left(self) -> float:
        now, left = time.monotonic(), {}
        for stage, begun in self.running.items():
            p, elapsed = self.children.progress(stage), now - begun
            share = p["done"] / p["total"] if p.get("total") else 0.0
            guess = max(1.0, self.seconds[stage] - elapsed)
            left[stage] = elapsed * (1 - share) / share if share > 0.1 else guess
        return schedule.time_left(self.dag, self.todo, left, self.seconds, self.jobs)


def conclude(
    root: Path, dag: Dag, selected: list[str], outcomes: dict[str, Outcome], pipeline: Pipeline | None = None
) -> int:
    """The last words: what failed and where its log is, else the comparison and the main table. Exit status."""
    if pipeline and not outcomes:
        print(f"All {len(selected)} stages are up to date.")
    elif pipeline:
        counts = {state: sum(o.state == state for o in outcomes.values()) for state in STATES}
        said = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
        print(f"\n{said} in {human(time.monotonic() - pipeline.started)}", flush=True)
    failed = [o for o in outcomes.values() if o.state not in GOOD]
    for outcome in failed:
        if outcome.state == FAILED:
            print(f"\n{outcome.stage} failed: {outcome.message}\n  log: {root / 'work' / 'logs' / outcome.stage}.log")
    if blocked := [o.stage for o in failed if o.state == NOT_READY]:
        print(f"\nNot run, because they need what failed: {', '.join(blocked)}")
    if stopped := [o.stage for o in failed if o.state == CANCELLED]:
        print(f"\nCancelled: {', '.join(stopped)}")
    if failed:
        print("\nWhat was finished stays; after the remedy `r1 run` goes on from there.", flush=True)
        return 1
    print(reproduced.verdict(root))
    reporter = next((s for s in dag.nodes if any(str(out).startswith("report/") for out in dag[s].outs)), None)
    if reporter in selected:
        print(main_table(root), end="", flush=True)
    elif reporter:  # a table that is there may be of other checkpoints
        print(f"No report card of this: the targets leave `{reporter}` out.", flush=True)
    return 0


def main_table(root: Path) -> str:
    """The report card's main table and where the page is, once there is a report."""
    report, page = root / "report" / "report.md", root / "report" / "index.html"
    text = report.read_text(encoding="utf-8") if report.is_file() else ""
    _, opened, rest = text.partition("<!-- main table -->")
    table, closed, _ = rest.partition("<!-- /main table -->")
    shown = f"\n{table.strip()}\n" if opened and closed else ""
    return shown + (f"\nReport card: {page}\n" if page.is_file() else "")
