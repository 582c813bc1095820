"""Making records: one function measures predictions and writes them with all that made them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from time import perf_counter

import pandas as pd

from thesislib import files
from thesislib.config import Experiment
from thesislib.corpora.manifest import Manifest
from thesislib.evaluation.metrics import measure
from thesislib.records import provenance
from thesislib.records.record import RunRecord


class Stopwatch:
    """Start time and duration of a run.

    >>> Stopwatch().seconds() < 60
    True
    """

    def __init__(self) -> None:
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self._start = perf_counter()

    def seconds(self) -> float:
        """Seconds since it was made, to a hundredth."""
        return round(perf_counter() - self._start, 2)


def record_run(
    predictions: pd.DataFrame,
    kind: str,
    *,
    experiment: str,
    configuration: dict[str, str],
    manifest: Manifest,
    variant: str,
    config: Experiment,
    stopwatch: Stopwatch,
    synthetic: bool | None = None,
) -> RunRecord:
    """Measure predictions and write them with their record under ``config.out``.

    Args:
        predictions: Frame of this kind.
        kind: Kind of the record.
        experiment: Name of the experiment.
        configuration: What distinguishes the run from its siblings.
        manifest: Of the corpus that it ran on.
        variant: Form of the copy, such as ``cut-2s`` or ``twin``.
        config: Every parameter.
        stopwatch: Started before the run.
        synthetic: Whether the predictions are of a twin, where that is not the corpus of the
            configuration but another one that its model is tested on.

    Raises:
        InputError: the results folder cannot be written.
    """
    chapter = config.CHAPTER
    parts = [chapter, experiment, config.corpus, *configuration.values()]
    parts += [] if config.synthetic else [variant]
    unusual = {k: v for k, v in config.changed().items() if k not in ("corpus", "seed")}
    if unusual:  # other parameters than the profile's: a run of its own, not that of the profile
        parts.append(hashlib.sha256(repr(sorted(unusual.items())).encode()).hexdigest()[:8])
    record = RunRecord(
        run_id="-".join([*parts, config.profile, f"s{config.seed}"]),
        kind=kind,
        chapter=chapter,
        experiment=experiment,
        configuration=configuration,
        profile=config.profile,
        corpus=manifest.name,
        variant=variant,
        synthetic=config.synthetic if synthetic is None else synthetic,
        seed=config.seed,
        config=config.as_dict(),
        metrics=measure(kind, predictions, replicates=config.replicates, seed=config.seed),
        manifest_sha256=manifest.sha256,
        training_sha256=provenance.training_sha256(type(config)),
        evaluation_sha256=provenance.evaluation_sha256(type(config)),
        commit=provenance.commit(),
        environment=provenance.environment(),
        command=config.command(),
        started=stopwatch.started,
        seconds=stopwatch.seconds(),
    )
    return record.save(files.resolve(config.out), predictions)
