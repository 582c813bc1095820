import dataclasses
import math

import numpy as np
import pytest
import torch

from thesislib.corpora.twins.face import (
    LANDMARKS,
    FaceIdentity,
    landmarks,
    sample_identity,
)
from thesislib.corpora.twins.face_canvas import upsample
from thesislib.corpora.twins.face_motion import (
    ACTION_UNITS,
    EMOTION_UNITS,
    FaceMotion,
    action_units,
    blinks,
    combine,
    emotion,
    face_motion,
    laugh,
    mouth_tracks,
    smile,
    visemes,
)
from thesislib.corpora.twins.face_render import REGIONS, region_masks, render
from thesislib.corpora.twins.phonetics import parse_syllables
from thesislib.corpora.twins.voice import COMMON_VOICE, EmotionEffect, plan_utterance
from thesislib.errors import InputError

PERSON = FaceIdentity()


def units(**tracks):
    """`units(AU12=[0, 1])`: action units of as many frames as the tracks have."""
    return action_units({int(name[2:]): torch.tensor(track) for name, track in tracks.items()})


def frames(identity, motion, size=96, **options):
    return torch.cat(list(render(identity, motion, size, **options)))


def still(n_frames, **poses):
    pose = torch.zeros(n_frames, 6)
    for name, track in poses.items():
        pose[:, ("yaw", "pitch", "roll", "x", "y", "z").index(name)] = torch.tensor(track)
    return face_motion(torch.zeros(n_frames, len(ACTION_UNITS)), pose=pose)


def point(name, identity, motion, size=224):
    return landmarks(identity, motion, size)[:, LANDMARKS.index(name)]


def region(name, identity, motion, size=96):
    return torch.cat(list(region_masks(identity, motion, size))) == REGIONS.index(name)


@pytest.mark.parametrize(("size", "shape"), [(224, (224, 224)), ((97, 131), (97, 131))])
def test_frames_are_rgb_bytes_of_the_size_that_is_asked(size, shape):
    parts = list(render(PERSON, still(5), size, chunk=2))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert all(part.dtype == torch.uint8 and part.shape[1:] == (*shape, 3) for part in parts)
    assert all(part.is_contiguous() for part in parts)
    masks = list(region_masks(PERSON, still(5), size, chunk=2))
    assert torch.cat(masks).shape == (5, *shape)


@pytest.mark.parametrize("seed", [1, 6, 7])
def test_pixels_depend_neither_on_the_chunk_nor_on_the_run(seed):
    person = sample_identity("female" if seed % 2 else "male", torch.Generator().manual_seed(seed))
    motion = laugh(torch.linspace(0, 1, 9), torch.arange(9) / 25)
    motion.pose[:, 0] += torch.linspace(-0.5, 0.5, 9)
    motion.pose[:, 3] += torch.linspace(-0.4, 0.4, 9)
    whole = frames(person, motion, chunk=9)
    assert torch.equal(whole, frames(person, motion, chunk=9))
    assert torch.equal(whole, frames(person, motion, chunk=4))
    assert torch.equal(whole, frames(person, motion, chunk=1))
    masks = torch.cat(list(region_masks(person, motion, 96, chunk=9)))
    assert torch.equal(masks, torch.cat(list(region_masks(person, motion, 96, chunk=1))))


def test_frames_are_drawn_only_when_they_are_asked_for():
    """An hour would need 13 GB at once, and minutes."""
    parts = render(PERSON, still(90_000), 224, chunk=2)
    assert next(parts).shape == next(parts).shape == (2, 224, 224, 3)


def test_a_face_at_rest_does_not_change():
    drawn = frames(PERSON, still(4))
    assert torch.equal(drawn, drawn[:1].expand_as(drawn))


