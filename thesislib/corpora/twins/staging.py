"""From plan to sound and motion: a performance is made block by block.

Sounds are synthesised when time reaches them and forgotten when they are over, so that memory does
not grow with the length and blocks join without a seam.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thesislib.corpora.twins import gestures as gestures_of
from thesislib.corpora.twins import talk
from thesislib.corpora.twins.dyads import Event, chance, intensity_curve
from thesislib.corpora.twins.face_motion import (
    ACTION_UNITS,
    FaceMotion,
    action_units,
    combine,
    face_motion,
    visemes,
)
from thesislib.corpora.twins.face_motion import emotion as emotion_units
from thesislib.corpora.twins.face_motion import laugh as laughing
from thesislib.corpora.twins.face_motion import smile as smiling
from thesislib.corpora.twins.laughter import CALLS_PER_S, plan_laugh
from thesislib.corpora.twins.people import Person
from thesislib.corpora.twins.source_filter import synthesise
from thesislib.corpora.twins.voice import FRAME_RATE_HZ

SAMPLE_RATE = 16_000
ROOM_DB = -66.0
"""Level of the microphone's noise, in dB relative to full scale."""
LEAKAGE_DELAY_S = 0.003
"""How long the other's voice takes to one's microphone: they sit a metre apart."""
HOLD = 0.85
"""By how much speech takes parted lips and jaw from a smile."""
_HOP = SAMPLE_RATE // FRAME_RATE_HZ
_BATCH = 8
_REACH_S = 1.0  # sounds are held so long after their end, for what still moves with their accents


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Sound and motion of one person over the same stretch of time.

    Attributes:
        waveform: `(N,)` float32 at 16 kHz, within -1 to 1.
        motion: `T` frames.
        syllables: Start and end in seconds from the beginning of the whole performance, and the
            phones as `thesislib.corpora.twins.phonetics` spells them; each in the block in which
            it begins.
    """

    waveform: Tensor
    motion: FaceMotion
    syllables: tuple[tuple[float, float, str], ...]


@dataclass(slots=True)
class PlacedLaugh:
    """A laugh of the timeline, its sound, and when its calls begin, from the sound's start."""

    event: Event
    sound: talk.Sound
    call_s: NDArray[np.float64]


@dataclass(slots=True)
class Actor:
    """One person in a performance: what is planned, and what is sounding now."""

    person: Person
    scales: Mapping[str, float]
    events: tuple[Event, ...]
    sounds: Iterator[talk.Sound]
    laughs: Iterator[PlacedLaugh]
    gestures: gestures_of.Gestures
    seed: int
    emotion: tuple[str, float, float] = ("neutral", 0.0, 0.0)  # name, intensity, duration
    held: list[tuple[talk.Sound, Tensor]] = field(default_factory=list)
    held_laughs: list[PlacedLaugh] = field(default_factory=list)
    room: np.random.Generator = field(default_factory=np.random.default_rng)
    next_sound: talk.Sound | None = None
    next_laugh: PlacedLaugh | None = None
    heard: Tensor = field(default_factory=lambda: torch.zeros(round(LEAKAGE_DELAY_S * SAMPLE_RATE)))


def make_actor(
    person: Person,
    scales: Mapping[str, float],
    speaker: talk.Speaker,
    sounds: Iterator[talk.Sound],
    gestures: gestures_of.Gestures,
    seed: int,
) -> Actor:
    """Put a person on stage.

    Args:
        person: Who.
        scales: Strengths of all effects.
        speaker: The person's voice, manner and events.
        sounds: What is said, in order of time.
        gestures: Small movements.
        seed: Of the performance.
    """
    laughs = _laughs(speaker, seed)
    return Actor(
        person=person,
        scales=scales,
        events=speaker.events,
        sounds=sounds,
        laughs=laughs,
        gestures=gestures,
        seed=seed,
        room=chance(seed, f"microphone of {person.name}"),
        next_sound=next(sounds, None),
        next_laugh=next(laughs, None),
    )


def _laughs(speaker: talk.Speaker, seed: int) -> Iterator[PlacedLaugh]:
    for event in speaker.events:
        if event.kind != "laugh":
            continue
        generator = chance(seed, f"laugh of {speaker.name} at {event.start_ms}")
        length_s = max((event.end_ms - event.start_ms) / 1000, 0.3)
        plan = plan_laugh(speaker.voice, length_s, event.shown, generator)
        start_s = talk.on_grid(event.start_ms / 1000)
        still = np.zeros((3, len(plan.utterance.f0_hz)))
        sound = talk.Sound(start_s, plan.utterance, (), (), still)
        yield PlacedLaugh(event, sound, plan.call_s)


