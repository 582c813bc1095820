"""A number of a record as a page prints it, with all that made it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal

from thesislib.errors import InputError
from thesislib.records.record import RunRecord, read_record

FORMAT = re.compile(r"\.\df|\.\d%")


@dataclass(frozen=True)
class Citation:
    """What a page shows of a result.

    Attributes:
        text: The number, rounded, with its interval: of one run, or around those of several, whose
            mean it is.
        details: Name to value, in the order in which a reader wants them.
    """

    text: str
    details: dict[str, str]


def cite(target: str, results: Path) -> Citation:
    """The number behind ``RUN::METRIC`` or ``RUN::METRIC:FORMAT``.

    Args:
        target: A run id, in which ``*`` stands for anything, as in ``05-agreement-*-s0``; a metric
            of these runs; and a format, ``.2f`` (the default) or ``.0%`` and the like.
        results: Folder that holds the records.

    Raises:
        InputError: no such run or metric, runs of several corpora or profiles in one number, or
            another format.
    """
    run, _, rest = target.partition("::")
    metric, _, form = rest.partition(":")
    form = form or ".2f"
    if not metric or not FORMAT.fullmatch(form):
        raise InputError(target, "is not RUN::METRIC:FORMAT", "e.g. 05-agreement-s*::kappa:.2f")
    records = [record for record in _records(results) if fnmatchcase(record.run_id, run)]
    if not records:
        raise InputError(run, "is no recorded run", f"see {results / 'runs'}")
    return cite_records(records, metric, form)


def cite_records(
    records: Sequence[RunRecord],
    metric: str,
    form: str = ".2f",
    *,
    spread: Literal["interval", "seeds"] = "interval",
) -> Citation:
    """One number for several runs that differ in nothing but the seed or what it draws.

    Args:
        records: One or more.
        metric: Of all of them.
        form: ``.2f``, ``.0%`` and the like.
        spread: What stands behind the mean of several runs: an ``interval`` that holds the 95 %
            intervals of all of them, or the lowest and the highest of the ``seeds``, as in the
            chapters' tables. One run, and runs that have no intervals, leave no choice.

    Raises:
        InputError: a run lacks the metric, or they are of several corpora or profiles.
    """
    for record in records:
        if metric not in record.metrics:
            known = ", ".join(record.metrics)
            raise InputError(record.run_id, f"has no metric {metric!r}", f"choose from {known}")
    for name in ("corpus", "variant", "profile", "experiment"):
        if len(values := {str(getattr(r, name)) for r in records}) > 1:
            mixed = f"mixes {name}: {', '.join(sorted(values))}"
            raise InputError(f"{len(records)} runs", mixed, "cite them apart")
    ends = [(record.metrics[metric].low, record.metrics[metric].high) for record in records]
    interval = all(math.isfinite(end) for pair in ends for end in pair)
    interval = interval and (len(records) == 1 or spread == "interval")
    text = _text(records, metric, form, interval)
    return Citation(text, _details(records, metric, form, interval))


def _text(records: Sequence[RunRecord], metric: str, form: str, interval: bool) -> str:
    estimates = [record.metrics[metric] for record in records]
    values = [estimate.value for estimate in estimates]
    mean = f"{_mean(values):{form}}"
    if interval:
        low, high = min(e.low for e in estimates), max(e.high for e in estimates)
        return f"{mean} [{low:{form}}, {high:{form}}]"
    return mean if len(values) == 1 else f"{mean} ({min(values):{form}} to {max(values):{form}})"


def made_by(records: Sequence[RunRecord]) -> dict[str, str]:
    """What made these runs, by name, in the order in which a reader wants it."""
    corpora = {
        f"{r.corpus}, {'synthetic twin' if r.synthetic else f'real, {r.variant}'}" for r in records
    }
    return {
        "run": " ".join(record.run_id for record in records),
        "corpus": "; ".join(sorted(corpora)),
        "seeds": ", ".join(str(seed) for seed in sorted({record.seed for record in records})),
        "profile": ", ".join(sorted({record.profile for record in records})),
        "commit": ", ".join(sorted({record.commit for record in records})),
        "manifest": ", ".join(sorted({record.manifest_sha256 for record in records})),
        "command": "\n".join(dict.fromkeys(record.command for record in records)),
    }


def _details(
    records: Sequence[RunRecord], metric: str, form: str, interval: bool
) -> dict[str, str]:
    told = made_by(records)
    n = len(records)
    if n == 1:
        spread = "95 % interval of one run in brackets"
    elif interval:
        spread = f"mean of {n} runs; in brackets the lowest and highest end of their 95 % intervals"
    else:
        spread = f"mean of {n} runs, lowest and highest in parentheses"
    per_cent = " per cent" if form.endswith("%") else ""
    unit = records[0].metrics[metric].unit
    return {
        "run": told.pop("run"),
        "metric": f"{metric} ({unit}); {spread}",
        "rounding": f"to {form[1]} decimals{per_cent}",
    } | told


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@cache
def _records(results: Path) -> tuple[RunRecord, ...]:
    return tuple(read_record(path) for path in sorted((results / "runs").glob("*.json")))