@pytest.mark.parametrize("pose", [[3.0, 0, 0], [0, 3.0, 0], [-5.0, -5.0, 2.0]])
def test_a_face_may_leave_the_picture(pose):
    motion = still(1, x=pose[:1], y=pose[1:2], z=pose[2:])
    assert frames(PERSON, motion).shape == (1, 96, 96, 3)


def test_au12_draws_the_corners_of_the_mouth_up_and_out():
    motion = face_motion(units(AU12=[0.0, 0.25, 0.5, 0.75, 1.0]))
    left, right = (point(f"{side}_mouth_corner", PERSON, motion) for side in ("left", "right"))
    assert (left.diff(dim=0) < 0).all()
    assert (right[:, 0].diff() > 0).all()
    assert (right[:, 1].diff() < 0).all()
    torch.testing.assert_close(left[:, 1], right[:, 1])
    width = (right - left)[:, 0]
    assert width[-1] / width[0] == pytest.approx(1.34, abs=0.01)


def test_au12_moves_the_mouth_in_the_pixels_as_in_the_landmarks():
    motion = face_motion(units(AU12=[0.0, 0.25, 0.5, 0.75, 1.0]))
    mouth = region("mouth", PERSON, motion, 224)
    columns = torch.arange(224.0)
    # Spread of the mouth, and how much higher its ends are than its middle.
    spread, lift = [], []
    for mask in mouth:
        weight = mask.sum(0).float()
        spread.append((weight * (columns - 111.5).abs()).sum() / weight.sum())
        used = columns[weight > 0]
        outer = torch.zeros(224, dtype=torch.bool)
        outer[used[:4].long()] = outer[used[-4:].long()] = True
        rows = torch.arange(224.0)[:, None].expand(224, 224)
        lift.append(rows[mask & ~outer].mean() - rows[mask & outer].mean())
    assert (torch.stack(spread).diff() > 0).all()
    assert (torch.stack(lift).diff() > 0).all()
    # The same in brightness: what differs from rest grows with the smile.
    drawn = frames(PERSON, motion, 224).float()
    change = (drawn - drawn[:1]).abs().mean((1, 2, 3))
    assert (change.diff() > 0).all()


def test_detected_mouth_corners_agree_with_the_landmarks():
    motion = face_motion(units(AU12=[0.2, 0.9], AU25=[0.0, 0.6]))
    motion.pose[:, 2] = torch.tensor([0.15, -0.1])
    for mask, at in zip(region("mouth", PERSON, motion, 448), landmarks(PERSON, motion, 448),
                        strict=True):  # fmt: skip
        rows, columns = mask.nonzero().T
        first, last = columns.argmin(), columns.argmax()
        seen = torch.tensor([[columns[first], rows[first]], [columns[last], rows[last]]])
        assert (seen - at[:2]).abs().max() < 5


def test_lips_part_and_the_jaw_drops():
    motion = face_motion(units(AU25=[0.0, 0.5, 1.0, 1.0, 1.0], AU26=[0.0, 0.0, 0.0, 0.5, 1.0]))
    gap = point("lower_lip_top", PERSON, motion) - point("upper_lip_bottom", PERSON, motion)
    assert gap[0, 1] == pytest.approx(0, abs=1e-4)
    assert (gap[:, 1].diff() > 0).all()
    chin = point("chin", PERSON, motion)[:, 1]
    assert (chin[2:].diff() > 0).all()
    assert chin[0] == chin[2]
    mouth = region("mouth", PERSON, motion).sum((1, 2))
    assert (mouth.diff() > 0).all()


