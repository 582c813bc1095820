"""Dose and response: the mimicry test on twins in which mimicry is planted at several strengths."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from thesislib.config import AgreementConfig
from thesislib.corpora.twins.annotators import TRUTH, annotate
from thesislib.corpora.twins.dyads import simulate_dyad
from thesislib.evaluation.interaction import mimicry_test


def mimicry_doses(config: AgreementConfig, strengths: Sequence[float]) -> pd.DataFrame:
    """The mimicry test at each strength of the planted effect, for smiles and for laughs.

    The annotations are the truth, so that the test is tried and not the annotators.

    Args:
        config: Corpus, seed, number and length of the conversations.
        strengths: Multiples of the documented effect; 0 is the null twin.

    Returns:
        Indexed by strength and tier: ``answered`` (share of events that the other answers),
        ``excess`` over shuffled dyads, Cohen's ``h``, ``p``, and the median ``lag (s)``.
    """
    corpus = config.corpus.removesuffix("-twin")
    rows = {}
    for strength in strengths:
        dyads = [
            simulate_dyad(
                corpus,
                number,
                seed=config.seed,
                duration_s=config.duration_s,
                effects={"mimicry": strength},
            )
            for number in range(1, config.dyads + 1)
        ]
        pairs = [(annotate(dyad, 0, TRUTH), annotate(dyad, 1, TRUTH)) for dyad in dyads]
        for tier in ("Smiles", "Laughs"):
            test = mimicry_test(pairs, tier, n_shuffles=config.shuffles, seed=config.seed)
            rows[strength, tier] = {
                "answered": round(test.value.value, 2),
                "excess": round(test.difference, 2),
                "h": round(test.cohen_h, 2),
                "p": round(test.p_value, 3),
                "lag (s)": round(test.lag_s, 2),
            }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.rename_axis(index=["strength", "tier"])
