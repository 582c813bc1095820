import os
import struct
import time
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
import torch

from thesislib.errors import InputError
from thesislib.signals.decoding import DecodingWorker, decode_all
from thesislib.signals.frame_reader import FrameReader
from thesislib.signals.media import read_waveform
from thesislib.signals.video import (
    check_media,
    frame_times,
    iter_frames,
    probe_video,
    read_frames,
)
from thesislib.signals.video_sound import read_video_audio

BITS = 8
SAMPLE_RATE = 16000


def numbered(index, height=64, width=64):
    """A picture that says its number: eight stripes, one a bit, and a bright upper half."""
    picture = np.zeros((height, width, 3), np.uint8)
    for bit in range(BITS):
        stripe = slice(bit * width // BITS, (bit + 1) * width // BITS)
        picture[height // 2 :, stripe] = 230 * (index >> bit & 1)
    picture[: height // 2] = (250, 120, 20)
    return picture


def numbers(frames):
    """The numbers of `(T, H, W, 3)` pictures."""
    height, width = frames.shape[1:3]
    step = width // BITS
    at = frames[:, height * 3 // 4, step // 2 :: step, 1] > 115
    return (at * 2 ** torch.arange(BITS)).sum(1).tolist()


def sound(seconds, rate=SAMPLE_RATE):
    time_s = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * 440 * time_s * (1 + 0.05 * time_s))).astype(np.float32)


def write_video(
    path, n=50, fps=25, *, height=64, width=64, gop=12, b_frames=2, times_s=None, waveform=None,
    audio_codec="aac", codec="libx264", audio_rate=SAMPLE_RATE, options=None,
    codec_options=None,
):  # fmt: skip
    with av.open(str(path), "w", options=options or {}) as container:
        pictures = speech = None
        if n:
            pictures = container.add_stream(codec, rate=fps, options=codec_options or {})
            pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
            pictures.gop_size = gop
            if b_frames is not None:
                pictures.codec_context.max_b_frames = b_frames
            if times_s is not None:
                pictures.codec_context.time_base = Fraction(1, 1000)
                pictures.time_base = Fraction(1, 1000)
        if waveform is not None:
            speech = container.add_stream(audio_codec, rate=audio_rate, layout="mono")
        for index in range(n):
            frame = av.VideoFrame.from_ndarray(numbered(index, height, width), format="rgb24")
            if times_s is not None:
                frame.pts, frame.time_base = round(1000 * times_s[index]), Fraction(1, 1000)
            container.mux(pictures.encode(frame))
        if pictures is not None:
            container.mux(pictures.encode())
        if speech is not None:
            for start in range(0, len(waveform), 1024):
                part = waveform[None, start : start + 1024]
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = audio_rate, start
                container.mux(speech.encode(frame))
            container.mux(speech.encode())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two seconds with sound: 25 frames a second, B-frames, a key frame each half second."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", waveform=sound(2.0))


@pytest.fixture
def counted(monkeypatch):
    """How many frames were decoded."""
    decoded = []
    original = FrameReader._decode

    def decode(self, after_seek):
        for frame in original(self, after_seek):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(FrameReader, "_decode", decode)
    return decoded


def refusal(function, path, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        function(path, *args, **kwargs)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_probe(clip):
    info = probe_video(clip)
    assert (info.duration_s, info.fps, info.n_frames) == (2.0, 25.0, 50)
    assert (info.has_video, info.has_audio, info.sample_rate) == (True, True, SAMPLE_RATE)
    assert (info.width, info.height, info.rotation) == (64, 64, 0)


def test_every_frame_once(clip):
    frames = read_frames(clip, frame_times(0, 2, 25))
    assert frames.dtype == torch.uint8
    assert frames.shape == (50, 64, 64, 3)
    assert numbers(frames) == list(range(50))
    colour = frames[:, 8:24].float().mean((0, 1, 2))
    np.testing.assert_allclose(colour, (250, 120, 20), atol=4)  # RGB, not BGR


def test_other_rates_and_orders(clip):
    times = frame_times(0.5, 1, 50)
    assert numbers(read_frames(clip, times)) == [12 + (i + 1) // 2 for i in range(50)]
    assert numbers(read_frames(clip, [1.9, 0.02, 0.9, 0.9])) == [47, 0, 22, 22]
    assert read_frames(clip, []).shape == (0, 64, 64, 3)
    pieces = list(iter_frames(clip, frame_times(0, 2, 25), chunk=20))
    assert [len(piece) for piece in pieces] == [20, 20, 10]
    assert numbers(torch.cat(pieces)) == list(range(50))
    with pytest.raises(ValueError, match="ascend"):
        next(iter_frames(clip, [1.0, 0.5]))


@pytest.mark.parametrize(
    ("name", "codec", "settings"),
    [
        ("x.mov", "libx264", {}),
        ("x.mkv", "libx264", {}),
        ("x.avi", "mpeg4", {}),
        ("x.mpg", "mpeg2video", {"bf": "2"}),
        ("x.webm", "libvpx-vp9", {}),
        ("open.mp4", "libx264", {"x264-params": "open-gop=1:bframes=3:scenecut=0"}),
        ("interlaced.mp4", "libx264", {"x264-params": "interlaced=1"}),
        ("x.ts", "libx264", {"x264-params": "open-gop=1"}),
    ],
)
def test_containers_and_codecs(name, codec, settings, tmp_path):
    path = tmp_path / name
    write_video(path, 100, codec=codec, b_frames=None, codec_options=settings)
    times = frame_times(0, 4, 25)
    assert numbers(read_frames(path, times)) == list(range(100))
    generator = np.random.default_rng(3)
    for _ in range(5):  # wherever it has to go back to
        places = sorted(generator.integers(0, 100, 3).tolist())
        assert numbers(read_frames(path, [times[i] for i in places])) == places
    assert check_media(path).problem is None


def test_seeking_decodes_little(tmp_path, counted):
    path = write_video(tmp_path / "long.mp4", n=250, gop=25)
    for times, most in (([9.5], 30), ([0.2, 9.5], 45), ([1.0, 5.0, 9.9], 60)):
        counted.clear()
        assert numbers(read_frames(path, times)) == [int(25 * t + 0.01) for t in times]
        assert len(counted) <= most
    counted.clear()
    assert numbers(read_frames(path, frame_times(0, 10, 25))) == list(range(250))
    assert len(counted) == 250  # and reading on does not go back


def test_shrinking_is_an_average(clip):
    small = read_frames(clip, [0.0, 1.0], size=(16, 32)).float()
    assert small.shape == (2, 16, 32, 3)
    whole = read_frames(clip, [0.0, 1.0]).float().unflatten(1, (16, 4)).unflatten(3, (32, 2))
    assert (small - whole.mean((2, 4))).abs().mean() < 3


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate(suffix, tmp_path):
    starts = np.cumsum([0, *[0.02, 0.1, 0.04, 0.033] * 9])[:30].round(3)
    path = write_video(tmp_path / f"vfr.{suffix}", n=30, times_s=starts)
    times = frame_times(0, float(starts[-1]), 50)
    expected = np.searchsorted(starts, np.array(times) + 1e-4, side="right") - 1
    assert numbers(read_frames(path, times)) == expected.tolist()
    assert check_media(path).problem is None


@pytest.mark.parametrize(
    ("matrix", "rotation", "bright"),
    [
        ((0, 1, -1, 0), 270, lambda f: f[:, 30:]),  # clockwise, as telephones record
        ((-1, 0, 0, -1), 180, lambda f: f[30:]),
        ((0, -1, 1, 0), 90, lambda f: f[:, :18]),
    ],
)
def test_rotation(matrix, rotation, bright, tmp_path):
    path = write_video(tmp_path / "turned.mp4", n=10, height=48, width=96)
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 4 * 6 + 8 + 8
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", content, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    info = probe_video(path)
    assert info.rotation == rotation
    frame = read_frames(path, [0.0])[0]
    assert frame.shape == (info.height, info.width, 3)
    assert (info.height > info.width) == (rotation != 180)
    np.testing.assert_allclose(
        bright(frame).float().mean((0, 1)), (250, 120, 20), atol=12 + 40 * (rotation == 180)
    )
    assert read_frames(path, [0.0], size=(40, 20)).shape == (1, 40, 20, 3)


def test_times_outside(clip):
    assert "ends at 2 s, before the time asked for" in refusal(read_frames, clip, [0.1, 2.3])
    assert "is no time" in refusal(read_frames, clip, [-0.1])
    assert "is no time" in refusal(read_frames, clip, [float("nan")])


def test_sound_is_in_time_with_the_file(clip):
    waveform = read_video_audio(clip).numpy()
    assert len(waveform) == 32000
    original = sound(2.0)
    match = np.correlate(np.pad(waveform, 500), original[4000:28000])
    assert match.argmax() - 500 == 4000  # neither priming nor delay
    assert np.corrcoef(waveform, original)[0, 1] > 0.995


def test_a_window_of_sound_is_that_stretch_of_the_whole(clip, tmp_path):
    for rate in (SAMPLE_RATE, 8000):
        whole = read_video_audio(clip, sample_rate=rate)
        for start_s, duration_s in ((0.0, 0.3), (0.5, 0.7), (1.03, 0.25), (1.7, 0.5)):
            part = read_video_audio(clip, sample_rate=rate, start_s=start_s, duration_s=duration_s)
            assert len(part) == round(duration_s * rate)
            first = round(start_s * rate)
            expected = torch.nn.functional.pad(whole, (0, rate))[first : first + len(part)]
            assert (part - expected).abs().max() < 1e-5
    assert "before the window starts" in refusal(read_video_audio, clip, start_s=2.5)
    assert "is no length" in refusal(read_video_audio, clip, duration_s=0)
    assert "is no time" in refusal(read_video_audio, clip, start_s=-1)


@pytest.mark.parametrize(("subtype", "step"), [("PCM_U8", 2**-7), ("PCM_24", 2**-23)])
def test_sound_of_8_and_24_bits(subtype, step, tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, sound(1.0), SAMPLE_RATE, subtype)
    ours = read_video_audio(path, start_s=0.25, duration_s=0.5)
    assert (ours - torch.from_numpy(sound(1.0)[4000:12000])).abs().max() <= step
    assert torch.equal(ours, read_waveform(path, start_s=0.25, duration_s=0.5))


def test_streams_that_are_not_there(clip, tmp_path):
    silent = write_video(tmp_path / "silent.mp4", n=10)
    assert "has no sound" in refusal(read_video_audio, silent)
    assert check_media(silent).problem is None
    heard = write_video(tmp_path / "heard.m4a", n=0, waveform=sound(0.5))
    info = probe_video(heard)
    assert (info.has_video, info.has_audio, info.fps, info.width) == (False, True, None, 0)
    assert "has no pictures" in refusal(read_frames, heard, [0.0])
    assert check_media(heard).audio_s == 0.5


def test_files_that_are_no_videos(tmp_path):
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    text = tmp_path / "text.mp4"
    text.write_text("Twelve good reasons to rename a file.\n" * 50)
    playlist = tmp_path / "playlist.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {empty}\n")
    for path, reason in (
        (empty, "is empty"),
        (text, "cannot be decoded"),
        (playlist, "cannot be decoded"),
        (tmp_path / "absent.mp4", "does not exist"),
        (tmp_path, "is a folder"),
    ):
        for function in (probe_video, check_media, read_video_audio):
            assert reason in refusal(function, path)
        assert reason in refusal(read_frames, path, [0.0])


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}], ids=["end", "start"])
def test_truncated_mp4(options, tmp_path):
    path = write_video(tmp_path / "cut.mp4", waveform=sound(2.0), options=options)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    assert "is truncated" in refusal(probe_video, path)
    assert "is truncated" in refusal(read_frames, path, [0.0])


