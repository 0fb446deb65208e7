"""Two who trigger the same thing at once: one builds, the other waits and finds it fresh."""

import threading


def test_two_pipelines_in_one_checkout_build_every_stage_once(toy):
    toy.set("grow.plants.oak", {"steps": 30, "seconds": 0.2})
    runs = [toy.start(*toy.r1_command("run", "grow@oak")) for _ in range(2)]
    said = ["", ""]
    readers = [threading.Thread(target=lambda i=i: said.__setitem__(i, runs[i].communicate()[0])) for i in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(240)
    assert [run.returncode for run in runs] == [0, 0], said
    for stage in ("numbers", "grow@oak"):
        ends = [
            next((words for words in ("done in", "unchanged") if f"{stage}: {words}" in one), "up to date")
            for one in said
        ]
        assert ends.count("done in") == 1, (stage, said)
