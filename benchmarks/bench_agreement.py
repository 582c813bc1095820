"""Agreement of two one-hour annotations of 5,000 segments each, against slower ways to it.

Run with ``OMP_NUM_THREADS=1 python benchmarks/bench_agreement.py``. Prints milliseconds (the best
of several runs) and ratios to thesislib: kappa, Overlap_perc, IoU and Overlap_levels by a plain
double loop with scikit-learn's kappa on the materialised grid, and pyannote.metrics for the one
quantity that it shares (seconds correct, confused, missed and falsely detected).
"""

import json
import time
import warnings
from collections.abc import Callable

import numpy as np
from pyannote.core import Annotation
from pyannote.core import Segment as Stretch
from pyannote.metrics.identification import IdentificationErrorRate
from sklearn.metrics import cohen_kappa_score

from thesislib.corpora.elan import TIERS, Segment
from thesislib.evaluation.agreement import as_track, cohen_kappa, grid_confusion, overlap_counts

LEVELS = TIERS["Smiles"]
SPAN = (0, 3_600_000)
N = 5_000


def hour(generator: np.random.Generator) -> list[Segment]:
    bounds = np.sort(generator.choice(SPAN[1] // 10, 2 * N, replace=False)).reshape(-1, 2) * 10
    return [Segment(int(s), int(e), LEVELS[generator.integers(4)]) for s, e in bounds]


def ours(a: list[Segment], b: list[Segment]) -> list[float]:
    x, y = as_track(a, LEVELS), as_track(b, LEVELS)
    kappa = float(cohen_kappa(grid_confusion(x, y, SPAN, len(LEVELS))))
    o = overlap_counts(x, y)
    perc = o.n_overlapping / o.n_segments
    return [kappa, perc, o.sum_iou / o.n_pairs, o.n_same / o.n_compared]


def plain(a: list[Segment], b: list[Segment]) -> list[float]:
    grids = []
    for segments in (a, b):
        grid = np.zeros(SPAN[1] // 10, np.int8)
        for s in segments:
            grid[s.start_ms // 10 : s.end_ms // 10] = LEVELS.index(s.value) + 1
        grids.append(grid)
    kappa = cohen_kappa_score(*grids)
    hit_a, hit_b, ious, same = set(), set(), [], 0
    for i, s in enumerate(a):
        for j, t in enumerate(b):
            shared = min(s.end_ms, t.end_ms) - max(s.start_ms, t.start_ms)
            if shared > 0:
                iou = shared / (max(s.end_ms, t.end_ms) - min(s.start_ms, t.start_ms))
                if iou > 0.1:
                    hit_a.add(i)
                    hit_b.add(j)
                    ious.append(iou)
                    same += s.value == t.value
    perc = (len(hit_a) + len(hit_b)) / (len(a) + len(b))
    return [kappa, perc, float(np.mean(ious)), same / len(ious)]


def pyannote(a: list[Segment], b: list[Segment]) -> list[float]:
    x, y = (
        Annotation.from_records((Stretch(s.start_s, s.end_s), k, s.value) for k, s in enumerate(v))
        for v in (a, b)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = IdentificationErrorRate().compute_components(x, y)
    names = ("correct", "confusion", "missed detection", "false alarm")
    return [float(parts[name]) for name in names]


def same_parts(a: list[Segment], b: list[Segment]) -> list[float]:
    x, y = as_track(a, LEVELS), as_track(b, LEVELS)
    counts = grid_confusion(x, y, SPAN, len(LEVELS)) / 100
    correct = np.trace(counts[1:, 1:])
    confused = counts[1:, 1:].sum() - correct
    return [float(v) for v in (correct, confused, counts[1:, 0].sum(), counts[0, 1:].sum())]


def best_ms(call: Callable[[], list], repeats: int) -> tuple[float, list]:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - began)
    return 1000 * min(times), result


def main() -> None:
    generator = np.random.default_rng(0)
    a, b = hour(generator), hour(generator)
    four, values = best_ms(lambda: ours(a, b), 20)
    loop, expected = best_ms(lambda: plain(a, b), 1)
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    parts, seconds = best_ms(lambda: same_parts(a, b), 20)
    reference, expected_seconds = best_ms(lambda: pyannote(a, b), 1)
    np.testing.assert_allclose(seconds, expected_seconds, rtol=1e-9)
    print(
        json.dumps(
            {
                "four_metrics_ms": round(four, 2),
                "plain_double_loop_ms": round(loop, 1),
                "ratio_to_double_loop": round(loop / four, 1),
                "error_parts_ms": round(parts, 2),
                "pyannote_metrics_ms": round(reference, 1),
                "ratio_to_pyannote": round(reference / parts, 1),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
