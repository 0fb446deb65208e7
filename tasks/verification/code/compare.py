"""Is this the expected output? Runs in the parent, on data of any kind, and never loops longer than what is
expected."""

import math


def differing_line(expected: str, actual: str, tolerance: float | None = None) -> str | None:
    """None where the outputs agree, else where they do not.

    Agreement: as many lines, and each the same, spaces at both ends of a line and empty lines at both ends of the
    output
    left out. With a tolerance, words that are both numbers may differ by it (absolute, or relative to the expected
    one).
    """
    want, got = expected.strip().split("\n"), actual.strip().split("\n")
    for i, (a, b) in enumerate(zip(want, got)):
        a, b = a.strip(), b.strip()
        if a != b and not (tolerance is not None and _words_close(a, b, tolerance)):
            return f"line {i + 1} is {b[:60]!r}, not {a[:60]!r}"
    if len(want) != len(got):
        return f"{len(got)} lines instead of {len(want)}"
    return None


def _words_close(expected: str, actual: str, tolerance: float) -> bool:
    want, got = expected.split(), actual.split()
    return len(want) == len(got) and all(a == b or _text_close(a, b, tolerance) for a, b in zip(want, got))


def _text_close(expected: str, actual: str, tolerance: float) -> bool:
    try:
        return close(float(expected), float(actual), tolerance)
    except ValueError:
        return False


def close(expected: float, actual: float, tolerance: float) -> bool:
    """Within the tolerance, absolute or relative to the expected value; only finite numbers are close to anything."""
    if not (math.isfinite(expected) and math.isfinite(actual)):
        return expected == actual
    return abs(expected - actual) <= tolerance * max(1.0, abs(expected))


def differing_value(expected, actual, tolerance: float | None = None, where: str = "the result") -> str | None:
    """None where a returned value is the expected JSON value, else where it is not.

    A tuple counts as a list, a dict's keys as JSON writes them; numbers are equal as in Python (1, 1.0 and True).
    What JSON
    does not have (a set, an object) equals nothing. Only plain data gets here, so no `__eq__` of a program's runs.
    """
    if isinstance(expected, list):
        if not isinstance(actual, (list, tuple)):
            return f"{where} is a {type(actual).__name__}, not a list"
        if len(expected) != len(actual):
            return f"{where} has {len(actual)} elements instead of {len(expected)}"
        pairs = ((f"{where}[{i}]", a, b) for i, (a, b) in enumerate(zip(expected, actual)))
    elif isinstance(expected, dict):
        if not isinstance(actual, dict):
            return f"{where} is a {type(actual).__name__}, not a dict"
        named = {_key(k): v for k, v in actual.items()}
        if len(named) != len(actual) or named.keys() != expected.keys():
            return f"{where} has other keys than expected"
        pairs = ((f"{where}[{k!r}]", v, named[k]) for k, v in expected.items())
    else:
        return None if _scalar(expected, actual, tolerance) else f"{where} is {_short(actual)}, not {_short(expected)}"
    return next((d for name, a, b in pairs if (d := differing_value(a, b, tolerance, name))), None)


def _scalar(expected, actual, tolerance: float | None) -> bool:
    if isinstance(expected, (bool, int, float)):
        if type(actual) not in (bool, int, float):
            return False
        if tolerance is not None and float in (type(expected), type(actual)):
            try:
                return close(float(expected), float(actual), tolerance)
            except OverflowError:
                return False
        return expected == actual or expected != expected and actual != actual
    return type(actual) is type(expected) and expected == actual


def _key(key) -> str | tuple:
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return repr(key) if isinstance(key, (int, float)) else (key,)


def _short(value) -> str:
    """For people. Never the repr of a container: a small one that shares its parts can have an endless text."""
    if isinstance(value, int) and abs(value) >= 1 << 512:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (bool, int, float, str, type(None))):
        return repr(value[:60] if isinstance(value, str) else value)
    return f"a {type(value).__name__}" + (f" of {len(value)}" if hasattr(value, "__len__") else "")
