"""The sound of a laugh: calls about five times a second, voiced or breathed, and a breath after.

`plan_laugh` lays a laugh out as control tracks, like an utterance, which
`thesislib.corpora.twins.source_filter.synthesise` makes audible.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from thesislib.corpora.twins.voice import (
    FRAME_RATE_HZ,
    NEUTRAL_LEVEL_DB,
    SpeakerVoice,
    Utterance,
)
from thesislib.errors import InputError

CALLS_PER_S = 5.0
"""Mean rate of calls within a bout; the time between two varies by 6 %."""
CALL_S = 0.12
"""Length of a call: 35 ms of breath, then a vowel or more breath; silence till the next."""
BOUT_CALLS = 9
"""A bout has at most so many calls; then breath is drawn in."""
BREATH_S = 0.35
"""Length of an inhalation."""
VOICED_SHARE = (0.1, 0.85)
"""Probability that a call is voiced, at intensity 0 and what is added at 1."""
F0_SEMITONES = (6.0, 10.0)
"""How far the first call's f0 lies above that of speech, at intensity 0 and what is added at 1."""
FALL_SEMITONES = (3.0, 5.0)
"""By how much f0 falls from the first to the last call of a bout, likewise."""
LEVEL_DB = (-8.0, 14.0)
"""Level relative to neutral speech, likewise."""
FALL_DB = 8.0
"""By how much the level falls over a bout."""
F1_RATIO = (1.0, 0.3)
"""F1 of the open vowel relative to that of a spoken *a*, likewise: the jaw is wide open."""
_MOST_HZ = 650.0  # of f0; the synthesiser counts on less than 800

# F1, F2, F3 in Hz for a tract of 17 cm, and the bandwidth ratio.
_OPEN = (700.0, 1350.0, 2500.0, 1.3)
_BREATHED = (600.0, 1450.0, 2500.0, 1.8)
_NASAL = (280.0, 1300.0, 2400.0, 2.5)
_INDRAWN = (450.0, 1700.0, 2700.0, 1.6)


@dataclass(frozen=True, slots=True)
class Laugh:
    """One laugh as it is heard.

    Attributes:
        utterance: For `synthesise`.
        call_s: `(K,)`, when the calls begin, in seconds from the start of the utterance.
        voiced: `(K,)`, whether each is voiced.
        breath_s: Starts of the inhalations, in seconds.
    """

    utterance: Utterance
    call_s: NDArray[np.float64]
    voiced: NDArray[np.bool_]
    breath_s: tuple[float, ...]


