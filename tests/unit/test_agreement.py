"""Agreement: hand-computed cases, aggregation over files, the report of the command line."""

import json
import math
import time

import numpy as np
import pandas as pd
import pytest

from thesislib.corpora.elan import TIERS, IBAnnotation, Segment, write_eaf
from thesislib.errors import InputError
from thesislib.evaluation.agreement import (
    Overlap,
    aggregate,
    agreement_frame,
    agreement_report,
    as_track,
    clip_track,
    cohen_kappa,
    common_span,
    compare,
    event_scores,
    grid_confusion,
    krippendorff_alpha,
    one_level,
    overlap_counts,
    overlapping_pairs,
)

LEVELS = TIERS["Smiles"]


def smiles(*rows):
    return as_track([Segment(*row) for row in rows], LEVELS)


def annotation(name="x.eaf", span=None, annotator=None, **tiers):
    built = {t: tuple(Segment(*row) for row in rows) for t, rows in tiers.items()}
    ends = [t for s in built.values() for x in s for t in (x.start_ms, x.end_ms)]
    return IBAnnotation(
        name=name, tiers=built, span_ms=span or (min(ends), max(ends)), annotator=annotator
    )


A = smiles((0, 1000, "low"), (1000, 2000, "high"), (5000, 6000, "subtle"))
B = smiles((100, 1100, "low"), (1200, 1900, "medium"), (8000, 9000, "low"))


def test_confusion_counts_cells_by_the_label_at_their_middle():
    assert grid_confusion(A, B, (0, 10_000), 4).tolist() == [
        [600, 0, 100, 0, 0],  # none
        [100, 0, 0, 0, 0],  # subtle
        [10, 0, 90, 0, 0],  # low
        [0, 0, 0, 0, 0],
        [20, 0, 10, 70, 0],  # high
    ]


def test_a_cell_takes_the_label_of_its_middle_and_the_last_incomplete_one_is_left_out():
    track = smiles((4, 16, "low"), (16, 24, "high"))  # middles lie at 5, 15, 25
    counts = grid_confusion(track, track, (0, 39), 4)
    assert np.diag(counts).tolist() == [1, 0, 2, 0, 0]
    assert counts.sum() == 3
    assert grid_confusion(track, track, (0, 9), 4).sum() == 0
    assert grid_confusion(smiles(), track, (0, 20), 4)[0].tolist() == [0, 0, 2, 0, 0]


def test_touching_segments_leave_no_cell_between_them():
    track = smiles((0, 500, "low"), (500, 1000, "high"), (1000, 1500, "low"))
    assert np.diag(grid_confusion(track, track, (0, 1500), 4)).tolist() == [0, 0, 100, 0, 50]


def test_pairs_overlap_above_ten_per_cent_and_touching_ones_do_not():
    track = smiles((0, 100, "low"))
    assert len(overlapping_pairs(track, smiles((100, 200, "low"))).iou) == 0
    assert len(overlapping_pairs(track, smiles((80, 180, "low"))).iou) == 1  # 20 / 180
    exactly = smiles((0, 10, "low"))  # 10 / 100 is not above 10 %
    assert len(overlapping_pairs(track, exactly).iou) == 0
    assert len(overlapping_pairs(track, exactly, min_iou=0.099).iou) == 1


def test_overlap_counts_by_hand():
    counts = overlap_counts(A, B)
    assert counts == Overlap(6, 4, 2, pytest.approx(900 / 1100 + 700 / 1000), 2, 1)
    low = overlap_counts(A, B, code=2)
    assert low == Overlap(3, 2, 1, pytest.approx(900 / 1100), 1, 1)
    assert overlap_counts(A, B, code=4) == Overlap(1, 0, 0, 0.0, 1, 0)  # high against medium
    assert overlap_counts(smiles(), B) == Overlap(3, 0, 0, 0.0, 0, 0)


def test_one_segment_against_several_counts_each_segment_once():
    long = smiles((0, 1000, "low"))
    parts = smiles((0, 300, "low"), (300, 600, "high"), (600, 1000, "low"))
    assert overlap_counts(long, parts)[:3] == (4, 4, 3)


def test_two_hours_of_ten_thousand_segments_take_under_50_ms():
    rng = np.random.default_rng(0)
    hours = []
    for _ in range(2):
        bounds = np.sort(rng.choice(3_600_000, 10_000, replace=False)).reshape(-1, 2)
        hours.append([Segment(int(s), int(e), LEVELS[rng.integers(4)]) for s, e in bounds])
    times = []
    for _ in range(10):
        began = time.process_time()  # other work on the machine is not this code's
        a, b = (as_track(hour, LEVELS) for hour in hours)
        cohen_kappa(grid_confusion(a, b, (0, 3_600_000), 4))
        overlap_counts(a, b)
        times.append(time.process_time() - began)
    assert min(times) < 0.05


def test_clipping_discards_what_exceeds_the_span():
    clipped = clip_track(A, (500, 2000))
    assert clipped.start_ms.tolist() == [500, 1000]
    assert clipped.end_ms.tolist() == [1000, 2000]
    assert clipped.code.tolist() == [2, 4]


