"""Maths verification side by side: ours, math-verify alone, TRL's and open-r1's accuracy rewards, on the same items.

    .venv/bin/python benchmarks/verification.py [repetitions]

Each side gets the same (gold, completion) items and the same number of processes, with its libraries loaded beforehand;
medians of the repetitions are printed. The peers' rewards are called as they call math-verify:
TRL 1.16 trl/rewards/accuracy_rewards.py `accuracy_reward`, open-r1 src/open_r1/rewards.py `accuracy_reward`.
Then a corpus of answers that hang: every one must end within its limits, and the other items must keep their rate.
"""

import functools
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
SHARED = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))
PEER_SECONDS = 20.0  # for one hanging answer, its time-outs of 5 s each included; then its process is killed
Item = tuple[str, str]  # gold, completion


def items() -> dict[str, list[Item]]:
    """Real golds and completions; where the shared data is missing, only the adversarial set of the tests."""
    out = {}
    if (SHARED / "tora-outputs").is_dir():
        rows = _jsonl(next((SHARED / "tora-outputs").glob("*.jsonl")))
        out["ToRA on GSM8K, model outputs"] = [(str(r["gt"]), r["code"][0]) for r in rows]
    if (SHARED / "math500").is_dir():
        rows = _jsonl(SHARED / "math500" / "test.jsonl")
        golds, texts = [r["answer"] for r in rows], [r["solution"] for r in rows]
        out["MATH-500, each gold with its solution"] = list(zip(golds, texts))
        out["MATH-500, each gold with its neighbour's solution"] = list(zip(golds, texts[1:] + texts[:1]))
        spelt = [r"\boxed{" + g.replace(r"\frac", r"\dfrac").replace(" ", r"\,") + "}" for g in golds]
        out["MATH-500, each gold in other LaTeX dress"] = list(zip(golds, spelt))
    return out


def _jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# One function for each side: True, False, or None where it gives no verdict.


def math_verify_alone(item: Item) -> bool | None:
    from math_verify import parse, verify

    gold, text = item
    golds = parse(f"${gold}$")
    return verify(golds, parse(text)) if golds else None


def trl(item: Item) -> bool | None:
    """A gold that does not parse is skipped; the completion must hold LaTeX, boxed first; the first match decides."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    gold, text = item
    golds = parse(f"${gold}$", parsing_timeout=10)
    if not golds:
        return None
    config = LatexExtractionConfig(
        normalization_config=NormalizationConfig(units=True), boxed_match_priority=0, try_extract_without_anchor=False
    )
    found = parse(text, extraction_config=[config], extraction_mode="first_match", parsing_timeout=10)
    return verify(golds, found, timeout_seconds=5)


def open_r1(item: Item) -> bool | None:
    """As TRL's, with both sides taken at the first match and operators that are malformed left as they are."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    gold, text = item
    golds = parse(f"${gold}$", extraction_mode="first_match")
    if not golds:
        return None
    normal = NormalizationConfig(nits=False, malformed_operators=False, basic_latex=True, boxed="all", units=True)
    config = LatexExtractionConfig(
        normalization_config=normal, boxed_match_priority=0, try_extract_without_anchor=False
    )
    return verify(golds, parse(text, extraction_config=[config], extraction_mode="first_match"))


PEERS = {"math-verify alone": math_verify_alone, "TRL accuracy_reward": trl, "open-r1 accuracy_reward": open_r1}


def ours(pairs: list[Item], processes: int, effort=None) -> list:
    from tasks.verification import verify

    verify._memo.clear()  # each repetition does all of its work
    prompts = [{"id": str(i), "domain": "maths", "gold": gold, "meta": None} for i, (gold, _) in enumerate(pairs)]
    return verify.verify_all(prompts, [text for _, text in pairs], processes=processes, effort=effort)


def _quiet() -> None:
    import logging

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    math_verify_alone(("1", r"\boxed{\frac{1}{2}}"))


def _guarded(call: Callable[[Item], bool | None], item: Item) -> bool | None:
    try:
        return call(item)
    except Exception:
        return None


class Peer:
    """A peer's function over a pool of processes; `_guarded` stands where a trainer would have stopped."""

    def __init__(self, call: Callable[[Item], bool | None], processes: int):
        self.call, self.pool = call, multiprocessing.get_context("spawn").Pool(processes, _quiet)
        self.pool.map(_warm, range(4 * processes), chunksize=1)

    def __call__(self, pairs: list[Item]) -> list[bool | None]:
        return self.pool.starmap(_guarded, [(self.call, pair) for pair in pairs], chunksize=8)


