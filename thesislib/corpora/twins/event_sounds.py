"""Events that are no people: what happens in a clip of the twin of sound events, and its sound.

Six kinds happen in strokes (something falls, is struck or bursts), six go on (something turns,
falls or flows). Both are driven by one course of time, which `event_pictures` shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SAMPLE_RATE = 16_000
DURATION_S = 4.0
_LEVEL_DB = -22.0  # root mean square of the loudest half second, before the background


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is common to the events of one class.

    Attributes:
        strokes: Whether it happens in strokes; else it goes on, stronger and weaker.
        rate_hz: Least and greatest number of strokes, or of turns, a second.
        pitch_hz: Lowest and highest basic frequency, of the largest and the smallest thing.
        partials: Frequencies relative to the basic one, of what rings; none for pure noise.
        decay_s: Time in which it falls to 1/e.
        noise: Share of noise in a stroke, 0 to 1.
    """

    strokes: bool
    rate_hz: tuple[float, float]
    pitch_hz: tuple[float, float]
    partials: tuple[float, ...] = ()
    decay_s: float = 0.0
    noise: float = 0.0


def _struck(rate: tuple[float, float], pitch: tuple[float, float], partials: tuple[float, ...],
            decay_s: float, noise: float) -> Kind:  # fmt: skip
    return Kind(strokes=True, rate_hz=rate, pitch_hz=pitch, partials=partials, decay_s=decay_s,
                noise=noise)  # fmt: skip


KINDS: Mapping[str, Kind] = {
    "bell": _struck((0.7, 1.5), (350, 900), (0.5, 1, 1.2, 1.5, 2, 2.66, 4.1), 0.9, 0.05),
    "bird": _struck((0.9, 2.5), (2400, 4200), (1.0,), 0.1, 0.0),
    "bouncing ball": _struck((1.0, 2.5), (90, 240), (1, 1.6, 2.3), 0.06, 0.3),
    "clock": _struck((1.0, 3.0), (1800, 3200), (1, 1.7), 0.012, 0.4),
    "drum": _struck((1.2, 3.0), (70, 160), (1, 1.59, 2.14, 2.3), 0.2, 0.25),
    "fireworks": _struck((0.5, 1.0), (200, 500), (), 0.45, 1.0),
    "hammer": _struck((0.8, 2.0), (600, 1500), (1, 2.32, 4.25, 6.63), 0.18, 0.2),
    "engine": Kind(strokes=False, rate_hz=(1.5, 3.0), pitch_hz=(28, 60)),
    "fan": Kind(strokes=False, rate_hz=(1.0, 2.5), pitch_hz=(300, 900)),
    "rain": Kind(strokes=False, rate_hz=(0.2, 0.5), pitch_hz=(1500, 3500)),
    "siren": Kind(strokes=False, rate_hz=(0.6, 1.5), pitch_hz=(500, 1000)),
    "waves": Kind(strokes=False, rate_hz=(0.3, 0.6), pitch_hz=(250, 700)),
}
"""Classes of the twin. Ratios of the bell and the membrane are those of Fletcher and Rossing
(1998), *The Physics of Musical Instruments*; everything else is a round number of our own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What happens in one clip.

    Attributes:
        kind: A key of `KINDS`.
        size: Of the thing, 0 (small) to 1 (large).
        pitch_hz: Basic frequency of its sound.
        rate_hz: Strokes or turns a second, on average.
        heard: `(K, 2)`, times in seconds and strengths 0 to 1: of the strokes, or of the points
            between which the strength of what goes on is interpolated.
        seen: The same for the picture; equal to `heard` where sound and picture are synchronous.
        noise_db: Level of the background noise, root mean square in dB below full scale.
        hue: Colour of the thing, 0 to 1.
        seed: Of the noise and of the scenery.
    """

    kind: str
    size: float
    pitch_hz: float
    rate_hz: float
    heard: tuple[tuple[float, float], ...]
    seen: tuple[tuple[float, float], ...]
    noise_db: float
    hue: float
    seed: int


