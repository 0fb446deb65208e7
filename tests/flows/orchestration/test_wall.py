"""The schedule of a forecast: edges kept, devices never oversubscribed, no wait that could be avoided."""

import itertools

from flows.orchestration.forecast.wall import Task, critical_path, finish, play

N = 8


def work(device_seconds: float, least: int = 1, most: int = N) -> Task:
    return Task(lambda n: device_seconds / max(1, n), least, most)


def checked(tasks, upstream, n=N):
    placed = play(tasks, upstream, n)
    assert set(placed) == set(tasks)
    for stage, ups in upstream.items():
        assert all(placed[up].end <= placed[stage].start + 1e-9 for up in ups)
    for at in {p.start for p in placed.values()}:
        assert sum(p.devices for p in placed.values() if p.start <= at < p.end) <= n
    return placed


def test_one_stage_takes_what_it_can_use():
    placed = checked({"a": work(80, most=4)}, {"a": ()})
    assert placed["a"].devices == 4 and placed["a"].end == 20


def test_independent_stages_share_or_follow_whichever_ends_sooner():
    tasks = {name: Task(lambda n: 10 + 1 / n, 1, N) for name in "abcd"}  # hardly quicker on more devices
    assert finish(checked(tasks, {name: () for name in "abcd"})) < 11
    tasks = {name: work(80) for name in "abc"}  # perfectly divisible: three at 2 devices each would leave 2 idle
    assert finish(checked(tasks, {name: () for name in "abc"})) == 30


def test_a_stage_without_devices_runs_beside_all_others():
    tasks = {"gpu": work(80), "cpu": Task(lambda n: 10.0, 0, 0)}
    placed = checked(tasks, {"gpu": (), "cpu": ()})
    assert finish(placed) == 10 and placed["cpu"].devices == 0


def test_a_stage_that_needs_more_than_is_free_waits():
    tasks = {"small": work(4, most=1), "large": work(80, least=8)}
    placed = checked(tasks, {"small": (), "large": ()})
    assert placed["large"].devices == 8 and finish(placed) == 14


def test_the_longest_chain_and_lower_bounds_hold_for_many_graphs():
    for seed in range(40):
        names = [f"s{i}" for i in range(9)]
        size = {s: 1 + (seed * 7 + i * 13) % 17 for i, s in enumerate(names)}
        upstream = {
            s: tuple(u for j, u in enumerate(names[:i]) if (seed + i * j) % 4 == 0) for i, s in enumerate(names)
        }
        tasks = {s: work(size[s], most=1 + (seed + i) % N) for i, s in enumerate(names)}
        placed = checked(tasks, upstream)
        chain = critical_path(tasks, upstream, N)
        assert all(a in upstream[b] for a, b in itertools.pairwise(chain))
        length = sum(tasks[s].seconds(tasks[s].most) for s in chain)
        assert finish(placed) >= max(length, sum(size.values()) / N) - 1e-9