def _warm(_: int) -> None:
    _quiet()


def timed(call: Callable[[], list], repetitions: int) -> tuple[float, list]:
    """Median seconds, and the result."""
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        out = call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), out


def compare(sets: dict[str, list[Item]], repetitions: int, processes: int) -> None:
    """Rates, ratios, and every item that a peer accepts and r1flow does not."""
    peers = {name: Peer(call, processes) for name, call in PEERS.items()}
    ours([("1", r"\boxed{\frac{1}{2}}"), ("1", r"\boxed{\frac{1}{3}}")] * 20, processes)  # both workers are up
    total: Counter = Counter()
    for name, pairs in sets.items():
        print(f"\n{name}: {len(pairs)} items; {processes} processes, median of {repetitions}")
        mine, verdicts = timed(functools.partial(ours, pairs, processes), repetitions)
        total["r1flow"] += mine
        print(f"  {'r1flow':26} {len(pairs) / mine:9,.0f}/s  {dict(Counter(v.status for v in verdicts))}")
        for peer, call in peers.items():
            seconds, said = timed(functools.partial(call, pairs), repetitions)
            total[peer] += seconds
            lost = [i for i, (v, s) in enumerate(zip(verdicts, said)) if s is True and not v.ok]
            more = sum(v.ok and s is not True for v, s in zip(verdicts, said))
            print(
                f"  {peer:26} {len(pairs) / seconds:9,.0f}/s  {dict(Counter(said))}  ratio {seconds / mine:.1f}", end=""
            )
            print(f"; only it accepts {len(lost)}, only r1flow accepts {more}")
            for i in lost[:8] if peer == next(iter(peers)) else ():
                why = f"{verdicts[i].status} {verdicts[i].detail}"
                print(f"      it accepts, r1flow {why}: gold {pairs[i][0]!r}, text ends {pairs[i][1][-50:]!r}")
    n = sum(map(len, sets.values()))
    print(f"\nall {n} items: r1flow {n / total['r1flow']:,.0f}/s", end="")
    print("".join(f"; {peer} {n / total[peer]:,.0f}/s, ratio {total[peer] / total['r1flow']:.1f}" for peer in PEERS))
    for peer in peers.values():
        peer.pool.terminate()


HANGING = {
    "power tower": ("3", r"9^{9^{9^{9}}}"),
    "tall power tower": (r"\sqrt{2}", r"7^{7^{7^{7^{7}}}}"),
    "factorial": (r"\sqrt{2}", r"(10^{9})!"),
    "factorial of factorials": ("5", r"((((9!)!)!)!)!"),
    "binomial": (r"\frac{1}{2}", r"\binom{10^{12}}{5\cdot 10^{11}}"),
    "quotient of towers": ("1", r"\frac{10^{10^{10}}}{10^{10^{10}}-1}"),
    "remainder of a tower": ("1", r"7^{7^{7^{7}}} \mod 10"),
    "sine of a tower": (r"\frac{1}{2}", r"\sin(10^{10^{8}})"),
    "finite sum of factorials": (r"\sqrt{2}", r"\sum_{k=1}^{10^{9}} \frac{k!}{k^{k}}"),
    "infinite sum": (r"\frac{\pi^2}{6}", r"\sum_{n=1}^{\infty} \frac{\sin(n)}{n^{n}+n!}"),
    "infinite product": ("2", r"\prod_{n=1}^{\infty} \left(1+\frac{1}{n^{n}}\right)"),
    "integral": ("1", r"\int_0^1 \frac{\sin(x^x)\ln(1+x)}{\cosh(x^3)+x^x} dx"),
    "limit": ("1", r"\lim_{x\to\infty} \left(\frac{x^x \sin(x!)}{e^{x!}}\right)^{\frac{1}{x^x}}"),
    "deep braces": ("1", "{" * 450 + "x" + "}" * 450),
    "deep parentheses": ("1", "(" * 490 + "1" + ")" * 490),
    "deep roots": ("1", r"\sqrt{1+" * 100 + "2" + "}" * 100),
    "expansion": ("x", r"(x+y+z+w)^{400}-(x+y+z+w)^{399}(x+y+z+w)"),
    "regex: digits and spaces": ("1/3", "1 " * 490 + "a"),
    "regex: digits and a letter": ("1/3", "1" * 990 + "a"),
    "regex: thousands": ("1/3", "1" + ",111" * 240 + ",11a"),
    "regex: nested text": ("1/3", r"\text{" * 120 + "a" + "}" * 120),
    "regex: dollar signs": ("1/3", "$" * 900 + "a"),
}