def plan_happening(
    kind: str, generator: np.random.Generator, scales: Mapping[str, float]
) -> Happening:
    """Draw what happens in a clip.

    Pitch falls by the class's range from small to large things (effect ``size_pitch``; at 0 every
    thing of a class has the middle of the range); the background lies between -50 and -40 dB
    (``background``, which multiplies its amplitude); the picture follows the same course as the
    sound with the probability of ``synchrony``, else one of its own.

    Args:
        kind: A key of `KINDS`.
        generator: Source of chance; the same draws serve every strength.
        scales: Strengths of ``size_pitch``, ``background`` and ``synchrony``.
    """
    about = KINDS[kind]
    size, hue, noise, chance = generator.random(4)
    low, high = np.log(about.pitch_hz)
    place = 0.5 + scales["size_pitch"] * (0.5 - size)
    rate_hz = float(generator.uniform(*about.rate_hz))
    heard, other = (_course(about, rate_hz, generator) for _ in range(2))
    gain_db = 20 * math.log10(max(scales["background"], 1e-6))
    return Happening(
        kind=kind,
        size=float(size),
        pitch_hz=float(np.exp(low + (high - low) * place)),
        rate_hz=rate_hz,
        heard=heard,
        seen=heard if chance < scales["synchrony"] else other,
        noise_db=float(-50 + 10 * noise + gain_db),
        hue=float(hue),
        seed=int(generator.integers(2**62)),
    )


def strength(course: tuple[tuple[float, float], ...], time_s: NDArray) -> NDArray[np.float64]:
    """Strength of what goes on at given times `(T,)`, 0 to 1."""
    times, values = np.array(course).T
    return np.interp(time_s, times, values)


def turns(happening: Happening, time_s: NDArray, *, seen: bool = False) -> NDArray[np.float64]:
    """How often a thing has turned by given times `(T,)`: it turns faster where it is stronger."""
    grid = np.arange(round(DURATION_S * 200) + 201) / 200
    course = strength(happening.seen if seen else happening.heard, grid)
    speed = happening.rate_hz * (0.5 + course)
    total = np.concatenate([[0.0], np.cumsum(speed[:-1]) / 200])
    return np.interp(time_s, grid, total)


