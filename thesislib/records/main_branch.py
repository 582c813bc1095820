"""Chapter 8, first half, as records: probes of the frozen main branch, and acoustic descriptions.

Everything is recorded by one function, so that a notebook cell says what is run and nothing else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter

import pandas as pd

from thesislib import files
from thesislib.code import code_sha256
from thesislib.config import MainBranchConfig
from thesislib.corpora.loading import Corpus
from thesislib.evaluation.metrics import measure
from thesislib.records import provenance
from thesislib.records.record import RunRecord

CHAPTER = "08"
TRAINING = ("thesislib.learning.main_branch", "thesislib.learning.features", "thesislib.config")
EVALUATION = ("thesislib.evaluation.metrics",)


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
    corpus: Corpus,
    config: MainBranchConfig,
    stopwatch: Stopwatch,
) -> RunRecord:
    """Measure predictions and write them with their record under ``config.out``.

    Args:
        predictions: Frame of this kind.
        kind: Kind of the record.
        experiment: Name of the experiment.
        configuration: What distinguishes the run from its siblings.
        corpus: What it ran on.
        config: Every parameter.
        stopwatch: Started before the run.

    Raises:
        InputError: the results folder cannot be written.
    """
    parts = [CHAPTER, experiment, config.corpus, *configuration.values()]
    parts += [] if corpus.synthetic else [corpus.variant]
    record = RunRecord(
        run_id="-".join([*parts, config.profile, f"s{config.seed}"]),
        kind=kind,
        chapter=CHAPTER,
        experiment=experiment,
        configuration=configuration,
        profile=config.profile,
        corpus=corpus.name,
        variant=corpus.variant,
        synthetic=corpus.synthetic,
        seed=config.seed,
        config=config.as_dict(),
        metrics=measure(kind, predictions, replicates=config.replicates, seed=config.seed),
        manifest_sha256=corpus.manifest.sha256,
        training_sha256=code_sha256(TRAINING, provenance.notebook_cells(CHAPTER, "train")),
        evaluation_sha256=code_sha256(EVALUATION, provenance.notebook_cells(CHAPTER, "evaluate")),
        commit=provenance.commit(),
        environment=provenance.environment(),
        command=config.command(),
        started=stopwatch.started,
        seconds=stopwatch.seconds(),
    )
    return record.save(files.resolve(config.out), predictions)