def test_a_blink_hides_the_white_of_the_eye():
    motion = face_motion(units(AU43=[0.0, 0.5, 1.0]))
    corners = landmarks(PERSON, motion, 224)[:, 6:10].round().int()
    lids = point("left_upper_lid", PERSON, motion) - point("left_lower_lid", PERSON, motion)
    assert (lids[:, 1].diff() > 0).all()
    assert lids[-1, 1].abs() < 1
    drawn = frames(PERSON, motion, 224).float()
    (left, row), right = corners[0, 0].tolist(), int(corners[0, 1, 0])
    eye = drawn[:, row - 5 : row + 4, left : right + 1]
    contrast = eye.std((1, 2)).mean(1)
    assert contrast[2] < 0.7 * contrast[0]
    # Nothing blue-white is left, and the pupil is gone.
    assert eye[2].mean(-1).amin() > 1.5 * eye[0].mean(-1).amin()
    assert eye[2, ..., 2].amax() < 0.85 * eye[0, ..., 2].amax()


@pytest.mark.parametrize(
    ("number", "landmark", "axis", "sign"),
    [
        (1, "left_brow_inner", 1, -1),
        (2, "left_brow_outer", 1, -1),
        (4, "left_brow_inner", 1, 1),
        (4, "left_brow_inner", 0, 1),
        (5, "left_upper_lid", 1, -1),
        (6, "left_lower_lid", 1, -1),
        (7, "left_upper_lid", 1, 1),
        (9, "left_nose_wing", 1, -1),
        (10, "upper_lip_top", 1, -1),
        (15, "right_mouth_corner", 1, 1),
        (17, "upper_lip_bottom", 1, -1),
        (18, "right_mouth_corner", 0, -1),
        (20, "right_mouth_corner", 0, 1),
        (23, "lower_lip_bottom", 1, -1),
        (26, "chin", 1, 1),
    ],
)
def test_every_action_unit_moves_its_part(number, landmark, axis, sign):
    motion = face_motion(action_units({number: torch.tensor([0.0, 0.5, 1.0])}))
    assert (sign * point(landmark, PERSON, motion)[:, axis].diff() > 0).all()
    drawn = frames(PERSON, motion).int()
    assert (drawn[0] - drawn[2]).abs().amax() > 8


def test_edges_are_anti_aliased():
    """Half a pixel of movement changes an edge by about half of what a pixel changes it."""
    per_pixel = 1 / (0.31 * 224)
    motion = still(3, x=[0.0, 0.5 * per_pixel, per_pixel])
    drawn = frames(dataclasses.replace(PERSON, ambient=0.6), motion, 224).double()
    rows, columns = slice(95, 150), slice(30, 70)  # cheek and ear against the wall
    whole, half = (drawn[k, rows, columns] - drawn[0, rows, columns] for k in (2, 1))
    edge = whole.abs() > 25
    assert edge.sum() > 50
    share = half[edge] / whole[edge]
    assert share.median() == pytest.approx(0.5, abs=0.1)
    assert ((share > 0.02) & (share < 0.98)).double().mean() > 0.7


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_shift_by_whole_pixels_shifts_the_head(name):
    per_pixel = 1 / (0.31 * 224)
    motion = still(2, **{name: [0.0, 4 * per_pixel]})
    drawn = frames(PERSON, motion, 224).int()
    shift = (4, 0) if name == "x" else (0, 4)
    face = (slice(80, 130), slice(85, 140))
    moved = torch.roll(drawn[0], (shift[1], shift[0]), (0, 1))
    assert (moved[face] - drawn[1][face]).abs().max() <= 2


def test_pose_moves_the_landmarks_as_a_head_turns():
    motion = still(4, yaw=[0.0, 0.3, 0, 0], pitch=[0, 0, 0.3, 0], roll=[0, 0, 0, 0.3])
    at = landmarks(PERSON, motion, 224)
    tip, left, right = (LANDMARKS.index(n) for n in ("nose_tip", "left_pupil", "right_pupil"))
    assert at[1, tip, 0] > at[0, tip, 0] + 5
    assert at[2, tip, 1] < at[0, tip, 1] - 5
    # The tip stands out, so that it moves further than what lies behind it.
    eyes = at[:, [left, right]].mean(1)
    assert (at[1, tip] - at[0, tip])[0] > (eyes[1] - eyes[0])[0]
    line = at[3, right] - at[3, left]
    assert math.atan2(line[1], line[0]) == pytest.approx(0.3, abs=1e-4)
    near = landmarks(PERSON, still(1, z=[1.0]), 224)[0]
    assert (near[right] - near[left])[0] == pytest.approx(
        7 / 6 * float((at[0, right] - at[0, left])[0]), rel=1e-4
    )


