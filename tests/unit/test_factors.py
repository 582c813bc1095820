"""The factor-by-branch matrix against sklearn, scipy and cases whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy
from sklearn.metrics import balanced_accuracy_score, f1_score, mutual_info_score

from thesislib.evaluation.factors import (
    completeness,
    disentanglement,
    factor_confusion,
    factor_matrix,
    factor_metrics,
    information_share,
    skill,
)


def frame(share_main, share_auxiliary, factor="emotion", n=600, classes=4, seed=0):
    """A probe that is right for a share of clips, and guesses for the others."""
    generator = np.random.default_rng(seed)
    target = generator.integers(classes, size=n)
    parts = []
    for branch, share in (("main", share_main), ("auxiliary", share_auxiliary)):
        guess = generator.integers(classes, size=n)
        prediction = np.where(generator.random(n) < share, target, guess)
        parts.append(
            pd.DataFrame(
                {
                    "clip_id": [f"c{i}" for i in range(n)],
                    "speaker": [f"s{i % 12:02}" for i in range(n)],
                    "fold": "a",
                    "factor": factor,
                    "branch": branch,
                    "target": [f"k{k}" for k in target],
                    "prediction": [f"k{k}" for k in prediction],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_metrics_equal_sklearns():
    predictions = frame(0.6, 0.2)
    metrics = factor_metrics(predictions, replicates=20, seed=0)
    for branch in ("main", "auxiliary"):
        part = predictions[predictions["branch"] == branch]
        true, predicted = part["target"], part["prediction"]
        expected = {
            "uar": balanced_accuracy_score(true, predicted),
            "micro_f1": f1_score(true, predicted, average="micro"),
            "macro_f1": f1_score(true, predicted, average="macro"),
            "skill": balanced_accuracy_score(true, predicted, adjusted=True),
        }
        for name, value in expected.items():
            estimate = metrics[f"emotion/{branch}/{name}"]
            assert estimate.value == pytest.approx(value)
            assert estimate.low < value < estimate.high
            assert estimate.n == 600
        plain = mutual_info_score(true, predicted) - 9 / (2 * 600)
        share = plain / entropy(true.value_counts())
        assert metrics[f"emotion/{branch}/information"].value == pytest.approx(share)


def test_information_of_guesses_is_about_zero_and_of_certainty_one():
    generator = np.random.default_rng(1)
    tables = []
    for _ in range(200):
        pairs = generator.integers(5, size=(2, 300))
        table = np.zeros((5, 5), int)
        np.add.at(table, tuple(pairs), 1)
        tables.append(table)
    # Without the correction, chance alone would make a share of 16 / 600 / log 5 = 0.0166.
    assert information_share(np.array(tables)).mean() < 0.006
    assert information_share(np.diag([90, 80, 70])) == pytest.approx(1 - 4 / 480 / 1.0968, abs=0.01)
    assert np.isnan(information_share(np.array([[5, 3], [0, 0]])))


def test_skill_is_zero_at_chance_and_one_without_error():
    assert float(skill(np.full((3, 3), 7))) == pytest.approx(0)
    assert float(skill(np.diag([3, 9, 1]))) == 1
    assert float(skill(np.array([[0, 4], [4, 0]]))) == -1


def test_a_factor_that_the_main_branch_alone_knows():
    metrics = factor_metrics(frame(0.9, 0.0), replicates=50, seed=0)
    assert metrics["emotion/gap"].low > 0.3
    assert metrics["emotion/completeness"].value > 0.7
    assert "mig" not in metrics, "one factor has no mean over factors"


def test_a_factor_that_both_know_alike():
    metrics = factor_metrics(frame(0.8, 0.8), replicates=50, seed=0)
    assert metrics["emotion/gap"].low < 0 < metrics["emotion/gap"].high
    assert metrics["emotion/completeness"].value < 0.01


def test_branches_that_share_the_factors_out_are_disentangled():
    apart = pd.concat([frame(0.95, 0.0), frame(0.0, 0.95, factor="speaker", seed=1)])
    mixed = pd.concat([frame(0.6, 0.6), frame(0.6, 0.6, factor="speaker", seed=1)])
    apart, mixed = (factor_metrics(f, replicates=20, seed=0) for f in (apart, mixed))
    for branch in ("main", "auxiliary"):
        assert apart[f"{branch}/disentanglement"].value > 0.7
        assert mixed[f"{branch}/disentanglement"].value < 0.05
    assert apart["mig"].value > 0.7
    assert mixed["mig"].value < 0.1
    assert apart["speaker/gap"].value < 0 < apart["emotion/gap"].value


def test_dci_scores_equal_one_minus_scipys_entropy():
    importance = np.random.default_rng(0).random((3, 2, 5))
    for i in range(3):
        for branch in range(2):
            expected = 1 - entropy(importance[i, branch], base=5)
            assert disentanglement(importance)[i, branch] == pytest.approx(expected)
        for factor in range(5):
            expected = 1 - entropy(importance[i, :, factor], base=2)
            assert completeness(importance)[i, factor] == pytest.approx(expected)


def test_a_branch_that_knows_nothing_has_no_score():
    scores = disentanglement(np.array([[0.0, 0.0], [1.0, 0.0]]))
    assert np.isnan(scores[0])
    assert scores[1] == 1


def test_the_matrix_has_a_row_a_factor_and_a_column_a_branch():
    predictions = pd.concat([frame(0.9, 0.1), frame(0.5, 0.4, factor="sex", classes=2)])
    metrics = factor_metrics(predictions, replicates=10, seed=0)
    matrix = factor_matrix(metrics)
    assert list(matrix.index) == ["emotion", "sex"]
    assert list(matrix.columns) == ["main", "auxiliary"]
    assert matrix.loc["sex", "main"] == metrics["sex/main/skill"].value


def test_confusion_rows_are_percent_of_the_expected_label():
    predictions = frame(0.9, 0.1, classes=3)
    table = factor_confusion(predictions, "emotion", "main", ["k2", "k1", "k0"])
    assert table.sum(axis=1).to_numpy() == pytest.approx(100)
    assert list(table.index) == ["k2", "k1", "k0"]
    assert (np.diag(table) > 80).all()
