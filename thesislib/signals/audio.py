"""Spectra and cepstra of waveforms, a batch at a time, on the device of the input.

A waveform shorter than one window has no frame: every function raises `ValueError` for it and names
the least number of samples. So does a batch without rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

SAMPLE_RATE = 16000  # samples a second

# Kaldi-style features
FRAME_LENGTH = 400  # samples: 25 ms
FRAME_SHIFT = 160  # samples: 10 ms, so 100 frames a second
FFT_LENGTH = 512  # samples: the next power of two, 31.25 Hz a bin
LOWEST_HZ = 20.0  # left edge of the first mel filter
PRE_EMPHASIS = 0.97  # of the previous sample
POWER_FLOOR = torch.finfo(torch.float32).eps  # Kaldi's, also for float64 input

# Whisper features
WHISPER_FFT_LENGTH = 400  # samples: 25 ms, 40 Hz a bin
WHISPER_SHIFT = 160  # samples: 10 ms
WHISPER_RANGE = 8.0  # decades kept below the loudest bin of a clip: 80 dB
VARIANCE_FLOOR = 1e-7  # of a waveform that is normalised


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMelPreset:
    """Front end of a model: the Kaldi log-mel, its normalisation and its fixed number of frames.

    Attributes:
        n_mels: Mel filters.
        window: ``hanning`` (symmetric Hann, what the checkpoints were trained on) or ``hamming``
            (what the thesis says).
        mean: Subtracted from the log-mel, in nepers of power.
        std: Divides the log-mel after that.
        target_frames: Frames are cut or padded to this number; None leaves them.

    Padding frames hold a log-mel of 0 *before* normalisation, as in the training of these
    checkpoints.

    Source: thesis section 7.2.1 with notes 6 and 25; Gong et al. 2021 (AST), 2023 (CAV-MAE).
    """

    n_mels: int = 128
    window: Literal["hanning", "hamming"] = "hanning"
    mean: float = 0.0
    std: float = 1.0
    target_frames: int | None = None

    def __post_init__(self) -> None:
        if self.n_mels < 1 or not self.std > 0:
            raise ValueError(f"n_mels and std must be positive, not {self.n_mels} and {self.std}")
        if self.window not in ("hanning", "hamming"):
            raise ValueError(f"window is 'hanning' or 'hamming', not {self.window!r}")


KALDI = LogMelPreset()
CAV_MAE = LogMelPreset(mean=-5.081, std=4.4849, target_frames=1024)
SOCIAL_MAE = LogMelPreset(mean=-6.2943, std=12.26344, target_frames=1024)
AST = LogMelPreset(mean=-4.2677, std=2 * 4.5690, target_frames=1024)


def frame_count(n_samples: int) -> int:
    """Whole 25 ms windows at a shift of 10 ms in `n_samples` samples at 16 kHz.

    >>> frame_count(16000), frame_count(400), frame_count(399)
    (98, 1, 0)
    """
    return max(0, 1 + (n_samples - FRAME_LENGTH) // FRAME_SHIFT)


def kaldi_log_mel(
    waveforms: Tensor, *, preset: LogMelPreset = KALDI, lengths: Tensor | None = None
) -> Tensor:
    """Log-mel spectrograms as ``torchaudio.compliance.kaldi.fbank`` gives them, in a batch.

    25 ms windows every 10 ms, no frame across the end, mean removed a frame, pre-emphasis 0.97, 512
    points, power, triangular filters on Kaldi's mel scale from 20 Hz to 8 kHz, natural logarithm;
    no dither, no energy term.

    Args:
        waveforms: `(B, N)` floating point in [-1, 1] at 16 kHz.
        preset: Filters, window, normalisation and number of frames.
        lengths: `(B,)` samples before each row's padding; None takes all N. Frames that reach
            beyond them become padding, so a batch equals its files one at a time.

    Returns:
        `(B, T, M)` with T = ``preset.target_frames``, or `frame_count` of N; normalised.

    Raises:
        ValueError: a waveform is shorter than 400 samples.

    Source: thesis section 7.2.1; notes 6 and 25.

    >>> kaldi_log_mel(torch.zeros(2, 16000)).shape
    torch.Size([2, 98, 128])
    """
    check_waveforms(waveforms, FRAME_LENGTH, lengths)
    log_mel = torch.cat([_kaldi_log_filterbank(part, preset) for part in cache_slices(waveforms)])
    if lengths is not None:
        counts = 1 + (lengths.to(log_mel.device) - FRAME_LENGTH) // FRAME_SHIFT
        beyond = torch.arange(log_mel.shape[1], device=log_mel.device) >= counts[:, None]
        log_mel = log_mel.masked_fill(beyond[..., None], 0.0)
    if preset.target_frames is not None:
        log_mel = functional.pad(log_mel, (0, 0, 0, preset.target_frames - log_mel.shape[1]))
    return (log_mel - preset.mean) / preset.std


def mfcc(waveforms: Tensor, *, n_mfcc: int = 20, n_mels: int = 40) -> Tensor:
    """Mel-frequency cepstral coefficients of the Kaldi log-mel, without liftering.

    Equals ``torchaudio.compliance.kaldi.mfcc(cepstral_lifter=0, window_type="hanning")``.

    Args:
        waveforms: `(B, N)` floating point in [-1, 1] at 16 kHz.
        n_mfcc: Coefficients kept, the 0th (level) included; at most `n_mels`.
        n_mels: Mel filters.

    Returns:
        `(B, T, n_mfcc)` with T = `frame_count` of N: the orthonormal DCT-II of each log-mel frame.

    Raises:
        ValueError: `n_mfcc` is not in 1 to `n_mels`, or N is below 400 samples.

    Source: Davis and Mermelstein 1980.
    """
    if not 1 <= n_mfcc <= n_mels:
        raise ValueError(f"n_mfcc must be 1 to n_mels = {n_mels}, not {n_mfcc}")
    log_mel = kaldi_log_mel(waveforms, preset=LogMelPreset(n_mels=n_mels))
    band = torch.arange(n_mels, dtype=torch.float64)
    order = torch.arange(n_mfcc, dtype=torch.float64)
    dct = math.sqrt(2 / n_mels) * torch.cos(math.pi / n_mels * (band[:, None] + 0.5) * order)
    dct[:, 0] = math.sqrt(1 / n_mels)
    return log_mel @ dct.to(log_mel)


def whisper_log_mel(
    waveforms: Tensor,
    *,
    n_mels: int = 80,
    chunk_s: float = 30,
    normalise_waveform: bool = False,
    lengths: Tensor | None = None,
) -> Tensor:
    """Log-mel spectrograms as transformers' ``WhisperFeatureExtractor`` gives them, in a batch.

    Args:
        waveforms: `(B, N)` floating point in [-1, 1] at 16 kHz.
        n_mels: Mel filters: 80, or 128 for the large-v3 encoder.
        chunk_s: Rows are cut or zero-padded at the end to this length, in seconds: 30 for Whisper,
            8 for the speech encoder.
        normalise_waveform: First bring each row to zero mean and unit variance
            (``do_normalize=True``), over its valid samples; the padding stays 0.
        lengths: `(B,)` samples before each row's padding; None takes all N.

    Returns:
        `(B, n_mels, T)` with T = 100 frames a second of chunk, about -1 to 1.5. The floor lies
        80 dB below the loudest bin of each clip.

    Raises:
        ValueError: a row has no samples, or the chunk is shorter than 400 samples.

    Source: Radford et al. 2022, section 2.2, and openai/whisper ``audio.py``.
    """
    n_samples = round(chunk_s * SAMPLE_RATE)
    if n_samples < WHISPER_FFT_LENGTH:
        raise ValueError(f"chunk_s must hold {WHISPER_FFT_LENGTH} samples, not {n_samples}")
    check_waveforms(waveforms, 1, lengths)
    rows, device = waveforms.shape[0], waveforms.device
    if lengths is None:
        lengths = torch.full((rows,), waveforms.shape[1])
    lengths = lengths.to(device).clamp(max=n_samples)[:, None]
    waveforms = functional.pad(waveforms, (0, n_samples - waveforms.shape[1]))
    valid = torch.arange(n_samples, device=device) < lengths
    waveforms = waveforms * valid
    if normalise_waveform:
        mean = waveforms.sum(dim=1, keepdim=True) / lengths
        centred = (waveforms - mean) * valid
        variance = centred.square().sum(dim=1, keepdim=True) / lengths
        waveforms = centred / (variance + VARIANCE_FLOOR).sqrt()
    log_mel = torch.cat([_whisper_log_filterbank(part, n_mels) for part in cache_slices(waveforms)])
    loudest = log_mel.amax(dim=(1, 2), keepdim=True)
    return (torch.maximum(log_mel, loudest - WHISPER_RANGE) + 4.0) / 4.0


def check_waveforms(waveforms: Tensor, least: int, lengths: Tensor | None = None) -> None:
    """Refuse what is no `(B, N)` batch of at least `least` samples a row with a ValueError."""
    if waveforms.dim() != 2 or not len(waveforms) or not waveforms.is_floating_point():
        raise ValueError(
            f"waveforms must be floating point of shape (B, N), B > 0, not {waveforms.dtype} "
            f"{tuple(waveforms.shape)}"
        )
    shortest = waveforms.shape[1]
    if lengths is not None:
        if len(lengths) != len(waveforms) or int(lengths.max()) > shortest:
            raise ValueError(f"lengths must be (B,), at most {shortest}")
        shortest = int(lengths.min())
    if shortest < least:
        raise ValueError(f"waveforms must have at least {least} samples each, not {shortest}")


def cache_slices(waveforms: Tensor) -> tuple[Tensor, ...]:
    """Rows a few at a time: frames overlap, so they take several times the memory of a waveform.

    On a CPU, frames that stay in its cache are also three times faster than one pass over all.
    """
    n_samples = 2**17 if waveforms.device.type == "cpu" else 2**24
    return waveforms.split(max(1, n_samples // waveforms.shape[1]))


def squared_magnitude(spectrum: Tensor) -> Tensor:
    """Squared magnitude, without the root that ``abs()`` takes."""
    return spectrum.real.square() + spectrum.imag.square()


def _kaldi_log_filterbank(waveforms: Tensor, preset: LogMelPreset) -> Tensor:
    """Natural logarithm of the filters' powers, `(B, T, M)`, not yet normalised."""
    frames = waveforms.unfold(1, FRAME_LENGTH, FRAME_SHIFT)  # (B, T, 400)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    previous = torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)
    window = torch.hann_window if preset.window == "hanning" else torch.hamming_window
    taper = window(FRAME_LENGTH, periodic=False, dtype=frames.dtype, device=frames.device)
    spectrum = torch.fft.rfft((frames - PRE_EMPHASIS * previous) * taper, n=FFT_LENGTH)
    power = squared_magnitude(spectrum)  # (B, T, 257)
    return (power @ _kaldi_filters(preset.n_mels).to(power)).clamp(min=POWER_FLOOR).log()