@pytest.mark.parametrize("yaw", [-0.35, 0.0, 0.35])
def test_the_drawn_pupils_lie_at_their_landmarks(yaw):
    motion = still(1, yaw=[yaw], pitch=[0.1], roll=[0.1])
    person = dataclasses.replace(PERSON, eye_tone=1.0, skin_tone=0.0, hairline=0.75)
    drawn = frames(person, motion, 448)[0].float().mean(-1)
    for name in ("left_pupil", "right_pupil"):
        column, row = point(name, person, motion, 448)[0].round().int().tolist()
        window = drawn[row - 6 : row + 7, column - 6 : column + 7]
        weight = (window < 60).float()
        assert weight.sum() > 8
        rows, columns = weight.nonzero().float().mean(0) - 6
        assert rows.abs() < 2.5
        assert columns.abs() < 2.5


def test_regions_are_where_the_landmarks_say():
    motion = still(1)
    at = landmarks(PERSON, motion, 224)[0].round().int()
    masks = next(region_masks(PERSON, motion, 224))[0]
    for landmark, name in [("left_pupil", "eyes"), ("right_pupil", "eyes"), ("nose_tip", "skin"),
                           ("lower_lip_top", "mouth")]:  # fmt: skip
        column, row = at[LANDMARKS.index(landmark)].tolist()
        assert REGIONS[masks[row, column]] == name
    assert REGIONS[masks[0, 0]] == "background"
    assert REGIONS[masks[-1, 112]] == "clothes"
    assert REGIONS[masks[int(0.15 * 224), 112]] == "hair"
    assert set(masks.unique().tolist()) == set(range(len(REGIONS)))


def test_eyes_keep_their_region_while_they_blink():
    motion = face_motion(units(AU43=[0.0, 1.0]))
    eyes = region("eyes", PERSON, motion, 224).sum((1, 2))
    assert eyes[1] > 0.6 * eyes[0]


def test_identity_is_reproducible_and_sexes_differ_in_their_means_only():
    def people(sex):
        return [sample_identity(sex, torch.Generator().manual_seed(seed)) for seed in range(150)]

    women, men = people("female"), people("male")
    assert women == people("female")
    for name, sign in [("jaw", 1), ("brow_thickness", 1), ("hair_length", -1), ("beard", 1)]:
        a, b = (np.array([getattr(p, name) for p in group]) for group in (women, men))
        assert sign * (b.mean() - a.mean()) > 0
        assert (sign * b).min() <= (sign * a).max()
    for name in ("skin_tone", "age", "hair_tone", "light_azimuth"):
        a, b = (np.array([getattr(p, name) for p in group]) for group in (women, men))
        assert abs(a.mean() - b.mean()) < 0.5 * a.std()
    with pytest.raises(InputError, match="no sex"):
        sample_identity("robot", torch.Generator())


@pytest.mark.parametrize(
    ("factor", "low", "high", "where"),
    [
        ("skin_tone", 0.1, 0.9, "skin"),
        ("hair_tone", 0.0, 1.0, "hair"),
        ("eye_tone", 0.0, 0.8, "eyes"),
        ("clothes_lightness", 0.2, 0.7, "clothes"),
        ("background_lightness", 0.3, 0.8, "background"),
        ("background_hue", 0.1, 0.6, "background"),
    ],
)
def test_a_colour_changes_its_region_and_little_else(factor, low, high, where):
    motion = still(1)
    people = [dataclasses.replace(PERSON, **{factor: value}) for value in (low, high)]
    a, b = (frames(person, motion, 224)[0].float() for person in people)
    masks = next(region_masks(PERSON, motion, 224))[0]
    change = (a - b).abs().mean(-1)
    inside = change[masks == REGIONS.index(where)].mean()
    others = [k for k, name in enumerate(REGIONS) if name in ("background", "clothes", "hair")]
    outside = max(change[masks == k].mean() for k in others if REGIONS[k] != where)
    assert inside > 4
    assert outside < 0.25 * inside