def test_declared_against_decoded(tmp_path):
    """Sound and pictures that end before they say, in a file of the declared size."""
    path = write_video(
        tmp_path / "x.mp4", waveform=sound(2.0), options={"movflags": "faststart"}, b_frames=0
    )
    content = path.read_bytes()
    half = (content.index(b"mdat") + len(content)) // 2
    path.write_bytes(content[:half] + bytes(len(content) - half))
    found = check_media(path)
    assert found.info.duration_s == 2.0
    assert found.problem
    message = refusal(read_frames, path, frame_times(0, 2, 25))
    assert " s: " in message  # says when
    assert numbers(read_frames(path, frame_times(0, 0.5, 25))) == list(range(12))
    refusal(read_video_audio, path)
    read_video_audio(path, duration_s=0.5)


def test_worker_gives_the_same(clip):
    with DecodingWorker() as worker:
        times = frame_times(0, 2, 25)
        assert worker.run(probe_video, clip) == probe_video(clip)
        whole = read_frames(clip, times)
        assert torch.equal(worker.run(read_frames, clip, times), whole)
        pieces = list(worker.stream(iter_frames, clip, times, chunk=16))
        assert torch.equal(torch.cat(pieces), whole)
        part = next(worker.stream(iter_frames, clip, times, chunk=4))  # and left early
        assert torch.equal(part, whole[:4])
        assert torch.equal(worker.run(read_video_audio, clip), read_video_audio(clip))
        with pytest.raises(ValueError, match="ascend"):
            list(worker.stream(iter_frames, clip, [1.0, 0.5]))
        with pytest.raises(InputError, match="is a folder; name a recording"):
            worker.run(probe_video, clip.parent)


