"""What a face does besides speaking, smiling and laughing: blinks, gaze, sway, nods, accents.

Each is a closed form of time over a plan drawn once for a whole performance, so that a block of
frames does not depend on where blocks begin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thesislib.corpora.annotation import Segment
from thesislib.corpora.twins.dyads import chance
from thesislib.corpora.twins.people import Habits

FloatArray = NDArray[np.float64]

BLINK_S = (0.08, 0.16)
"""How long the eyes take to close and to open."""
SWAY_RAD = (0.05, 0.035, 0.03)
"""Standard deviations of yaw, pitch and roll at rest; half as much again while speaking."""
SWAY_HZ = (0.07, 0.4)
"""Between which frequencies the head sways."""
NOD_RAD = 0.10
"""How far a listener's head goes down in a nod; two nods a backchannel."""
ACCENT_RAD = 0.03
"""How far a speaker's head goes down on an accent."""
ACCENT_S = 0.4
"""How long an accent's nod and raised brows last; they begin 0.1 s before the middle of it."""
BROW = 0.6
"""AU1 and AU2 of brows raised on an accent."""
BREATH = (0.012, 0.27)
"""Rise of the shoulders with the breath, in units, and breaths a second."""
GAZE_S = 2.0
"""Mean time between two shifts of gaze."""
_WAVES = 4


@dataclass(frozen=True, slots=True)
class Gestures:
    """A plan of the small movements of one person over a whole performance.

    Attributes:
        habits: Of the person.
        blinks_s: `(K,)`, onsets.
        shifts_s: `(G,)`, when the gaze shifts.
        gaze: `(G, 2)`, to where.
        waves: `(4, 3, 4)`: amplitude, frequency in Hz and phase of the sines that add up to yaw,
            pitch, roll, and one of breath.
        speaking_s: `(S, 2)`, turns.
        nods: Backchannels of a listener.
    """

    habits: Habits
    blinks_s: FloatArray
    shifts_s: FloatArray
    gaze: FloatArray
    waves: FloatArray
    speaking_s: FloatArray
    nods: tuple[Segment, ...]


def plan_gestures(
    name: str,
    habits: Habits,
    duration_s: float,
    seed: int,
    *,
    speaking_s: Sequence[tuple[float, float]] = (),
    nods: Sequence[Segment] = (),
) -> Gestures:
    """Draw the small movements of a performance.

    Args:
        name: Of the person.
        habits: Of the person.
        duration_s: Length of the performance.
        seed: Of the performance.
        speaking_s: Turns, while which the head moves more and the eyes wander.
        nods: Backchannels that are nodded.
    """
    generator = chance(seed, f"gestures of {name}")
    n = 8 + int(3 * duration_s)
    waits = 0.4 + generator.exponential(1.0, n) * max(60.0 / habits.blinks_per_min - 0.4, 0.1)
    blinks_s = np.cumsum(waits)
    shifts_s = np.cumsum(0.4 + generator.exponential(GAZE_S - 0.4, n)) - GAZE_S
    away = generator.random(n) < habits.away
    direction = generator.uniform(-1.0, 1.0, (n, 2)) * (0.8, 0.4)
    at = np.where(away[:, None], direction, 0.03 * direction)
    waves = np.empty((4, 3, _WAVES))
    waves[:, 0] = generator.rayleigh(1.0, (4, _WAVES)) / math.sqrt(_WAVES)
    waves[:, 1] = (
        np.exp(generator.uniform(math.log(SWAY_HZ[0]), math.log(SWAY_HZ[1]), (4, _WAVES)))
        * habits.restlessness
    )
    waves[:, 2] = generator.uniform(0, 2 * math.pi, (4, _WAVES))
    return Gestures(
        habits,
        blinks_s[blinks_s < duration_s],
        shifts_s[shifts_s < duration_s],
        at[shifts_s < duration_s],
        waves,
        np.array(speaking_s, float).reshape(-1, 2),
        tuple(nods),
    )