def plan_laugh(
    voice: SpeakerVoice, duration_s: float, intensity: float, generator: np.random.Generator
) -> Laugh:
    """Lay out a laugh.

    A more intense laugh is louder and higher, falls further, fills more of its time with calls
    and voices more of them; a weak one is mostly breathed. A third of the weak laughs' breathed
    calls go through the nose. F0 falls from call to call over a bout, and starts again after a
    breath.

    Args:
        voice: Who laughs.
        duration_s: Length, at least 0.3 s; the last inhalation is drawn within it.
        intensity: 0 to 1.
        generator: Source of chance.

    Raises:
        InputError: the duration is too short or the intensity out of range.

    Source: Bachorowski, Smoski and Owren (2001) for f0, voiced and unvoiced calls and F1; Ruch and
    Ekman (2001) for rate, fall and inhalation. The sizes are round numbers of our own.
    """
    if not duration_s >= 0.3:
        raise InputError("duration_s", f"cannot be {duration_s}", "use 0.3 s or more")
    if not 0 <= intensity <= 1:
        raise InputError("intensity", f"cannot be {intensity}", "use 0 to 1")
    calls, bouts, breaths, voiced, nasal = _calls(duration_s, intensity, generator)
    n = round(duration_s * FRAME_RATE_HZ)
    time_s = np.arange(n) / FRAME_RATE_HZ
    place = np.clip(np.searchsorted(calls, time_s, side="right") - 1, 0, None)
    age = time_s - calls[place]
    vowel = np.interp(age, [0.025, 0.045, 0.095, CALL_S], [0.0, 1.0, 0.9, 0.0], left=0.0, right=0.0)
    puff = np.interp(age, [0.0, 0.015, 0.035, 0.05], [0.0, 1.0, 1.0, 0.3])
    puff *= np.interp(age, [0.07, CALL_S], [1.0, 0.0])
    gust = np.interp(age, [0.0, 0.03, 0.08, CALL_S], [0.0, 1.0, 0.7, 0.0], left=0.0, right=0.0)
    is_voiced, is_nasal = voiced[place], nasal[place]
    share = bouts[place]  # 0 for the first call of a bout, 1 for its last
    fade = 10 ** (-FALL_DB * share / 20)
    tracks = np.zeros((n, 9))
    tracks[:, 7:] = 1500.0, 3000.0
    shapes = np.array([_OPEN, _BREATHED, _NASAL])
    tracks[:, :4] = shapes[np.where(is_voiced, 0, np.where(is_nasal, 2, 1))]
    tracks[:, 0] *= np.where(is_voiced, F1_RATIO[0] + F1_RATIO[1] * intensity, 1.0)
    tracks[:, 4] = np.where(is_voiced, vowel, 0.0) * fade
    tracks[:, 5] = np.where(is_voiced, 0.35 * puff, 0.6 * gust) * fade
    for breath_s in breaths:
        inside = np.interp(
            time_s - breath_s,
            [0.0, 0.6 * BREATH_S, BREATH_S],
            [0.0, 1.0, 0.0],
            left=0.0,
            right=0.0,
        )
        drawn = inside > 0
        tracks[drawn, :4] = _INDRAWN
        tracks[drawn, 4] = 0.0
        tracks[drawn, 5] = 0.22 * inside[drawn]
    tracks[:, :3] *= 17.0 / voice.tract_length_cm
    tracks[:, 5] += voice.breathiness * tracks[:, 4]
    start = F0_SEMITONES[0] + F0_SEMITONES[1] * intensity + 1.5 * generator.standard_normal()
    fall = FALL_SEMITONES[0] + FALL_SEMITONES[1] * intensity
    arch = (1.0 + 2.0 * intensity) * (np.clip(age / CALL_S, 0, 1) - 0.5)  # falls within a call too
    own = 0.4 * generator.standard_normal(len(calls))
    semitones = start - fall * share - arch + own[place]
    f0_hz = np.minimum(voice.f0_hz * 2 ** (semitones / 12), _MOST_HZ)
    rough = replace(voice, jitter=1.5 * voice.jitter, shimmer=2.0 * voice.shimmer)
    level_db = NEUTRAL_LEVEL_DB + LEVEL_DB[0] + LEVEL_DB[1] * intensity
    if not voiced.any():
        level_db -= 6.0
    noise_seed = int(generator.integers(2**62))
    utterance = Utterance(rough, level_db, f0_hz, tracks, noise_seed)
    return Laugh(utterance, calls, voiced, tuple(breaths))


def _calls(
    duration_s: float, intensity: float, generator: np.random.Generator
) -> tuple[
    NDArray[np.float64], NDArray[np.float64], list[float], NDArray[np.bool_], NDArray[np.bool_]
]:
    """Onsets of calls, their places in their bouts 0 to 1, breaths, voiced and nasal calls."""
    room_s = duration_s - (BREATH_S if duration_s >= 0.3 + BREATH_S else 0.0)
    wanted = max(1, round(CALLS_PER_S * room_s * (0.6 + 0.4 * intensity)))
    onsets: list[float] = []
    places: list[float] = []
    breaths: list[float] = []
    now = 0.02
    while len(onsets) < wanted and now + CALL_S <= room_s + 0.02:
        n = min(BOUT_CALLS, wanted - len(onsets))
        steps = np.exp(0.06 * generator.standard_normal(BOUT_CALLS)) / CALLS_PER_S
        starts = now + np.cumsum(steps[:n]) - steps[0]
        starts = starts[starts + CALL_S <= room_s + 0.02]
        if not len(starts):
            break
        onsets.extend(starts.tolist())
        places.extend((np.arange(len(starts)) / max(len(starts) - 1, 1)).tolist())
        breath_s = float(starts[-1]) + 1.2 * CALL_S
        if breath_s + BREATH_S <= duration_s + 0.01:
            breaths.append(breath_s)
        now = breath_s + 1.1 * BREATH_S
    k = len(onsets)
    voiced = generator.random(k) < VOICED_SHARE[0] + VOICED_SHARE[1] * intensity
    through_nose = bool(generator.random() < (1 - intensity) / 3)
    return (np.array(onsets), np.array(places), breaths, voiced, ~voiced & through_nose)