def test_kappa_and_alpha_are_undefined_where_nothing_varies():
    assert math.isnan(cohen_kappa([[10, 0], [0, 0]]))
    assert math.isnan(krippendorff_alpha([[10, 0], [0, 0]]))
    assert math.isnan(cohen_kappa(np.zeros((3, 3))))
    assert math.isnan(krippendorff_alpha(np.zeros((3, 3))))
    assert cohen_kappa([[5, 0], [0, 5]]) == 1
    assert krippendorff_alpha([[5, 0], [0, 5]], ordinal=True) == 1
    assert cohen_kappa([[0, 5], [5, 0]]) == -1


def test_ordinal_alpha_forgives_neighbours():
    near = [[50, 0, 0], [0, 40, 10], [0, 0, 50]]
    far = [[50, 0, 10], [0, 40, 0], [0, 0, 50]]
    assert krippendorff_alpha(near) == pytest.approx(krippendorff_alpha(far), abs=0.02)
    gain = krippendorff_alpha(near, ordinal=True) - krippendorff_alpha(far, ordinal=True)
    assert gain > 0.1


def test_one_level_against_the_rest():
    counts = np.arange(9).reshape(3, 3)
    assert one_level(counts, 1).tolist() == [[0 + 2 + 6 + 8, 1 + 7], [3 + 5, 4]]


def test_tracks_must_be_in_order_disjoint_and_of_the_scheme():
    with pytest.raises(ValueError, match="overlap or are out of order"):
        smiles((0, 10, "low"), (5, 20, "low"))
    with pytest.raises(ValueError, match=r"\['spk'\] are not among"):
        smiles((0, 10, "spk"))


def test_events_are_matched_one_to_one():
    reference = smiles((0, 1000, "low"), (1000, 2000, "high"))
    scores = event_scores(reference, smiles((0, 2000, "low")), min_iou=0.4)
    assert (scores.precision, scores.recall, scores.f1) == (1, 0.5, pytest.approx(2 / 3))
    swapped = smiles((0, 1000, "high"), (1000, 2000, "low"), (3000, 4000, "low"))
    assert event_scores(reference, swapped).n_matched == 0
    unlabelled = event_scores(reference, swapped, same_level=False)
    assert (unlabelled.precision, unlabelled.recall) == (pytest.approx(2 / 3), 1)
    nothing = event_scores(reference, smiles())
    assert math.isnan(nothing.precision)
    assert (nothing.recall, nothing.f1) == (0, 0)
    assert math.isnan(event_scores(smiles(), smiles()).f1)


X = annotation(Role=[(0, 5000, "spk"), (5000, 9000, "lsn")], Smiles=[(200, 900, "low")], Laughs=[])
Y = annotation(Role=[(0, 4500, "spk"), (4500, 12_000, "lsn")], Smiles=[(200, 900, "high")])


def test_comparison_over_the_common_span_and_tiers():
    assert common_span(X, Y) == (0, 9000)
    results = compare(X, Y)
    assert {(r.category, r.level) for r in results} == {
        (tier, level) for tier in ("Role", "Smiles") for level in ("all", *TIERS[tier])
    }
    role = results[0].statistics()
    assert role["kappa"][0] == pytest.approx((8.5 / 9 - 0.5) / 0.5)
    assert role["kappa"][1] == 9.0  # seconds
    assert role["overlap_perc"] == (1.0, 4.0)
    assert role["iou"] == (pytest.approx((9 / 10 + 8 / 9) / 2), 2.0)
    assert role["overlap_levels"] == (1.0, 2.0)
    assert "alpha_ordinal" not in role
    by_level = {r.level: r.statistics() for r in results if r.category == "Smiles"}
    assert by_level["all"]["overlap_levels"] == (0.0, 1.0)
    assert by_level["all"]["iou"][0] == 1.0
    assert by_level["low"]["overlap_perc"] == (0.0, 1.0)
    assert math.isnan(by_level["low"]["iou"][0])
    assert math.isnan(by_level["subtle"]["kappa"][0])
    assert "alpha_ordinal" in by_level["all"]
    with pytest.raises(InputError, match="no time is annotated in both"):
        common_span(annotation(Role=[(0, 5, "spk")]), annotation(Role=[(5, 9, "spk")]))


def many(n=12, seed=1):
    rng = np.random.default_rng(seed)
    results = []
    for k in range(n):
        pair = []
        for _ in range(2):
            bounds = np.unique(rng.integers(0, 60_000, 41))
            rows = [
                (int(s), int(e), LEVELS[rng.integers(4)])
                for s, e in zip(bounds[::2], bounds[1::2], strict=False)
            ]
            pair.append(annotation(f"{k}.eaf", (0, 60_000 * (1 + k % 3)), Smiles=rows))
        results += compare(*pair)
    return results


