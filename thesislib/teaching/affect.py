"""Expressions that are sent and read: action units, dimensions of emotion, simulated observers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from thesislib.corpora.twins.face import FaceIdentity, sample_identity
from thesislib.corpora.twins.face_motion import ACTION_UNITS, emotion, face_motion
from thesislib.corpora.twins.face_render import render
from thesislib.errors import InputError
from thesislib.evaluation.significance import bootstrap_counts, percentile_interval
from thesislib.teaching.signals import hog

UNIT_NAMES: Mapping[int, str] = {
    1: "inner brow raiser", 2: "outer brow raiser", 4: "brow lowerer", 5: "upper lid raiser",
    6: "cheek raiser", 7: "lid tightener", 9: "nose wrinkler", 10: "upper lip raiser",
    12: "lip corner puller", 15: "lip corner depressor", 17: "chin raiser", 18: "lip pucker",
    20: "lip stretcher", 23: "lip tightener", 25: "lips part", 26: "jaw drop", 43: "eyes closed",
}  # fmt: skip
"""What the Facial Action Coding System calls the units that the parametric face has."""

PAD: Mapping[str, tuple[float, float, float]] = {
    "anger": (-0.51, 0.59, 0.25),
    "boredom": (-0.65, -0.62, -0.33),
    "disgust": (-0.60, 0.35, 0.11),
    "fear": (-0.64, 0.60, -0.43),
    "happiness": (0.76, 0.48, 0.35),
    "sadness": (-0.63, -0.27, -0.33),
    "surprise": (0.40, 0.67, -0.13),
}
"""Mean pleasure, arousal and dominance of a word, -1 to 1, as Russell and Mehrabian (1977) found;
the rows *angry*, *bored*, *disgusted*, *fearful*, *joyful*, *sad* and *surprised*."""

CIRCUMPLEX: Mapping[str, float] = {
    "happy": 7.8, "delighted": 24.9, "excited": 48.6, "astonished": 69.8, "tense": 92.8,
    "afraid": 116.0, "distressed": 138.0, "miserable": 188.7, "sad": 207.5, "bored": 242.0,
    "tired": 267.7, "calm": 316.2, "serene": 328.6, "pleased": 353.2,
}  # fmt: skip
"""Angle of a word in degrees, from pleasure towards arousal (Russell 1980, circular scaling)."""


def people(n: int, *, sex: str | None = None, seed: int) -> list[FaceIdentity]:
    """Faces of `n` people, women and men in turn unless `sex` says otherwise.

    >>> people(2, seed=0) == people(3, seed=0)[:2]
    True
    """
    generator = torch.Generator().manual_seed(seed)
    return [sample_identity(sex or ("female", "male")[i % 2], generator) for i in range(n)]


def pictures(identity: FaceIdentity, units: Tensor, *, size: int = 96, tilt: float = 0.0) -> Tensor:
    """Grey pictures of one person.

    Args:
        identity: Person.
        units: Action units `(N, 17)`.
        size: Height and width in pixels.
        tilt: Turn of the head to the right of the image, in radians.

    Returns:
        `(N, size, size)` float32 in [0, 1].
    """
    pose = torch.zeros(len(units), 6)
    pose[:, 0] = tilt
    frames = torch.cat(list(render(identity, face_motion(units, pose=pose), size=size)))
    return frames.float().mean(-1) / 255


class Gallery(NamedTuple):
    """Faces as an observer sees them.

    Attributes:
        features: Histograms of oriented gradients `(N, F)`.
        shown: What each face was meant to show `(N,)`.
        person: Number of the person `(N,)`.
    """

    features: NDArray[np.float32]
    shown: NDArray[np.str_]
    person: NDArray[np.int64]


def gallery(
    persons: Sequence[FaceIdentity],
    emotions: Sequence[str],
    intensity: float,
    *,
    spread: float = 0.0,
    seed: int = 0,
    size: int = 96,
) -> Gallery:
    """Each person showing each emotion once, the head turned a little.

    Args:
        persons: Faces.
        emotions: Names that `thesislib.corpora.twins.face_motion.emotion` knows.
        intensity: Of the expressions, 0 to 1.
        spread: Half the range in which the intensity varies from picture to picture.
        seed: Seed of the variation and of the turns, which are up to 0.12 radians.
        size: Height and width of a picture.

    Raises:
        InputError: nobody is given, or an emotion is unknown.
    """
    if not persons:
        raise InputError("persons", "are none", "give at least one")
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for identity in persons:
        change = spread * (2 * torch.rand(len(emotions), generator=generator) - 1)
        turn = float(0.24 * torch.rand((), generator=generator) - 0.12)
        level = (intensity + change).clamp(0, 1)
        units = torch.cat([emotion(name, level[i : i + 1]) for i, name in enumerate(emotions)])
        rows.append(pictures(identity, units, size=size, tilt=turn))
    features = hog(torch.cat(rows)).flatten(1).numpy()
    person = np.repeat(np.arange(len(persons)), len(emotions))
    return Gallery(features, np.tile(np.array(emotions), len(persons)), person)


def part(whole: Gallery, persons: Sequence[int]) -> Gallery:
    """The rows of some people, by their numbers."""
    chosen = np.isin(whole.person, persons)
    return Gallery(whole.features[chosen], whole.shown[chosen], whole.person[chosen])


def observer(known: Gallery) -> LogisticRegression:
    """Somebody who has learnt what faces mean from the people around, and from nobody else."""
    return LogisticRegression(max_iter=300).fit(known.features, known.shown)


def rates(
    frame: pd.DataFrame, value: str, *, by: str, group: str, replicates: int, seed: int
) -> pd.DataFrame:
    """Mean of a column for each name, with 95 % intervals from a bootstrap over groups.

    Args:
        frame: One row an observation.
        value: Column to average; rows without it are left out.
        by: Column of names.
        group: Column whose values are drawn with replacement, such as the speaker.
        replicates: Draws.
        seed: Seed of the draws.

    Returns:
        Columns ``value``, ``low`` and ``high``, one row a name.
    """
    table = frame.dropna(subset=[value]).groupby([group, by])[value].agg(["sum", "count"])
    sums, counts = (table[name].unstack(by, fill_value=0) for name in ("sum", "count"))
    drawn = bootstrap_counts(len(sums), replicates, seed)
    with np.errstate(invalid="ignore"):  # a draw may hold no group that has a name
        means = (drawn @ sums.to_numpy()) / (drawn @ counts.to_numpy())
    ends = np.array([percentile_interval(column) for column in means.T])
    result = pd.DataFrame({"value": sums.sum() / counts.sum()})
    return result.assign(low=ends[:, 0], high=ends[:, 1])


def skin_conductance(
    onsets_s: Sequence[float],
    amplitudes: Sequence[float],
    *,
    duration_s: float,
    rate_hz: float = 10.0,
    level: float = 4.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A simulated electrodermal signal: a slow level, and a response after each stimulus.

    A response begins 1.5 s after its stimulus, rises with a time constant of 0.75 s and falls with
    one of 4 s; it is scaled to its amplitude. The level sinks by a tenth over a minute.

    Args:
        onsets_s: Times of the stimuli.
        amplitudes: Height of each response in microsiemens.
        duration_s: Length of the signal.
        rate_hz: Samples a second.
        level: Tonic level at the beginning, in microsiemens.

    Returns:
        Times in seconds and conductance in microsiemens, `(N,)` each.

    Raises:
        InputError: there are not as many amplitudes as onsets.

    Source: Boucsein 2012 for latency and rise; a Bateman function for the shape.

    >>> times, signal = skin_conductance([5.0], [1.0], duration_s=30)
    >>> bool(signal[times < 6.4].max() <= 4.0)
    True
    """
    if len(onsets_s) != len(amplitudes):
        raise InputError("amplitudes", f"are {len(amplitudes)}", f"give {len(onsets_s)}")
    rise, fall, latency = 0.75, 4.0, 1.5
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    top = math.log(fall / rise) * rise * fall / (fall - rise)
    height = math.exp(-top / fall) - math.exp(-top / rise)
    signal = level * (1 - 0.1 * times / 60)
    for onset, amplitude in zip(onsets_s, amplitudes, strict=True):
        after = np.maximum(times - onset - latency, 0)
        signal += amplitude * (np.exp(-after / fall) - np.exp(-after / rise)) / height
    return times, signal


