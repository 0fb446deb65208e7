"""Arrow string arrays as flat buffers, and back."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

_WIDTHS = {pa.string(): np.int32, pa.binary(): np.int32, pa.large_string(): np.int64, pa.large_binary(): np.int64}


@dataclass(frozen=True)
class Texts:
    data: np.ndarray  # uint8, UTF-8
    offsets: np.ndarray  # int64 [texts + 1], into data
    null: np.ndarray | None  # bool [texts]; None where no text is null


def flat(texts: pa.Array | pa.ChunkedArray) -> Texts:
    """The buffers of an array of strings, without a copy; ValueError naming the row where a text is not UTF-8."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if isinstance(texts, pa.ChunkedArray):  # pyarrow may give one chunk or none
        texts = pa.concat_arrays(texts.chunks) if texts.num_chunks else pa.array([], texts.type)
    if pa.types.is_null(texts.type) or pa.types.is_string_view(texts.type) or pa.types.is_dictionary(texts.type):
        texts = texts.cast(pa.large_string())
    if texts.type not in _WIDTHS:
        raise ValueError(f"texts are {texts.type}, wanted an array of strings: map the column with the text")
    _check_utf8(texts)
    width = _WIDTHS[texts.type]
    _, places, data = texts.buffers()
    if len(texts) == 0 or places is None:
        return Texts(_read_only(b"\0"), np.zeros(len(texts) + 1, np.int64), None)
    offsets = np.frombuffer(places, width)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    bytes_ = _read_only(data if data is not None and data.size else b"\0")
    if not texts.null_count:
        return Texts(bytes_, offsets, None)
    null = texts.is_null().to_numpy(zero_copy_only=False)
    if (np.diff(offsets)[null] != 0).any():  # a null may stand over bytes: they are not text
        return replace(flat(texts.fill_null("")), null=null)
    return Texts(bytes_, offsets, null)


def _read_only(buffer) -> np.ndarray:
    """Always the same type to the compiler, whoever owns the bytes."""
    view = np.frombuffer(buffer, np.uint8)
    view.flags.writeable = False
    return view


def _check_utf8(texts: pa.Array) -> None:
    kind = pa.large_string() if _WIDTHS[texts.type] is np.int64 else pa.string()
    as_text = texts.view(kind)
    try:
        as_text.validate(full=True)
    except pa.ArrowInvalid as error:
        for row, value in enumerate(as_text.view(pa.large_binary() if kind == pa.large_string() else pa.binary())):
            try:
                (value.as_py() or b"").decode()
            except UnicodeDecodeError as fault:
                raise ValueError(
                    f"row {row}: text is not UTF-8 at byte {fault.start} ({fault.reason}): "
                    "convert the file to UTF-8 or leave the row out"
                ) from None
        raise ValueError(f"texts are no valid Arrow array: {error}") from None


def binary16(values: np.ndarray, null: np.ndarray | None) -> pa.Array:
    """uint8 [texts, 16] as fixed_size_binary(16)."""
    validity = None if null is None else pa.array(~null).buffers()[1]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(values), [validity, pa.py_buffer(values)])
