"""Decoding: exact windows, band-limited resampling, and one clear line for each damaged file."""

import struct

import numpy as np
import pytest
import soundfile
import torch

from thesislib.corpora.clip import Clip
from thesislib.errors import InputError
from thesislib.signals import read_batch, read_waveform


def tone(hz, rate, seconds=1.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


def write(path, samples, rate=16000, **options):
    soundfile.write(path, samples, rate, **options)
    return path


def set_sizes(path, data=None, riff=None):
    content = bytearray(path.read_bytes())
    place = content.find(b"data") + 4
    if data is not None:
        content[place : place + 4] = struct.pack("<I", data)
    if riff is not None:
        content[4:8] = struct.pack("<I", riff)
    path.write_bytes(content)
    return path


def empty(path):
    path.write_bytes(b"")


def header_only(path):
    write(path, np.zeros(0))


def header_only_with_trailing_chunk(path):
    write(path, np.zeros(0))
    content = path.read_bytes() + b"LIST" + struct.pack("<I", 4) + b"INFO"
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])


def truncated(path):
    write(path, tone(200, 16000))
    path.write_bytes(path.read_bytes()[:9000])


def truncated_behind_an_odd_chunk(path):
    write(path, tone(200, 16000))
    content = path.read_bytes()
    note = b"note" + struct.pack("<I", 3) + b"abc\0"
    path.write_bytes((content[:12] + note + content[12:])[:9000])


def truncated_flac(path):
    write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 48000), format="FLAC")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def text(path):
    path.write_text("This is a shopping list, not a recording.\n" * 20)


def riff_of_nothing(path):
    path.write_bytes(b"RIFF\x04\x00\x00\x00WAVE")


def with_nan(path):
    samples = tone(200, 16000)
    samples[4000] = np.nan
    write(path, samples, subtype="FLOAT")


def with_infinity(path):
    samples = np.stack([tone(200, 16000)] * 2, axis=1)
    samples[12000, 1] = -np.inf
    write(path, samples, subtype="FLOAT")


def integers_as_floats(path):
    write(path, 32767 * tone(200, 16000), subtype="FLOAT")


def missing(path):
    pass


def folder(path):
    path.mkdir()


DAMAGE = [
    (missing, "does not exist"),
    (folder, "is a folder"),
    (empty, "is empty (0 bytes)"),
    (header_only, "header: holds no samples"),
    (header_only_with_trailing_chunk, "header: holds no samples"),
    (truncated, "data chunk: is truncated: 32000 bytes of sound declared, 8956 present"),
    (truncated_behind_an_odd_chunk, "32000 bytes of sound declared, 8944 present"),
    (truncated_flac, "cannot be decoded"),
    (text, "cannot be decoded as a recording"),
    (riff_of_nothing, "cannot be decoded as a recording"),
    (with_nan, "0.2500 s: holds a NaN or infinite sample"),
    (with_infinity, "0.7500 s: holds a NaN or infinite sample"),
    (integers_as_floats, "far beyond full scale"),
]


@pytest.mark.parametrize(("damage", "problem"), DAMAGE, ids=[case[0].__name__ for case in DAMAGE])
def test_damage_is_named_in_one_line(tmp_path, damage, problem):
    path = tmp_path / "03a01Fa.wav"
    damage(path)
    with pytest.raises(InputError) as caught:
        read_waveform(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert problem in message
    assert "; " in message.removeprefix(str(path))
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"start_s": -1.0}, "window: start -1.0 s"),
        ({"start_s": float("nan")}, "window: start nan s"),
        ({"duration_s": 0.0}, "window: duration 0.0 s"),
        ({"duration_s": float("inf")}, "window: duration inf s"),
        ({"start_s": 1.0}, "1 s: ends at 1 s, before the window starts"),
    ],
)
def test_impossible_windows_are_named(tmp_path, options, problem):
    path = write(tmp_path / "a.wav", tone(200, 16000))
    with pytest.raises(InputError, match=problem):
        read_waveform(path, **options)


def test_a_nan_outside_the_window_does_no_harm(tmp_path):
    path = tmp_path / "a.wav"
    with_nan(path)  # at 0.25 s
    assert read_waveform(path, start_s=0.5).isfinite().all()


@pytest.mark.parametrize(
    ("data", "riff"), [(0xFFFFFFFF, 0xFFFFFFFF), (0, 0), (0, 36), (0x7FFFF000, 0x7FFFF024)]
)
def test_sizes_that_a_streaming_writer_left_are_tolerated(tmp_path, data, riff):
    path = write(tmp_path / "a.wav", tone(200, 16000))
    expected = read_waveform(path)
    set_sizes(path, data=data, riff=riff)
    torch.testing.assert_close(read_waveform(path), expected, rtol=0, atol=0)


def test_pcm_samples_come_back_exactly(tmp_path):
    integers = np.random.default_rng(0).integers(-32768, 32768, 5000, dtype=np.int16)
    waveform = read_waveform(write(tmp_path / "a.wav", integers))
    assert waveform.dtype == torch.float32
    np.testing.assert_array_equal(waveform.numpy(), integers.astype(np.float32) / 32768)


