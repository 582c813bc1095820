import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_fscore_support

from thesislib.evaluation.intensity import (
    CLASSES,
    LEVELS,
    balanced_confusion,
    confused_share,
    detection_rates,
    expression_metrics,
    heat_map,
    intensity_slope,
    level_counts,
    precision_recall,
    regrouped_rates,
)
from thesislib.evaluation.metrics import measure
from thesislib.models import lsn_tcn


def frame_of(n=400, seed=0, speakers=6):
    generator = np.random.default_rng(seed)
    rows = generator.integers(len(LEVELS), size=n)
    frame = pd.DataFrame(
        {
            "clip_id": [str(i) for i in range(n)],
            "speaker": generator.integers(speakers, size=n).astype(str),
            "fold": "test",
            "target": [LEVELS[row][0] for row in rows],
            "prediction": generator.choice(CLASSES, size=n, p=[0.5, 0.3, 0.2]),
            "intensity": [LEVELS[row][1] for row in rows],
            "sex": generator.choice(["female", "male"], size=n),
        }
    )
    probabilities = generator.dirichlet(np.ones(3), size=n)
    for number, name in enumerate(CLASSES):
        frame[f"p_{name}"] = probabilities[:, number]
    return frame


def test_classes_are_those_of_the_model():
    assert CLASSES == lsn_tcn.CLASSES


def test_the_heat_map_is_a_cross_table_in_per_cent():
    frame = frame_of()
    table = pd.crosstab(
        [frame["target"], frame["intensity"]], frame["prediction"], normalize="index"
    )
    found = heat_map(frame)
    assert list(found.index) == list(LEVELS)
    for level in LEVELS:
        assert found.loc[level].to_numpy() == pytest.approx(100 * table.loc[level, list(CLASSES)])
    assert heat_map(frame[frame["intensity"] != "low"]).loc[("Smiles", "low")].isna().all()


def test_counts_keep_speakers_apart_and_refuse_unknown_levels():
    frame = frame_of()
    counts = level_counts(frame)
    sizes = frame.groupby("speaker").size()
    assert counts.sum((1, 2)).tolist() == sizes.sort_index().tolist()
    with pytest.raises(ValueError, match="subtle"):
        level_counts(frame.assign(target="Laughs", intensity="subtle"))


def test_precision_recall_and_both_f1_agree_with_sklearn():
    frame = frame_of(seed=1)
    metrics = measure("classification", frame, replicates=50, seed=0)
    precision, recall, f1, _ = precision_recall_fscore_support(
        frame["target"], frame["prediction"], labels=CLASSES, average="macro"
    )
    assert metrics["precision"].value == pytest.approx(precision)
    assert metrics["recall"].value == pytest.approx(recall)
    assert metrics["uar"].value == pytest.approx(recall)
    assert metrics["macro_f1"].value == pytest.approx(f1)
    harmonic = 2 * precision * recall / (precision + recall)
    assert metrics["f1_harmonic"].value == pytest.approx(harmonic)
    assert metrics["f1_harmonic"].low <= harmonic <= metrics["f1_harmonic"].high


def test_nothing_right_gives_an_f1_of_zero():
    assert precision_recall(np.array([[0, 3], [2, 0]]))["f1_harmonic"] == 0


def test_recalls_by_level_and_class_are_means_of_hits():
    frame = frame_of(seed=2)
    metrics = expression_metrics(frame, replicates=20, seed=0)
    hit = frame["target"] == frame["prediction"]
    laughs = frame["target"] == "Laughs"
    high = laughs & (frame["intensity"] == "high")
    assert metrics["recall_Laughs"].value == pytest.approx(hit[laughs].mean())
    assert metrics["rate_Laughs_high"].value == pytest.approx(hit[high].mean())
    assert metrics["rate_Laughs_high"].n == high.sum()


def test_the_slope_is_that_of_a_line_through_hits():
    frame = frame_of(seed=3)
    laughs = frame[frame["target"] == "Laughs"]
    level = laughs["intensity"].map({"low": 0, "medium": 1, "high": 2})
    hit = (laughs["prediction"] == "Laughs").astype(float)
    slope = np.polyfit(level, hit, 1)[0]
    assert intensity_slope(level_counts(frame).sum(0), "Laughs") == pytest.approx(slope)
    only_low = level_counts(laughs[laughs["intensity"] == "low"]).sum(0)
    assert np.isnan(intensity_slope(only_low, "Laughs"))


def test_regrouping_counts_strong_smiles_as_laughs():
    levels = np.zeros((8, 3))
    levels[0] = 8, 2, 0  # high laughs
    levels[1] = 5, 5, 0
    levels[2] = 2, 6, 2  # low laughs
    levels[3] = 3, 6, 1  # high smiles: laughs and smiles are right after regrouping
    levels[4] = 1, 6, 3
    rates = regrouped_rates(levels)
    assert rates["before"][0] == pytest.approx(0.5)
    assert rates["before"][1] == pytest.approx(np.std([0.8, 0.5, 0.2], ddof=1))
    after = [0.8, 0.5, 0.2, 0.9, 0.7]
    assert rates["after"][0] == pytest.approx(np.mean(after))
    assert rates["after"][1] == pytest.approx(np.std(after, ddof=1))


def test_shares_and_rates_pick_their_rows():
    levels = level_counts(frame_of(seed=4)).sum(0)
    low = levels[[5, 6]].sum(0)
    share = confused_share(levels, "Smiles", ("low", "subtle"), "None")
    assert share == pytest.approx(low[2] / low.sum())
    assert detection_rates(levels)[3] == pytest.approx(levels[3, 1] / levels[3].sum())


def test_the_balanced_confusion_adds_up_by_class():
    assert balanced_confusion(frame_of()).sum(axis=1).tolist() == pytest.approx([100] * 3)
