"""Claim I on predictions whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from thesislib.evaluation.claims_branches import Side, claim_i, compare, estimate


def frame(seed, main, auxiliary, speakers=12, clips=20):
    """Probes that are right for a share of clips of three classes, and guess for the others."""
    truth = np.random.default_rng(99).integers(3, size=speakers * clips)
    chance = np.random.default_rng(seed)
    parts = []
    for branch, share in (("main", main), ("auxiliary", auxiliary)):
        guess = chance.integers(3, size=len(truth))
        found = np.where(chance.random(len(truth)) < share, truth, guess)
        parts.append(
            pd.DataFrame(
                {
                    "clip_id": [f"c{i}" for i in range(len(truth))],
                    "speaker": [f"s{i // clips:02}" for i in range(len(truth))],
                    "fold": "a",
                    "factor": "emotion",
                    "branch": branch,
                    "target": truth.astype(str),
                    "prediction": found.astype(str),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def frames(main, auxiliary, first_seed, n=3):
    return [frame(first_seed + i, main, auxiliary) for i in range(n)]


def test_values_are_means_of_sklearns_over_seeds():
    runs = frames(0.8, 0.3, 0)
    for metric, average in (("macro_f1", "macro"), ("micro_f1", "micro")):
        row = compare(
            Side(runs, "main"), Side(runs, "auxiliary"), "emotion", metric=metric, replicates=50
        )
        for name, branch in (("value_first", "main"), ("value_second", "auxiliary")):
            of_branch = [run[run["branch"] == branch] for run in runs]
            scores = [f1_score(p["target"], p["prediction"], average=average) for p in of_branch]
            assert row[name] == pytest.approx(np.mean(scores))


def test_a_planted_order_is_found_in_every_part():
    cells = {
        ("voxceleb2-twin", "all"): frames(0.9, 0.7, 0),
        ("voxceleb2-twin", "reconstruction"): frames(0.9, 0.4, 10),
        ("librispeech-twin", "all"): frames(0.9, 0.4, 20),
        ("librispeech-twin", "reconstruction"): frames(0.9, 0.1, 30),
    }
    table = claim_i(cells, "emotion", replicates=300)
    assert table["part"].tolist() == ["I1"] * 4 + ["I2"] * 2 + ["I3"] * 2
    assert [bool(holds) for holds in table["holds"]] == [True] * 8
    assert (table["low"] > 0).all()
    assert (table["p_holm"] >= table["p_value"]).all()
    assert (table["p_holm"] < 0.05).all()
    assert (table["speakers"] == 12).all()


def test_equal_branches_are_told_apart_neither_way():
    runs = frames(0.5, 0.5, 0, n=5)
    row = compare(Side(runs, "main"), Side(runs, "auxiliary"), "emotion", replicates=300)
    assert row["holds"] is None
    assert row["low"] < 0 < row["high"]


def test_the_wrong_order_does_not_hold():
    runs = frames(0.2, 0.9, 0)
    row = compare(Side(runs, "main"), Side(runs, "auxiliary"), "emotion", replicates=300)
    assert row["holds"] is False
    assert row["p_value"] < 0.01


def test_seeds_that_disagree_widen_the_interval():
    alike = [frame(seed, 0.9, 0.5) for seed in range(4)]
    apart = [frame(seed, 0.9, share) for seed, share in enumerate((0.1, 0.9, 0.1, 0.9))]
    widths = []
    for runs in (alike, apart):
        row = compare(Side(runs, "main"), Side(runs, "auxiliary"), "emotion", replicates=500)
        widths.append(row["high"] - row["low"])
    assert widths[1] > 2 * widths[0]


def test_sides_about_other_people_are_refused():
    runs = frames(0.5, 0.5, 0)
    fewer = [run[run["speaker"] != "s00"] for run in runs]
    with pytest.raises(ValueError, match="same speakers"):
        compare(Side(runs, "main"), Side(fewer, "main"), "emotion")
    with pytest.raises(ValueError, match="no frame"):
        compare(Side(runs, "main"), Side([], "main"), "emotion")


def test_a_side_by_itself_has_the_value_that_it_is_compared_with():
    runs = frames(0.8, 0.3, 0)
    for metric in ("micro_f1", "macro_f1"):
        options = {"metric": metric, "replicates": 200}
        found = estimate(Side(runs, "auxiliary"), "emotion", **options)
        row = compare(Side(runs, "main"), Side(runs, "auxiliary"), "emotion", **options)
        assert found.value == row["value_second"]
        assert found.low < found.value < found.high
        assert found.n == 240


def test_seeds_that_disagree_widen_a_value_too():
    alike, apart = frames(0.8, 0.4, 0), [frame(i, 0.8, s) for i, s in enumerate((0.1, 0.4, 0.7))]
    widths = []
    for runs in (alike, apart):
        found = estimate(Side(runs, "auxiliary"), "emotion", replicates=400)
        widths.append(found.high - found.low)
    assert widths[1] > 1.5 * widths[0]


def test_the_effect_size_is_the_mean_difference_of_speakers_over_its_spread():
    runs = frames(0.8, 0.3, 0, n=1)
    row = compare(Side(runs, "main"), Side(runs, "auxiliary"), "emotion", replicates=50)
    part = runs[0].assign(hit=runs[0]["target"] == runs[0]["prediction"])
    shares = part.groupby(["branch", "speaker"])["hit"].mean()
    differences = shares["main"] - shares["auxiliary"]
    assert row["effect_size"] == pytest.approx(differences.mean() / differences.std(ddof=1))
