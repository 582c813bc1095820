"""What a camera and a microphone get of a twin's people: clips of one, conversations of two.

`perform_clip` and `perform_dyad` plan who speaks, laughs and nods when;
`thesislib.corpora.twins.staging` makes sound and motion of the plan.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence

from thesislib.corpora.twins import people as people_of
from thesislib.corpora.twins import talk
from thesislib.corpora.twins.dyads import Dyad, Event, chance
from thesislib.corpora.twins.face_motion import EMOTION_UNITS
from thesislib.corpora.twins.gestures import plan_gestures
from thesislib.corpora.twins.people import EFFECTS, Person
from thesislib.corpora.twins.phonetics import Syllable
from thesislib.corpora.twins.staging import SAMPLE_RATE, Performance, make_actor, perform
from thesislib.corpora.twins.voice import EMOTION_EFFECTS, effect_scales
from thesislib.errors import InputError

__all__ = ["EFFECTS", "EMOTIONS", "SAMPLE_RATE", "Performance", "perform_clip", "perform_dyad"]

EMOTIONS = tuple(name for name in EMOTION_EFFECTS if name in EMOTION_UNITS)
"""Emotions that a clip can show, in voice and face."""
_LEAD_S = 0.15


def perform_clip(
    person: Person,
    syllables: Sequence[Syllable] | None = None,
    *,
    emotion: str = "neutral",
    intensity: float = 1.0,
    events: Sequence[Event] = (),
    duration_s: float | None = None,
    language: str = "german",
    fps: float,
    seed: int,
    effects: Mapping[str, float] | None = None,
) -> Performance:
    """One person alone: an acted sentence or a monologue.

    Args:
        person: Who.
        syllables: What is said; it is broken into phrases at its pauses. None for a monologue in
            `language` that fills `duration_s`.
        emotion: One of `EMOTIONS`; the face reaches its apex after a fifth of the clip and half a
            second at most, and relaxes by 40 % over the last fifth.
        intensity: Of the emotion, 0 to 1.
        events: Smiles and laughs, disjoint and in order; phrases wait until a laugh is over.
        duration_s: Length; what does not fit is cut off. None for that of the speech, rounded up to
            whole frames.
        language: A key of `talk.LANGUAGES`, for monologues.
        fps: Frames a second.
        seed: With the person's name, the source of all chance.
        effects: Strengths that differ from 1, by the names of `EFFECTS`.

    Returns:
        `round(duration_s * 16000)` samples and `round(duration_s * fps)` frames, at least one.

    Raises:
        InputError: an emotion, language, effect or number cannot be used, or neither syllables nor
            a duration is given.
    """
    scales = effect_scales(EFFECTS, effects)
    _check(fps, seed, duration_s)
    if emotion not in EMOTIONS:
        raise InputError(emotion, "is no emotion of a clip", f"use one of {', '.join(EMOTIONS)}")
    if not 0 <= intensity <= 1:
        raise InputError("intensity", f"cannot be {intensity}", "use 0 to 1")
    if not syllables and duration_s is None:
        raise InputError("syllables", "are none, nor is a duration given", "give one of them")
    speaker = _speaker(person, scales, language, tuple(sorted(events)), emotion, intensity)
    taken = _taken(speaker.events, scales)
    if syllables:
        said = list(_sentence(speaker, syllables, taken, seed))
        end_s = max([said[-1].end_s, *(event.end_ms / 1000 for event in events)])
        length_s = math.ceil(end_s * fps) / fps if duration_s is None else duration_s
        speaking = [(said[0].start_s, said[-1].end_s)]
    else:
        length_s = float(duration_s or 0.0)
        speaking = [(_LEAD_S, max(length_s - _LEAD_S, _LEAD_S))]
        said = list(talk.speech(speaker, talk.without(speaking, taken), seed))
    gestures = plan_gestures(
        person.name,
        people_of.habits(person, scales["personality_face"]),
        length_s,
        seed,
        speaking_s=speaking,
    )
    actor = make_actor(person, scales, speaker, iter(said), gestures, seed)
    actor.emotion = (emotion, intensity * scales["emotion_face"], length_s)
    return next(perform([actor], length_s, fps, length_s + 1, 0.0))[0]


def perform_dyad(
    dyad: Dyad,
    people: tuple[Person, Person],
    *,
    fps: float,
    leakage_db: float | None,
    seed: int,
    block_s: float = 20.0,
    language: str | None = None,
    effects: Mapping[str, float] | None = None,
) -> Iterator[tuple[Performance, Performance]]:
    """Two people in conversation, each before their own camera and microphone, block by block.

    Args:
        dyad: The true timeline.
        people: Who sits in seat A and who in seat B.
        fps: Frames a second.
        leakage_db: Level of the other's voice in one's own microphone relative to theirs, such as
            -25; None for none.
        seed: Of the performance.
        block_s: Length of a block; sound and motion do not depend on it.
        language: A key of `talk.LANGUAGES`; None for that of the corpus.
        effects: Strengths that differ from 1, by the names of `EFFECTS`.

    Yields:
        Consecutive blocks, in all exactly as long as the dyad.

    Raises:
        InputError: an effect, the language or a number cannot be used.
    """
    scales = effect_scales(EFFECTS, effects)
    _check(fps, seed, block_s)
    spoken = talk.CORPUS_LANGUAGES[dyad.corpus] if language is None else language
    if spoken not in talk.LANGUAGES:
        raise InputError(spoken, "is no language", f"choose one of {', '.join(talk.LANGUAGES)}")
    if leakage_db is not None and not leakage_db <= 0:
        raise InputError("leakage_db", f"cannot be {leakage_db}", "use 0 or less, or None")
    duration_s = dyad.duration_ms / 1000
    actors = []
    for participant, person in zip(dyad.participants, people, strict=True):
        speaker = _speaker(person, scales, spoken, participant.events)
        taken = _taken(speaker.events, scales)
        turns = [(s.start_s, s.end_s) for s in participant.roles if s.value == "spk"]
        feedback = [
            segment
            for segment in participant.backchannels
            if not any(a < segment.end_s and segment.start_s < b for a, b in taken)
        ]
        said = heapq.merge(
            talk.speech(speaker, talk.without(turns, taken), seed),
            talk.backchannels(speaker, feedback, seed),
            key=lambda sound: sound.start_s,
        )
        gestures = plan_gestures(
            person.name,
            people_of.habits(person, scales["personality_face"]),
            duration_s,
            seed,
            speaking_s=turns,
            nods=feedback if scales["nods"] > 0 else (),
        )
        actors.append(make_actor(person, scales, speaker, said, gestures, seed))
    leak = 0.0 if leakage_db is None else scales["leakage"] * 10 ** (leakage_db / 20)
    for block in perform(actors, duration_s, fps, block_s, leak):
        yield block[0], block[1]


def _check(fps: float, seed: int, duration_s: float | None) -> None:
    if not (math.isfinite(fps) and fps >= 1):
        raise InputError("fps", f"cannot be {fps}", "use 1 or more frames a second")
    if seed < 0:
        raise InputError("seed", f"cannot be {seed}", "use 0 or more")
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s >= 1 / fps):
        raise InputError("duration", f"cannot be {duration_s} s", "use a frame or more")


def _speaker(
    person: Person,
    scales: Mapping[str, float],
    language: str,
    events: tuple[Event, ...],
    emotion: str = "neutral",
    intensity: float = 0.0,
) -> talk.Speaker:
    felt = EMOTION_EFFECTS[emotion].scaled(
        f0=intensity * scales["emotion_f0"],
        rate=intensity * scales["emotion_rate"],
        energy=intensity * scales["emotion_energy"],
        tilt=intensity * scales["emotion_tilt"],
        jitter=intensity * scales["emotion_jitter"],
    )
    manner = people_of.manner_of_speaking(person, scales["personality_voice"])
    pause_ratio, hesitates = people_of.pauses(person, scales["personality_voice"])
    return talk.Speaker(
        name=person.name,
        voice=person.voice,
        effect=people_of.merge_effects(felt, manner),
        language=language,
        pause_ratio=pause_ratio,
        hesitates=hesitates,
        events=events,
        smile_scale=scales["smile_voice"],
    )


def _taken(events: Sequence[Event], scales: Mapping[str, float]) -> list[tuple[float, float]]:
    """When one does not speak because one laughs aloud."""
    if scales["laugh_voice"] == 0:
        return []
    return [(e.start_ms / 1000, e.end_ms / 1000) for e in events if e.kind == "laugh"]


def _sentence(
    speaker: talk.Speaker,
    syllables: Sequence[Syllable],
    taken: Sequence[tuple[float, float]],
    seed: int,
) -> Iterator[talk.Sound]:
    """Say given syllables, phrase by phrase, each moved behind the laughs that it would meet."""
    generator = chance(seed, f"sentence of {speaker.name}")
    now = _LEAD_S
    for phrase in _phrases(syllables):
        sound = speaker.say(now, phrase, generator)
        for start, end in taken:
            if start < sound.end_s and sound.start_s < end:
                sound = speaker.say(end, phrase, generator)
        yield sound
        now = sound.end_s  # pauses are part of phrases


def _phrases(syllables: Sequence[Syllable]) -> Iterator[tuple[Syllable, ...]]:
    """Cut after pauses, and after 24 syllables at the latest."""
    phrase: list[Syllable] = []
    for syllable in syllables:
        phrase.append(syllable)
        if (syllable.pause_s > 0 and len(phrase) >= 6) or len(phrase) == 24:
            yield tuple(phrase)
            phrase = []
    if phrase:
        yield tuple(phrase)
