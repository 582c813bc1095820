"""Features against numpy and scipy, pitch against signals whose pitch is known."""

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch

from thesislib.signals import (
    AST,
    CAV_MAE,
    SOCIAL_MAE,
    LogMelPreset,
    f0_track,
    kaldi_log_mel,
    long_term_average_spectrum,
    mfcc,
    whisper_log_mel,
)


def noise(rows, n_samples, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(rows, n_samples, generator=generator, dtype=dtype)


def complex_tone(f0, rate, seconds=0.5, amplitudes=None):
    """Harmonics up to 4 kHz, falling by 1 / rank unless amplitudes are given."""
    if amplitudes is None:
        amplitudes = 1 / np.arange(1, max(2, int(4000 // f0)))
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(f0, round(rate * seconds))) / rate
    ranks = np.arange(1, len(amplitudes) + 1)
    signal = (np.asarray(amplitudes) * np.sin(ranks * phase[:, None] + ranks**2)).sum(axis=1)
    return torch.from_numpy(0.3 * signal / np.abs(signal).max()).float()


def reference_log_mel(waveform, n_mels, taper):
    """Kaldi's recipe in numpy, in double precision, one frame after the other."""
    hz = np.arange(257) * 31.25
    edges = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), n_mels + 2)
    filters = np.stack(
        [np.interp(1127 * np.log1p(hz / 700), edges[m : m + 3], [0, 1, 0]) for m in range(n_mels)]
    )
    rows = []
    for start in range(0, len(waveform) - 399, 160):
        frame = waveform[start : start + 400] - waveform[start : start + 400].mean()
        frame = frame - 0.97 * np.concatenate((frame[:1], frame[:-1]))
        power = np.abs(np.fft.rfft(frame * taper, 512)) ** 2
        rows.append(np.log(np.maximum(filters @ power, 2.0**-23)))
    return np.array(rows)


@pytest.mark.parametrize(("window", "taper"), [("hanning", np.hanning), ("hamming", np.hamming)])
@pytest.mark.parametrize("n_mels", [23, 128])
def test_kaldi_log_mel_follows_the_recipe(window, taper, n_mels):
    waveforms = noise(2, 3000, dtype=torch.float64)
    preset = LogMelPreset(n_mels=n_mels, window=window)
    expected = np.stack([reference_log_mel(row.numpy(), n_mels, taper(400)) for row in waveforms])
    # The filters are in single precision, which shows where one bin has a tiny weight.
    np.testing.assert_allclose(kaldi_log_mel(waveforms, preset=preset), expected, atol=1e-3)


def test_presets_carry_the_values_of_the_checkpoints():
    assert (CAV_MAE.mean, CAV_MAE.std) == (-5.081, 4.4849)
    assert (SOCIAL_MAE.mean, SOCIAL_MAE.std) == (-6.2943, 12.26344)
    assert (AST.mean, AST.std) == (-4.2677, 9.138)
    raw = kaldi_log_mel(noise(1, 8000))
    for preset in (CAV_MAE, SOCIAL_MAE, AST):
        assert (preset.n_mels, preset.window, preset.target_frames) == (128, "hanning", 1024)
        log_mel = kaldi_log_mel(noise(1, 8000), preset=preset)
        assert log_mel.shape == (1, 1024, 128)
        torch.testing.assert_close(log_mel[:, : raw.shape[1]] * preset.std + preset.mean, raw)
        padding = log_mel[:, raw.shape[1] :]
        torch.testing.assert_close(padding, torch.full_like(padding, -preset.mean / preset.std))


@pytest.mark.parametrize("options", [{"n_mels": 0}, {"std": 0.0}, {"window": "hann"}])
def test_impossible_presets_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LogMelPreset(**options)


@pytest.mark.parametrize(
    "compute",
    [
        lambda n: kaldi_log_mel(noise(2, n)),
        lambda n: kaldi_log_mel(noise(2, 1600), lengths=torch.tensor([1600, n])),
        lambda n: mfcc(noise(2, n)),
    ],
)
def test_less_than_a_window_is_refused(compute):
    assert compute(400).shape[1] >= 1
    with pytest.raises(ValueError, match="at least 400 samples each, not 399"):
        compute(399)


def test_shapes_and_types_are_checked():
    for waveforms in (torch.zeros(16000), torch.zeros(0, 16000), torch.zeros(1, 16000).short()):
        with pytest.raises(ValueError, match="floating point of shape"):
            kaldi_log_mel(waveforms)
    with pytest.raises(ValueError, match="lengths"):
        kaldi_log_mel(noise(2, 1600), lengths=torch.tensor([1601, 400]))
    with pytest.raises(ValueError, match="chunk_s"):
        whisper_log_mel(noise(1, 1600), chunk_s=0.01)
    with pytest.raises(ValueError, match="n_mfcc"):
        mfcc(noise(1, 1600), n_mfcc=41, n_mels=40)


def test_mfcc_is_the_orthonormal_dct_of_the_log_mel():
    waveforms = noise(2, 4000, dtype=torch.float64)
    log_mel = kaldi_log_mel(waveforms, preset=LogMelPreset(n_mels=40))
    expected = scipy.fft.dct(log_mel.numpy(), type=2, norm="ortho")[..., :20]
    np.testing.assert_allclose(mfcc(waveforms), expected, atol=1e-10)


def test_whisper_log_mel_shows_a_tone_where_it_is():
    time = torch.arange(16000) / 16000
    tones = torch.stack([0.5 * torch.sin(2 * torch.pi * hz * time) for hz in (300.0, 1000.0)])
    log_mel = whisper_log_mel(tones, chunk_s=8)
    # Slaney's scale: 200/3 Hz a mel below 1 kHz, 8 kHz is mel 45.246; filter m is at m + 1 steps.
    step = 45.2456 / 81
    for row, mel in zip(log_mel, (4.5, 15.0), strict=True):
        assert abs(int(row[:, 50].argmax()) - (mel / step - 1)) <= 1
        assert row.max() - row.min() == pytest.approx(2.0)  # 8 decades in steps of four
    quiet = whisper_log_mel(torch.stack([tones[0], 0.1 * tones[1]]), chunk_s=8)
    torch.testing.assert_close(quiet[0], log_mel[0])  # the floor is each clip's own
    torch.testing.assert_close(quiet[1], log_mel[1] - 0.5, atol=1e-4, rtol=0)  # 2 decades / 4


def test_whisper_padding_holds_no_sound_and_no_statistics():
    waveforms, lengths = noise(2, 32000), torch.tensor([10000, 32000])
    dirty = waveforms.clone()
    dirty[0, 10000:] = 0.7
    for normalise in (False, True):
        options = {"chunk_s": 8, "normalise_waveform": normalise, "lengths": lengths}
        torch.testing.assert_close(
            whisper_log_mel(waveforms, **options), whisper_log_mel(dirty, **options)
        )


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
@pytest.mark.parametrize("f0", [70.0, 110.0, 163.7, 220.0, 341.3, 480.0])
def test_f0_of_tones_and_harmonics_is_within_one_percent(f0, rate):
    second_strongest = [0.5, 1.0, 0.3, 0.2]  # as when the first formant lies on the second harmonic
    waveforms = torch.stack(
        [
            complex_tone(f0, rate),
            complex_tone(f0, rate, amplitudes=[1.0]),
            complex_tone(f0, rate, amplitudes=second_strongest),
            complex_tone(f0, rate) + noise(1, rate // 2, seed=1)[0] * 0.1,
        ]
    )
    track = f0_track(waveforms, rate)
    assert track[:, 2:-2].isfinite().all()
    assert ((track[:, 2:-2] / f0 - 1).abs() < 0.01).all()


def test_f0_follows_a_glide():
    f0 = np.linspace(120, 240, 16000)
    amplitudes = 1 / np.arange(1, 12)
    track = f0_track(complex_tone(f0, 16000, 1.0, amplitudes)[None], 16000)[0].numpy()
    frame = 492 + 247 + 1  # two periods of 65 Hz, the longest period, and a neighbour
    centres = np.arange(len(track)) * 160 + frame // 2
    inner = slice(3, -3)
    np.testing.assert_allclose(track[inner], f0[centres][inner], rtol=0.03)


def test_noise_and_silence_have_no_pitch():
    assert f0_track(torch.zeros(1, 16000), 16000).isnan().all()
    assert f0_track(torch.full((1, 16000), 0.25), 16000).isnan().all()
    for rate in (16000, 48000):
        assert f0_track(noise(8, rate), rate).isfinite().float().mean() < 0.02


def test_pitch_ends_where_the_voice_ends():
    voice = complex_tone(150.0, 16000, 1.0)
    waveform = torch.cat((voice, 1e-3 * noise(1, 16000)[0], torch.zeros(8000)))
    track = f0_track(waveform[None], 16000)[0]
    assert track[2:90].isfinite().all()
    assert track[105:].isnan().all()


def test_f0_arguments_are_checked():
    for options in ({"fmin": 500.0}, {"fmin": 0.0}, {"fmax": 2000.0}):
        with pytest.raises(ValueError, match="fmin < fmax"):
            f0_track(noise(1, 16000), 16000, **options)
    least = 492 + 247 + 1
    assert f0_track(noise(1, least), 16000).shape == (1, 1)
    with pytest.raises(ValueError, match=f"at least {least} samples"):
        f0_track(noise(1, least - 1), 16000)


@pytest.mark.parametrize("rate", [16000, 22050])
def test_long_term_average_spectrum_equals_welch(rate):
    waveforms, lengths = noise(2, 20000, dtype=torch.float64), torch.tensor([13000, 20000])
    window = round(0.064 * rate)
    actual = long_term_average_spectrum(waveforms, lengths, rate, bands=20)
    edges = 700 * (np.exp(np.linspace(0, np.log1p(rate / 2 / 700), 21)) - 1)
    for row, waveform, length in zip(actual, waveforms, lengths, strict=True):
        hz, density = scipy.signal.welch(
            waveform[:length].numpy(),
            rate,
            window="hann",
            nperseg=window,
            noverlap=window - window // 2,
            detrend=False,
        )
        band = np.clip(np.searchsorted(edges, hz, side="right") - 1, 0, 19)
        power = np.bincount(band, density * rate / window, minlength=20)
        np.testing.assert_allclose(row, 10 * np.log10(power), atol=1e-6)


def test_the_bands_add_up_to_the_power_of_the_signal():
    time = torch.arange(32000) / 16000
    waveforms = torch.stack([0.5 * torch.sin(2 * torch.pi * 1234.5 * time), noise(1, 32000)[0]])
    bands = long_term_average_spectrum(waveforms, None, 16000)
    assert bands.shape == (2, 32)
    total = 10 ** (bands / 10)
    mean_square = waveforms.square().mean(dim=1)
    torch.testing.assert_close(total.sum(dim=1), mean_square, rtol=0.02, atol=0)
    mel = 1127 * np.log1p(np.array([1234.5, 8000]) / 700)
    assert int(bands[0].argmax()) == int(32 * mel[0] / mel[1])


def test_long_term_average_spectrum_refuses_what_it_cannot_do():
    assert (long_term_average_spectrum(torch.zeros(1, 1024), None, 16000) == -120).all()
    with pytest.raises(ValueError, match="at least 1024 samples each, not 1023"):
        long_term_average_spectrum(noise(1, 2000), torch.tensor([1023]), 16000)
    with pytest.raises(ValueError, match="too many"):
        long_term_average_spectrum(noise(1, 2000), None, 16000, bands=200)
