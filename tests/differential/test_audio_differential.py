"""Features against torchaudio's Kaldi port and transformers' feature extractors."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi
from transformers import ASTFeatureExtractor, WhisperFeatureExtractor

from thesislib.signals import (
    AST,
    CAV_MAE,
    KALDI,
    SOCIAL_MAE,
    kaldi_log_mel,
    mfcc,
    read_batch,
    whisper_log_mel,
)

TOLERANCE = {"rtol": 0, "atol": 1e-4}


def emodb_wavs():
    for root in filter(None, os.environ.get("THESISLIB_DATA_ROOT", "").split(os.pathsep)):
        wavs = sorted((Path(root) / "emodb" / "wav").glob("*.wav"))
        if wavs:
            return wavs
    pytest.skip("EmoDB is under no folder of THESISLIB_DATA_ROOT")


def sounds(kind, n_samples):
    generator = torch.Generator().manual_seed(n_samples)
    time = torch.arange(n_samples) / 16000
    if kind == "noise":
        return 0.3 * torch.randn(2, n_samples, generator=generator).clamp(-3, 3)
    if kind == "tones":
        return torch.stack([0.5 * torch.sin(2 * torch.pi * hz * time) for hz in (110.0, 3333.0)])
    if kind == "offset":  # a constant beside noise: the mean of each frame goes
        return 0.1 + 0.02 * torch.randn(2, n_samples, generator=generator)
    return torch.zeros(2, n_samples)


def torchaudio_log_mel(waveform, preset):
    log_mel = kaldi.fbank(
        waveform[None],
        htk_compat=True,
        sample_frequency=16000,
        use_energy=False,
        window_type=preset.window,
        num_mel_bins=preset.n_mels,
        dither=0.0,
        frame_shift=10,
    )
    if preset.target_frames is not None:
        padding = preset.target_frames - len(log_mel)
        log_mel = torch.nn.ZeroPad2d((0, 0, 0, padding))(log_mel)
    return (log_mel - preset.mean) / preset.std


@pytest.mark.parametrize("window", ["hanning", "hamming"])
@pytest.mark.parametrize("preset", [KALDI, CAV_MAE, SOCIAL_MAE, AST, replace(KALDI, n_mels=40)])
@pytest.mark.parametrize("kind", ["noise", "tones", "offset", "silence"])
@pytest.mark.parametrize("n_samples", [400, 16079])
def test_kaldi_log_mel_equals_torchaudio(kind, n_samples, preset, window):
    preset = replace(preset, window=window)
    waveforms = sounds(kind, n_samples)
    expected = torch.stack([torchaudio_log_mel(row, preset) for row in waveforms])
    torch.testing.assert_close(kaldi_log_mel(waveforms, preset=preset), expected, **TOLERANCE)


def test_long_recordings_are_cut_as_in_training():
    waveforms = sounds("noise", 170000)  # 1060 frames
    expected = torch.stack([torchaudio_log_mel(row, CAV_MAE) for row in waveforms])
    assert expected.shape == (2, 1024, 128)
    torch.testing.assert_close(kaldi_log_mel(waveforms, preset=CAV_MAE), expected, **TOLERANCE)


@pytest.mark.parametrize("preset", [KALDI, SOCIAL_MAE])
def test_a_padded_batch_equals_torchaudio_file_by_file(preset):
    waveforms, lengths = sounds("noise", 32000), torch.tensor([20123, 32000])
    batch = kaldi_log_mel(waveforms, preset=preset, lengths=lengths)
    for row, waveform, length in zip(batch, waveforms, lengths, strict=True):
        expected = torchaudio_log_mel(waveform[:length], preset)
        torch.testing.assert_close(row[: len(expected)], expected, **TOLERANCE)


def test_ast_preset_equals_transformers():
    waveforms = sounds("noise", 32000)
    extractor = ASTFeatureExtractor()
    features = extractor(list(waveforms.numpy()), sampling_rate=16000, return_tensors="pt")
    torch.testing.assert_close(
        kaldi_log_mel(waveforms, preset=AST), features["input_values"], **TOLERANCE
    )


@pytest.mark.parametrize("kind", ["noise", "tones", "offset"])
@pytest.mark.parametrize(("n_mfcc", "n_mels"), [(20, 40), (13, 23), (40, 40)])
def test_mfcc_equals_torchaudio(kind, n_mfcc, n_mels):
    waveforms = sounds(kind, 16000)
    expected = torch.stack(
        [
            kaldi.mfcc(
                row[None],
                num_ceps=n_mfcc,
                num_mel_bins=n_mels,
                cepstral_lifter=0.0,
                window_type="hanning",
            )
            for row in waveforms
        ]
    )
    actual = mfcc(waveforms, n_mfcc=n_mfcc, n_mels=n_mels)
    torch.testing.assert_close(actual, expected, **TOLERANCE)


def transformers_log_mel(waveforms, n_mels, chunk_s, normalise):
    extractor = WhisperFeatureExtractor(feature_size=n_mels, chunk_length=chunk_s)
    features = extractor(
        [row.numpy() for row in waveforms],
        sampling_rate=16000,
        return_tensors="pt",
        do_normalize=normalise,
    )
    return features["input_features"]


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("chunk_s", [8, 30])
@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("kind", ["noise", "tones", "offset", "silence"])
@pytest.mark.parametrize("n_samples", [777, 150000])
def test_whisper_log_mel_equals_transformers(kind, n_samples, n_mels, chunk_s, normalise):
    waveforms = sounds(kind, n_samples)
    actual = whisper_log_mel(
        waveforms, n_mels=n_mels, chunk_s=chunk_s, normalise_waveform=normalise
    )
    assert actual.shape == (2, n_mels, 100 * chunk_s)
    expected = transformers_log_mel(waveforms, n_mels, chunk_s, normalise)
    torch.testing.assert_close(actual, expected, **TOLERANCE)


@pytest.mark.parametrize("normalise", [False, True])
def test_a_padded_batch_equals_transformers_file_by_file(normalise):
    lengths = torch.tensor([12345, 40000, 140000])
    waveforms = torch.cat((sounds("noise", 140000), sounds("offset", 140000)[:1]))
    waveforms = waveforms * torch.tensor([[0.01], [1.0], [0.3]])
    rows = [row[:length] for row, length in zip(waveforms, lengths, strict=True)]
    actual = whisper_log_mel(waveforms, chunk_s=8, normalise_waveform=normalise, lengths=lengths)
    torch.testing.assert_close(actual, transformers_log_mel(rows, 80, 8, normalise), **TOLERANCE)


def test_real_voices():
    wavs = emodb_wavs()[::60]
    batch = read_batch(wavs)
    assert not batch.failures
    assert len(batch.waveforms) == len(wavs)
    for preset in (KALDI, SOCIAL_MAE):
        expected = torch.stack([torchaudio_log_mel(row, preset) for row in batch.waveforms])
        actual = kaldi_log_mel(batch.waveforms, preset=preset)
        torch.testing.assert_close(actual, expected, **TOLERANCE)
    for normalise in (False, True):
        actual = whisper_log_mel(batch.waveforms, chunk_s=8, normalise_waveform=normalise)
        expected = transformers_log_mel(batch.waveforms, 80, 8, normalise)
        torch.testing.assert_close(actual, expected, **TOLERANCE)
    assert np.isfinite(actual.numpy()).all()
