"""A domain whose answers are the seconds that checking them takes."""

import time

NAME = "slow"
LIBRARIES = ()
RUNS = "process"


def start(prompt, text):
    return text, None, {"seconds": float(text)}


def work(job):
    time.sleep(job["seconds"])
    return "ok", "slow", ""
