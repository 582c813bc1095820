"""What spoils the sound of recordings in the wild: reverberation, noise, and music.

Each recording has one room, one kind of noise and at times one music, all drawn with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_SAMPLE_RATE = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Acoustics:
    """Around a microphone.

    Attributes:
        reverberation_s: Time in which the room's sound falls by 60 dB.
        wet_db: Level of the reverberation relative to the voice; None for none.
        noise_snr_db: Level of the voice over the noise; None for none.
        noise_slope: Fall of the noise's spectrum in dB per octave, 0 (white) to 6.
        music_snr_db: Level of the voice over the music; None for none.
        seed: Of the room, and of the music's melody.
    """

    reverberation_s: float
    wet_db: float | None
    noise_snr_db: float | None
    noise_slope: float
    music_snr_db: float | None
    seed: int


def draw_acoustics(
    generator: np.random.Generator, *, room: float, noise: float, music: float
) -> Acoustics:
    """Draw the acoustics of one recording.

    Reverberation of 0.2 to 0.7 s, 6 to 14 dB below the voice; noise 8 to 25 dB below, falling by
    0 to 6 dB per octave; music in three recordings of ten, 8 to 20 dB below.

    Args:
        generator: Source of chance; the same draws serve every strength.
        room: Factor on the amplitude of the reverberation.
        noise: Of the noise.
        music: Of the music.
    """
    chances = generator.random(7)
    seed = int(generator.integers(2**31))
    return Acoustics(
        reverberation_s=float(0.2 + 0.5 * chances[0]),
        wet_db=_scaled(-6 - 8 * chances[1], room),
        noise_snr_db=_over(8 + 17 * chances[2], noise),
        noise_slope=float(6 * chances[3]),
        music_snr_db=_over(8 + 12 * chances[4], music) if chances[5] < 0.3 else None,
        seed=seed,
    )


def spoil_sound(waveform: Tensor, acoustics: Acoustics, seed: int) -> Tensor:
    """Add what is around the microphone; levels are relative to the whole recording.

    Args:
        waveform: `(N,)` float32 at 16 kHz, within -1 to 1.
        acoustics: Of the recording.
        seed: Of the noise and of where the music is when the clip begins.

    Returns:
        `(N,)` float32 within -0.98 to 0.98.
    """
    voice = waveform.double()
    power = voice.square().mean().sqrt().clamp(min=1e-6)
    result = voice.clone()
    chances = np.random.default_rng([acoustics.seed, seed])
    if acoustics.wet_db is not None:
        result += _echo(voice, acoustics) * 10 ** (acoustics.wet_db / 20)
    if acoustics.noise_snr_db is not None:
        white = torch.from_numpy(chances.standard_normal(len(voice)))
        noise = _tilted(white, acoustics.noise_slope)
        result += noise * power * 10 ** (-acoustics.noise_snr_db / 20)
    if acoustics.music_snr_db is not None:
        music = _music(len(voice), acoustics.seed, float(chances.uniform(0, 60)))
        result += music * power * 10 ** (-acoustics.music_snr_db / 20)
    return (result * (0.98 / result.abs().max().clamp(min=1e-9)).clamp(max=1.0)).float()


def _scaled(level_db: float, amplitude: float) -> float | None:
    return None if amplitude <= 0 else float(level_db + 20 * math.log10(amplitude))


def _over(snr_db: float, amplitude: float) -> float | None:
    below = _scaled(-snr_db, amplitude)
    return None if below is None else -below


def _echo(voice: Tensor, acoustics: Acoustics) -> Tensor:
    """The room alone, as loud as the voice: noise that dies away, after 5 ms."""
    length = round(acoustics.reverberation_s * _SAMPLE_RATE)
    tail = np.random.default_rng(acoustics.seed).standard_normal(length)
    tail *= 10 ** (-3 * np.arange(length) / length)
    tail[: _SAMPLE_RATE // 200] = 0
    response = torch.from_numpy(tail / np.sqrt(np.square(tail).sum()))
    size = len(voice) + length
    spectrum = torch.fft.rfft(voice, size) * torch.fft.rfft(response, size)
    return torch.fft.irfft(spectrum, size)[: len(voice)]


def _tilted(noise: Tensor, slope_db: float) -> Tensor:
    """Noise that falls by so many dB per octave above 100 Hz, at unit power."""
    hz = torch.fft.rfftfreq(len(noise), 1 / _SAMPLE_RATE, dtype=torch.float64)
    gain = (hz / 100).clamp(min=1.0) ** (-slope_db / 6.0206)
    tilted = torch.fft.irfft(torch.fft.rfft(noise) * gain, len(noise))
    return tilted / tilted.square().mean().sqrt().clamp(min=1e-9)


def _music(n: int, seed: int, start_s: float) -> Tensor:
    """Plucked chords of three notes, two a second, from a row of eight; at unit power."""
    generator = np.random.default_rng(seed)
    root_hz = 110 * 2 ** generator.uniform(0, 1)
    steps = np.array([0, 2, 4, 5, 7, 9, 11])
    row = generator.choice(len(steps), (8, 3))
    time_s = start_s + torch.arange(n, dtype=torch.float64) / _SAMPLE_RATE
    beat = (2 * time_s).floor()
    since_s = time_s - beat / 2
    degrees = torch.from_numpy(steps[row])[beat.long() % 8]
    total = torch.zeros(n, dtype=torch.float64)
    for note in range(3):
        hz = root_hz * 2 ** (note + degrees[:, note] / 12)
        for harmonic in (1, 2, 3):
            total += torch.sin(2 * math.pi * harmonic * hz * since_s) / harmonic
    total *= torch.exp(-3 * since_s) * (since_s / 0.01).clamp(max=1.0)
    return total / total.square().mean().sqrt().clamp(min=1e-9)