def _whisper_log_filterbank(waveforms: Tensor, n_mels: int) -> Tensor:
    """Decadic logarithm of the filters' powers, `(B, M, T)`, before its range is limited."""
    spectrum = torch.stft(
        waveforms,
        WHISPER_FFT_LENGTH,
        WHISPER_SHIFT,
        window=torch.hann_window(
            WHISPER_FFT_LENGTH, dtype=waveforms.dtype, device=waveforms.device
        ),
        return_complex=True,
    )
    power = squared_magnitude(
        spectrum[..., :-1]
    )  # the last, centred on the end, is dropped: T = 100 a second
    return (_slaney_filters(n_mels).to(power).T @ power).clamp(min=1e-10).log10()


def kaldi_mel(hz: Tensor) -> Tensor:
    """Kaldi's mel scale of frequencies in hertz."""
    return 1127.0 * (1.0 + hz / 700.0).log()


def _triangles(grid: Tensor, points: Tensor) -> Tensor:
    """Triangular filters `(F, M)` over `grid`, each between three neighbours of M + 2 points."""
    left, centre, right = points[:-2], points[1:-1], points[2:]
    rising = (grid[:, None] - left) / (centre - left)
    falling = (right - grid[:, None]) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0)


@lru_cache(maxsize=8)
def _kaldi_filters(n_mels: int) -> Tensor:
    """`(257, n_mels)`, linear in mel, of height 1.

    In single precision, as in the training of the checkpoints: some low filters touch one bin with
    a tiny weight, whose rounding shifts their log-mel by 2e-4.
    """
    hz = torch.arange(FFT_LENGTH // 2 + 1) * (SAMPLE_RATE / FFT_LENGTH)
    low, high = (1127.0 * math.log(1.0 + edge / 700.0) for edge in (LOWEST_HZ, SAMPLE_RATE / 2))
    points = low + torch.arange(n_mels + 2) * ((high - low) / (n_mels + 1))
    return _triangles(kaldi_mel(hz), points)


@lru_cache(maxsize=8)
def _slaney_filters(n_mels: int) -> Tensor:
    """`(201, n_mels)`, linear in hertz, of equal area; mels are linear up to 1 kHz, then log."""
    hz = torch.linspace(0, SAMPLE_RATE / 2, WHISPER_FFT_LENGTH // 2 + 1, dtype=torch.float64)
    log_step = math.log(6.4) / 27  # a mel above 1 kHz
    highest = 15 + math.log(SAMPLE_RATE / 2 / 1000) / log_step
    mel = torch.linspace(0, highest, n_mels + 2, dtype=torch.float64)
    points = torch.where(mel < 15, mel * 200 / 3, 1000 * ((mel - 15) * log_step).exp())
    return _triangles(hz, points) * (2 / (points[2:] - points[:-2]))
