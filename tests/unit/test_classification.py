import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics

from thesislib.evaluation.classification import (
    classification_metrics,
    confusion_by_group,
    listener_agreement,
    macro_f1,
    micro_f1,
    probability_of_target,
    uar,
    uar_by_speaker,
)

CLASSES = ["anger", "fear", "neutral"]


def predictions(seed=0, n=120, skill=0.6):
    generator = np.random.default_rng(seed)
    target = generator.integers(3, size=n)
    scores = generator.dirichlet(np.ones(3), size=n)
    scores[np.arange(n), target] += skill * generator.random(n)
    scores /= scores.sum(1, keepdims=True)
    speakers = np.array([f"{number:02d}" for number in range(6)])
    frame = pd.DataFrame(
        {
            "clip_id": [f"clip{i}" for i in range(n)],
            "speaker": speakers[np.arange(n) % 6],
            "fold": speakers[np.arange(n) % 6],
            "target": np.array(CLASSES)[target],
            "prediction": np.array(CLASSES)[scores.argmax(1)],
        }
    )
    frame[[f"p_{name}" for name in CLASSES]] = scores
    frame["sex"] = np.where(np.arange(n) % 6 < 3, "female", "male")
    frame["listener_recognition"] = generator.uniform(0.8, 1.0, n).round(2)
    return frame


def test_point_estimates_equal_scikit_learn():
    frame = predictions()
    target, predicted = frame["target"], frame["prediction"]
    found = classification_metrics(frame, replicates=50, seed=1)
    assert found["uar"].value == pytest.approx(metrics.balanced_accuracy_score(target, predicted))
    for name in ("micro", "macro"):
        expected = metrics.f1_score(target, predicted, average=name)
        assert found[f"{name}_f1"].value == pytest.approx(expected)
    women = frame[frame["sex"] == "female"]
    assert found["uar_female"].value == pytest.approx(
        metrics.balanced_accuracy_score(women["target"], women["prediction"])
    )
    assert found["uar_female"].n + found["uar_male"].n == len(frame)


def test_confusions_add_up_to_scikit_learns():
    frame = predictions(3)
    counts = confusion_by_group(frame["target"], frame["prediction"], frame["speaker"], CLASSES)
    expected = metrics.confusion_matrix(frame["target"], frame["prediction"], labels=CLASSES)
    assert counts.shape == (6, 3, 3)
    np.testing.assert_array_equal(counts.sum(0), expected)


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match=r"\['joy'\] are not among the classes"):
        confusion_by_group(["anger"], ["joy"], ["03"], CLASSES)


def test_intervals_equal_resampling_whole_speakers_by_hand():
    frame = predictions()
    found = classification_metrics(frame, replicates=400, seed=7)["uar"]
    parts = [part for _, part in frame.groupby("speaker")]
    counts = np.random.default_rng(7).multinomial(6, np.full(6, 1 / 6), size=400)
    drawn = []
    for row in counts:
        sample = pd.concat(
            [part for part, times in zip(parts, row, strict=True) for _ in range(times)]
        )
        drawn.append(metrics.balanced_accuracy_score(sample["target"], sample["prediction"]))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_a_class_without_a_sample_does_not_count():
    confusion = np.array([[4, 0, 1], [0, 0, 0], [0, 1, 3]])
    assert uar(confusion) == pytest.approx((4 / 5 + 3 / 4) / 2)
    assert macro_f1(confusion) == pytest.approx((8 / 9 + 6 / 8) / 2)
    assert micro_f1(confusion) == pytest.approx(7 / 9)
    assert np.isnan(uar(np.zeros((3, 3))))
    assert np.isnan(micro_f1(np.zeros((3, 3))))


def test_where_speakers_are_the_classes_the_interval_holds_the_value():
    frame = predictions()
    frame["target"] = frame["speaker"]
    frame["prediction"] = frame["speaker"].where(np.arange(len(frame)) % 5 != 0, "00")
    frame = frame.drop(columns=[f"p_{name}" for name in CLASSES])
    frame[[f"p_{number:02d}" for number in range(6)]] = 1 / 6
    found = classification_metrics(frame, replicates=300, seed=0)
    for name in ("uar", "macro_f1", "micro_f1"):
        assert found[name].low <= found[name].value <= found[name].high, name
    assert "listener_spearman" not in found  # listeners judged emotions, not who speaks


def test_listener_agreement_is_spearmans_rho():
    frame = predictions()
    frame.loc[:9, "listener_recognition"] = np.nan
    judged = frame.iloc[10:]
    expected = stats.spearmanr(probability_of_target(judged), judged["listener_recognition"])
    found = listener_agreement(frame, replicates=100, seed=0)
    assert found.value == pytest.approx(expected.statistic)
    assert found.n == len(judged)
    assert found.low < found.value < found.high


def test_listeners_who_agree_with_the_model_are_found():
    frame = predictions()
    frame["listener_recognition"] = probability_of_target(frame) ** 2
    assert listener_agreement(frame, replicates=10, seed=0).value == pytest.approx(1.0)


def test_without_listeners_there_is_no_such_metric():
    frame = predictions()
    frame["listener_recognition"] = np.nan
    assert "listener_spearman" not in classification_metrics(frame, replicates=10, seed=0)


def test_uar_by_speaker_is_that_of_each_speaker():
    frame = predictions()
    scores = uar_by_speaker(frame)
    part = frame[frame["speaker"] == "04"]
    assert scores["04"] == pytest.approx(
        metrics.balanced_accuracy_score(part["target"], part["prediction"])
    )
