"""Pictures beside the rows of a reconstruction: what a page shows without the model at hand.

A frame of kind *reconstruction* may hold a picture a row: what there was, which of it was hidden,
and what two methods drew, in bytes. Errors stand beside them and were measured before that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PARTS = ("original", "drawn", "copied")
_FLAT = 1e-6


class Drawing(NamedTuple):
    """One modality of one clip, with what was drawn of it; arrays of one shape.

    Attributes:
        original: Colours in [0, 1], `(T, H, W, 3)`, or a log-mel spectrogram `(T, M)`.
        hidden: True where it was hidden.
        drawn: By the model, everywhere.
        copied: By the control.
        regions: Part of the face of each pixel `(T, H, W)`, numbers of
            `thesislib.learning.social_mae_regions.NAMES`; None where they are not known.
    """

    original: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    drawn: NDArray[np.float32]
    copied: NDArray[np.float32]
    regions: NDArray[np.uint8] | None = None


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
    columns["regions"] = None if drawing.regions is None else drawing.regions.tobytes()
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
    regions = None
    if row.get("regions") is not None:  # records of old have no such column
        regions = np.frombuffer(_bytes(row["regions"]), dtype=np.uint8).reshape(shape[:3])
    return Drawing(values("original"), hidden, values("drawn"), values("copied"), regions)


def band_correlation(drawing: Drawing, part: str = "drawn") -> float:
    """How well a drawn spectrogram follows the original: the mean over mel bands of Pearson's r.

    Only hidden values count. Within a band, the mean of the band scores nothing, so that r says
    whether syllables, pauses and formants are where they were. What follows the end of a
    recording is the same in every band and does not count, nor does a band that is flat.

    Args:
        drawing: Log-mels `(T, M)`.
        part: ``drawn`` or ``copied``.

    >>> waves = np.sin(np.arange(40.0)[:, None] + np.arange(4)).astype(np.float32)
    >>> hidden = np.ones(waves.shape, bool)
    >>> band_correlation(Drawing(waves, hidden, 2 * waves + 1, -waves))
    1.0
    """
    heard = drawing.original.std(axis=1) > _FLAT
    found = [
        _correlation(values[counts], truth[counts])
        for values, truth, counts in zip(
            getattr(drawing, part).T, drawing.original.T, (drawing.hidden & heard[:, None]).T,
            strict=True,
        )
    ]  # fmt: skip
    return round(float(np.nanmean(found)), 6) if np.isfinite(found).any() else float("nan")


def region_correlation(drawing: Drawing, numbers: Sequence[int], part: str = "drawn") -> float:
    """How well drawn pixels of some regions follow the original: Pearson's r of their brightness.

    Only hidden pixels count, of all frames together; colours are averaged first, since those of
    skin alone would correlate. NaN where the regions are not known or nothing of them was hidden.

    Args:
        drawing: Colours in [0, 1], `(T, H, W, 3)`.
        numbers: Of the regions, such as those of the eyes and the mouth.
        part: ``drawn`` or ``copied``.
    """
    if drawing.regions is None:
        return float("nan")
    counts = drawing.hidden.any(axis=-1) & np.isin(drawing.regions, numbers)
    values, truth = (x.mean(axis=-1)[counts] for x in (getattr(drawing, part), drawing.original))
    return round(_correlation(values, truth), 6)


def _correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Pearson's r; 0 where what was drawn is flat, NaN where there is nothing to follow."""
    if len(second) < 3 or second.std() < _FLAT:
        return float("nan")
    if first.std() < _FLAT:
        return 0.0
    return float(np.corrcoef(first.astype(np.float64), second.astype(np.float64))[0, 1])


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"a picture is bytes, not {type(value).__name__}")
    return value
