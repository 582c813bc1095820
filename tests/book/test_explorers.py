"""What the explorers compute in the browser, held against torch and against the drawn twins."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from thesislib.corpora.twins.face import FaceIdentity, landmarks
from thesislib.corpora.twins.face_motion import ACTION_UNITS, FaceMotion
from thesislib.teaching import explorers

ASSETS = Path(__file__).resolve().parents[2] / "book" / "assets"
DOCUMENT = json.loads((ASSETS / "explorers.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def script(browser):
    """Run an expression with the explorers' functions at hand, on an empty page."""
    page = browser.new_page()
    for kind in ("fusion", "face"):
        page.add_script_tag(path=ASSETS / f"explorer_{kind}.js")
    yield page.evaluate
    page.close()


def leaves(value, where=""):
    """Every number and word of a document, by its place."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for name, part in items for k, v in leaves(part, f"{where}/{name}").items()}
    return {where: value}


@pytest.mark.parametrize("part", ["fusion", "face"])
def test_the_committed_numbers_are_what_the_library_exports_today(part):
    today = {"fusion": explorers.fusion_document, "face": explorers.face_document}[part]()
    fresh, stored = leaves(json.loads(json.dumps(today))), leaves(DOCUMENT[part])
    assert fresh.keys() == stored.keys()
    for place, value in stored.items():
        wanted = value if isinstance(value, str | bool) else pytest.approx(value, abs=1.5e-4)
        if "/weights/" in place:
            wanted = pytest.approx(value, abs=2e-6)
        assert fresh[place] == wanted, place


def test_the_committed_pictures_are_what_the_twins_renderer_draws_today():
    stored = np.asarray(Image.open(ASSETS / "explorer_faces.png").convert("RGB"), float)
    today = np.asarray(explorers.face_pictures(), float)
    assert stored.shape == today.shape
    assert abs(stored - today).mean() < 4  # 64 colours stand for all
    shifted = np.roll(today, 4, axis=1)
    assert abs(stored - shifted).mean() > 8


def test_the_fusion_of_the_page_agrees_with_torch(script):
    generator = np.random.default_rng(0)
    states = [
        {
            "warmth": generator.uniform(-1, 1, 2).tolist(),
            "noise": generator.uniform(0, 4, 2).tolist(),
            "given": given,
            "draw": int(generator.integers(explorers.DRAWS)),
        }
        for given in ([True, True], [True, False], [False, True])
        for _ in range(30)
    ]
    document = DOCUMENT["fusion"]
    found = script(
        "([data, states]) => states.map(state => fusionExplorer.run(data, state))",
        [document, states],
    )
    head = explorers.load_head(document)
    for state, result in zip(states, found, strict=True):
        wanted = explorers.probabilities(document, head, **state)
        assert result["probabilities"] == pytest.approx(wanted, abs=1e-9)
        assert (result["gate"] is None) == (not all(state["given"]))


def test_the_gate_of_the_page_is_the_heads(script):
    document = DOCUMENT["fusion"]
    state = {"warmth": [1, -1], "noise": [0.5, 0], "given": [True, True], "draw": 1}
    found = script("([data, state]) => fusionExplorer.run(data, state).gate", [document, state])
    branches = [
        explorers.Branch(
            explorers.features(document, name, state["warmth"][i], state["noise"][i], 1)
        )
        for i, name in enumerate(("sound", "look"))
    ]
    openness = explorers.load_head(document).openness(*branches)
    assert found == pytest.approx(float(openness.detach().mean()), abs=1e-9)


def test_without_any_modality_there_is_no_answer(script):
    state = {"warmth": [0, 0], "noise": [0, 0], "given": [False, False], "draw": 0}
    shown = script(
        "([data, state]) => fusionExplorer.run(data, state)", [DOCUMENT["fusion"], state]
    )
    assert shown == {"probabilities": None, "gate": None}
    head = explorers.load_head(DOCUMENT["fusion"])
    with pytest.raises(ValueError, match="both modalities are left out"):
        explorers.probabilities(DOCUMENT["fusion"], head, warmth=(0, 0), given=(False, False))


def test_the_head_listens_to_what_it_is_given():
    """Shares that follow from the task: a warm face leaves two thirds to *both warm*."""
    head, data = explorers.load_head(DOCUMENT["fusion"]), DOCUMENT["fusion"]
    right = 0
    for draw in range(explorers.DRAWS):
        for voice, look in ((1, 1), (-1, -1), (1, -1), (-1, 1)):
            shares = explorers.probabilities(data, head, warmth=(voice, look), draw=draw)
            wanted = 2 if voice != look else int(voice < 0)
            right += shares.index(max(shares)) == wanted
    assert right >= 14  # of 16
    alone = explorers.probabilities(data, head, warmth=(0, 1), given=(False, True))
    assert alone[1] < 0.1
    assert alone[2] > 0.1


def test_the_face_of_the_page_has_the_geometry_of_the_twins(script):
    generator = np.random.default_rng(1)
    n, size = 60, 240
    units = generator.uniform(0, 1, (n, len(ACTION_UNITS))) * (generator.random((n, 17)) < 0.5)
    pose = generator.uniform(-0.5, 0.5, (n, 6))
    gaze = generator.uniform(-1, 1, (n, 2))
    tracks = [torch.tensor(track).float() for track in (units, pose, gaze)]
    motion = FaceMotion(tracks[0], tracks[1], torch.zeros(n), tracks[2])
    wanted = landmarks(FaceIdentity(), motion, size)
    rows = [
        {
            "units": dict(zip(map(str, ACTION_UNITS), tracks[0][i].tolist(), strict=True)),
            "pose": tracks[1][i].tolist(),
            "gaze": tracks[2][i].tolist(),
        }
        for i in range(n)
    ]
    found = script(
        "([data, rows, size]) => rows.map("
        "row => faceExplorer.landmarks(data, row.units, row.pose, row.gaze, size))",
        [DOCUMENT["face"], rows, size],
    )
    assert np.array(found) / size == pytest.approx(wanted.numpy() / size, abs=1e-5)


def test_a_smile_moves_the_corners_of_the_mouth_alike_in_both(script):
    names = DOCUMENT["face"]["landmarks"]
    still = [0.0] * 6
    rest, smile = (
        script(
            "([data, units, pose]) => faceExplorer.landmarks(data, units, pose)",
            [DOCUMENT["face"], units, still],
        )
        for units in ({}, {"12": 1})
    )
    corners = [names.index(f"{side}_mouth_corner") for side in ("left", "right")]
    widths = [points[corners[1]][0] - points[corners[0]][0] for points in (rest, smile)]
    assert math.isclose(widths[1] / widths[0], 1.34, rel_tol=1e-6)
    assert all(smile[i][1] < rest[i][1] for i in corners)


def test_the_controls_of_a_notebook_say_what_the_page_says():
    document = explorers.exported("fusion")
    box = explorers.fusion_controls(document)
    *controls, answer = box.children
    named = {control.description: control for control in controls}
    assert f"both warm: {document['examples'][0]['probabilities'][0]:.2f}" in answer.value
    named["voice warm"].value = -1
    named["with the face"].value = False
    assert f"both cold: {document['examples'][3]['probabilities'][1]:.2f}" in answer.value
    named["with the voice"].value = False
    assert "nothing to judge" in answer.value


def test_the_sliders_of_a_notebook_move_the_face():
    names, _, picture = explorers.face_controls().children
    before = picture.value
    assert 'alt="A drawn face: at rest"' in before
    names.value = "laugh"
    assert "AU12 0.9" in picture.value
    assert picture.value.split("alt=")[0] != before.split("alt=")[0]