def test_means_over_files_can_be_computed_again_from_the_frame():
    results = many()
    frame = agreement_frame(results)
    assert list(frame.columns) == ["file", "annotator_a", "annotator_b", "category", "level",
                                   "statistic", "value", "weight"]  # fmt: skip
    table = aggregate(results).set_index(["category", "level", "statistic"])
    means = frame.groupby(["category", "level", "statistic"])["value"].mean()
    pd.testing.assert_series_equal(table["value"].sort_index(), means, check_names=False)
    row = table.loc[("Smiles", "all", "kappa")]
    assert row["n"] == 12
    assert row["low"] < row["value"] < row["high"]


def test_pooled_overlaps_are_weighted_means_and_pooled_kappa_is_that_of_the_sum():
    results = many()
    pooled = aggregate(results, pooled=True).set_index(["level", "statistic"])
    frame = agreement_frame(results)
    for statistic in ("overlap_perc", "iou", "overlap_levels"):
        rows = frame[(frame["statistic"] == statistic) & (frame["level"] == "high")].dropna()
        expected = np.average(rows["value"], weights=rows["weight"])
        assert pooled.loc[("high", statistic), "value"] == pytest.approx(expected)
    total = sum(r.confusion for r in results if r.level == "all")
    row = pooled.loc[("all", "kappa")]
    assert row["value"] == pytest.approx(float(cohen_kappa(total)))
    assert row["low"] < row["value"] < row["high"]
    assert (
        row["value"]
        != aggregate(results).set_index(["level", "statistic"]).loc[("all", "kappa"), "value"]
    )


def test_intervals_agree_with_a_plain_bootstrap():
    results = many()
    values = np.array([r.statistics()["kappa"][0] for r in results if r.level == "all"])
    rng = np.random.default_rng(7)
    means = [rng.choice(values, len(values)).mean() for _ in range(4000)]
    row = aggregate(results).set_index(["level", "statistic"]).loc[("all", "kappa")]
    spread = values.std() / len(values) ** 0.5
    assert row["low"] == pytest.approx(np.quantile(means, 0.025), abs=0.15 * spread)
    assert row["high"] == pytest.approx(np.quantile(means, 0.975), abs=0.15 * spread)


def test_files_on_which_a_statistic_is_undefined_are_left_out():
    empty = annotation("e.eaf", (0, 1000), Smiles=[])
    results = [*compare(X, Y, ["Smiles"]), *compare(empty, empty, ["Smiles"])]
    row = aggregate(results).set_index(["level", "statistic"]).loc[("all", "iou")]
    assert (row["value"], row["n"]) == (1.0, 1)
    assert math.isnan(row["low"])


@pytest.fixture
def two(tmp_path):
    paths = tmp_path / "one" / "13_1_A_M.eaf", tmp_path / "two" / "13_1_A_M.eaf"
    for path, source in zip(paths, (X, Y), strict=True):
        path.parent.mkdir()
        write_eaf(source, path)
    return paths


def test_report_is_plain_json_and_holds_the_frame(two):
    report = agreement_report(*two)
    report = json.loads(json.dumps(report, allow_nan=False))
    assert (report["a"]["annotator"], report["b"]["annotator"]) == ("one", "two")
    assert report["span_s"] == [0.0, 9.0]
    assert report["missing"] == {"Laughs": [str(two[1])]}
    assert report["a"]["segments"] == {"Role": 2, "Smiles": 1, "Laughs": 0}
    assert report["tiers"]["Smiles"]["all"]["overlap_levels"] == 0
    assert report["tiers"]["Smiles"]["low"]["iou"] is None
    kappas = [report["tiers"][tier]["all"]["kappa"] for tier in ("Role", "Smiles")]
    assert report["mean_kappa"] == pytest.approx(sum(kappas) / 2)
    results = compare(X, Y, annotators=("one", "two"))
    expected = agreement_frame(results).assign(file="13_1_A_M.eaf")
    pd.testing.assert_frame_equal(pd.DataFrame(report["rows"]), expected, check_dtype=False)
    assert report["b"]["repairs"][0]["line"] == "Laughs: the file has no such tier"


def test_report_refuses_what_cannot_be_compared(two):
    with pytest.raises(InputError, match=r"'Nods'.*use one of Role, Smiles, Laughs"):
        agreement_report(*two, tiers=["Nods"])
    with pytest.raises(InputError, match=r"shares no tier \(Laughs\)"):
        agreement_report(*two, tiers=["Laughs"])


def test_report_names_annotators_by_file_folder_or_path(tmp_path):
    for name in ("p.eaf", "q.eaf"):
        write_eaf(X, tmp_path / name)
    names = [agreement_report(tmp_path / "p.eaf", tmp_path / "q.eaf")[k]["annotator"] for k in "ab"]
    assert names == ["p", "q"]
    for name, who in (("p.eaf", "Ann"), ("q.eaf", "Bob")):
        write_eaf(annotation(annotator=who, Role=[(0, 9, "spk")]), tmp_path / name)
    names = [agreement_report(tmp_path / "p.eaf", tmp_path / "q.eaf")[k]["annotator"] for k in "ab"]
    assert names == ["Ann", "Bob"]
    write_eaf(X, tmp_path / "p.eaf")
    same = agreement_report(tmp_path / "p.eaf", tmp_path / "p.eaf")
    assert same["tiers"]["Role"]["all"]["kappa"] == 1
