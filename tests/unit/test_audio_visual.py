from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
import torch

from thesislib.corpora.clip import Clip
from thesislib.errors import InputError
from thesislib.signals import audio
from thesislib.signals.audio_visual import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PRESETS,
    AudioVisualPreset,
    FrontEnd,
    Window,
    compute_stats,
    modalities,
    read_window,
    read_windows,
    sample_frames,
)
from thesislib.signals.decoding import DecodingWorker
from thesislib.signals.face import FaceLandmarks

FPS, RATE = 25, 16000


def write_clip(path, seconds=3.0, height=48, width=64):
    """Frame n is a red of 4 n beside green edges; the sound's level grows in steps of a second."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=FPS, options={"crf": "4"})
        pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv444p"
        speech = container.add_stream("aac", rate=RATE, layout="mono")
        for index in range(round(seconds * FPS)):
            picture = np.zeros((height, width, 3), np.uint8)
            picture[:, : (width - height) // 2, 1] = picture[:, (width + height) // 2 :, 1] = 255
            picture[:, (width - height) // 2 : (width + height) // 2, 0] = 3 * index
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode())
        time_s = np.arange(round(seconds * RATE)) / RATE
        sound = 0.1 * (1 + np.floor(time_s)) * np.sin(2 * np.pi * 440 * time_s)
        for start in range(0, len(sound), 1024):
            part = sound[None, start : start + 1024].astype(np.float32)
            block = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            block.sample_rate, block.pts = RATE, start
            container.mux(speech.encode(block))
        container.mux(speech.encode())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")
    return Clip(clip_id="a", corpus="c", speaker="s", audio_path=path, video_path=path)


@pytest.fixture(scope="module")
def worker():
    with DecodingWorker() as started:
        yield started


def replaced(clip, **changes):
    names = ("clip_id", "corpus", "speaker", "audio_path", "video_path", "start_s", "duration_s")
    return Clip(**{name: getattr(clip, name) for name in names} | changes)


def numbers(frames):
    return (frames[:, 10:-10, 10:-10, 0].float().mean(dim=(1, 2)) / 3).round().tolist()


# ----------------------------------------------------------------------------------------- window


def test_frames_and_sound_are_of_one_window(clip, worker):
    part = replaced(clip, start_s=1.0, duration_s=1.0)
    window = read_window(part, worker, candidates=5, size=48)
    # Middles of five parts of the second from 1 s to 2 s, at 25 frames a second.
    assert numbers(window.frames) == [27, 32, 37, 42, 47]
    assert window.frames.shape == (5, 48, 48, 3)
    assert window.frames.dtype == torch.uint8
    assert len(window.waveform) == RATE
    level = window.waveform.reshape(10, -1).abs().amax(dim=1)
    assert level[1:-1] == pytest.approx(torch.full((8,), 0.2), abs=0.02)
    assert (window.start_s, window.duration_s) == (1.0, 1.0)


def test_frames_are_the_middle_square_and_red_comes_first(clip, worker):
    frames = read_window(clip, worker, candidates=2, size=24).frames
    # The green edges are cut off; a swap of red and blue (note 7) would leave no red.
    assert frames[1, :, 2:-2, 0].float().mean() > 100
    assert frames[..., 1].float().mean() < 12
    assert frames[..., 2].float().mean() < 12


def test_a_longer_clip_is_read_around_its_middle_or_where_the_generator_says(clip, worker):
    fixed = read_window(clip, worker, window_s=1.0, candidates=1, size=48)
    assert fixed.start_s == pytest.approx(1.0, abs=0.03)
    assert numbers(fixed.frames)[0] in (37, 38)
    starts = {
        read_window(
            clip, worker, window_s=1.0, candidates=1, size=8,
            generator=torch.Generator().manual_seed(seed),
        ).start_s
        for seed in (0, 1)
    }  # fmt: skip
    assert len(starts) == 2
    assert all(0 <= start <= 2.05 for start in starts)


def test_faces_are_cropped_at_the_same_times(clip, worker):
    class Middle:
        identity = "middle"

        def detect(self, frames):
            height, width = frames.shape[1:3]
            points = torch.tensor([[-3, -4], [3, -4], [0, 0], [-2, 4], [2, 4]]) * height / 40
            landmarks = points + torch.tensor([width / 2, height / 2])
            return FaceLandmarks(landmarks.expand(len(frames), 5, 2), torch.ones(len(frames)))

    part = replaced(clip, start_s=1.0, duration_s=1.0)
    frames = read_window(part, worker, candidates=5, size=48, detector=Middle()).frames
    assert frames.shape == (5, 48, 48, 3)
    assert frames.dtype == torch.uint8
    assert numbers(frames) == [27, 32, 37, 42, 47]


def test_a_missing_modality_is_a_mode_and_never_a_guess(clip, worker):
    deaf = replaced(clip, audio_path=None)
    with pytest.raises(InputError, match="a: has no audio, but mode 'both' needs it"):
        read_window(deaf, worker)
    window = read_window(deaf, worker, mode="missing_audio", candidates=2, size=8)
    assert window.waveform is None
    assert window.frames.shape == (2, 8, 8, 3)
    assert read_window(clip, worker, mode="audio").frames is None
    with pytest.raises(InputError, match="mode: 'sound' is unknown"):
        modalities("sound")


def test_clips_that_cannot_be_used_are_named_and_the_run_goes_on(clip, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    clips = [replaced(clip, video_path=broken), replaced(clip, duration_s=0.0), clip]
    results = list(read_windows(clips, candidates=2, size=8))
    assert [type(result) for result in results] == [InputError, InputError, Window]
    assert "broken.mp4" in str(results[0])
    assert "lasts 0 s" in str(results[1])


def test_sound_alone_comes_from_a_sound_file(tmp_path, worker):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.linspace(0, 0.5, RATE, dtype=np.float32), RATE, "FLOAT")
    clip = Clip(clip_id="a", corpus="c", speaker="s", audio_path=path)
    window = read_window(clip, worker, mode="audio", window_s=0.5)
    assert window.start_s == 0.25
    assert window.waveform[0] == pytest.approx(0.125, abs=1e-3)
    assert len(window.waveform) == RATE // 2


# ----------------------------------------------------------------------------------------- frames


def test_frames_are_sorted_one_from_each_part():
    fixed = sample_frames(16, 8, 3)
    assert fixed.tolist() == [[0, 2, 4, 6, 8, 10, 12, 14]] * 3
    drawn = sample_frames(20, 8, 500, torch.Generator().manual_seed(0))
    assert bool((drawn.diff(dim=1) > 0).all())
    edges = torch.arange(9) * 20 // 8
    assert bool(((drawn >= edges[:-1]) & (drawn < edges[1:])).all())
    assert drawn.unique().tolist() == list(range(20))  # none is out of reach
    again = sample_frames(20, 8, 500, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)


def test_as_many_frames_as_there_are_is_all_of_them():
    generator = torch.Generator().manual_seed(0)
    assert sample_frames(8, 8, 2, generator).tolist() == [list(range(8))] * 2
    with pytest.raises(InputError, match="n_frames: 8 cannot be taken from 4 frames"):
        sample_frames(4, 8, 1)


# -------------------------------------------------------------------------------------- front end


def windows(batch=2, n=8000, candidates=8, size=16):
    generator = torch.Generator().manual_seed(1)
    return {
        "waveform": 0.1 * torch.randn(batch, n, generator=generator),
        "frames": torch.randint(
            256, (batch, candidates, size, size, 3), generator=generator, dtype=torch.uint8
        ),
        "row": torch.arange(batch),
    }


def test_inputs_are_standardised_as_the_preset_says():
    batch = windows()
    preset = PRESETS["social-mae"]
    inputs = FrontEnd(preset=preset, audio_frames=32, n_frames=4, image_size=16)(batch)
    assert set(inputs) == {"audio", "video", "row"}
    expected = audio.kaldi_log_mel(batch["waveform"])[:, :32]
    torch.testing.assert_close(inputs["audio"], (expected + 6.2943) / 12.26344)
    pictures = batch["frames"][:, [0, 2, 4, 6]].numpy() / 255
    pictures = (pictures - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(
        inputs["video"].numpy(), pictures.transpose(0, 4, 1, 2, 3), atol=1e-5
    )


def test_presets_are_those_of_the_notes():
    values = {name: (preset.log_mel.mean, preset.log_mel.std) for name, preset in PRESETS.items()}
    assert values["cav-mae"] == (-5.081, 4.4849)
    assert values["social-mae"] == (-6.2943, 12.26344)
    assert values["ast"] == pytest.approx((-4.2677, 9.138))
    assert PRESETS["ndc-me"].frame_mean == (0.5452, 0.3590, 0.2160)
    with pytest.raises(InputError, match="frame_std"):
        AudioVisualPreset(log_mel=audio.AST, frame_std=(1.0, 0.0, 1.0))


def test_a_modality_that_is_left_out_stays_out():
    front = FrontEnd(preset=PRESETS["ast"], audio_frames=16, n_frames=2, image_size=16)
    batch = windows()
    frames = batch.pop("frames")
    assert set(front(batch)) == {"audio", "row"}
    assert set(front({"frames": frames})) == {"video"}
    with pytest.raises(InputError, match="waveform: has 399 samples"):
        front({**batch, "length": torch.tensor([8000, 399])})
    with pytest.raises(InputError, match="neither waveform nor frames"):
        front({"row": frames})
    with pytest.raises(InputError, match=r"not \(B, K, H, W, 3\) uint8"):
        front({"frames": frames.float()})


def test_frames_are_resized_without_a_shift():
    step = torch.zeros(1, 1, 32, 32, 3, dtype=torch.uint8)
    step[:, :, :, 16:] = 200
    preset = AudioVisualPreset(log_mel=audio.AST, frame_mean=(0, 0, 0), frame_std=(1, 1, 1))
    video = FrontEnd(preset=preset, n_frames=1, image_size=16)({"frames": step})["video"]
    assert video[0, 0, 0, 0].tolist() == pytest.approx([0.0] * 8 + [200 / 255] * 8, abs=0.1)
    assert video.shape == (1, 3, 1, 16, 16)


def test_frames_differ_in_training_and_not_in_evaluation():
    front = FrontEnd(preset=PRESETS["ast"], n_frames=2, image_size=16)
    batch = {"frames": windows(batch=4)["frames"]}
    generator = torch.Generator().manual_seed(0)
    first, second = (front(batch, generator)["video"] for _ in range(2))
    assert not torch.equal(first, second)
    torch.testing.assert_close(front(batch)["video"], front(batch)["video"], rtol=0, atol=0)


# -------------------------------------------------------------------------------------- statistics


def test_own_statistics_are_those_of_all_values_at_once():
    batches = [windows(n=6000), windows(n=9000)]
    batches[1]["length"] = torch.tensor([9000, 3000])
    found = compute_stats(batches)
    rows = [*batches[0]["waveform"], *batches[1]["waveform"]]
    rows[3] = rows[3][:3000]
    log_mels = [audio.kaldi_log_mel(waveform[None]) for waveform in rows]
    values = torch.cat([log_mel.flatten() for log_mel in log_mels]).numpy()
    assert found.log_mel.mean == pytest.approx(values.mean(), rel=1e-4)
    assert found.log_mel.std == pytest.approx(values.std(), rel=1e-4)
    assert found.log_mel.target_frames == 1024
    pixels = torch.cat([batch["frames"].flatten(0, 3) for batch in batches]).numpy() / 255
    assert found.frame_mean == pytest.approx(pixels.mean(axis=0))
    assert found.frame_std == pytest.approx(pixels.std(axis=0))


def test_statistics_standardise_what_they_were_made_of():
    batch = windows(batch=4, n=12000)
    front = FrontEnd(preset=compute_stats([batch]), audio_frames=72, n_frames=8, image_size=16)
    inputs = front(batch)
    assert inputs["audio"].mean().item() == pytest.approx(0, abs=0.02)
    assert inputs["audio"].std().item() == pytest.approx(1, abs=0.02)
    assert inputs["video"].mean(dim=(0, 2, 3, 4)) == pytest.approx(torch.zeros(3), abs=1e-4)


def test_statistics_need_something_to_measure():
    with pytest.raises(InputError, match="nothing to measure"):
        compute_stats([])
    with pytest.raises(InputError, match="one value of video"):
        compute_stats([{"frames": torch.zeros(1, 1, 4, 4, 3, dtype=torch.uint8)}])
    only = compute_stats([{"waveform": windows()["waveform"]}])
    assert only.frame_mean == IMAGENET_MEAN
