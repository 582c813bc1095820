"""Claims of the thesis, as tests of what was measured.

Source: claims A to J of the notes; claim J: Tables 5.5 to 5.9.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from thesislib.corpora.annotation import TIERS
from thesislib.evaluation.significance import bootstrap_counts, percentile_interval
from thesislib.evaluation.timelines import ratio


def claim_j(frame: pd.DataFrame, *, n_bootstrap: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Claim J: roles are agreed on more than intensities, and laughs' intensities than smiles'.

    Three measures, since the thesis names none for the claim: ``overlap_levels`` (the share of
    overlapping pairs with the same value, Tables 5.7 to 5.9), ``kappa`` (of a whole tier, *none*
    included) and ``kappa_levels`` (of the values, over the time that both marked). Only the last
    allows for a tier of four values being harder to agree on than one of two.

    A category's value is the mean over annotator pairs of the mean over their common files, as
    `agreement.aggregate` has it. Intervals resample files, the same for all categories, so that
    the interval of a difference is one over files as well.

    Args:
        frame: Predictions of kind *agreement*; rows of single levels are passed over.
        n_bootstrap: Resamples of the files.
        seed: Of the resampling.

    Returns:
        Rows of ``statistic`` and ``quantity`` (``Role``, ``Smiles``, ``Laughs`` and the three
        differences ``Role - Smiles``, ``Role - Laughs``, ``Laughs - Smiles``) with ``value``,
        ``low``, ``high``, ``n`` (files) and ``holds``: for differences, whether the whole interval
        is above zero (True), below zero (False), or neither (None).

    Raises:
        ValueError: there is nothing to compare.
    """
    names = ("overlap_levels", "kappa", "kappa_levels")
    chosen = frame[(frame["level"] == "all") & frame["statistic"].isin(names)]
    if chosen.empty:
        raise ValueError("claim J needs comparisons of files")
    files = sorted(set(chosen["file"]))
    pairs = sorted(set(zip(chosen["annotator_a"], chosen["annotator_b"], strict=True)))
    axes = pd.MultiIndex.from_product([names, list(TIERS), pairs, files])
    keys = [
        (statistic, category, (a, b), file)
        for statistic, category, a, b, file in zip(
            *(
                chosen[column]
                for column in ("statistic", "category", "annotator_a", "annotator_b", "file")
            ),
            strict=True,
        )
    ]
    flat = pd.Series(chosen["value"].to_numpy(float), index=pd.MultiIndex.from_tuples(keys))
    shape = (len(names), len(TIERS), len(pairs), len(files))
    values = flat.reindex(axes).to_numpy().reshape(shape)
    draws = bootstrap_counts(len(files), n_bootstrap, seed)
    weights = np.vstack([np.ones(len(files)), draws])  # the first is the sample itself
    defined = np.isfinite(values)
    by_pair = ratio(np.where(defined, values, 0) @ weights.T, defined @ weights.T)
    there = np.isfinite(by_pair)
    means = ratio(np.where(there, by_pair, 0).sum(2), there.sum(2))  # (statistic, tier, replicate)
    n = defined.any(2).sum(-1)  # files on which a statistic is defined
    both = (defined.any(2)[:, [0, 0, 2]] | defined.any(2)[:, [1, 2, 1]]).sum(-1)
    rows = []
    for s, name in enumerate(names):
        role, smiles, laughs = means[s]
        quantities = dict(zip(TIERS, means[s], strict=True)) | {
            "Role - Smiles": role - smiles,
            "Role - Laughs": role - laughs,
            "Laughs - Smiles": laughs - smiles,
        }
        for (quantity, replicates), count in zip(
            quantities.items(), [*n[s], *both[s]], strict=True
        ):
            low, high = percentile_interval(replicates[1:]) if count > 1 else (math.nan, math.nan)
            holds = None
            if quantity not in TIERS and (low > 0 or high < 0):
                holds = low > 0
            rows.append((name, quantity, float(replicates[0]), low, high, int(count), holds))
    columns = ["statistic", "quantity", "value", "low", "high", "n", "holds"]
    return pd.DataFrame(rows, columns=columns).astype({"holds": object})
