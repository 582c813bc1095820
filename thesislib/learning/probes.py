"""Linear probes on frozen features, cross-validated so that the held-out group stays unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from thesislib.corpora.clip import Clip
from thesislib.corpora.splits import leave_one_group_out

# What is predicted, and what is held out: emotions of an unseen speaker; speakers saying an
# unseen sentence.
TASKS = {"emotion": "speaker", "speaker": "sentence"}


def labels_of(clips: Sequence[Clip], name: str) -> list[str]:
    """A label of every clip; the speaker counts as one."""
    return [clip.speaker if name == "speaker" else clip.labels[name] for clip in clips]


def linear_probe(regularisation_c: float) -> Pipeline:
    """Standardisation and logistic regression with balanced classes, fitted together."""
    return make_pipeline(
        StandardScaler(),
        LogisticRegression(C=regularisation_c, class_weight="balanced", max_iter=2000),
    )


def cross_validate(
    features: NDArray, clips: Sequence[Clip], task: str, *, regularisation_c: float
) -> pd.DataFrame:
    """Predictions of a linear probe for every clip, each made without its group.

    Args:
        features: `(N, D)`.
        clips: N clips.
        task: ``emotion`` (leave one speaker out) or ``speaker`` (leave one sentence out).
        regularisation_c: Inverse strength of the L2 penalty.

    Returns:
        A predictions frame of kind *classification*, one row a clip.
    """
    targets = np.asarray(labels_of(clips, task))
    frame = _empty_frame(clips, targets)
    for fold, train, test in leave_one_group_out(labels_of(clips, TASKS[task])):
        probe = linear_probe(regularisation_c).fit(features[train], targets[train])
        _fill(frame, fold, test, probe, features[test])
    return frame


def cross_validate_nested(
    layers: Mapping[str, NDArray],
    clips: Sequence[Clip],
    task: str,
    *,
    regularisation_c: float,
) -> pd.DataFrame:
    """As `cross_validate`, with the layer chosen inside each fold, on the training groups alone.

    The layer of a fold is the one with the highest UAR of an inner leave-one-group-out; the
    column ``layer`` names it.
    """
    targets = np.asarray(labels_of(clips, task))
    groups = np.asarray(labels_of(clips, TASKS[task]))
    frame = _empty_frame(clips, targets).assign(layer="")
    for fold, train, test in leave_one_group_out(groups.tolist()):
        scores = {
            name: _inner_uar(values[train], targets[train], groups[train], regularisation_c)
            for name, values in layers.items()
        }
        chosen = max(scores, key=lambda name: scores[name])
        probe = linear_probe(regularisation_c).fit(layers[chosen][train], targets[train])
        _fill(frame, fold, test, probe, layers[chosen][test])
        frame.loc[test, "layer"] = chosen
    return frame


def _inner_uar(
    features: NDArray, targets: NDArray, groups: NDArray, regularisation_c: float
) -> float:
    predicted = np.empty_like(targets)
    for _, train, test in leave_one_group_out(groups.tolist()):
        probe = linear_probe(regularisation_c).fit(features[train], targets[train])
        predicted[test] = probe.predict(features[test])
    return float(balanced_accuracy_score(targets, predicted))


def _empty_frame(clips: Sequence[Clip], targets: NDArray) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "clip_id": [clip.clip_id for clip in clips],
            "speaker": [clip.speaker for clip in clips],
            "fold": "",
            "target": targets,
            "prediction": "",
        }
    )
    frame[[f"p_{name}" for name in sorted(set(targets))]] = 0.0
    frame["sex"] = [clip.sex for clip in clips]
    frame["listener_recognition"] = [
        clip.scores.get("listener_recognition", np.nan) for clip in clips
    ]
    return frame


def _fill(
    frame: pd.DataFrame, fold: str, test: NDArray, probe: Pipeline, features: NDArray
) -> None:
    probabilities = probe.predict_proba(features)
    frame.loc[test, "fold"] = fold
    frame.loc[test, "prediction"] = probe.classes_[probabilities.argmax(1)]
    frame.loc[test, [f"p_{name}" for name in probe.classes_]] = probabilities
