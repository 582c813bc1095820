"""Windows of fixed length over a dyad's annotation, labelled by the expression that fills them.

Source: thesis sections 6.2, 6.3 and 7.5.3; notes item 36.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from thesislib.corpora.annotation import TIERS, IBAnnotation, Segment
from thesislib.errors import InputError

WINDOW_S = 1.22
"""Length of a window in the thesis; its models see 60 frames of it, 1.2 s at 50 fps."""
IntArray = NDArray[np.int64]


def label_windows(
    annotation: IBAnnotation,
    *,
    length_s: float = WINDOW_S,
    hop_s: float | None = None,
    first_s: float | None = None,
) -> pd.DataFrame:
    """Cut the annotated span into windows and keep those with a clear label.

    A window takes the expression, smile or laugh, that covers at least half of it, and is *none*
    where neither touches it. It is dropped where an expression covers less than half, where both
    cover exactly half, and where a smile and a laugh overlap in it, which the protocol forbids.
    Windows lie on one grid from the start of the recording, so that those of the two participants
    coincide, and wholly inside the annotated span: time beyond it is unlabelled, not *none*.

    Args:
        annotation: Of one participant.
        length_s: Length of a window, in seconds, rounded to a millisecond.
        hop_s: From the start of one window to the next; default is the length, no overlap.
        first_s: Use only this much of the recording from its start, in seconds.

    Returns:
        One row a window kept, in order: ``window`` (place on the grid), ``start_ms``,
        ``expression`` (``smile``, ``laugh``, ``none``), ``intensity`` (the level that covers most
        of it, the higher one of two equals, or ``none``), ``role`` (``spk`` or ``lsn`` where that
        covers at least half, the speaker's where both do; else ``none``; ``unlabelled`` where the
        file has no such tier) and ``share``, the part of the window that the expression covers.

    Raises:
        InputError: the annotation lacks the tier of smiles or of laughs: without both, *none*
            cannot be told from *not annotated*.
        ValueError: a length or hop below a millisecond.

    Source: notes item 36.

    >>> from thesislib.corpora.annotation import Segment
    >>> laugh = Segment(1300, 2400, "low")
    >>> annotation = IBAnnotation(
    ...     name="13_1_A_M.eaf", tiers={"Smiles": (), "Laughs": (laugh,)}, span_ms=(0, 4000))
    >>> label_windows(annotation)[["start_ms", "expression", "intensity"]].to_numpy().tolist()
    [[0, 'none', 'none'], [1220, 'laugh', 'low'], [2440, 'none', 'none']]
    """
    for tier in ("Smiles", "Laughs"):
        if tier not in annotation.tiers:
            mend = "annotate both smiles and laughs, or leave the file out"
            raise InputError(annotation.name, f"has no tier {tier}", mend)
    length = round(1000 * length_s)
    hop = length if hop_s is None else round(1000 * hop_s)
    if min(length, hop) < 1:
        raise ValueError(f"windows of {length_s} s every {hop_s} s are shorter than a millisecond")
    begin, end = annotation.span_ms
    if first_s is not None:
        end = min(end, round(1000 * first_s))
    windows = np.arange(-(-begin // hop), (end - length) // hop + 1, dtype=np.int64)
    starts = windows * hop
    smiles = _coverage_by_level(annotation.smiles, TIERS["Smiles"], starts, length)
    laughs = _coverage_by_level(annotation.laughs, TIERS["Laughs"], starts, length)
    smiling, laughing = smiles.sum(axis=0), laughs.sum(axis=0)
    clash = _coverage(_common(annotation.smiles, annotation.laughs), starts, length) > 0
    names = np.array(["none", "smile", "laugh"])
    code = np.where(2 * smiling >= length, 1, np.where(2 * laughing >= length, 2, 0))
    both = (2 * smiling >= length) & (2 * laughing >= length)
    untouched = smiling + laughing == 0
    kept = ~clash & ~both & ((code > 0) | untouched)
    level = np.where(
        code == 2,
        np.array(TIERS["Laughs"])[_highest(laughs)],
        np.where(code == 1, np.array(TIERS["Smiles"])[_highest(smiles)], "none"),
    )
    if "Role" in annotation.tiers:
        roles = _coverage_by_level(annotation.roles, TIERS["Role"], starts, length)
        role = np.where(
            2 * roles.max(axis=0) >= length, np.array(TIERS["Role"])[roles.argmax(axis=0)], "none"
        )
    else:
        role = np.full(len(starts), "unlabelled")
    return pd.DataFrame(
        {
            "window": windows[kept],
            "start_ms": starts[kept],
            "expression": names[code][kept],
            "intensity": level[kept],
            "role": role[kept],
            "share": (np.where(code == 2, laughing, smiling) / length)[kept],
        }
    )


def _coverage(stretches: NDArray, starts: IntArray, length: int) -> IntArray:
    """Milliseconds of each window that disjoint stretches `(S, 2)`, in order, cover: `(W,)`."""
    if not len(stretches):
        return np.zeros(len(starts), np.int64)
    covered = np.cumsum(stretches[:, 1] - stretches[:, 0])
    # Time covered up to a moment is linear between the edges, with slope 1 or 0, so that
    # interpolation is exact, and one look-up a window does.
    amounts = np.column_stack([covered - (stretches[:, 1] - stretches[:, 0]), covered]).ravel()
    edges = stretches.ravel()
    upto = np.interp(np.stack([starts, starts + length]), edges, amounts)
    return np.rint(upto[1] - upto[0]).astype(np.int64)


def _coverage_by_level(
    segments: Sequence[Segment], levels: Sequence[str], starts: IntArray, length: int
) -> IntArray:
    """The same for each level, `(L, W)`."""
    times = _times(segments)
    values = np.array([segment.value for segment in segments], dtype=str)
    return np.stack([_coverage(times[values == level], starts, length) for level in levels])


def _times(segments: Sequence[Segment]) -> NDArray:
    rows = [(segment.start_ms, segment.end_ms) for segment in segments]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def _common(a: Sequence[Segment], b: Sequence[Segment]) -> NDArray:
    """Stretches `(S, 2)` that lie in both of two lists of disjoint segments, in order."""
    first, second = _times(a), _times(b)
    edges = np.unique(np.concatenate([first.ravel(), second.ravel()]))
    inside = np.ones(max(len(edges) - 1, 0), bool)
    for times in (first, second):
        begun = np.searchsorted(times[:, 0], edges[:-1], side="right")
        ended = np.searchsorted(times[:, 1], edges[:-1], side="right")
        inside &= begun > ended
    return np.column_stack([edges[:-1][inside], edges[1:][inside]])


def _highest(coverage: IntArray) -> IntArray:
    """Row with most coverage in `(L, W)`, the last of equals: levels rise from row to row."""
    return np.asarray(len(coverage) - 1 - coverage[::-1].argmax(axis=0))
