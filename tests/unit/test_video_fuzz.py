"""Damaged recordings: no crash, no hang, and nothing lost without a word.

No codec here protects its payload by a checksum: a changed byte that still decodes cannot be told
from an unchanged one. What can be known is checked: that as many frames and samples come out as
were put in, in their order, or that the loss is reported.
"""

import struct
import time

import av
import numpy as np
import pytest
import soundfile
import torch

from thesislib.errors import InputError
from thesislib.signals.decoding import DecodingWorker
from thesislib.signals.media import read_waveform
from thesislib.signals.video import check_media, frame_times, read_frames
from thesislib.signals.video_sound import read_video_audio

N_FRAMES, FPS, SECONDS, RATE = 10, 25, 0.4, 16000
DAMAGES = ("flip", "cut", "swap", "zero")
N_EACH = 48


def sound():
    return (0.4 * np.sin(np.arange(round(SECONDS * RATE)) * 0.2)).astype(np.float32)


def write_media(path, codec="libx264", pictures=True, with_sound=True, faststart=False):
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        streams = []
        if pictures:
            stream = container.add_stream(codec, rate=FPS)
            stream.width = stream.height = 64
            stream.pix_fmt, stream.gop_size = "yuv420p", 5
            picture = np.zeros((64, 64, 3), np.uint8)
            frames = []
            for index in range(N_FRAMES):
                for bit in range(4):
                    picture[:, 16 * bit : 16 * bit + 16] = 230 * (index >> bit & 1)
                frames.append(av.VideoFrame.from_ndarray(picture, format="rgb24"))
            streams.append((stream, frames))
        if with_sound:
            stream = container.add_stream("aac", rate=RATE, layout="mono")
            frames = []
            for start in range(0, len(sound()), 1024):
                part = sound()[None, start : start + 1024]
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = RATE, start
                frames.append(frame)
            streams.append((stream, frames))
        for stream, frames in streams:
            for frame in (*frames, None):
                container.mux(stream.encode(frame))


def numbers(frames):
    return ((frames[:, 32, 8::16, 1] > 115) * 2 ** torch.arange(4)).sum(1).tolist()


def boxes(content, start=0):
    """The outermost boxes of an MP4 file, or the chunks of a WAV file after its head."""
    little = content[:4] == b"RIFF"
    parts, at = [content[:12]] if little else [], 12 if little else start
    while at + 8 <= len(content):
        if little:
            length = struct.unpack_from("<I", content, at + 4)[0] + 8
        else:
            length = max(8, struct.unpack_from(">I", content, at)[0])
        parts.append(content[at : at + length])
        at += length
    return parts


def damage(content, how, generator):
    broken = bytearray(content)
    place = int(generator.integers(len(content)))
    if how == "flip":
        for at in generator.integers(len(content), size=int(generator.integers(1, 7))):
            broken[at] ^= 1 << int(generator.integers(8))
    elif how == "cut":
        del broken[max(1, place) :]
    elif how == "zero":
        broken[place : place + 40] = bytes(len(broken[place : place + 40]))
    else:
        parts = boxes(content)
        if len(parts) < 2:  # Matroska: exchange two stretches
            parts = [content[i : i + 512] for i in range(0, len(content), 512)]
        i, j = generator.choice(len(parts), 2, replace=False)
        parts[i], parts[j] = parts[j], parts[i]
        broken = b"".join(parts)
    return bytes(broken)


@pytest.fixture(scope="module")
def worker():
    with DecodingWorker(limit_s=20) as worker:
        yield worker


def outcome(worker, function, path, *args, **kwargs):
    """A result, or the one-line report; whatever else is raised fails the test."""
    try:
        return worker.run(function, path, *args, **kwargs), None
    except InputError as error:
        message = str(error)
        assert message.startswith(str(path))
        assert "\n" not in message
        assert "crashed" not in message  # the worker would survive it, but none of these does it
        assert "did not decode within" not in message
        return None, message


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("end.mp4", {}),
        ("start.mp4", {"faststart": True}),
        ("silent.mp4", {"with_sound": False}),
        ("old.mp4", {"codec": "mpeg4"}),
        ("sound.m4a", {"pictures": False}),
        ("other.mkv", {}),
    ],
)
def test_damaged_video(name, settings, worker, tmp_path):
    path = tmp_path / name
    write_media(path, **settings)
    whole = path.read_bytes()
    times = frame_times(0, SECONDS, FPS)
    has_pictures, has_sound = settings.get("pictures", True), settings.get("with_sound", True)
    reference = read_video_audio(path, duration_s=SECONDS) if has_sound else None
    if has_pictures:
        assert numbers(read_frames(path, times)) == list(range(N_FRAMES))
    assert check_media(path).problem is None
    generator = np.random.default_rng(len(name))
    refused = 0
    for case in range(N_EACH):
        how = DAMAGES[case % len(DAMAGES)]
        content = damage(whole, how, generator)
        path.write_bytes(content)
        begin = time.monotonic()
        check, report = outcome(worker, check_media, path)
        frames, frames_report = outcome(worker, read_frames, path, times)
        waveform, sound_report = outcome(worker, read_video_audio, path, duration_s=SECONDS)
        assert time.monotonic() - begin < 15
        assert has_pictures or frames is None
        assert has_sound or waveform is None
        reported = check is None or check.problem is not None
        refused += reported
        payload_changed = how in ("flip", "zero")
        if frames is not None:
            assert frames.shape[0] == N_FRAMES
            complete = numbers(frames) == list(range(N_FRAMES))
            assert complete or reported or payload_changed
        if waveform is not None:
            assert len(waveform) == round(SECONDS * RATE)
            same = (waveform - reference).abs().max() < 1e-4
            assert same or reported or payload_changed
        if not reported:
            if check.info.has_video:
                assert check.n_frames == N_FRAMES, (how, case)
                assert frames is not None or frames_report
            if check.info.has_audio:
                assert check.audio_s == pytest.approx(SECONDS, abs=0.07), (how, case)
                assert waveform is not None or sound_report
            assert payload_changed or (check.info.has_video, check.info.has_audio) == (
                has_pictures,
                has_sound,
            )
        elif report is not None:
            assert "; " in report  # says what to do
    assert refused > N_EACH / 4  # so that the damage is damage


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24"])
def test_damaged_wav(subtype, tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, sound(), RATE, subtype)
    whole = path.read_bytes()
    header = whole.index(b"data") + 8
    reference = read_waveform(path)
    generator = np.random.default_rng(5)
    refused = 0
    for case in range(N_EACH):
        how = DAMAGES[case % len(DAMAGES)]
        content = damage(whole, how, generator)
        path.write_bytes(content)
        try:
            waveform = read_waveform(path)
        except InputError:
            refused += 1
            continue
        assert waveform.isfinite().all()
        if how in ("cut", "swap"):
            assert content == whole or torch.equal(waveform, reference), (how, case)
        elif content[:header] == whole[:header]:
            assert len(waveform) == len(reference)
    assert refused > N_EACH / 4
