import numpy as np
import pytest
from scipy import stats

from thesislib.evaluation.significance import (
    bootstrap_counts,
    holm,
    paired_test,
    percentile_interval,
)


def test_each_replicate_draws_as_many_groups_as_there_are():
    counts = bootstrap_counts(10, 500, seed=3)
    assert counts.shape == (500, 10)
    assert (counts.sum(1) == 10).all()
    assert abs(counts.mean() - 1) < 1e-12
    np.testing.assert_array_equal(counts, bootstrap_counts(10, 500, seed=3))
    assert (counts != bootstrap_counts(10, 500, seed=4)).any()


def test_the_interval_of_a_normal_mean_covers_as_it_should():
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        values = generator.normal(size=40)
        low, high = percentile_interval(bootstrap_counts(40, 300, trial) @ values / 40)
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_undefined_replicates_are_left_out():
    assert percentile_interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()


def test_the_permutation_test_is_exact_for_few_speakers():
    differences = np.array([0.3, 0.1, 0.2, -0.05])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1)
    means = np.abs((differences[:, None] * signs).mean(0))
    expected = (means >= abs(differences.mean()) - 1e-12).mean()
    found = paired_test(differences, np.zeros(4))
    assert found.p_value == pytest.approx(expected)
    assert found.difference == pytest.approx(differences.mean())
    assert found.effect_size == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert found.low <= found.difference <= found.high


def test_false_alarms_are_as_rare_as_promised():
    generator = np.random.default_rng(1)
    p_values = [
        paired_test(generator.normal(size=8), generator.normal(size=8)).p_value for _ in range(150)
    ]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.09
    assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_equal_conditions_are_no_evidence():
    found = paired_test([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    assert found.p_value == 1.0
    assert np.isnan(found.effect_size)
    assert paired_test([0.6, 0.7], [0.5, 0.6]).p_value == 0.5


@pytest.mark.parametrize(("first", "second"), [([1.0], [2.0]), ([1.0, 2.0], [1.0])])
def test_series_that_do_not_pair_are_refused(first, second):
    with pytest.raises(ValueError, match="equally long series"):
        paired_test(first, second)


def test_holm_steps_down():
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
