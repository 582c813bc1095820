"""Dose and response: tests of interaction on twins in which an effect has several strengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from thesislib.config import AgreementConfig
from thesislib.corpora.twins.annotators import TRUTH, annotate
from thesislib.corpora.twins.dyads import Dyad, simulate_dyad
from thesislib.evaluation.interaction import mimicry_test, role_test


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
    rows = {}
    for strength in strengths:
        dyads = _dyads(config, "mimicry", strength)
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


def backchannel_doses(config: AgreementConfig, strengths: Sequence[float]) -> pd.DataFrame:
    """Whether feedback waits for the other's turn, at each strength of the planted rate.

    The annotator is the truth but for one fault, without which feedback cannot be seen at all:
    every backchannel is marked as a turn, against the protocol. What is counted is how much more
    often a minute short turns come while the other person speaks than while he or she listens.

    Args:
        config: Corpus, seed, number and length of the conversations.
        strengths: Multiples of the documented rate; 0 is the null twin.

    Returns:
        Indexed by strength: ``short turns`` (count), ``difference`` (a minute), ``shuffled`` (the
        same in shuffled dyads) and ``p``.
    """
    marking = replace(TRUTH, backchannel_as_turn=1.0)
    rows = {}
    for strength in strengths:
        dyads = _dyads(config, "backchannels", strength)
        pairs = [(annotate(dyad, 0, marking), annotate(dyad, 1, marking)) for dyad in dyads]
        test = role_test(
            pairs, "Short turns", whose="other", n_shuffles=config.shuffles, seed=config.seed
        )
        rows[strength] = {
            "short turns": test.events,
            "difference": round(0.0 - test.value.value, 2),
            "shuffled": round(0.0 - test.shuffled, 2),
            "p": round(test.p_value, 3),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(index="strength")


def _dyads(config: AgreementConfig, effect: str, strength: float) -> list[Dyad]:
    """The conversations of a twin with one effect at one strength."""
    return [
        simulate_dyad(
            config.corpus.removesuffix("-twin"),
            number,
            seed=config.seed,
            duration_s=config.duration_s,
            effects={effect: strength},
        )
        for number in range(1, config.dyads + 1)
    ]