def test_worker_survives_hangs_and_crashes(clip, tmp_path):
    with DecodingWorker(limit_s=0.4) as worker:
        worker.run(probe_video, clip)
        begin = time.monotonic()
        with pytest.raises(InputError, match=r"did not decode within 0\.4 s"):
            worker.run(eval, "__import__('time').sleep(60)")
        assert time.monotonic() - begin < 10
        worker.limit_s = 20
        assert worker.run(probe_video, clip).has_video  # another process took over
        with pytest.raises(InputError, match=r"crashed its decoder \(SIGSEGV\)"):
            worker.run(eval, "__import__('ctypes').string_at(0)")
        with pytest.raises(InputError, match=r"crashed its decoder \(exit code 3\)"):
            worker.run(eval, "__import__('os')._exit(3)")
        assert worker.run(probe_video, clip).has_video


def test_quarantine(clip, tmp_path):
    pipe = tmp_path / "hangs.mp4"
    os.mkfifo(pipe)  # opening it waits for a writer that never comes
    text = tmp_path / "text.mp4"
    text.write_text("no video at all")
    paths = [clip, text, pipe, clip]
    decoded = decode_all(read_frames, paths, [0.0, 1.0], limit_s=4.0, on_error="quarantine")
    assert decoded.kept == [0, 3]
    assert [numbers(frames) for frames in decoded.results] == [[0, 25], [0, 25]]
    assert [error.path for error in decoded.failures] == [str(text), str(pipe)]
    with pytest.raises(InputError, match=r"text\.mp4"):
        decode_all(read_frames, paths, [0.0])
    with pytest.raises(ValueError, match="on_error"):
        decode_all(read_frames, paths, [0.0], on_error="ignore")
