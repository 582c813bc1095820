import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from thesislib.corpora.splits import leave_one_group_out
from thesislib.evaluation.classification import macro_f1, micro_f1, uar

confusions = npst.arrays(np.int64, (4, 4), elements=st.integers(0, 30)).filter(
    lambda counts: counts.sum() > 0
)


@given(confusions)
def test_metrics_lie_between_0_and_1(counts):
    for metric in (uar, micro_f1, macro_f1):
        assert 0 <= metric(counts) <= 1


@given(confusions, st.permutations(range(4)))
def test_the_order_of_classes_does_not_matter(counts, order):
    shuffled = counts[np.ix_(order, order)]
    for metric in (uar, micro_f1, macro_f1):
        assert np.isclose(metric(shuffled), metric(counts))


@given(npst.arrays(np.int64, (3, 4, 4), elements=st.integers(0, 30)))
def test_a_stack_is_measured_as_its_members_are(stack):
    for metric in (uar, micro_f1, macro_f1):
        one_by_one = [metric(counts) for counts in stack]
        np.testing.assert_allclose(metric(stack), one_by_one)


@given(npst.arrays(np.int64, 4, elements=st.integers(1, 30)))
def test_only_hits_is_perfect(hits):
    for metric in (uar, micro_f1, macro_f1):
        assert metric(np.diag(hits)) == 1


@given(st.lists(st.sampled_from("abcd"), min_size=2).filter(lambda groups: len(set(groups)) > 1))
def test_no_group_is_on_both_sides_of_a_fold(groups):
    tested = []
    for name, train, test in leave_one_group_out(groups):
        assert {groups[i] for i in test} == {name}
        assert name not in {groups[i] for i in train}
        assert len(train) + len(test) == len(groups)
        tested += test.tolist()
    assert sorted(tested) == list(range(len(groups)))
