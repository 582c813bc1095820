import numpy as np
import pandas as pd
import pytest

from thesislib.config import AgreementConfig, for_profile
from thesislib.corpora import ib
from thesislib.corpora.annotation import IBAnnotation, Segment
from thesislib.corpora.twins.dose import backchannel_doses, mimicry_doses
from thesislib.corpora.twins.portraits import portraits
from thesislib.errors import InputError
from thesislib.evaluation.agreement import aggregate, agreement_frame
from thesislib.evaluation.annotation_sets import (
    agreement_metrics,
    compare_all,
    dyads_of,
    pair_grid,
)


def annotation(name, *turns):
    return IBAnnotation(
        name=name,
        tiers={"Role": tuple(Segment(start, end, value) for start, end, value in turns)},
        span_ms=(0, 10_000),
    )


ONE = annotation("DVA1A", (0, 4_000, "spk"), (5_000, 9_000, "lsn"))
OTHER = annotation("DVA1A", (0, 5_000, "spk"), (5_000, 9_000, "spk"))
SETS = {"c": {"DVA1A": ONE}, "a": {"DVA1A": ONE, "DVA2B": OTHER}, "b": {"DVA1A": OTHER}}


def test_every_pair_meets_on_every_common_recording():
    met = {(r.annotator_a, r.annotator_b, r.file) for r in compare_all(SETS)}
    assert met == {("a", "b", "DVA1A"), ("a", "c", "DVA1A"), ("b", "c", "DVA1A")}


def test_an_annotator_agrees_with_himself():
    grid = pair_grid(aggregate(compare_all(SETS)), "kappa", "Role")
    assert grid.loc["a", "c"] == 1
    assert grid.loc["a", "b"] == grid.loc["b", "c"] < 0.5
    assert list(grid.index) == ["a", "b"]
    assert list(grid.columns) == ["b", "c"]


def test_metrics_are_means_over_files_and_pairs():
    frame = pd.DataFrame(
        {
            "file": ["x", "x", "y", "y", "z"],
            "annotator_a": "a",
            "annotator_b": ["b", "c", "b", "c", "b"],
            "category": "Role",
            "level": "all",
            "statistic": "kappa",
            "value": [0.2, 0.4, 0.9, np.nan, np.nan],
            "weight": 1.0,
        }
    )
    found = agreement_metrics(frame, replicates=4000, seed=0)
    assert list(found) == ["kappa_role_all"]
    estimate = found["kappa_role_all"]
    assert estimate.value == pytest.approx(0.5)
    assert estimate.n == 3
    # Drawn whole, files give 0.3 (x alone), 0.9 (y alone), or a mixture in between.
    assert (estimate.low, estimate.high) == pytest.approx((0.3, 0.9))


def test_metrics_agree_with_the_aggregate():
    results = compare_all(SETS)
    found = agreement_metrics(agreement_frame(results), replicates=10, seed=0)
    expected = aggregate(results).query("level == 'all' and statistic == 'kappa'")["value"].mean()
    assert found["kappa_role_all"].value == pytest.approx(expected)


def test_dyads_are_two_people_of_one_conversation():
    recordings = {"13_1_B_F": ONE, "13_1_A_M": OTHER, "14_1_A_F": ONE}
    assert dyads_of(recordings) == [(OTHER, ONE)]


@pytest.fixture
def config(project, monkeypatch):
    monkeypatch.setenv("THESISLIB_DATA_ROOT", str(project / "corpora"))
    return for_profile(AgreementConfig, "tiny", dyads=4, duration_s=60.0)


def test_a_twin_is_written_as_elan_files_and_read_back(config, project):
    annotations, failures = ib.load_annotations(config)
    assert failures == []
    assert sorted(annotations) == [f"annotator_{number}" for number in range(1, 7)]
    assert len(dyads_of(annotations["annotator_1"])) > 0
    assert ib.all_repairs(annotations)  # the dirt that real files have was met
    (folder,) = (project / "data" / "twins").iterdir()
    stamp = (folder / "twin.json").stat().st_mtime_ns
    again, _ = ib.load_annotations(config)
    assert (folder / "twin.json").stat().st_mtime_ns == stamp
    assert again == annotations


def test_a_broken_file_is_named_and_left_out(config, project):
    ib.load_annotations(config)
    (victim, *_) = sorted((project / "data" / "twins").rglob("*.eaf"))
    victim.write_text("<not elan")
    annotations, failures = ib.load_annotations(config)
    assert [failure.path for failure in failures] == [str(victim)]
    assert victim.stem not in annotations[victim.parent.name]


def test_real_annotations_need_their_terms_accepted(tmp_path, monkeypatch):
    monkeypatch.setenv("THESISLIB_DATA_ROOT", str(tmp_path))
    monkeypatch.setattr(
        "thesislib.corpora.acceptance.acceptances_path", lambda: tmp_path / "acceptances.json"
    )
    config = for_profile(AgreementConfig, "tiny", corpus="ifadv")
    with pytest.raises(InputError, match="thesis data accept ib"):
        ib.load_annotations(config)
    monkeypatch.setattr(ib, "require_acceptance", lambda corpus: None)
    with pytest.raises(InputError, match=r"ib/ifadv: is not under"):
        ib.load_annotations(config)


def test_more_planted_mimicry_is_more_found_mimicry():
    config = for_profile(AgreementConfig, "tiny", shuffles=99)
    doses = mimicry_doses(config, strengths=(0, 2))
    for tier in ("Smiles", "Laughs"):
        assert abs(doses.loc[(0, tier), "excess"]) < 0.15
        assert doses.loc[(2, tier), "excess"] > 0.3
        assert doses.loc[(2, tier), "p"] < 0.05


def test_feedback_waits_for_the_other_where_it_was_planted_and_nowhere_else():
    config = for_profile(AgreementConfig, "tiny", shuffles=99)
    doses = backchannel_doses(config, strengths=(0, 1, 2))
    assert doses["short turns"].is_monotonic_increasing
    assert abs(doses.loc[0, "difference"]) < 0.5
    assert doses.loc[2, "difference"] > doses.loc[1, "difference"] > 2
    assert (doses["shuffled"].abs() < 1).all()
    assert doses.loc[1, "p"] < 0.05


def test_portraits_show_every_level():
    pictures = portraits(seed=1, size=64)
    assert list(pictures) == [
        "no smile", "subtle smile", "low smile", "medium smile", "high smile",
        "low laugh", "medium laugh", "high laugh",
    ]  # fmt: skip
    still = pictures["no smile"].astype(float)
    change = [
        np.abs(picture - still).mean() for name, picture in pictures.items() if "smile" in name
    ]
    assert change == sorted(change)
    assert change[-1] > change[1] > change[0] == 0
