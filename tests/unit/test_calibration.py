import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve as sklearn_curve

from thesislib.evaluation.calibration import BINS, calibration_curve, calibration_error


def frame_of(probabilities, target, speakers=4):
    names = ["a", "b", "c"]
    frame = pd.DataFrame(
        {
            "speaker": [str(i % speakers) for i in range(len(target))],
            "target": [names[i] for i in target],
            "prediction": [names[i] for i in probabilities.argmax(1)],
        }
    )
    for number, name in enumerate(names):
        frame[f"p_{name}"] = probabilities[:, number]
    return frame


def drawn(seed, n=600):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(3), size=n)
    target = np.array([generator.choice(3, p=row) for row in probabilities])
    return probabilities, target


def test_the_curve_agrees_with_sklearn():
    probabilities, target = drawn(0)
    frame = frame_of(probabilities, target)
    hit = (frame["target"] == frame["prediction"]).to_numpy(int)
    accuracy, confidence = sklearn_curve(hit, probabilities.max(1), n_bins=BINS)
    curve = calibration_curve(frame)
    assert curve["accuracy"].to_numpy() == pytest.approx(accuracy)
    assert curve["confidence"].to_numpy() == pytest.approx(confidence)
    assert curve["n"].sum() == len(frame)


def test_the_error_is_the_weighted_gap_of_the_curve():
    frame = frame_of(*drawn(1))
    curve = calibration_curve(frame)
    gap = (curve["confidence"] - curve["accuracy"]).abs() * curve["n"] / curve["n"].sum()
    found = calibration_error(frame, replicates=100, seed=0)
    assert found.value == pytest.approx(gap.sum())
    assert found.low <= found.high


def test_honest_probabilities_have_a_small_error_and_boasts_a_large_one():
    probabilities, target = drawn(2, n=4000)
    honest = calibration_error(frame_of(probabilities, target), replicates=10, seed=0).value
    sure = probabilities**8 / (probabilities**8).sum(1, keepdims=True)
    boast = calibration_error(frame_of(sure, target), replicates=10, seed=0).value
    assert honest < 0.03
    assert boast > 0.15