def hanging(rest: list[Item], processes: int, repetitions: int) -> None:
    """The hanging answers spread among the others: what becomes of them, and when the others are done."""
    from tasks.verification import workers
    from tasks.verification.verify import decided

    limits, pool = workers.Limits(), workers.pool(processes)
    bad = [(gold, rf"\boxed{{{answer}}}") for gold, answer in HANGING.values()]
    every = max(1, len(rest) // len(bad))
    mixed = [(pair, False) for pair in rest]
    for i, pair in reversed(list(enumerate(bad))):
        mixed.insert(i * every, (pair, True))
    calm = [(pair, False) for pair in rest]
    one = [_finished(calm, workers.pool(1))[1] for _ in range(repetitions)]
    alone = [_finished(calm, pool)[:2] for _ in range(repetitions)]
    *among, hung = _finished(mixed, pool)
    later = [_finished(calm, pool)[:2] for _ in range(repetitions)]
    still = sum(not future.done() for future in hung)
    ends = [(name, decided(f.result()), f.result()["seconds"]) for name, f in zip(HANGING, hung)]
    one, two = statistics.median(one), statistics.median(last for _, last in alone)
    print(
        f"\n{len(rest)} items: {len(rest) / one:,.0f}/s on 1 process, {len(rest) / two:,.0f}/s on {processes}", end=""
    )
    print(f" (ratio {one / two:.2f})")
    print(f"\nhang corpus: {len(bad)} answers spread among {len(rest)} others, {processes} processes")
    print(f"  {dict(Counter(d[0] for _, d, _ in ends))}; at most {sum(limits.tries) + limits.cpu_seconds:g} CPU-s each")
    slowest = sorted(ends, key=lambda end: -end[2])[:4]
    print("  slowest, wall time: " + ", ".join(f"{name} {t:.1f} s" for name, _, t in slowest))
    for which, times in (("alone", alone), ("among them", [among]), (f"later, while {still} or more hang", later)):
        most, last = (statistics.median(column) for column in zip(*times))
        print(f"  the others, {which}: 99 % are decided after {most:.2f} s, the last after {last:.2f} s")
    with ThreadPoolExecutor(processes) as threads:
        returned = list(threads.map(_returns, bad))
    stuck = [key for key, came in zip(HANGING, returned) if not came]
    print(
        f"  math-verify alone: {len(stuck)} of {len(bad)} do not return within {PEER_SECONDS:g} s: {', '.join(stuck)}"
    )


def _finished(pairs: list[tuple[Item, bool]], pool) -> tuple[float, float, list[Future]]:
    """Seconds until 99 % and all of those that do not hang are decided; the futures of those that do."""
    from tasks.verification import maths

    rest, hung, done = [], [], []
    start = time.perf_counter()
    for (gold, text), hangs in pairs:
        _, decision, job = maths.start({"id": "", "gold": gold}, text)
        future = Future()
        if decision is None:
            future = pool.submit(maths.__name__, job)
        else:
            future.set_result({"reply": decision, "seconds": 0.0})
        (hung if hangs else rest).append(future)
        if not hangs:
            future.add_done_callback(lambda _: done.append(time.perf_counter() - start))
    for future in rest:
        future.result()
    return done[len(done) * 99 // 100], done[-1], hung


def _returns(pair: Item) -> bool:
    """Whether math-verify alone, with its own time-outs, ends in time."""
    process = multiprocessing.get_context("spawn").Process(target=_guarded, args=(math_verify_alone, pair))
    process.start()
    process.join(PEER_SECONDS)
    if alive := process.is_alive():
        process.kill()
        process.join()
    return not alive


def main(repetitions: int) -> None:
    from tasks.verification.workers import cores

    sets = items()
    if not sets:
        print(f"no real inputs at {SHARED}: R1_SHARED_DATA names another folder; nothing is compared")
        return
    compare(sets, repetitions, cores())
    hanging([pair for name in list(sets)[1:] for pair in sets[name]] or next(iter(sets.values())), cores(), repetitions)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
