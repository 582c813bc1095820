"""Contrasts that know the runs they were computed from, so that a page can name them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from thesislib.evaluation.claims_laughs import Contrast
from thesislib.records.record import RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced(Contrast):
    """A contrast with its runs.

    Attributes:
        runs: Run ids of both sides, in order.
    """

    runs: tuple[str, ...]


def traced(contrast: Contrast, *sides: Iterable[RunRecord]) -> Traced:
    """A contrast with the runs of its sides."""
    runs = sorted({record.run_id for side in sides for record in side})
    return Traced(**asdict(contrast), runs=tuple(runs))
