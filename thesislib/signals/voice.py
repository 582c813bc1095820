"""Voices in the aggregate: fundamental frequency and long-term spectrum, a batch at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from thesislib.signals.audio import (
    cache_slices,
    check_waveforms,
    kaldi_mel,
    squared_magnitude,
)


def f0_track(
    waveforms: Tensor,
    sample_rate: int,
    *,
    fmin: float = 65.0,
    fmax: float = 500.0,
    voicing_threshold: float = 0.5,
) -> Tensor:
    """Fundamental frequency every 10 ms, from the normalised cross-correlation of each frame.

    The waveform is low-passed at 2 kHz. Within a frame, 30 ms (two periods of `fmin`, if that is
    more) are correlated with the same stretch one candidate period later. Of the local maxima
    within 10 % of the largest, the shortest period wins, since every multiple of the true period
    correlates as well; a parabola refines it. A frame is voiced where the correlation reaches the
    threshold, its level lies within 40 dB of the clip's loudest frame, and most of the five frames
    around are voiced. A median over five frames removes single octave jumps.

    Args:
        waveforms: `(B, N)` floating point; zeros (padding) are unvoiced.
        sample_rate: In hertz; 4 kHz or more.
        fmin: Lowest frequency sought, in hertz.
        fmax: Highest frequency sought, in hertz.
        voicing_threshold: Least correlation of a voiced frame, 0 to 1.

    Returns:
        `(B, T)` hertz, NaN where unvoiced. Row t stands for the time
        ``(t * shift + frame / 2) / sample_rate``, where a frame is the correlated stretch and one
        longest period.

    Raises:
        ValueError: N is below one frame, or the frequencies are out of order.

    Source: Talkin 1995, *A robust algorithm for pitch tracking* (its first pass).
    """
    if not 0 < fmin < fmax < 1000 or sample_rate < 4000:
        raise ValueError(
            "0 < fmin < fmax < 1000 Hz and sample_rate >= 4000 Hz must hold, "
            f"not {fmin}, {fmax} and {sample_rate}"
        )
    longest = math.ceil(sample_rate / fmin)  # lag in samples
    stretch = round(max(0.030, 2 / fmin) * sample_rate)
    frame = stretch + longest + 1
    check_waveforms(waveforms, frame)
    tracks = []
    for part in cache_slices(_low_passed(waveforms, sample_rate)):
        frames = part.unfold(1, frame, round(0.010 * sample_rate))  # (B, T, frame)
        lag, strength, energy = _shortest_period(frames, stretch, math.floor(sample_rate / fmax))
        audible = energy > 1e-4 * energy.amax(dim=1, keepdim=True)
        f0 = (sample_rate / lag).clamp(fmin, fmax)
        tracks.append(_smoothed(f0, (strength >= voicing_threshold) & audible))
    return torch.cat(tracks)


def long_term_average_spectrum(
    waveforms: Tensor, lengths: Tensor | None, sample_rate: int, *, bands: int = 32
) -> Tensor:
    """Power in mel-spaced bands, averaged over a clip by Welch's method.

    Windows of 64 ms (Hann, half overlapping) lie wholly within a clip. Every bin of the spectrum
    belongs to one band, so the bands' powers add up to the mean power of the windowed signal.

    Args:
        waveforms: `(B, N)` floating point; full scale is 1.
        lengths: `(B,)` samples before each row's padding; None takes all N.
        sample_rate: In hertz.
        bands: Bands of equal width in mel from 0 Hz to half the sample rate.

    Returns:
        `(B, bands)` dB, 0 dB being a mean square of 1; not below -120.

    Raises:
        ValueError: a clip is shorter than one window, or bands are so many that one holds no bin.

    Source: Welch 1967.
    """
    window_length = round(0.064 * sample_rate)
    shift = window_length // 2
    check_waveforms(waveforms, window_length, lengths)
    window = torch.hann_window(window_length, dtype=waveforms.dtype, device=waveforms.device)
    power = squared_magnitude(torch.fft.rfft(waveforms.unfold(1, window_length, shift) * window))
    power = power * (2 / (window_length * window.square().sum()))
    power[..., 0] /= 2  # 0 Hz and, for an even length, the Nyquist bin have no mirror image
    if window_length % 2 == 0:
        power[..., -1] /= 2
    if lengths is None:
        mean_power = power.mean(dim=1)
    else:
        counts = 1 + (lengths.to(power.device)[:, None] - window_length) // shift
        inside = torch.arange(power.shape[1], device=power.device) < counts
        mean_power = (power * inside[..., None]).sum(dim=1) / counts
    mel = kaldi_mel(torch.arange(power.shape[-1]) * sample_rate / window_length)
    edges = torch.linspace(0, float(kaldi_mel(torch.tensor(sample_rate / 2))), bands + 1)
    member = functional.one_hot(torch.bucketize(mel, edges[1:-1], right=True), bands)
    if not bool(member.any(dim=0).all()):
        raise ValueError(f"{bands} bands are too many for {sample_rate} Hz: one is without a bin")
    return 10 * (mean_power @ member.to(mean_power)).clamp(min=1e-12).log10()


def _low_passed(waveforms: Tensor, sample_rate: int) -> Tensor:
    """Windowed-sinc low-pass at 2 kHz: formants above it only blur the correlation's peaks."""
    half = round(0.002 * sample_rate)
    time = torch.arange(-half, half + 1, dtype=torch.float64)
    cutoff = min(2000.0, 0.45 * sample_rate) / sample_rate
    taps = (
        torch.sinc(2 * cutoff * time)
        * torch.hann_window(2 * half + 3, periodic=False, dtype=torch.float64)[1:-1]
    )
    kernel = (taps / taps.sum()).to(waveforms)
    return functional.conv1d(waveforms[:, None], kernel[None, None], padding=half)[:, 0]


