"""A number of a record as a page prints it, with all that made it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from thesislib.errors import InputError
from thesislib.records.record import RunRecord, read_record

FORMAT = re.compile(r"\.\df|\.\d%")


@dataclass(frozen=True)
class Citation:
    """What a page shows of a result.

    Attributes:
        text: The number, rounded, with its interval (one run) or its range over seeds (several).
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
    for record in records:
        if metric not in record.metrics:
            known = ", ".join(record.metrics)
            raise InputError(record.run_id, f"has no metric {metric!r}", f"choose from {known}")
    for name in ("corpus", "variant", "profile", "experiment"):
        if len(values := {str(getattr(r, name)) for r in records}) > 1:
            raise InputError(run, f"mixes {name}: {', '.join(sorted(values))}", "cite them apart")
    return Citation(_text(records, metric, form), _details(records, metric))


def _text(records: Sequence[RunRecord], metric: str, form: str) -> str:
    estimates = [record.metrics[metric] for record in records]
    values = [estimate.value for estimate in estimates]
    if len(values) > 1:
        mean, low, high = (f"{v:{form}}" for v in (_mean(values), min(values), max(values)))
        return f"{mean} ({low} to {high})"
    low, high = f"{estimates[0].low:{form}}", f"{estimates[0].high:{form}}"
    value = f"{values[0]:{form}}"
    return value if "nan" in low + high else f"{value} [{low}, {high}]"


def _details(records: Sequence[RunRecord], metric: str) -> dict[str, str]:
    first = records[0]
    seeds = sorted({record.seed for record in records})
    spread = "95 % interval of one run" if len(records) == 1 else f"mean of {len(records)} runs"
    spread += " in brackets" if len(records) == 1 else ", lowest and highest in brackets"
    return {
        "run": " ".join(record.run_id for record in records),
        "metric": f"{metric} ({first.metrics[metric].unit}); {spread}",
        "corpus": f"{first.corpus}, {'synthetic twin' if first.synthetic else first.variant}",
        "seeds": ", ".join(str(seed) for seed in seeds),
        "profile": first.profile,
        "commit": ", ".join(sorted({record.commit[:12] for record in records})),
        "manifest": ", ".join(sorted({record.manifest_sha256[:12] for record in records})),
        "command": "\n".join(record.command for record in records),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@cache
def _records(results: Path) -> tuple[RunRecord, ...]:
    return tuple(read_record(path) for path in sorted((results / "runs").glob("*.json")))