def blink(gestures: Gestures, times_s: FloatArray) -> FloatArray:
    """AU43 of blinks at times `(T,)`."""
    if not len(gestures.blinks_s):
        return np.zeros(len(times_s))
    last = np.searchsorted(gestures.blinks_s, times_s, side="right") - 1
    age = times_s - gestures.blinks_s[last.clip(min=0)]
    shape = np.minimum(age / BLINK_S[0], (sum(BLINK_S) - age) / BLINK_S[1])
    return np.where(last >= 0, np.clip(shape, 0, 1), 0.0)


def gaze(gestures: Gestures, times_s: FloatArray) -> FloatArray:
    """Gaze `(T, 2)` at times `(T,)`: still, then somewhere else within 60 ms."""
    if not len(gestures.shifts_s):
        return np.zeros((len(times_s), 2))
    last = np.searchsorted(gestures.shifts_s, times_s, side="right") - 1
    to = gestures.gaze[last.clip(min=0)]
    before = gestures.gaze[(last - 1).clip(min=0)]
    share = np.clip((times_s - gestures.shifts_s[last.clip(min=0)]) / 0.06, 0, 1)[:, None]
    return before + share * (to - before)


def speaking(gestures: Gestures, times_s: FloatArray) -> FloatArray:
    """How much a person speaks at times `(T,)`: 1 within turns, falling over 0.4 s around them."""
    level = np.zeros(len(times_s))
    if len(times_s):
        near = (gestures.speaking_s[:, 1] > times_s[0] - 1) & (
            gestures.speaking_s[:, 0] < times_s[-1] + 1
        )
        for start, end in gestures.speaking_s[near]:
            knots = [start - 0.4, start, end, end + 0.4]
            level = np.maximum(level, np.interp(times_s, knots, [0.0, 1.0, 1.0, 0.0]))
    return level


def nod(gestures: Gestures, times_s: FloatArray) -> FloatArray:
    """Pitch `(T,)` of nods, chin down: two cycles a backchannel."""
    total = np.zeros(len(times_s))
    for segment in gestures.nods:
        if len(times_s) and segment.end_s > times_s[0] and segment.start_s < times_s[-1]:
            share = (times_s - segment.start_s) / segment.duration_s
            inside = (share >= 0) & (share <= 1)
            total -= np.where(inside, NOD_RAD * np.sin(2 * math.pi * share) ** 2, 0.0)
    return total


def accents(times_s: FloatArray, accents_s: Sequence[float]) -> FloatArray:
    """Bumps `(K, T)` of half a cosine, one an accent."""
    age = times_s[None] - (np.array(accents_s, float)[:, None] - 0.1)
    inside = (age > 0) & (age < ACCENT_S)
    return np.where(inside, np.sin(math.pi * age / ACCENT_S) ** 2, 0.0)


def pose(gestures: Gestures, times_s: FloatArray, on_accents: FloatArray) -> Tensor:
    """Pose `(T, 6)` of sway, accents and nods."""
    amplitude, hz, phase = gestures.waves[:3].transpose(1, 0, 2)
    angles = 2 * math.pi * hz * times_s[:, None, None] + phase
    sway = (amplitude * np.sin(angles)).sum(-1)  # of variance 1
    sway *= np.array(SWAY_RAD) * gestures.habits.head_motion
    sway *= (1 + 0.5 * speaking(gestures, times_s))[:, None]
    out = np.zeros((len(times_s), 6))
    out[:, :3] = sway
    # Phrases with many accents do not bow the head for good: they count at most once at a time.
    out[:, 1] -= ACCENT_RAD * gestures.habits.head_motion * np.minimum(on_accents, 1.0)
    out[:, 1] += nod(gestures, times_s)
    out[:, 3] = 0.25 * sway[:, 0]
    return torch.from_numpy(out).float()


def shoulders(gestures: Gestures, times_s: FloatArray) -> Tensor:
    """Shoulders `(T,)` that rise and fall with the breath."""
    angle = 2 * math.pi * BREATH[1] * times_s + gestures.waves[3, 2, 0]
    return torch.from_numpy(BREATH[0] * 0.5 * (1 + np.sin(angle))).float()