def _shortest_period(frames: Tensor, stretch: int, shortest: int) -> tuple[Tensor, Tensor, Tensor]:
    """Period in samples, its correlation, and the energy of the stretch, `(B, T)` each."""
    frames = frames - frames.mean(dim=-1, keepdim=True)
    longest = frames.shape[-1] - stretch - 1
    correlation, energy = _normalised_correlation(frames, stretch)
    inside = correlation[..., shortest : longest + 1]
    earlier = correlation[..., shortest - 1 : longest]
    later = correlation[..., shortest + 1 : longest + 2]
    peaks = torch.where((inside > earlier) & (inside >= later), inside, -1.0)
    strength = peaks.amax(dim=-1)
    best = (peaks >= 0.9 * strength[..., None]).to(torch.uint8).argmax(dim=-1, keepdim=True)
    left, top, right = (part.gather(-1, best)[..., 0] for part in (earlier, inside, later))
    curvature = (left - 2 * top + right).clamp(max=-1e-9)
    lag = shortest + best[..., 0] + 0.5 * (left - right) / curvature
    return lag, strength, energy


def _normalised_correlation(frames: Tensor, stretch: int) -> tuple[Tensor, Tensor]:
    """Correlation `(B, T, lags)` of each frame's first `stretch` samples; energy `(B, T)` there."""
    lags = frames.shape[-1] - stretch + 1
    n_fft = 2 ** (frames.shape[-1] - 1).bit_length()  # no wrap-around at the lags that are kept
    fixed = torch.fft.rfft(frames[..., :stretch], n=n_fft)
    product = torch.fft.irfft(fixed.conj() * torch.fft.rfft(frames, n=n_fft), n=n_fft)[..., :lags]
    total = functional.pad(frames.square().cumsum(dim=-1), (1, 0))
    energies = total[..., stretch:] - total[..., :lags]
    energy = energies[..., 0]
    # The floor, relative to the frame, keeps silence and rounding from correlating with anything.
    floor = 1e-4 * total[..., -1:] + torch.finfo(frames.dtype).tiny
    return product / ((energy[..., None] + floor) * (energies + floor)).sqrt(), energy


def _smoothed(f0: Tensor, voiced: Tensor) -> Tensor:
    """Median of five frames of f0, where most of the five are voiced; NaN elsewhere."""
    track = functional.pad(f0.masked_fill(~voiced, math.nan), (2, 2), value=math.nan)
    around = track.unfold(1, 5, 1)
    steady = voiced & (around.isfinite().sum(dim=-1) >= 3)
    return around.nanmedian(dim=-1).values.masked_fill(~steady, math.nan)
