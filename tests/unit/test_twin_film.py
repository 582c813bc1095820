import dataclasses
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from thesislib.corpora.twins.face import LANDMARKS, landmarks
from thesislib.corpora.twins.face_motion import FaceMotion, face_motion, laugh, smile
from thesislib.corpora.twins.face_render import render
from thesislib.corpora.twins.film import (
    SAMPLE_RATE,
    Camera,
    film,
    open_film,
    record_sound,
    spoil,
)
from thesislib.corpora.twins.people import sample_person
from thesislib.corpora.twins.performance import Performance
from thesislib.errors import InputError
from thesislib.files import weights_root
from thesislib.models.face_detector import load_face_detector
from thesislib.signals.video import check_media, read_frames
from thesislib.signals.video_sound import read_video_audio

FPS = 25
PERSON = sample_person("film test", "female", seed=2)
CLEAN = Camera(fps=FPS).scaled(picture=0, room=0)


def performance(seconds, fps=FPS):
    """Neutral, then a smile that grows, then a laugh; a chirp that no shift resembles."""
    n = round(seconds * fps)
    ramp = torch.linspace(0, 1, n)
    smiling = face_motion(smile((3 * ramp - 1).clamp(0, 1) * (ramp < 0.67)))
    laughing = laugh(ramp * (ramp >= 0.67), torch.arange(n) / fps)
    parts = {
        name: getattr(smiling, name) + getattr(laughing, name)
        for name in ("action_units", "pose", "shoulders", "gaze")
    }
    parts["action_units"] = parts["action_units"].clamp(0, 1)
    time_s = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    waveform = 0.3 * torch.sin(2 * torch.pi * (200 + 900 * time_s) * time_s)
    return Performance(waveform=waveform.float(), motion=FaceMotion(**parts), syllables=())


@pytest.fixture(scope="module")
def take():
    return performance(2.0)


