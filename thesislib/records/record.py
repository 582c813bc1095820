"""Run records: one JSON file a configuration and seed, with its predictions beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from thesislib.errors import InputError
from thesislib.evaluation.significance import Estimate
from thesislib.files import atomic_write

KINDS = ("classification", "regression", "reconstruction", "agreement", "embedding")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What was run, on what, by which code, and what came out.

    Attributes:
        run_id: Name of the run, unique in a results folder; also the file's name.
        kind: Kind of its predictions, one of `KINDS`.
        chapter: Two digits.
        experiment: Name of the experiment within the chapter.
        configuration: What distinguishes this run from its siblings, such as task and features.
        profile: ``tiny``, ``small`` or ``paper``.
        corpus: Name of the manifest.
        variant: Form of the corpus, such as ``cut-2s`` or ``twin``.
        synthetic: True for a twin.
        seed: Seed of the run.
        config: Every parameter.
        metrics: Name to value, interval, number of samples and unit.
        manifest_sha256: Hash of the manifest file.
        training_sha256: Hash of the code that made the predictions.
        evaluation_sha256: Hash of the code that measured them.
        commit: Commit that was checked out.
        environment: Versions, processor, threads.
        command: The command that makes it again.
        started: Start in UTC, ISO 8601.
        seconds: Duration.
        predictions: Path of the parquet file, relative to the results folder.
    """

    run_id: str
    kind: str
    chapter: str
    experiment: str
    configuration: Mapping[str, str]
    profile: str
    corpus: str
    variant: str
    synthetic: bool
    seed: int
    config: Mapping[str, Any]
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    manifest_sha256: str = ""
    training_sha256: str = ""
    evaluation_sha256: str = ""
    commit: str = ""
    environment: Mapping[str, str | int] = field(default_factory=dict)
    command: str = ""
    started: str = ""
    seconds: float = 0.0
    predictions: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}, not one of {', '.join(KINDS)}")

    def save(self, results: Path, predictions: pd.DataFrame) -> RunRecord:
        """Write predictions, then the record, each whole or not at all; return the record."""
        relative = f"predictions/{self.run_id}.parquet"
        with atomic_write(results / relative) as temporary:
            predictions.to_parquet(temporary, index=False)
        return replace(self, predictions=relative).write(results)

    def write(self, results: Path) -> RunRecord:
        """Write the record alone, whose predictions are there; return it as it is read back."""
        with atomic_write(results / "runs" / f"{self.run_id}.json") as temporary:
            temporary.write_text(
                json.dumps(_without_nan(asdict(self)), indent=1, ensure_ascii=False) + "\n",
                encoding="utf-8",
            )
        return read_record(results / "runs" / f"{self.run_id}.json")

    def load_predictions(self, results: Path) -> pd.DataFrame:
        """The rows that the metrics were computed from.

        Raises:
            InputError: the file is missing or damaged.
        """
        path = results / self.predictions
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise InputError(
                path, f"cannot be read ({error})", f"run `{self.command}` again"
            ) from error

    def measure_again(self, results: Path) -> dict[str, Estimate]:
        """The metrics, computed anew from the stored predictions."""
        # Here, since to read records is quick and to import every metric is not.
        from thesislib.evaluation.metrics import measure

        return measure(
            self.kind,
            self.load_predictions(results),
            replicates=int(self.config["replicates"]),
            seed=self.seed,
        )


def read_record(path: Path) -> RunRecord:
    """Read one record.

    Raises:
        InputError: the file is missing, is not JSON, or lacks a field.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        document["metrics"] = {
            name: Estimate(**{key: _nan(value) for key, value in estimate.items()})
            for name, estimate in document["metrics"].items()
        }
        return RunRecord(**document)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(path, f"is not a run record ({error})", "run its command again") from error


def read_records(results: Path, **wanted: str | bool | int) -> list[RunRecord]:
    """All records of a results folder, in order of run id, that agree with `wanted`.

    Args:
        results: Folder with ``runs/``.
        **wanted: Fields of the record, or keys of its configuration, and their values.

    Raises:
        ValueError: no record knows a name in `wanted`, which is then a slip of the pen.
    """
    records = [read_record(path) for path in sorted((results / "runs").glob("*.json"))]
    known = {entry.name for entry in fields(RunRecord)}.union(*(r.configuration for r in records))
    if records and (unknown := wanted.keys() - known):
        raise ValueError(f"records have no field {', '.join(sorted(unknown))}")
    return [
        record
        for record in records
        if all(
            getattr(record, name, record.configuration.get(name)) == value
            for name, value in wanted.items()
        )
    ]


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """JSON has no NaN: an undefined number is stored as null."""
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _nan(value: float | int | str | None) -> Any:  # noqa: ANN401 - any JSON scalar
    return float("nan") if value is None else value