def electrocardiogram(
    *,
    beats_per_minute: float,
    breathing: float,
    jitter: float = 0.01,
    duration_s: float = 60.0,
    rate_hz: float = 250.0,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A simulated electrocardiogram: waves P, Q, R, S and T around every beat.

    The time between two beats grows and shrinks with the breath, 15 times a minute, which is most
    of what varies in a healthy heart at rest, and a little at random.

    Args:
        beats_per_minute: Mean rate.
        breathing: Share by which the breath lengthens and shortens the time between beats.
        jitter: Standard deviation of the rest, as a share of that time.
        duration_s: Length of the signal.
        rate_hz: Samples a second.
        seed: Of the rest.

    Returns:
        Times in seconds and the potential in millivolts, `(N,)` each, and the times of the beats.

    Raises:
        InputError: the rate is not between 30 and 220, or time between beats would vary by more
            than half.

    Source: the five Gaussian waves of mcsharry2003dynamical, with its angles and widths, on a mean
    beat; their heights are chosen.

    >>> _, _, beats = electrocardiogram(beats_per_minute=60, breathing=0, jitter=0, duration_s=3)
    >>> beats.tolist()
    [0.5, 1.5, 2.5]
    """
    if not 30 <= beats_per_minute <= 220:
        problem = f"are {beats_per_minute:g}"
        raise InputError("beats_per_minute", problem, "use a rate from 30 to 220")
    for name, share in (("breathing", breathing), ("jitter", jitter)):
        if not 0 <= share <= (0.5 if name == "breathing" else 0.1):
            limit = "0 to 0.5" if name == "breathing" else "0 to 0.1"
            raise InputError(name, f"is {share:g}", f"use a share from {limit}")
    rng, mean = np.random.default_rng(seed), 60 / beats_per_minute
    beats = [-mean / 2]  # one beyond either end, whose waves reach into the signal
    while beats[-1] < duration_s:
        breath = breathing * math.sin(2 * math.pi * 0.25 * beats[-1])
        beats.append(beats[-1] + mean * (1 + breath + jitter * np.clip(rng.normal(), -3, 3)))
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    signal = np.zeros_like(times)
    for angle, height, width in HEART_WAVES:
        centres = np.array(beats) + angle / 360 * mean
        spread = width / (2 * math.pi) * mean
        signal += height * np.exp(-0.5 * ((times[:, None] - centres) / spread) ** 2).sum(axis=1)
    return times, signal, np.array([beat for beat in beats if 0 <= beat < duration_s])


HEART_WAVES = (
    (-60, 0.15, 0.25),
    (-15, -0.12, 0.1),
    (0, 1.0, 0.1),
    (15, -0.2, 0.1),
    (90, 0.3, 0.4),
)
"""P, Q, R, S and T: angle within a beat in degrees, height in mV, width in radians."""


def heart_rate(beats_s: NDArray[np.float64]) -> tuple[float, float]:
    """Rate and variability of a heart from the times of its beats.

    Args:
        beats_s: At least three, ascending.

    Returns:
        Beats a minute, and RMSSD in milliseconds: the root of the mean square of how much each
        time between two beats differs from the one before.

    Raises:
        InputError: there are fewer than three.

    Source: taskforce1996heart.

    >>> rate, rmssd = heart_rate(np.array([0.0, 1.0, 1.9, 2.9]))
    >>> round(rate, 1), round(rmssd)
    (62.1, 100)
    """
    if len(beats_s) < 3:
        raise InputError("beats_s", f"are {len(beats_s)}", "give at least three")
    between = np.diff(beats_s)
    return 60 / float(between.mean()), 1000 * float(np.sqrt(np.mean(np.diff(between) ** 2)))


def unit_strengths(units: Tensor) -> dict[int, float]:
    """The action units of one row `(17,)` that are not at rest, by number."""
    pairs = zip(ACTION_UNITS, units.tolist(), strict=True)
    return {number: value for number, value in pairs if value > 0}
