"""Pictures beside the rows of a reconstruction: what a page shows without the model at hand.

A frame of kind *reconstruction* may hold a picture a row: what there was, which of it was hidden,
and what two methods drew, in bytes. Errors stand beside them and were measured before that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PARTS = ("original", "drawn", "copied")


class Drawing(NamedTuple):
    """One modality of one clip, with what was drawn of it; arrays of one shape.

    Attributes:
        original: Colours in [0, 1], `(T, H, W, 3)`, or a log-mel spectrogram `(T, M)`.
        hidden: True where it was hidden.
        drawn: By the model, everywhere.
        copied: By the control.
    """

    original: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    drawn: NDArray[np.float32]
    copied: NDArray[np.float32]


def pack(drawing: Drawing) -> dict[str, object]:
    """The columns of a row: bytes in 255 steps over the range of the original.

    What was drawn beyond that range is cut off; the largest error of the rest is half a step.

    >>> ramp = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    >>> back = unpack(pack(Drawing(ramp, ramp > 0.5, ramp[::-1], ramp * 2)))
    >>> bool(abs(back.original - ramp).max() < 0.002), back.hidden.sum(), float(back.copied.max())
    (True, np.int64(3), 1.0)
    """
    low, high = float(drawing.original.min()), float(drawing.original.max())
    step = (high - low) / 255 or 1.0
    columns: dict[str, object] = {"shape": json.dumps(drawing.original.shape)}
    columns |= {"low": low, "high": high}
    for name in PARTS:
        values = (np.clip(getattr(drawing, name), low, high) - low) / step
        columns[name] = np.round(values).astype(np.uint8).tobytes()
    return columns | {"hidden": np.packbits(drawing.hidden).tobytes()}


def unpack(row: Mapping[str, object]) -> Drawing:
    """The inverse of `pack`.

    Raises:
        ValueError: the bytes do not fill the shape.
    """
    shape = tuple(json.loads(str(row["shape"])))
    low, high = float(str(row["low"])), float(str(row["high"]))

    def values(name: str) -> NDArray[np.float32]:
        stored = np.frombuffer(_bytes(row[name]), dtype=np.uint8).reshape(shape)
        return (low + stored * ((high - low) / 255)).astype(np.float32)

    bits = np.unpackbits(np.frombuffer(_bytes(row["hidden"]), dtype=np.uint8))
    hidden = bits[: int(np.prod(shape))].reshape(shape).astype(bool)
    return Drawing(values("original"), hidden, values("drawn"), values("copied"))


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"a picture is bytes, not {type(value).__name__}")
    return value
