"""What holds for every waveform: batches, gains, shifts, and exact windows."""

import math

import numpy as np
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thesislib.signals import (
    KALDI,
    SOCIAL_MAE,
    f0_track,
    frame_count,
    kaldi_log_mel,
    long_term_average_spectrum,
    mfcc,
    read_waveform,
    whisper_log_mel,
)

quick = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
seeds = st.integers(0, 2**32 - 1)


def waveforms(seed, rows, n_samples):
    """Noise over a gliding hum, so that both voiced and unvoiced frames occur."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(n_samples) / 16000
    f0 = 80 + 200 * torch.rand(rows, 1, generator=generator)
    hum = sum(torch.sin(2 * torch.pi * rank * f0 * time) / rank for rank in range(1, 6))
    level = 0.9 * torch.rand(rows, 1, generator=generator)
    return 0.1 * (level * hum + torch.randn(rows, n_samples, generator=generator) * (1 - level))


@quick
@given(seed=seeds, rows=st.integers(1, 40), n_samples=st.integers(1024, 6000))
def test_a_batch_equals_its_rows(seed, rows, n_samples):
    batch = waveforms(seed, rows, n_samples)
    row = seed % rows
    for compute in (
        kaldi_log_mel,
        mfcc,
        lambda x: whisper_log_mel(x, chunk_s=1, normalise_waveform=True),
        lambda x: f0_track(x, 16000),
        lambda x: long_term_average_spectrum(x, None, 16000),
    ):
        torch.testing.assert_close(
            compute(batch)[row : row + 1],
            compute(batch[row : row + 1]),
            rtol=1e-4,
            atol=1e-3,
            equal_nan=True,
        )


@quick
@given(seed=seeds, n_samples=st.integers(400, 8000), length=st.integers(400, 8000))
def test_lengths_equal_cutting(seed, n_samples, length):
    length = min(length, n_samples)
    batch = waveforms(seed, 1, n_samples)
    for preset in (KALDI, SOCIAL_MAE):
        padded = kaldi_log_mel(batch, preset=preset, lengths=torch.tensor([length]))
        alone = kaldi_log_mel(batch[:, :length], preset=preset)
        n_frames = frame_count(length)
        torch.testing.assert_close(padded[:, :n_frames], alone[:, :n_frames])
        beyond = padded[:, n_frames:]
        torch.testing.assert_close(beyond, torch.full_like(beyond, -preset.mean / preset.std))


@quick
@given(seed=seeds, gain_db=st.floats(-10, 10))
def test_a_gain_adds_a_constant(seed, gain_db):
    gain = 10 ** (gain_db / 20)
    batch = waveforms(seed, 2, 4000).double()
    nepers = 2 * math.log(gain)
    log_mel, louder = kaldi_log_mel(batch), kaldi_log_mel(gain * batch)
    heard = log_mel > -13  # the floor is -15.9; one of the 128 filters holds no bin
    assert heard.float().mean() > 0.9
    torch.testing.assert_close(louder[heard], log_mel[heard] + nepers)
    cepstra, louder = mfcc(batch), mfcc(gain * batch)
    torch.testing.assert_close(louder[..., 0], cepstra[..., 0] + nepers * math.sqrt(40))
    torch.testing.assert_close(louder[..., 1:], cepstra[..., 1:], atol=1e-8, rtol=0)
    torch.testing.assert_close(
        whisper_log_mel(gain * batch, chunk_s=1), whisper_log_mel(batch, chunk_s=1) + gain_db / 40
    )
    torch.testing.assert_close(
        long_term_average_spectrum(gain * batch, None, 16000),
        long_term_average_spectrum(batch, None, 16000) + gain_db,
    )
    torch.testing.assert_close(
        f0_track(gain * batch, 16000), f0_track(batch, 16000), equal_nan=True
    )


@quick
@given(seed=seeds, frames=st.integers(1, 10))
def test_a_shift_by_whole_frames_shifts_the_frames(seed, frames):
    batch = waveforms(seed, 2, 6000)
    shifted = batch[:, 160 * frames :]
    torch.testing.assert_close(kaldi_log_mel(shifted), kaldi_log_mel(batch)[:, frames:])
    torch.testing.assert_close(mfcc(shifted), mfcc(batch)[:, frames:])


@quick
@given(
    seed=seeds,
    rate=st.sampled_from([8000, 16000, 22050, 44100]),
    n_samples=st.integers(1, 5000),
    start=st.floats(0, 0.999),
    duration_s=st.floats(0.0001, 0.5),
)
def test_a_window_has_its_exact_length(tmp_path, seed, rate, n_samples, start, duration_s):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(seed).uniform(-1, 1, n_samples), rate)
    start_s = math.floor(start * n_samples) / rate
    waveform = read_waveform(path, start_s=start_s, duration_s=duration_s)
    assert waveform.shape == (round(16000 * duration_s),)
    assert waveform.dtype == torch.float32
    assert waveform.abs().max() <= 1
    rest = read_waveform(path, start_s=start_s)
    common = min(len(rest), len(waveform))
    torch.testing.assert_close(waveform[:common], rest[:common], rtol=0, atol=1e-5)
    assert (waveform[common:] == 0).all()
