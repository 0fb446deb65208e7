"""Python values as JSON, both ways: a flat table, so that depth, sharing and cycles need no recursion to read.

Scalars stand for themselves; everything else is a row of the table, named by `[index]`. Reading builds plain values and
nothing else: no import, no constructor but the few listed here, no code of whoever wrote the text. What is no plain
data
is refused, or stays on the side that has it and is named by a number (`hold` and `fetch`).
"""

import collections
import decimal
import fractions
import math

LARGE = 1 << 8192  # integers from here on are written in hexadecimal: linear time, no limit of digits
_MUTABLE = {"list": list, "set": set, "deque": collections.deque, "dict": dict}
_FIXED = {"tuple": tuple, "frozenset": frozenset}
_TEXTUAL = {"Fraction": fractions.Fraction, "Decimal": decimal.Decimal, "float": float}
_TYPES = {
    t.__name__: t
    for t in (int, float, complex, bool, str, bytes, list, tuple, dict, set, frozenset, object, type(None))
}
_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))


class WireError(ValueError):
    """A value that cannot be written, or a message that is none of ours."""


class Codec:
    """`classes`: by name, those whose instances travel as their attributes (a task's TreeNode). `hold(value)`: a number
    for what does not travel; `fetch(number, type name)`: what stands for it on the other side."""

    def __init__(self, classes: dict | None = None, hold=None, fetch=None):
        self.classes, self.hold, self.fetch = classes or {}, hold, fetch

    def write(self, value) -> dict:
        table, memo = [], {}
        top = self._write(value, table, memo)
        return {"top": top, "table": table}

    def _write(self, value, table: list, memo: dict):
        kind = type(value)
        if value is None or kind in (bool, str) or kind is float and math.isfinite(value):
            return value
        if kind is int and -LARGE < value < LARGE:
            return value
        if id(value) in memo:
            return [memo[id(value)][0]]
        if kind.__name__ in self.classes or isinstance(value, tuple(_MUTABLE.values())):
            index = self._place([], value, table, memo)  # first, so that what it holds may point back at it
            table[index].extend(self._mutable(value, table, memo))
        else:
            index = self._place(self._fixed(value, table, memo), value, table, memo)
        return [index]

    @staticmethod
    def _place(row: list, value, table: list, memo: dict) -> int:
        memo[id(value)] = (len(table), value)  # the value too: its id is taken as long as it lives
        table.append(row)
        return len(table) - 1

    def _mutable(self, value, table: list, memo: dict) -> list:
        if isinstance(value, dict):
            return ["dict", [[self._write(k, table, memo), self._write(v, table, memo)] for k, v in dict.items(value)]]
        for name, kind in _MUTABLE.items():
            if isinstance(value, kind):
                return [name, [self._write(item, table, memo) for item in value]]
        return ["object", type(value).__name__, {str(k): self._write(v, table, memo) for k, v in vars(value).items()}]

    def _fixed(self, value, table: list, memo: dict) -> list:
        for name, kind in _FIXED.items():
            if isinstance(value, kind):
                return [name, [self._write(item, table, memo) for item in value]]
        if isinstance(value, int):
            return ["int", hex(value)]
        if isinstance(value, str):
            return ["str", "".join(value)]
        if isinstance(value, complex):
            return ["complex", repr(value.real), repr(value.imag)]
        if isinstance(value, (bytes, bytearray)):
            return ["bytes" if isinstance(value, bytes) else "bytearray", value.hex()]
        if isinstance(value, range):
            return ["range", value.start, value.stop, value.step]
        if isinstance(value, type) and _TYPES.get(value.__name__) is value:
            return ["type", value.__name__]
        for name, kind in _TEXTUAL.items():
            if isinstance(value, kind):
                return [name, str(value)]
        if isinstance(value, _VIEWS):
            return ["list", [self._write(item, table, memo) for item in value]]
        if self.hold is None:
            raise WireError(f"a value of type {type(value).__name__} is no plain data")
        return ["held", self.hold(value), type(value).__name__]

    def read(self, message):
        """The value; raises WireError on anything that `write` did not make."""
        try:
            return self._read(message["table"], message["top"])
        except WireError:
            raise
        except Exception as error:
            raise WireError(f"not a value: {type(error).__name__}: {error}"[:300]) from None

    def _read(self, table: list, top):
        built: list = []

        def take(x):
            return built[x[0]] if isinstance(x, list) else x

        for tag, *body in table:  # what is mutable empty at first; what is not holds only earlier rows and mutable ones
            if tag in _MUTABLE:
                built.append(_MUTABLE[tag]())
            elif tag in _FIXED:
                built.append(_FIXED[tag](take(item) for item in body[0]))
            else:
                built.append(self._single(tag, body))
        for i, (tag, *body) in enumerate(table):
            if tag in ("list", "deque"):
                built[i].extend([take(item) for item in body[0]])
            elif tag in ("set", "dict"):
                built[i].update(
                    [take(item) for item in body[0]] if tag == "set" else [(take(k), take(v)) for k, v in body[0]]
                )
            elif tag == "object":
                vars(built[i]).update({k: take(v) for k, v in body[1].items()})
        return take(top)

    def _single(self, tag: str, body: list):
        if tag == "int":
            return int(body[0], 16)
        if tag == "str":
            return str(body[0])
        if tag == "complex":
            return complex(float(body[0]), float(body[1]))
        if tag in ("bytes", "bytearray"):
            return (bytes if tag == "bytes" else bytearray).fromhex(body[0])
        if tag == "range":
            return range(*body)
        if tag == "type":
            return _TYPES[body[0]]
        if tag in _TEXTUAL:
            return _TEXTUAL[tag](body[0])
        if tag == "object" and body[0] in self.classes:
            return object.__new__(self.classes[body[0]])
        if tag == "held" and self.fetch is not None:
            return self.fetch(body[0], body[1])
        raise WireError(f"a row of kind {tag!r} does not belong here")
