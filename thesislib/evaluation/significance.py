"""Intervals and tests over the units that were sampled: speakers, not clips.

Clips of one speaker resemble each other, so an interval over clips would be too narrow. With ten
speakers a percentile bootstrap is itself a little too narrow; pages that show one say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests


@dataclass(frozen=True)
class Estimate:
    """A measured value with its 95 % interval.

    Attributes:
        value: Point estimate on the whole sample.
        low: Lower end of the interval, NaN where none can be given.
        high: Upper end of the interval, NaN where none can be given.
        n: Number of samples that it rests on.
        unit: Unit or name of the scale, such as ``share`` or ``Hz``.
    """

    value: float
    low: float
    high: float
    n: int
    unit: str


def bootstrap_counts(groups: int, replicates: int, seed: int) -> NDArray[np.int64]:
    """How often each group is drawn in each replicate of a cluster bootstrap.

    Returns:
        Counts of shape (replicates, groups); each row sums to `groups`.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(groups, np.full(groups, 1 / groups), size=replicates)


def percentile_interval(replicates: NDArray, level: float = 0.95) -> tuple[float, float]:
    """The central `level` share of bootstrap replicates; undefined replicates are left out.

    >>> low, high = percentile_interval(np.arange(101.0))
    >>> round(low, 6), round(high, 6)
    (2.5, 97.5)
    """
    finite = replicates[np.isfinite(replicates)]
    if finite.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class PairedTest:
    """Outcome of a paired comparison over speakers.

    Attributes:
        difference: Mean of the paired differences.
        low: Lower end of their 95 % bootstrap interval.
        high: Upper end of it.
        effect_size: Cohen's d_z: mean difference over its standard deviation.
        p_value: Two-sided p-value of the sign-flip permutation test.
        n: Number of pairs.
    """

    difference: float
    low: float
    high: float
    effect_size: float
    p_value: float
    n: int


def paired_test(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> PairedTest:
    """Compare two conditions measured on the same speakers.

    The null distribution flips the sign of each speaker's difference: all 2**n ways where they
    are at most 10,000 (up to 13 speakers), else 9,999 random ones.

    Args:
        first: One value a speaker, length n.
        second: The other condition, same order.
        seed: For the bootstrap, and for the flips where they are drawn.

    Raises:
        ValueError: the lengths differ or are below two.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"needs two equally long series, got {len(first)} and {len(second)}")
    differences = np.asarray(first, float) - np.asarray(second, float)
    counts = bootstrap_counts(len(differences), 2000, seed)
    low, high = percentile_interval(counts @ differences / len(differences))
    spread = differences.std(ddof=1)
    if np.allclose(differences, differences[0]):
        # The permutation distribution of equal differences is that of a fair coin.
        p_value = 1.0 if np.allclose(differences, 0) else 2.0 ** (1 - len(differences))
    else:
        p_value = stats.permutation_test(
            (differences,),
            np.mean,
            permutation_type="samples",
            n_resamples=9_999,
            rng=np.random.default_rng(seed),
        ).pvalue
    return PairedTest(
        difference=float(differences.mean()),
        low=low,
        high=high,
        effect_size=float(differences.mean() / spread) if spread > 1e-12 else float("nan"),
        p_value=float(p_value),
        n=len(differences),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for a family of tests.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    return [float(p) for p in multipletests(list(p_values), method="holm")[1]]