def perform(
    actors: Sequence[Actor], duration_s: float, fps: float, block_s: float, leak: float
) -> Iterator[list[Performance]]:
    """Perform what is planned.

    Args:
        actors: One, or two who hear each other.
        duration_s: Length.
        fps: Frames a second.
        block_s: Length of a block.
        leak: Amplitude of the other's voice in one's own microphone.

    Yields:
        For each block, a performance of each actor.
    """
    n_frames, n_samples = max(round(duration_s * fps), 1), round(duration_s * SAMPLE_RATE)
    step = max(round(block_s * fps), 1)
    for first in range(0, n_frames, step):
        last = min(first + step, n_frames)
        low = round(first / fps * SAMPLE_RATE)
        high = n_samples if last == n_frames else round(last / fps * SAMPLE_RATE)
        _advance(actors, max(last / fps, high / SAMPLE_RATE))
        voices = [_mix(actor, low, high) for actor in actors]
        done = []
        for i, actor in enumerate(actors):
            waveform = voices[i]
            if len(actors) == 2:
                other = actors[1 - i]
                late = torch.cat([other.heard, voices[1 - i]])[: high - low]
                waveform = waveform + leak * late
            noise = torch.from_numpy(actor.room.standard_normal(high - low))
            waveform = (waveform + 10 ** (ROOM_DB / 20) * noise).clamp(-0.999, 0.999)
            times_s = np.arange(first, last) / fps
            done.append(
                Performance(
                    waveform=waveform.float(),
                    motion=_move(actor, times_s, fps),
                    syllables=tuple(
                        row
                        for sound, _ in actor.held
                        for row in sound.syllables
                        if low <= row[0] * SAMPLE_RATE < high
                    ),
                )
            )
        for actor, voice in zip(actors, voices, strict=True):
            keep = len(actor.heard)
            actor.heard = torch.cat([actor.heard, voice])[-keep:]
            gone = last / fps - _REACH_S
            actor.held = [(s, w) for s, w in actor.held if s.end_s > gone]
            actor.held_laughs = [x for x in actor.held_laughs if x.event.end_ms / 1000 > gone]
        yield done


def _advance(actors: Sequence[Actor], until_s: float) -> None:
    """Take up and synthesise every sound that begins before `until_s`."""
    fresh: list[tuple[Actor, talk.Sound, float]] = []
    for actor in actors:
        while actor.next_sound is not None and actor.next_sound.start_s < until_s:
            fresh.append((actor, actor.next_sound, 1.0))
            actor.next_sound = next(actor.sounds, None)
        while actor.next_laugh is not None and actor.next_laugh.sound.start_s < until_s:
            actor.held_laughs.append(actor.next_laugh)
            fresh.append((actor, actor.next_laugh.sound, actor.scales["laugh_voice"]))
            actor.next_laugh = next(actor.laughs, None)
    fresh = [item for item in fresh if item[2] > 0]
    fresh.sort(key=lambda item: len(item[1].utterance.f0_hz))  # of like length: less padding
    for k in range(0, len(fresh), _BATCH):
        batch = fresh[k : k + _BATCH]
        waveforms = synthesise([sound.utterance for _, sound, _ in batch], SAMPLE_RATE)
        for (actor, sound, scale), waveform in zip(batch, waveforms, strict=True):
            own = waveform[: len(sound.utterance.f0_hz) * _HOP]
            actor.held.append((sound, scale * own.clone()))
    for actor in actors:
        actor.held.sort(key=lambda item: (item[0].start_s, item[0].end_s))


def _mix(actor: Actor, low: int, high: int) -> Tensor:
    """The voice alone, samples `low` up to `high`."""
    voice = torch.zeros(high - low, dtype=torch.float64)
    for sound, waveform in actor.held:
        start = round(sound.start_s * SAMPLE_RATE)
        a, b = max(start, low), min(start + len(waveform), high)
        if a < b:
            voice[a - low : b - low] += waveform[a - start : b - start]
    return voice