@pytest.fixture(scope="module")
def recording(take, tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "clean.mp4"
    film(path, PERSON, [take], CLEAN, seed=3)
    return path


def test_the_recording_is_what_it_says(recording, take):
    with av.open(str(recording)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert picture.codec_context.name == "h264"
        assert sound.codec_context.name == "aac"
    found = check_media(recording)
    assert found.problem is None
    assert (found.info.fps, found.info.width, found.info.height) == (FPS, 224, 224)
    assert found.n_frames == len(take.motion) == 50
    assert found.info.sample_rate == 48_000
    assert abs(found.video_s - 2.0) < 1e-6
    assert abs(found.audio_s - 2.0) < 1 / FPS


def test_pictures_and_sound_are_those_of_the_performance(recording, take):
    drawn = torch.cat(list(render(PERSON.identity, take.motion, 224))).float()
    shown = read_frames(recording, [(i + 0.5) / FPS for i in range(50)]).float()
    error = (shown - drawn).pow(2).mean((1, 2, 3)).sqrt()
    assert error.max() < 6  # levels of 255; a frame too late is off by more where she laughs
    late = (shown[1:] - drawn[:-1]).pow(2).mean((1, 2, 3)).sqrt()
    assert (late[-12:] > 1.2 * error[-12:]).all()
    heard = read_video_audio(recording, sample_rate=SAMPLE_RATE).numpy()
    said = take.waveform.numpy()
    lags = range(-40, 41)
    inner = slice(4000, 28_000)
    match = [float(np.dot(np.roll(heard, lag)[inner], said[inner])) for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= 8  # half a millisecond
    assert np.corrcoef(heard[inner], said[inner])[0, 1] > 0.95


@pytest.mark.parametrize(
    "camera",
    [
        Camera(fps=50, size=(240, 320), profile="high", audio_rate=44_100),
        Camera(fps=FPS, size=240, bit_rate=300_000, preset="ultrafast", profile="baseline"),
    ],
)
def test_cameras_differ_and_lengths_hold(camera, tmp_path):
    path = tmp_path / "one.mp4"
    half = performance(0.5, camera.fps)
    film(path, PERSON, [half, half], camera, seed=0)
    found = check_media(path)
    assert found.problem is None
    assert (found.info.height, found.info.width) == camera.height_width
    assert found.info.fps == camera.fps
    assert found.n_frames == 2 * len(half.motion)
    assert abs(found.audio_s - 1.0) < 1 / camera.fps
    with av.open(str(path)) as container:
        profile = container.streams.video[0].codec_context.profile
    assert camera.profile in profile.lower()


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    short = performance(0.2)
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        film(tmp_path / f"{name}.mp4", PERSON, [short], Camera(fps=FPS), seed=seed)
    a, b, c = ((tmp_path / f"{name}.mp4").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_the_returned_sound_is_what_the_file_holds(tmp_path):
    camera = Camera(fps=FPS, room_db=-30.0, audio_bit_rate=192_000)
    piece = performance(1.0)
    with open_film(tmp_path / "x.mp4", PERSON, camera, seed=0) as write:
        heard = write(piece)
    assert 0.02 < float((heard - piece.waveform).std()) < 0.04  # -30 dB is 0.032
    encoded = read_video_audio(tmp_path / "x.mp4", sample_rate=SAMPLE_RATE)[: len(heard)]
    inner = slice(1000, 15_000)
    assert np.corrcoef(encoded[inner], heard[inner])[0, 1] > 0.97


def test_a_failure_leaves_nothing(take, tmp_path):
    def blocks():
        yield take
        raise RuntimeError("the actor fell ill")

    with pytest.raises(RuntimeError, match="fell ill"):
        film(tmp_path / "x.mp4", PERSON, blocks(), CLEAN, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_unequal_lengths_and_unusable_cameras_are_refused(take, tmp_path):
    shorter = dataclasses.replace(take, waveform=take.waveform[:-2000])
    with pytest.raises(InputError, match="block of 30000 samples and 50 frames"):
        film(tmp_path / "x.mp4", PERSON, [shorter], CLEAN, seed=0)
    for wrong in ({"size": 223}, {"size": 200}, {"size": (224, 321)}, {"fps": 0}, {"blur_px": 1}):
        with pytest.raises(InputError):
            Camera(**({"fps": FPS} | wrong))
    with pytest.raises(InputError, match="cannot be written"):
        film(tmp_path / "x.mp4", PERSON, [take], Camera(fps=FPS, profile="none"), seed=0)


def spoilt(level, camera, chance_seed=0, shape=(3, 224, 224, 3)):
    frames = torch.full(shape, level, dtype=torch.uint8)
    chance = torch.Generator().manual_seed(chance_seed)
    height, width = shape[1:3]
    bank = camera.noise * torch.randn(height + 64, width + 64, 3, generator=chance)
    gain = torch.ones(height, width, 3)
    return spoil(frames, camera, gain, bank, chance)


def test_noise_grows_with_the_root_of_the_light():
    camera = Camera(fps=FPS, noise=4.0, blur_px=0.0)
    middle, dark = spoilt(128, camera).float(), spoilt(32, camera).float()
    assert middle.std() == pytest.approx(4.0, rel=0.05)
    assert dark.std() == pytest.approx(2.0, rel=0.05)
    assert middle.mean() == pytest.approx(128, abs=0.2)
    assert (middle[0] - middle[1]).std() > 5  # another place of the bank: noise does not stand


def test_the_blur_is_a_three_point_filter():
    camera = Camera(fps=FPS, noise=0.0, blur_px=0.6)
    frames = torch.randint(256, (2, 20, 30, 3), generator=torch.Generator().manual_seed(0))
    got = spoil(
        frames.to(torch.uint8), camera, torch.ones(20, 30, 3), torch.zeros(84, 94, 3),
        torch.Generator(),
    )  # fmt: skip
    kernel = [0.18, 0.64, 0.18]  # of variance 0.36
    wanted = frames.numpy().astype(float)
    for axis in (1, 2):
        wanted = correlate1d(wanted, kernel, axis=axis, mode="nearest")
    assert np.abs(got.numpy() - wanted).max() < 0.51


def test_a_camera_without_faults_changes_nothing(take):
    frames = torch.randint(256, (2, 224, 224, 3), generator=torch.Generator().manual_seed(1))
    frames = frames.to(torch.uint8)
    nothing = torch.zeros(288, 288, 3)
    got = spoil(frames, CLEAN, torch.ones(224, 224, 3), nothing, torch.Generator())
    assert torch.equal(got, frames)
    assert torch.equal(record_sound(take.waveform, CLEAN, torch.Generator()), take.waveform)


def test_half_the_room_is_six_decibels_less():
    camera = Camera(fps=FPS, room_db=-50.0)
    assert camera.scaled(room=0.5).room_db == pytest.approx(-56.02, abs=0.01)
    assert camera.scaled(room=0).room_db is None
    silence = torch.zeros(16_000)
    noise = record_sound(silence, camera, torch.Generator().manual_seed(0))
    assert 20 * torch.log10(noise.std()) == pytest.approx(-50, abs=0.2)


def test_a_detector_finds_face_and_mouth_corners(take, tmp_path):
    if not (weights_root() / "face-detector" / "model.safetensors").is_file():
        pytest.skip("no pretrained weights: run `thesis weights get face-detector`")
    path = tmp_path / "spoilt.mp4"
    person = SimpleNamespace(identity=PERSON.identity)
    film(path, person, [take], Camera(fps=FPS, noise=3.5, blur_px=0.6, crf=26), seed=1)
    chosen = [0, 12, 24, 32, 44]  # from neutral to a laugh
    found = load_face_detector().detect(read_frames(path, [(i + 0.5) / FPS for i in chosen]))
    assert (found.score > 0.8).all()
    names = ("left_mouth_corner", "right_mouth_corner")
    true = landmarks(PERSON.identity, take.motion, 224)[chosen]
    true = true[:, [LANDMARKS.index(name) for name in names]]
    assert (found.landmarks[:, 3:] - true).norm(dim=-1).max() < 6