@pytest.mark.parametrize(
    ("factor", "first", "second", "axis"),
    [
        ("mouth_width", "left_mouth_corner", "right_mouth_corner", 0),
        ("eye_spacing", "left_pupil", "right_pupil", 0),
        ("eye_size", "left_eye_outer", "left_eye_inner", 0),
        ("nose_width", "left_nose_wing", "right_nose_wing", 0),
        ("lip_fullness", "lower_lip_top", "lower_lip_bottom", 1),
        ("head_height", "left_pupil", "chin", 1),
        ("head_width", "left_pupil", "right_pupil", 0),
    ],
)
def test_a_size_changes_the_distance_that_it_names(factor, first, second, axis):
    distances = []
    for value in (0.9, 1.0, 1.1):
        person = dataclasses.replace(PERSON, **{factor: value})
        at = [point(name, person, still(1))[0, axis] for name in (first, second)]
        distances.append(float(at[1] - at[0]))
    assert distances[0] < 0.97 * distances[1] < 0.97 * 0.97 * distances[2] * 1.03


def test_light_from_the_other_side_mirrors_the_shading():
    people = [dataclasses.replace(PERSON, light_azimuth=a, hair_sweep=0.0) for a in (-0.8, 0.8)]
    skin = region("skin", PERSON, still(1), 224)[0]
    for person, side in zip(people, (1, -1), strict=True):
        drawn = frames(person, still(1), 224)[0].float().mean(-1)
        left, right = (drawn[70:170, half][skin[70:170, half]].mean()
                       for half in (slice(0, 112), slice(112, 224)))  # fmt: skip
        assert side * (left - right) > 8


def test_a_smile_grows_from_the_corners_to_the_eyes_to_the_teeth():
    tracks = smile(torch.linspace(0, 1, 11))
    au = dict(zip(ACTION_UNITS, tracks.unbind(1), strict=True))
    torch.testing.assert_close(au[12], torch.linspace(0, 1, 11))
    assert au[6][2] == 0
    assert (au[6][3:].diff() > 0).all()
    assert (au[25] > 0).tolist() == [False] * 6 + [True] * 5


def test_a_laugh_opens_mouth_and_shakes_five_times_a_second():
    time_s = torch.arange(400) / 100
    motion = laugh(torch.ones(400), time_s)
    jaw = motion.action_units[:, ACTION_UNITS.index(26)]
    for track in (jaw, motion.shoulders, motion.pose[:, 4]):
        spectrum = torch.fft.rfft(track - track.mean()).abs()
        assert torch.fft.rfftfreq(400, 0.01)[spectrum.argmax()] == 5.0
    assert jaw.min() > 0.4
    nothing = laugh(torch.zeros(5), time_s[:5])
    assert not nothing.action_units.any()
    assert not nothing.pose.any()
    assert not nothing.shoulders.any()


def test_shoulders_lift_the_clothes():
    motion = face_motion(torch.zeros(2, 17), shoulders=torch.tensor([0.0, 0.12]))
    clothes = region("clothes", PERSON, motion, 224).sum((1, 2))
    assert clothes[1] > 1.05 * clothes[0]


@pytest.mark.parametrize("name", sorted(EMOTION_UNITS))
def test_emotions_scale_their_units(name):
    full, half = emotion(name, torch.ones(2)), emotion(name, torch.full((2,), 0.5))
    torch.testing.assert_close(half, 0.5 * full)
    assert {ACTION_UNITS[k] for k in full[0].nonzero().flatten().tolist()} == set(
        EMOTION_UNITS[name]
    )