def _move(actor: Actor, times_s: NDArray[np.float64], fps: float) -> FaceMotion:
    """Everything that the face does at the given times of frames."""
    scales, gestures = actor.scales, actor.gestures
    mouth = _mouth(actor, times_s, fps)
    accents_s = [a for sound, _ in actor.held for a in sound.accents_s]
    bumps = gestures_of.accents(times_s, accents_s)
    raising = [
        chance(actor.seed, f"brow of {actor.person.name} at {a:.3f}").random()
        < gestures.habits.brow_raises
        for a in accents_s
    ]
    brows = np.minimum((bumps * np.array(raising, float)[:, None]).sum(0), 1.0)
    still = np.ones(len(times_s))
    own = action_units(
        {
            number: torch.from_numpy(track)
            for number, track in {
                1: gestures_of.BROW * brows,
                2: gestures_of.BROW * brows,
                4: gestures.habits.resting_frown * still,
                12: gestures.habits.resting_smile * still,
                43: gestures_of.blink(gestures, times_s),
            }.items()
        }
    )
    smile_curve = scales["smile_face"] * intensity_curve(actor.events, times_s, "smile")
    laugh_curve = scales["laugh_face"] * intensity_curve(actor.events, times_s, "laugh")
    laugh = laughing(torch.from_numpy(laugh_curve), torch.from_numpy(_call_time(actor, times_s)))
    # A speaking mouth closes for *m* while it smiles: speech takes over the lips, not the corners.
    parted = torch.ones(len(times_s), len(ACTION_UNITS))
    hold = torch.from_numpy(HOLD * mouth[2]).clamp(0, 1) * min(scales["lips"], 1.0)
    for unit in (25, 26):
        parted[:, ACTION_UNITS.index(unit)] -= hold
    parts = [
        own,
        visemes(
            torch.from_numpy(scales["lips"] * mouth[0]).clamp(0, 1),
            torch.from_numpy(scales["lips"] * mouth[1]).clamp(-1, 1),
        ),
        smiling(torch.from_numpy(smile_curve)) * parted,
        laugh.action_units,
    ]
    name, intensity, duration_s = actor.emotion
    if intensity > 0:
        rise = min(0.5, 0.2 * duration_s)
        knots = [0.0, rise, 0.8 * duration_s, duration_s]
        curve = intensity * np.interp(times_s, knots, [0.2, 1.0, 1.0, 0.6])
        parts.append(emotion_units(name, torch.from_numpy(curve)))
    pose = gestures_of.pose(gestures, times_s, bumps.sum(0)) + laugh.pose
    shoulders = gestures_of.shoulders(gestures, times_s) + laugh.shoulders
    gaze = torch.from_numpy(gestures_of.gaze(gestures, times_s)).float()
    return face_motion(combine(*parts), pose=pose, shoulders=shoulders, gaze=gaze)


def _mouth(actor: Actor, times_s: NDArray[np.float64], fps: float) -> NDArray[np.float64]:
    """Openness, rounding and hold `(3, T)`, averages over the time of each frame."""
    first = math.floor(times_s[0] * FRAME_RATE_HZ)
    n = math.ceil((times_s[-1] + 1 / fps) * FRAME_RATE_HZ) - first + 1
    track = np.zeros((3, n))
    for sound, _ in actor.held:
        start = round(sound.start_s * FRAME_RATE_HZ) - first
        a, b = max(start, 0), min(start + sound.mouth.shape[1], n)
        if a < b:
            track[:, a:b] += sound.mouth[:, a - start : b - start]
    total = np.concatenate([np.zeros((3, 1)), np.cumsum(track, axis=1)], axis=1)
    grid = first + np.arange(n + 1)
    edges = np.append(times_s, times_s[-1] + 1 / fps) * FRAME_RATE_HZ
    rows = [np.diff(np.interp(edges, grid, row)) for row in total]
    return np.stack(rows) * fps / FRAME_RATE_HZ


def _call_time(actor: Actor, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Time warped so that the face's pulses follow the calls that are heard, `(T,)`."""
    warped = np.zeros(len(times_s))
    for one in actor.held_laughs:
        begins = one.sound.start_s + one.call_s
        if len(begins) == 1:
            begins = np.append(begins, begins[0] + 1 / CALLS_PER_S)
        inside = (times_s >= one.event.start_ms / 1000) & (times_s < one.event.end_ms / 1000)
        # Before the first call and after the last, the body rests in the phase between two.
        at = np.interp(times_s, begins, np.arange(len(begins)) / CALLS_PER_S)
        warped = np.where(inside, at, warped)
    return warped