def sound(happening: Happening) -> Tensor:
    """The sound of a clip: `(N,)` float32 at `SAMPLE_RATE`, within -0.98 to 0.98."""
    n = round(DURATION_S * SAMPLE_RATE)
    generator = torch.Generator().manual_seed(happening.seed)
    noise = torch.randn(2, n, generator=generator, dtype=torch.float64)
    about = KINDS[happening.kind]
    wave = _strokes(happening, noise[0]) if about.strokes else _going_on(happening, noise[0])
    half = SAMPLE_RATE // 2
    loudest = wave[: n // half * half].unflatten(0, (-1, half)).square().mean(1).max().sqrt()
    wave = wave * 10 ** (_LEVEL_DB / 20) / loudest.clamp(min=1e-9)
    wave = wave + 10 ** (happening.noise_db / 20) * _coloured(noise[1], 500.0, "low", slope=0.5)
    return (wave * (0.98 / wave.abs().max().clamp(min=1e-9)).clamp(max=1.0)).float()


def _course(
    about: Kind, rate_hz: float, generator: np.random.Generator
) -> tuple[tuple[float, float], ...]:
    """Strokes at uneven times, or points of a strength that rises and falls."""
    if about.strokes:
        first = 0.15 + 0.4 * generator.random()
        gaps = np.exp(0.25 * generator.standard_normal(40)) / rate_hz
        times = first + np.concatenate([[0.0], np.cumsum(gaps)])
        levels = 0.5 + 0.5 * generator.random(41)
        return tuple(
            (round(float(t), 3), round(float(v), 3))
            for t, v in zip(times, levels, strict=True)
            if t < DURATION_S - 0.1
        )
    times = np.arange(0, DURATION_S + 1.0, 0.5)
    turn = (generator.random() + np.arange(len(times)) * 0.62) % 1.0
    levels = 0.1 + 0.9 * np.abs(2 * turn - 1) * (0.6 + 0.4 * generator.random(len(times)))
    return tuple((float(t), round(float(v), 3)) for t, v in zip(times, levels, strict=True))


def _strokes(happening: Happening, noise: Tensor) -> Tensor:
    """Strokes: a train of pulses through what one stroke sounds like."""
    about, n = KINDS[happening.kind], len(noise)
    time_s = torch.arange(n, dtype=torch.float64) / SAMPLE_RATE
    if happening.kind == "bird":  # a call: up and down by a third, in 0.12 s
        course = (time_s / 0.12).clamp(0, 1)
        hz = happening.pitch_hz * (1 + 0.3 * torch.sin(2 * math.pi * course))
        one = torch.sin(2 * math.pi * torch.cumsum(hz, 0) / SAMPLE_RATE)
        one = one * torch.sin(math.pi * course) * (time_s < 0.12)
    else:
        ring = torch.zeros(n, dtype=torch.float64)
        for number, partial in enumerate(about.partials, start=1):  # at most seven
            partial_hz = happening.pitch_hz * partial
            decay = torch.exp(-time_s * partial**0.5 / about.decay_s)
            if partial_hz < 7500:
                ring += torch.sin(2 * math.pi * partial_hz * time_s) * decay / number**0.5
        burst = _coloured(noise, 3 * happening.pitch_hz, "low")
        burst *= torch.exp(-time_s / (0.015 if about.partials else about.decay_s))
        one = _unit(ring) * (1 - about.noise) + _unit(burst) * about.noise
    times, levels = np.array(happening.heard).T
    pulses = torch.zeros(n, dtype=torch.float64)
    pulses[torch.from_numpy(np.round(times * SAMPLE_RATE).astype(np.int64))] = torch.from_numpy(
        levels
    )
    return torch.fft.irfft(torch.fft.rfft(pulses, 2 * n) * torch.fft.rfft(one, 2 * n))[:n]


def _unit(wave: Tensor) -> Tensor:
    """A sound `(N,)` at unit energy; silence stays."""
    return wave / wave.square().sum().sqrt().clamp(min=1e-9)


def _going_on(happening: Happening, noise: Tensor) -> Tensor:
    """What turns, falls or flows: harmonics or noise, as loud or as fast as it is strong."""
    time_s = np.arange(len(noise)) / SAMPLE_RATE
    level = torch.from_numpy(strength(happening.heard, time_s))
    angle = torch.from_numpy(turns(happening, time_s)) * 2 * math.pi
    if happening.kind == "engine":
        phase = torch.cumsum(happening.pitch_hz * (0.5 + level), 0) / SAMPLE_RATE * 2 * math.pi
        tones = sum(torch.sin(k * phase + k * k) / k**0.7 for k in range(1, 25))
        return (0.4 + 0.6 * level) * (tones + 0.3 * _coloured(noise, 400.0, "low"))
    if happening.kind == "siren":
        hz = happening.pitch_hz * torch.exp2(0.5 * torch.sin(angle))
        phase = torch.cumsum(hz, 0) / SAMPLE_RATE * 2 * math.pi
        tones = sum(torch.sin(k * phase) / k for k in range(1, 6))
        return (0.5 + 0.5 * level) * tones
    if happening.kind == "fan":  # three blades
        blades = (1 + 0.9 * torch.cos(3 * angle)) ** 2
        return blades * _coloured(noise, happening.pitch_hz, "low") * (0.3 + 0.7 * level)
    if happening.kind == "rain":
        drops = noise.abs().clamp(min=3.0) - 3.0  # rare large values make single drops
        both = _coloured(noise, happening.pitch_hz, "high") + 40 * drops * noise.sign()
        return level.square() * both
    return level.square() * _coloured(noise, happening.pitch_hz, "low")  # waves


def _coloured(noise: Tensor, hz: float, passes: str, slope: float = 1.0) -> Tensor:
    """Noise `(N,)` without the side of a frequency that shall not pass, at unit power."""
    spectrum = torch.fft.rfft(noise)
    ratio = torch.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE, dtype=torch.float64) / hz
    ratio = ratio if passes == "low" else 1 / ratio.clamp(min=1e-6)
    coloured = torch.fft.irfft(spectrum / (1 + ratio**2) ** slope, len(noise))
    return coloured / coloured.square().mean().sqrt()
