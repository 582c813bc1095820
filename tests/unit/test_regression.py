import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import mean_absolute_error

from thesislib.evaluation.metrics import measure
from thesislib.evaluation.regression import regression_metrics, traits_of

TRAITS = ("openness", "neuroticism")


def frame_of(n=60, speakers=12, noise=0.1, seed=0):
    generator = np.random.default_rng(seed)
    columns = {
        "clip_id": [f"c{i}" for i in range(n)],
        "speaker": [f"p{i % speakers}" for i in range(n)],
        "fold": "test",
    }
    for trait in TRAITS:
        target = generator.uniform(0.2, 0.8, n)
        columns[f"target_{trait}"] = target
        columns[f"prediction_{trait}"] = 0.3 + 0.5 * target + noise * generator.standard_normal(n)
    return pd.DataFrame(columns)


def concordance(x, y):
    """Lin's, from its definition over pairs of values."""
    return 1 - ((x - y) ** 2).mean() / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def test_metrics_are_those_of_sklearn_and_scipy():
    frame = frame_of()
    found = regression_metrics(frame, replicates=200, seed=0)
    for trait in TRAITS:
        x, y = (frame[f"{what}_{trait}"].to_numpy() for what in ("target", "prediction"))
        assert found[f"accuracy_{trait}"].value == pytest.approx(1 - mean_absolute_error(x, y))
        assert found[f"pearson_{trait}"].value == pytest.approx(stats.pearsonr(x, y).statistic)
        assert found[f"ccc_{trait}"].value == pytest.approx(concordance(x, y))
    for name in ("accuracy", "pearson", "ccc"):
        mean = np.mean([found[f"{name}_{trait}"].value for trait in TRAITS])
        assert found[name].value == pytest.approx(mean)


def test_intervals_are_a_bootstrap_over_speakers():
    frame = frame_of(n=40, speakers=8)
    found = regression_metrics(frame, replicates=300, seed=5)["accuracy_openness"]
    counts = np.random.default_rng(5).multinomial(8, np.full(8, 1 / 8), size=300)
    names, drawn = sorted(set(frame["speaker"])), []
    for row in counts:
        rows = pd.concat(
            [
                frame[frame["speaker"] == n]
                for n, k in zip(names, row, strict=True)
                for _ in range(k)
            ]
        )
        drawn.append(1 - mean_absolute_error(rows["target_openness"], rows["prediction_openness"]))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_a_constant_is_accurate_and_knows_nothing():
    frame = frame_of()
    for trait in TRAITS:
        frame[f"prediction_{trait}"] = frame[f"target_{trait}"].mean()
    found = measure("regression", frame, replicates=20, seed=0)
    assert found["accuracy"].value > 0.8
    assert np.isnan(found["pearson"].value)
    assert found["ccc"].value == pytest.approx(0, abs=1e-9)


def test_a_shift_costs_concordance_and_not_correlation():
    frame = frame_of(noise=0)
    shifted = frame.copy()
    shifted["prediction_openness"] += 0.2
    before, after = (regression_metrics(f, replicates=10, seed=0) for f in (frame, shifted))
    assert after["pearson_openness"].value == pytest.approx(before["pearson_openness"].value)
    assert after["ccc_openness"].value < before["ccc_openness"].value - 0.05


def test_columns_are_read_in_order_and_a_frame_without_traits_is_refused():
    assert traits_of(frame_of()) == list(TRAITS)
    with pytest.raises(ValueError, match="target_<trait>"):
        regression_metrics(pd.DataFrame({"speaker": ["a"]}), replicates=1, seed=0)
