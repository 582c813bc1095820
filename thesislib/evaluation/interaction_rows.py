"""Interaction as rows of a record: answers and rates by role, one row a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from thesislib.evaluation.agreement import COLUMNS
from thesislib.evaluation.interaction import ROLES, Pair, mimicry_test, role_counts
from thesislib.evaluation.significance import PairedTest, paired_test
from thesislib.evaluation.timelines import ratio

KINDS: tuple[Literal["Smiles", "Laughs"], ...] = ("Smiles", "Laughs")


def interaction_frame(
    pairs: Mapping[str, Sequence[Pair]], *, n_shuffles: int = 99, seed: int = 0
) -> pd.DataFrame:
    """What one annotator's conversations say of mimicry and roles, as *agreement* predictions.

    Args:
        pairs: Annotator to the two annotations of each conversation, at least four of them;
            annotators with fewer are passed over.
        n_shuffles: Shuffles of the dyads; the rows hold their mean.
        seed: Of the shuffles.

    Returns:
        The columns of `agreement.COLUMNS`; ``file`` is the first participant's, and the annotator
        stands in both columns. ``answered``: probability that the other answers, of level
        ``true`` and ``shuffled`` dyads, on as many beginnings as ``weight`` says. ``per_minute``:
        beginnings a minute in a role (level ``none``, ``spk``, ``lsn``), on ``weight`` minutes.
    """
    rows: list[tuple[str | float, ...]] = []
    for annotator, dyads in pairs.items():
        if len(dyads) < 4:
            continue
        names = [first.name for first, _ in dyads]
        for tier in KINDS:
            test = mimicry_test(dyads, tier, n_shuffles=n_shuffles, seed=seed)
            answers, asked, expected = test.by_dyad.T
            levels = {"true": ratio(answers, asked), "shuffled": expected}
            key = (annotator, annotator, tier)
            for level, values in levels.items():
                rows += [
                    (name, *key, level, "answered", value, weight)
                    for name, value, weight in zip(names, values, asked, strict=True)
                ]
            counts = np.array([[role_counts(a, tier) for a in pair] for pair in dyads]).sum(1)
            minutes = counts[:, 0] / 60_000
            rates = ratio(counts[:, 1], minutes)
            rows += [
                (name, *key, role, "per_minute", rates[dyad, place], minutes[dyad, place])
                for place, role in enumerate(ROLES)
                for dyad, name in enumerate(names)
            ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def contrast(
    frame: pd.DataFrame, statistic: str, category: str, first: str, second: str, *, seed: int = 0
) -> PairedTest:
    """Difference of two levels of one statistic, paired by conversation.

    Each conversation counts once, however many events it holds: the mean over its annotators.
    Shuffled values of two conversations rest on the same events, so against ``shuffled`` the
    p-value is approximate; `mimicry_test` has the exact one.

    Args:
        frame: Of `interaction_frame`.
        statistic: ``answered`` or ``per_minute``.
        category: ``Smiles`` or ``Laughs``.
        first: Level that counts positive, such as ``true`` or ``lsn``.
        second: Level that counts negative, such as ``shuffled`` or ``spk``.
        seed: Of the bootstrap and the sign flips.

    Raises:
        ValueError: fewer than two conversations have both.
    """
    chosen = frame[(frame["statistic"] == statistic) & (frame["category"] == category)]
    table = chosen.pivot_table(index="file", columns="level", values="value")
    both = table.reindex(columns=[first, second]).dropna()
    return paired_test(both[first].tolist(), both[second].tolist(), seed=seed)