def test_stereo_48_khz_becomes_mono_16_khz(tmp_path):
    stereo = np.stack([tone(440, 48000, amplitude=0.6), tone(1000, 48000, amplitude=0.2)], axis=1)
    waveform = read_waveform(write(tmp_path / "a.wav", stereo, 48000, subtype="FLOAT"))
    assert waveform.shape == (16000,)
    expected = tone(440, 16000, amplitude=0.3) + tone(1000, 16000, amplitude=0.1)
    inner = slice(1000, -1000)  # the filter rings where the recording begins and ends
    np.testing.assert_allclose(waveform.numpy()[inner], expected[inner], atol=2e-4)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_the_pass_band_and_its_phase(tmp_path, rate):
    hz = 0.9 * min(rate, 16000) / 2
    path = write(tmp_path / "a.wav", tone(hz, rate), rate, subtype="FLOAT")
    inner = slice(2000, -2000)
    np.testing.assert_allclose(
        read_waveform(path).numpy()[inner], tone(hz, 16000)[inner], atol=1e-3
    )


@pytest.mark.parametrize(("rate", "hz"), [(22050, 8100.0), (44100, 9000.0), (48000, 20000.0)])
def test_resampling_removes_what_would_alias(tmp_path, rate, hz):
    path = write(tmp_path / "a.wav", tone(hz, rate), rate, subtype="FLOAT")
    assert read_waveform(path)[2000:-2000].abs().max() < 0.5 * 10 ** (-70 / 20)


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_a_window_equals_the_same_stretch_of_the_whole(tmp_path, rate):
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, rate)
    path = write(tmp_path / "a.wav", noise, rate, subtype="FLOAT")
    whole = read_waveform(path)
    for start_s in (0.0, 0.02, 0.5):  # multiples of 20 ms are whole samples at all these rates
        window = read_waveform(path, start_s=start_s, duration_s=0.25)
        start = round(start_s * 16000)
        torch.testing.assert_close(window, whole[start : start + 4000], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
@pytest.mark.parametrize("duration_s", [0.1, 1.0, 1.0001, 2.0])
def test_the_window_is_exact_and_zero_padded(tmp_path, rate, duration_s):
    path = write(tmp_path / "a.wav", tone(200, rate) + 0.1, rate)
    waveform = read_waveform(path, start_s=0.2, duration_s=duration_s)
    assert waveform.shape == (round(duration_s * 16000),)
    assert (waveform[12800:] == 0).all()  # 0.8 s are there
    assert waveform[:1600].abs().max() > 0.1


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3", "aiff"])
def test_other_formats_decode(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", tone(300, 16000))
    waveform = read_waveform(path, start_s=0.25, duration_s=0.5).numpy()
    assert abs(np.fft.rfft(waveform).__abs__().argmax() / 0.5 - 300) <= 2


def test_clips_bring_their_own_windows(tmp_path):
    path = write(tmp_path / "a.wav", np.arange(16000) / 16000, subtype="FLOAT")
    clips = [
        Clip(clip_id="a", corpus="c", speaker="s", audio_path=path, start_s=0.5, duration_s=0.1),
        Clip(clip_id="b", corpus="c", speaker="s", audio_path=path, start_s=0.9),
    ]
    batch = read_batch(clips)
    assert batch.lengths.tolist() == [1600, 1600]
    assert batch.waveforms[:, 0].tolist() == pytest.approx([0.5, 0.9])
    batch = read_batch(clips, duration_s=0.2)  # the clip's own end holds
    assert batch.waveforms.shape == (2, 3200)
    assert batch.lengths.tolist() == [1600, 1600]
    assert (batch.waveforms[:, 1600:] == 0).all()
    assert read_batch(clips, duration_s=0.05).lengths.tolist() == [800, 800]


def test_quarantine_names_each_failure_and_goes_on(tmp_path):
    items, broken = [], []
    for index, (damage, _) in enumerate(DAMAGE):
        path = tmp_path / f"{index}.wav"
        damage(path)
        broken.append(str(path))
        seconds = 0.25 * (1 + index % 3)
        items += [path, write(tmp_path / f"good{index}.wav", tone(200, 16000, seconds))]
    items.append(Clip(clip_id="silent film", corpus="c", speaker="s"))
    batch = read_batch(items, on_error="quarantine")
    assert [failure.path for failure in batch.failures] == [*broken, "silent film"]
    assert batch.kept == list(range(1, 2 * len(DAMAGE), 2))
    assert batch.waveforms.shape == (len(DAMAGE), 12000)
    assert batch.lengths.tolist() == [4000 * (1 + index % 3) for index in range(len(DAMAGE))]
    for row, length, position in zip(batch.waveforms, batch.lengths, batch.kept, strict=True):
        torch.testing.assert_close(row[:length], read_waveform(items[position]))
        assert (row[length:] == 0).all()


def test_a_batch_stops_at_the_first_failure_unless_told_otherwise(tmp_path):
    good = write(tmp_path / "good.wav", tone(200, 16000))
    with pytest.raises(InputError, match=r"missing\.wav: does not exist"):
        read_batch([good, tmp_path / "missing.wav"])
    with pytest.raises(ValueError, match="on_error"):
        read_batch([good], on_error="ignore")
    nothing = read_batch([tmp_path / "missing.wav"], on_error="quarantine", duration_s=1.0)
    assert nothing.waveforms.shape == (0, 16000)
    assert (nothing.lengths.tolist(), nothing.kept, len(nothing.failures)) == ([], [], 1)