def test_causes_join_without_leaving_the_range():
    joined = combine(smile(torch.ones(3)), visemes(torch.ones(3), torch.ones(3)))
    assert joined.max() <= 1
    assert (joined >= smile(torch.ones(3)) - 1e-6).all()


def utterance(words):
    return plan_utterance(
        COMMON_VOICE, parse_syllables(words), EmotionEffect(), np.random.default_rng(0)
    )


def middle(words):
    openness, rounding = (
        track.numpy() for track in mouth_tracks(utterance(" ".join([words] * 4)), 100)
    )
    quarter = len(openness) // 4
    return openness[quarter:-quarter], rounding[quarter:-quarter]


def test_lips_open_for_a_and_round_for_u():
    open_a, round_a = middle("hA")
    open_u, round_u = middle("hu")
    open_i, round_i = middle("hi")
    _, round_y = middle("hy")
    assert open_a.max() > 0.85
    assert open_i.mean() < 0.5 * open_a.mean()
    assert open_u.mean() < 0.5 * open_a.mean()
    assert round_u.max() > 0.8
    assert round_y.max() > 0.7
    assert round_i.min() < -0.7
    assert abs(round_a).max() < 0.2


def test_lips_close_for_labials_and_in_silence():
    plan = utterance("mA ma bA")
    openness, rounding = mouth_tracks(plan, 100)
    assert len(openness) == len(rounding) == math.ceil(plan.duration_s * 100)
    assert openness[:3].max() < 0.05
    assert openness[-3:].max() < 0.05
    peaks = ((openness[1:-1] > openness[:-2]) & (openness[1:-1] >= openness[2:])
             & (openness[1:-1] > 0.5)).sum()  # fmt: skip
    assert peaks == 3
    inner = openness[(openness > 0.5).nonzero().min() : (openness > 0.5).nonzero().max()]
    assert inner.min() < 0.15
    coarse, _ = mouth_tracks(plan, 25)
    torch.testing.assert_close(coarse.mean(), openness.mean(), atol=0.03, rtol=0)


def test_blinks_close_once_each():
    track = blinks(torch.tensor([0.2, 1.0, 9.0, -1.0]), 50, 25)
    assert track.shape == (50,)
    closed = track > 0.9
    assert (closed.int().diff() == 1).sum() == 2
    assert track[:5].max() == 0
    assert track[15:25].max() == 0


def test_bad_input_is_named():
    with pytest.raises(InputError, match="AU3"):
        action_units({3: torch.zeros(2)})
    with pytest.raises(InputError, match="are none"):
        action_units({})
    with pytest.raises(InputError, match="no emotion"):
        emotion("boredom", torch.ones(1))
    with pytest.raises(InputError, match="pose"):
        face_motion(torch.zeros(2, 17), pose=torch.zeros(3, 6))
    with pytest.raises(InputError, match="finite"):
        face_motion(torch.full((2, 17), float("nan")))
    with pytest.raises(InputError, match="float64"):
        face_motion(torch.zeros(2, 17), gaze=torch.zeros(2, 2, dtype=torch.float64))
    with pytest.raises(InputError, match="32 pixels"):
        frames(PERSON, still(1), 16)
    with pytest.raises(InputError, match="chunk"):
        frames(PERSON, still(1), chunk=0)
    assert isinstance(still(3)[1:], FaceMotion)
    assert len(still(3)[1:]) == 2


@pytest.mark.parametrize("shape", [(1, 1, 4, 5), (2, 3, 7, 3)])
def test_upsampling_is_the_bilinear_one(shape):
    half = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    full = torch.nn.functional.interpolate(half, scale_factor=2, mode="bilinear")
    box = (0, 2 * shape[2] - 1, 0, 2 * shape[3])
    torch.testing.assert_close(upsample(half, box), full[:, :, :-1])
