"""Agreement between annotators of the IB data, a file and over files.

The measures of thesis section 5.2.2 (Tables 5.5 to 5.9) for one tier and, which the thesis leaves
to future work, for one intensity; Krippendorff's alpha and intervals over files besides. All are
shares in [0, 1] (kappa and alpha from -1 to 1), where the thesis prints percentages; a measure
that is undefined, the thesis's *n.a.*, is NaN. The measures themselves are in `timelines`.

Source: thesis section 5.2.2; notes items 32 (grid, thresholds), 33 (per intensity) and 35.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from thesislib.corpora.elan import TIERS, IBAnnotation, read_eaf
from thesislib.errors import InputError
from thesislib.evaluation.timelines import (
    MIN_IOU,
    STEP_MS,
    EventScores,
    FloatArray,
    IntArray,
    Overlap,
    Pairs,
    Track,
    as_track,
    clip_track,
    cohen_kappa,
    event_scores,
    grid_confusion,
    krippendorff_alpha,
    one_level,
    overlap_counts,
    overlapping_pairs,
    ratio,
)

__all__ = [
    "EventScores", "FileAgreement", "Overlap", "Pairs", "Track", "aggregate", "agreement_frame",
    "agreement_report", "as_track", "clip_track", "cohen_kappa", "common_span", "compare",
    "event_scores", "grid_confusion", "krippendorff_alpha", "one_level", "overlap_counts",
    "overlapping_pairs",
]  # fmt: skip

COLUMNS = (
    "file", "annotator_a", "annotator_b", "category", "level", "statistic", "value", "weight"
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAgreement:
    """Two annotators on one category of one file; `level` is ``all`` or one value of the tier.

    Attributes:
        file: File name.
        annotator_a: Who made the first annotation.
        annotator_b: Who made the second.
        category: Tier.
        level: ``all``, or a value: then kappa and alpha are those of *this value or not*, and
            the overlaps those of the segments with this value (see `overlap_counts`).
        confusion: Grid cells by label of a (rows) and b (columns), ``(K, K)``; *none* is first.
        overlap: Counts of overlapping segments.
        step_ms: Width of a grid cell.
    """

    file: str
    annotator_a: str
    annotator_b: str
    category: str
    level: str
    confusion: IntArray
    overlap: Overlap
    step_ms: int

    def statistics(self) -> dict[str, tuple[float, float]]:
        """Statistic to value and weight: seconds compared, segments, or overlapping pairs."""
        seconds = float(self.confusion.sum()) * self.step_ms / 1000
        both = float(self.confusion[1:, 1:].sum()) * self.step_ms / 1000
        o = self.overlap
        weights = (seconds, both, seconds, seconds, o.n_segments, o.n_pairs, o.n_compared)
        left_out = set()
        if self.level != "all":  # two classes have no order, and one value no other
            left_out = {"alpha_ordinal", "kappa_levels"}
        elif self.category == "Role":  # speaking is not more than listening
            left_out = {"alpha_ordinal"}
        values = _statistics(self.confusion[None], np.array([self.overlap], dtype=float))
        return {
            name: (float(value[0]), float(weight))
            for (name, value), weight in zip(values.items(), weights, strict=True)
            if name not in left_out
        }


def common_span(a: IBAnnotation, b: IBAnnotation) -> tuple[int, int]:
    """The span, in ms, that both have annotated; what exceeds it is discarded (section 5.2.2).

    Raises:
        InputError: they have no time in common.
    """
    start, end = max(a.span_ms[0], b.span_ms[0]), min(a.span_ms[1], b.span_ms[1])
    if start >= end:
        spans = " and ".join(
            f"{s / 1000:.3f} to {e / 1000:.3f} s" for s, e in (a.span_ms, b.span_ms)
        )
        raise InputError(
            a.name,
            f"no time is annotated in both files ({spans})",
            "compare files of one recording",
        )
    return start, end


def compare(
    a: IBAnnotation,
    b: IBAnnotation,
    tiers: Iterable[str] = tuple(TIERS),
    *,
    annotators: tuple[str, str] = ("a", "b"),
    span_ms: tuple[int, int] | None = None,
    step_ms: int = STEP_MS,
    min_iou: float = MIN_IOU,
) -> list[FileAgreement]:
    """Agreement of two annotations of one file, for each tier that both have and each value.

    Args:
        a: First annotation.
        b: Second annotation, of the same recording and participant.
        tiers: Tiers to compare.
        annotators: Their makers' names, for the tables.
        span_ms: Common span, where the files' own (`common_span`) is not the right one.
        step_ms: Grid of kappa and alpha.
        min_iou: Threshold of the overlap measures.

    Raises:
        InputError: the two have no time in common.
    """
    span = common_span(a, b) if span_ms is None else span_ms
    results = []
    for tier in tiers:
        if tier not in a.tiers or tier not in b.tiers:
            continue
        levels = TIERS[tier]
        x, y = (clip_track(as_track(each.tiers[tier], levels), span) for each in (a, b))
        confusion = grid_confusion(x, y, span, len(levels), step_ms)
        for code, level in enumerate(("all", *levels)):
            results.append(
                FileAgreement(
                    file=a.name,
                    annotator_a=annotators[0],
                    annotator_b=annotators[1],
                    category=tier,
                    level=level,
                    confusion=one_level(confusion, code) if code else confusion,
                    overlap=overlap_counts(x, y, min_iou, code or None),
                    step_ms=step_ms,
                )
            )
    return results


def agreement_frame(results: Iterable[FileAgreement]) -> pd.DataFrame:
    """The *agreement* predictions frame of a run record, one row a file, level and statistic.

    ``kappa_levels`` is the kappa of the values alone, over the time that both marked.
    `weight` is what a value rests on: seconds for the kappas and alphas, segments for Overlap_perc,
    overlapping pairs for IoU and Overlap_levels. The weighted mean of the three overlap measures
    is therefore their pooled value; a pooled kappa needs the counts (`aggregate`).
    """
    rows = [
        (r.file, r.annotator_a, r.annotator_b, r.category, r.level, name, value, weight)
        for r in results
        for name, (value, weight) in r.statistics().items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def aggregate(
    results: Iterable[FileAgreement],
    *,
    pooled: bool = False,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Agreement of annotator pairs over their common files, with 95 % intervals over files.

    Args:
        results: Comparisons of files.
        pooled: Add up the files' counts before computing (longer files count more) instead of
            taking the mean of the files' values, which is the thesis's way.
        n_bootstrap: Resamples of the files for the percentile interval.
        seed: Of the resampling.

    Returns:
        One row for each annotator pair, category, level and statistic: ``value, low, high`` and
        ``n``, the number of files on which the statistic is defined. With one file there is no
        interval (NaN).

    Source: notes items 33 (intervals) and 35 (mean over common files, pooled time as option).
    """
    groups: dict[tuple[str, str, str, str], list[FileAgreement]] = {}
    for r in results:
        groups.setdefault((r.annotator_a, r.annotator_b, r.category, r.level), []).append(r)
    generator = np.random.default_rng(seed)
    rows: list[tuple[str | float, ...]] = []
    for key, group in groups.items():
        confusions = np.stack([r.confusion for r in group]).astype(float)
        overlaps = np.array([r.overlap for r in group], dtype=float)
        files = len(group)
        draws = generator.multinomial(files, np.full(files, 1 / files), n_bootstrap).astype(float)
        single = _statistics(confusions, overlaps)
        if pooled:
            values = _statistics(confusions.sum(0)[None], overlaps.sum(0)[None])
            resampled = _statistics(np.tensordot(draws, confusions, 1), draws @ overlaps)
        for name in group[0].statistics():
            defined = np.isfinite(single[name])
            if pooled:
                value, samples = values[name][0], resampled[name]
            else:
                filled = np.where(defined, single[name], 0.0)
                value = ratio(filled.sum(), defined.sum())
                samples = ratio(draws @ filled, draws @ defined)
            samples = samples[np.isfinite(samples)]
            low, high = (
                np.quantile(samples, [0.025, 0.975]) if defined.sum() > 1 else (math.nan, math.nan)
            )
            rows.append((*key, name, float(value), float(low), float(high), int(defined.sum())))
    names = [*COLUMNS[1:6], "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=names)


def agreement_report(
    a: str | Path, b: str | Path, tiers: Sequence[str] = tuple(TIERS)
) -> dict[str, Any]:
    """Read two ELAN files and compare them; ready for `json.dumps`, undefined values are None.

    Args:
        a: First annotator's file.
        b: Second annotator's file of the same recording and participant.
        tiers: Tiers to compare; those that one file lacks are listed under ``missing``.

    Returns:
        ``a`` and ``b`` (path, annotator, span, segments by tier, other tiers, repairs),
        ``span_s`` (used), ``step_ms``, ``min_iou``, ``tiers`` (tier to level to statistic to
        value), ``missing``, ``mean_kappa`` (over tiers, as in Table 5.6) and ``rows``, which are
        those of `agreement_frame`.

    Raises:
        InputError: a file cannot be read, the two have no time or no tier in common, or a tier
            is not one of the scheme.
    """
    if unknown := set(tiers) - set(TIERS):
        raise InputError(
            "--tier", f"{sorted(unknown)} is no tier", f"use one of {', '.join(TIERS)}"
        )
    paths = Path(a), Path(b)
    first, second = read_eaf(paths[0]), read_eaf(paths[1])
    names = _annotator_names(paths, (first, second))
    missing = {
        tier: [str(p) for p, x in zip(paths, (first, second), strict=True) if tier not in x.tiers]
        for tier in tiers
    }
    if all(missing.values()):
        lacking = ", ".join(tiers)
        raise InputError(paths[0], f"shares no tier ({lacking}) with {paths[1]}", "choose another")
    results = compare(first, second, tiers, annotators=names)
    values: dict[str, dict[str, dict[str, float | None]]] = {}
    for r in results:
        row = {name: _none(value) for name, (value, _) in r.statistics().items()}
        values.setdefault(r.category, {})[r.level] = row
    kappas = [row["all"]["kappa"] for row in values.values()]
    defined = [kappa for kappa in kappas if kappa is not None]
    rows = agreement_frame(results).to_dict("records")
    return {
        "a": _describe(paths[0], first, names[0]),
        "b": _describe(paths[1], second, names[1]),
        "span_s": [t / 1000 for t in common_span(first, second)],
        "step_ms": STEP_MS,
        "min_iou": MIN_IOU,
        "tiers": values,
        "missing": {tier: where for tier, where in missing.items() if where},
        "mean_kappa": sum(defined) / len(defined) if defined else None,
        "rows": [row | {"value": _none(row["value"])} for row in rows],
    }


def _annotator_names(
    paths: tuple[Path, Path], annotations: tuple[IBAnnotation, IBAnnotation]
) -> tuple[str, str]:
    """Who annotated: as the files say, else their folders (one an annotator), else the paths."""
    stated = [x.annotator or "" for x in annotations]
    for a, b in (stated, [p.resolve().parent.name for p in paths], [p.stem for p in paths]):
        if a and b and a != b:
            return a, b
    return str(paths[0]), str(paths[1])


def _describe(path: Path, annotation: IBAnnotation, annotator: str) -> dict[str, Any]:
    return {
        "path": str(path),
        "annotator": annotator,
        "span_s": [t / 1000 for t in annotation.span_ms],
        "segments": {tier: len(segments) for tier, segments in annotation.tiers.items()},
        "unread": dict(annotation.unread),
        "repairs": [asdict(repair) | {"line": str(repair)} for repair in annotation.repairs],
    }


def _statistics(confusions: NDArray[Any], overlaps: FloatArray) -> dict[str, FloatArray]:
    """Statistics of F comparisons from counts ``(F, K, K)`` and `Overlap` fields ``(F, 6)``."""
    n_segments, n_overlapping, n_pairs, sum_iou, n_compared, n_same = overlaps.T
    return {
        "kappa": cohen_kappa(confusions),
        "kappa_levels": cohen_kappa(confusions[:, 1:, 1:]),
        "alpha": krippendorff_alpha(confusions),
        "alpha_ordinal": krippendorff_alpha(confusions, ordinal=True),
        "overlap_perc": ratio(n_overlapping, n_segments),
        "iou": ratio(sum_iou, n_pairs),
        "overlap_levels": ratio(n_same, n_compared),
    }


def _none(value: float) -> float | None:
    return value if math.isfinite(value) else None
