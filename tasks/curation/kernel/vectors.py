"""Sixty-four bytes at once: bit masks of byte classes, folding, and unaligned loads, as LLVM vector code.

The compiler lays the vectors out for the machine at hand (AVX-512, AVX2, NEON); results are the same on each. The
arrays read from must have 64 bytes after the place, those written to as well.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTES = ir.VectorType(ir.IntType(8), 64)
_WORD = ir.IntType(64)


def _place(context, builder, signature, args, which):
    """Pointer to element args[which + 1] of the uint8 array args[which]."""
    array = context.make_array(signature.args[which])(context, builder, args[which])
    return builder.gep(array.data, [args[which + 1]])


def _load(context, builder, signature, args):
    pointer = _place(context, builder, signature, args, 0)
    return builder.load(builder.bitcast(pointer, _BYTES.as_pointer()), align=1)


def _all(value: int):
    return ir.Constant(_BYTES, [ir.Constant(ir.IntType(8), value)] * 64)


def _between(builder, vector, first: int, last: int):
    return builder.icmp_unsigned("<=", builder.sub(vector, _all(first)), _all(last - first))


def _any_of(builder, vector, chars: bytes):
    found = builder.icmp_unsigned("==", vector, _all(chars[0]))
    for char in chars[1:]:
        found = builder.or_(found, builder.icmp_unsigned("==", vector, _all(char)))
    return found


def _letters(builder, vector):
    return _between(builder, builder.or_(vector, _all(0x20)), ord("a"), ord("z"))


def _white(builder, vector):
    controls = builder.or_(_between(builder, vector, 9, 13), _between(builder, vector, 28, 31))
    return builder.or_(controls, _any_of(builder, vector, b" "))


def _masks(builder, context, kinds):
    return context.make_tuple(
        builder, types.UniTuple(types.uint64, len(kinds)), [builder.bitcast(kind, _WORD) for kind in kinds]
    )


@intrinsic
def text_masks(typing, data, at):
    """(letters and digits, signs, white, non-ASCII leads, continuations, newlines, `<`) of the bytes from `at`."""

    def generate(context, builder, signature, args):
        vector = _load(context, builder, signature, args)
        return _masks(builder, context, [
            builder.or_(_letters(builder, vector), _between(builder, vector, ord("0"), ord("9"))),
            _any_of(builder, vector, b"+-*/^=<>%!"),
            _white(builder, vector),
            _between(builder, vector, 0xC0, 0xFF),
            _between(builder, vector, 0x80, 0xBF),
            _any_of(builder, vector, b"\n"),
            _any_of(builder, vector, b"<"),
        ])  # fmt: skip

    return types.UniTuple(types.uint64, 7)(data, types.intp), generate


@intrinsic
def word_masks(typing, data, at):
    """(letters, apostrophes, what needs a closer look: ` $ \\ and non-ASCII, `h`, `t`) of the bytes from `at`."""

    def generate(context, builder, signature, args):
        vector = _load(context, builder, signature, args)
        closer = builder.or_(_any_of(builder, vector, b"`$\\"), _between(builder, vector, 0x80, 0xFF))
        letters, apostrophes = _letters(builder, vector), _any_of(builder, vector, b"'")
        return _masks(
            builder, context, [letters, apostrophes, closer, *(_any_of(builder, vector, c) for c in (b"h", b"t"))]
        )

    return types.UniTuple(types.uint64, 5)(data, types.intp), generate


@intrinsic
def equal_mask(typing, data, at, char):
    """Which of the 64 bytes from `at` are the byte `char`."""

    def generate(context, builder, signature, args):
        vector = _load(context, builder, signature, args)
        one = builder.insert_element(ir.Constant(_BYTES, ir.Undefined), args[2], ir.Constant(ir.IntType(32), 0))
        everywhere = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64))
        return builder.bitcast(builder.icmp_unsigned("==", vector, everywhere), _WORD)

    return types.uint64(data, types.intp, types.uint8), generate


@intrinsic
def fold64(typing, data, at, folded, to):
    """64 bytes from data[at] to folded[to], ASCII letters lower-cased, ASCII white space as a space."""

    def generate(context, builder, signature, args):
        vector = _load(context, builder, signature, args)
        capital = _between(builder, vector, ord("A"), ord("Z"))
        lower = builder.select(capital, builder.or_(vector, _all(0x20)), vector)
        pointer = _place(context, builder, signature, args, 2)
        builder.store(
            builder.select(_white(builder, vector), _all(0x20), lower),
            builder.bitcast(pointer, _BYTES.as_pointer()),
            align=1,
        )
        return context.get_dummy_value()

    return types.void(data, types.intp, folded, types.intp), generate


@intrinsic
def copy_bytes(typing, data, at, text, size):
    """data[at : at + size] to the start of `text`."""

    def generate(context, builder, signature, args):
        to = context.make_array(signature.args[2])(context, builder, args[2]).data
        cgutils.raw_memcpy(builder, to, _place(context, builder, signature, args, 0), args[3], 1)
        return context.get_dummy_value()

    return types.void(data, types.intp, text, types.intp), generate


@intrinsic
def load_word(typing, data, at):
    """The 8 bytes from `at` as a big-endian number."""

    def generate(context, builder, signature, args):
        pointer = _place(context, builder, signature, args, 0)
        word = builder.load(builder.bitcast(pointer, _WORD.as_pointer()), align=1)
        return builder.bswap(word)

    return types.uint64(data, types.intp), generate


@intrinsic
def trailing_zeros(typing, bits):
    """Zeros below the lowest set bit; 64 where there is none."""

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def leading_zeros(typing, bits):
    """Zeros above the highest set bit; 64 where there is none."""

    def generate(context, builder, signature, args):
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def ones(typing, bits):
    """How many bits are set."""

    def generate(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate
