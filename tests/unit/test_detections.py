"""The worked example of chapter 2."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix

from thesislib.teaching.detections import CLASSES, COUNTS, detections, sharpened

COLUMNS = [f"p_{name}" for name in CLASSES]


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_the_counts_are_those_of_the_page_whatever_the_seed(seed):
    windows = detections(seed)
    counts = confusion_matrix(windows["truth"], windows["says"], labels=CLASSES)
    np.testing.assert_array_equal(counts, COUNTS)
    assert windows["person"].value_counts().tolist() == [10] * 10
    assert windows["lost"].sum() == 1


def test_what_it_says_is_what_it_finds_most_probable():
    windows = detections()
    np.testing.assert_allclose(windows[COLUMNS].sum(axis=1), 1)
    assert (windows[COLUMNS].idxmax(axis=1) == "p_" + windows["says"]).all()


def test_intensity_is_zero_without_an_expression_and_only_the_lost_face_is_off_the_scale():
    windows = detections()
    assert ((windows["intensity"] == 0) == (windows["truth"] == "none")).all()
    assert windows["intensity"].max() == 3
    assert ((windows["estimate"] > 3) == windows["lost"]).all()


def test_a_surer_detector_decides_alike():
    windows = detections()
    sure, same = sharpened(windows, 3), sharpened(windows, 1)
    pd.testing.assert_frame_equal(same, windows[COLUMNS])
    assert (sure.idxmax(axis=1) == "p_" + windows["says"]).all()
    assert (sure.max(axis=1) > same.max(axis=1)).all()
