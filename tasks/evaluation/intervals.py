"""95 % intervals by the bootstrap over problems: samples of one problem are not independent, problems are."""

import math
from collections.abc import Mapping, Sequence

RESAMPLES = 2000
_CHUNK = 4_000_000  # index entries drawn at once: bounds the memory whatever the number of problems


def bootstrap_means(values: Sequence[float], seed: int = 0, resamples: int = RESAMPLES):
    """Means of `resamples` draws of the problems with replacement, as a numpy array; the same for the same seed."""
    import numpy as np

    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise ValueError("an interval needs at least one problem")
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // x.size)
    chunks = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([x[rng.integers(0, x.size, size=(n, x.size))].mean(axis=1) for n in chunks])


def ci95(values: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> list[float]:
    """[low, high]: the 2.5th and 97.5th percentile of the bootstrapped mean."""
    import numpy as np

    low, high = np.percentile(bootstrap_means(values, seed, resamples), [2.5, 97.5])
    return [round(float(low), 6), round(float(high), 6)]


def paired_difference(
    a: Mapping[str, float], b: Mapping[str, float], seed: int = 0, resamples: int = RESAMPLES
) -> dict:
    """a − b on the same problems: {difference, ci95, problems, left_out}.

    Both are per-problem scores by prompt id. A problem that only one of them has (its samples got no verdict)
    is left out and counted; no common problem at all is an error.
    """
    common = sorted(a.keys() & b.keys())
    if not common:
        raise ValueError("a paired difference needs problems that both models answered; they share none")
    gaps = [a[p] - b[p] for p in common]
    return {
        "difference": round(sum(gaps) / len(gaps), 6),
        "ci95": ci95(gaps, seed, resamples),
        "problems": len(common),
        "left_out": len(a.keys() | b.keys()) - len(common),
    }


def wilson(successes: int, total: int) -> tuple[float, float]:
    """95 % Wilson interval of a proportion."""
    if total == 0:
        return 0.0, 1.0
    z, p = 1.959963984540054, successes / total
    centre, spread = p + z * z / (2 * total), z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
