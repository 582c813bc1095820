"""What a speaker of a twin says, and when: phrases over turns, backchannels, and laughs.

Everything is planned from its own source of chance and in order of time, so that a performance can
be made block by block without knowing all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from thesislib.corpora.annotation import Segment
from thesislib.corpora.twins.dyads import Event, chance, intensity_curve
from thesislib.corpora.twins.face_motion import mouth_tracks
from thesislib.corpora.twins.phonetics import SENTENCES, Syllable, parse_syllables, sentence_plan
from thesislib.corpora.twins.voice import (
    FRAME_RATE_HZ,
    EmotionEffect,
    SpeakerVoice,
    Utterance,
    plan_utterance,
)
from thesislib.errors import InputError

LANGUAGES: Mapping[str, str] = {
    "german": "the syllables of the ten Berlin sentences, closed and full of clusters",
    "open": "consonant and vowel, five vowels, few consonants, an accent on every third syllable",
    "final": "rounded front vowels, few closed syllables, the accent at the end of a phrase",
    "reduced": "strong closed syllables with diphthongs in turn with weak ones",
}
"""Languages of twins: inventories and rhythms, none of which means anything."""
CORPUS_LANGUAGES: Mapping[str, str] = {
    "ndc-me": "final",
    "ifadv": "german",
    "ccdb": "reduced",
    "crema-d": "reduced",
    "first-impressions": "reduced",
    "librispeech": "reduced",
    "voxceleb2": "open",
}
"""Which language a twin's people speak."""
SMILE_RATIO = (0.03, 0.08, 0.08)
"""By how much a full smile raises F1, F2 and F3."""
PHRASE_SYLLABLES = (5, 13)
"""Least and most syllables of a phrase."""
PAUSE_S = 0.25
"""Mean pause between phrases, besides the 0.2 s of silence around every phrase."""
_SYLLABLE_S = 0.19  # about as long as a syllable takes, to guess how many fit
_HESITATION = "?9m"
_BACKCHANNELS = ("'h@m", "m@ 'h@m", "'ja", "'?a ha", "'?o", "'ja ja")


@cache
def _inventory(language: str) -> tuple[tuple[str, ...], ...]:
    """Onsets, vowels and codas, by language; strong and weak vowels for ``reduced``."""
    if language == "open":
        return tuple("ptkmnsljd"), ("i", "e", "A", "o", "u"), ("",)
    if language == "final":
        onsets = (*"ptkbdgfvszSlRmn", "pR", "tR", "pl", "kl")
        return onsets, ("i", "y", "e", "E", "2", "9", "a", "o", "O", "u"), ("", "", "", "R", "l")
    onsets = (*"ptkbdgfvszSlmnhj", "st", "sp", "pl", "bl", "kl")
    return onsets, ("1", "3", "0", "I", "E", "A", "O", "U"), ("", "t", "d", "n", "s", "l", "st")


def draw_syllables(language: str, n: int, generator: np.random.Generator) -> tuple[Syllable, ...]:
    """Draw a phrase.

    Args:
        language: A key of `LANGUAGES`.
        n: How many syllables, 1 or more.
        generator: Source of chance.

    Raises:
        InputError: the language is unknown, or `n` is no number of syllables.

    >>> [s.phones for s in draw_syllables("open", 3, np.random.default_rng(0))]
    ['se', 'pu', 'so']
    """
    if language not in LANGUAGES:
        raise InputError(language, "is no language", f"choose one of {', '.join(LANGUAGES)}")
    if n < 1:
        raise InputError("syllables", f"cannot be {n}", "ask for 1 or more")
    if language == "german":
        pool = _german_pool()
        return tuple(pool[i] for i in generator.integers(len(pool), size=n))
    onsets, vowels, codas = _inventory(language)
    picks = generator.random((n, 3))
    found = []
    for i in range(n):
        onset, vowel, coda = (
            parts[int(picks[i, k] * len(parts))] for k, parts in enumerate((onsets, vowels, codas))
        )
        if language == "open":
            accented = i % 3 == 1
        elif language == "final":
            accented = i == n - 1
        else:
            accented = i % 2 == 0
            if not accented:
                vowel = "6" if picks[i, 1] < 0.25 else "@"
                coda = "n" if picks[i, 2] < 0.2 else ""
        found.append(Syllable(onset + vowel + coda, accented))
    return tuple(found)


@cache
def _german_pool() -> tuple[Syllable, ...]:
    return tuple(replace(s, pause_s=0.0) for code in SENTENCES for s in sentence_plan(code))


@dataclass(frozen=True, slots=True)
class Sound:
    """Something that a person says, placed in time.

    Attributes:
        start_s: When its utterance begins, a whole number of control frames.
        utterance: For `synthesise`.
        syllables: Start and end in seconds of the performance, and the phones.
        accents_s: Middles of accented syllables, likewise.
        mouth: `(3, T)` openness and rounding of the lips, and how far speech holds them (0 to 1),
            at the rate of the control tracks.
    """

    start_s: float
    utterance: Utterance
    syllables: tuple[tuple[float, float, str], ...]
    accents_s: tuple[float, ...]
    mouth: NDArray[np.float64]

    @property
    def end_s(self) -> float:
        """When the utterance is over."""
        return self.start_s + self.utterance.duration_s


def on_grid(time_s: float) -> float:
    """The control frame nearest to a time, in seconds."""
    return round(time_s * FRAME_RATE_HZ) / FRAME_RATE_HZ


def smiled(utterance: Utterance, smile: NDArray[np.float64]) -> Utterance:
    """The utterance as a smile `(T,)`, 0 to 1, makes it sound: a shorter tract, higher formants.

    Source: Tartter (1980), "Happy talk", for the direction; sizes in `SMILE_RATIO`.
    """
    tracks = utterance.tracks.copy()
    tracks[:, :3] *= 1 + np.array(SMILE_RATIO) * np.asarray(smile, float)[:, None]
    return replace(utterance, tracks=tracks)


def say(
    start_s: float,
    voice: SpeakerVoice,
    syllables: Sequence[Syllable],
    effect: EmotionEffect,
    generator: np.random.Generator,
    *,
    smiles: Iterable[Event] = (),
    smile_scale: float = 1.0,
) -> Sound:
    """Plan a phrase that begins at `start_s`, smiled where the speaker smiles.

    Args:
        start_s: When.
        voice: Who.
        syllables: What, one or more.
        effect: How, without the chance of a single phrase, which is added.
        generator: Source of chance.
        smiles: The speaker's smiles and laughs; smiles raise formants.
        smile_scale: Strength of the effect ``smile_voice``.
    """
    start_s = on_grid(start_s)
    utterance = plan_utterance(voice, syllables, effect.varied(generator), generator)
    openness, rounding = mouth_tracks(utterance, FRAME_RATE_HZ)
    edge = np.arange(len(openness)) / (0.1 * FRAME_RATE_HZ)
    holds = np.minimum(np.minimum(edge, edge[::-1]), 1.0)
    times_s = start_s + np.arange(len(utterance.f0_hz)) / FRAME_RATE_HZ
    curve = intensity_curve(smiles, times_s, "smile")
    if smile_scale > 0 and curve.any():
        utterance = smiled(utterance, smile_scale * curve)
    spans = utterance.syllable_s
    return Sound(
        start_s=start_s,
        utterance=utterance,
        syllables=tuple(
            (start_s + a, start_s + b, syllable.phones)
            for (a, b), syllable in zip(spans, syllables, strict=True)
        ),
        accents_s=tuple(
            start_s + (a + b) / 2
            for (a, b), syllable in zip(spans, syllables, strict=True)
            if syllable.accented
        ),
        mouth=np.stack([openness.double().numpy(), rounding.double().numpy(), holds]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """What `speech` needs to know of a person.

    Attributes:
        name: Which, with the seed, is the source of chance.
        voice: In neutral speech.
        effect: How the person speaks: personality and emotion.
        language: A key of `LANGUAGES`.
        pause_ratio: Factor on pauses between phrases.
        hesitates: Probability that a phrase begins with a hesitation.
        events: Smiles and laughs.
        smile_scale: Strength of the effect ``smile_voice``.
    """

    name: str
    voice: SpeakerVoice
    effect: EmotionEffect
    language: str
    pause_ratio: float = 1.0
    hesitates: float = 0.0
    events: tuple[Event, ...] = ()
    smile_scale: float = 1.0

    def say(
        self, start_s: float, syllables: Sequence[Syllable], generator: np.random.Generator
    ) -> Sound:
        """Plan a phrase in this person's manner."""
        return say(
            start_s,
            self.voice,
            syllables,
            self.effect,
            generator,
            smiles=self.events,
            smile_scale=self.smile_scale,
        )


def without(
    spans_s: Iterable[tuple[float, float]], taken_s: Iterable[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Spans less those taken, both in order of time.

    >>> without([(0, 10)], [(2, 3), (9, 12)])
    [(0, 2), (3, 9)]
    """
    taken = sorted(taken_s)
    free = []
    for start, end in spans_s:
        for low, high in taken:
            if high <= start or low >= end:
                continue
            if low > start:
                free.append((start, low))
            start = high
        if start < end:
            free.append((start, end))
    return free


def speech(speaker: Speaker, spans_s: Iterable[tuple[float, float]], seed: int) -> Iterator[Sound]:
    """Fill spans of time with phrases, in order.

    Each span has its own source of chance, named by its start. A phrase that would be too long is
    drawn again with fewer syllables; what is left at the end of a span is silence.

    Args:
        speaker: Who speaks.
        spans_s: Starts and ends in seconds, disjoint and in order.
        seed: Of the performance.
    """
    for start, end in spans_s:
        generator = chance(seed, f"speech of {speaker.name} at {round(1000 * start)}")
        now = start
        while True:
            n = int(generator.integers(PHRASE_SYLLABLES[0], PHRASE_SYLLABLES[1] + 1))
            n = min(n, int((end - now) / _SYLLABLE_S))
            hesitant = generator.random() < speaker.hesitates
            sound = None
            while n >= 2 and sound is None:
                phrase = draw_syllables(speaker.language, n, generator)
                if hesitant and n >= 5:
                    phrase = (Syllable(_HESITATION, False, 0.15), *phrase[1:])
                planned = speaker.say(now, phrase, generator)
                over = planned.syllables[-1][1] - end
                if over <= 0:
                    sound = planned
                else:
                    n -= max(1, round(over / _SYLLABLE_S))
            if sound is None:
                break
            yield sound
            now = sound.end_s + float(generator.exponential(PAUSE_S)) * speaker.pause_ratio


def backchannels(speaker: Speaker, segments: Iterable[Segment], seed: int) -> Iterator[Sound]:
    """Short feedback such as *mhm*, 6 dB softer than speech, one at each segment."""
    soft = replace(speaker, effect=replace(speaker.effect, energy_db=speaker.effect.energy_db - 6))
    plans = [parse_syllables(text) for text in _BACKCHANNELS]
    for segment in segments:
        generator = chance(seed, f"backchannel of {speaker.name} at {segment.start_ms}")
        plan = plans[int(generator.integers(len(plans)))]
        # The utterance begins with up to 0.12 s of silence.
        yield soft.say(max(segment.start_s - 0.08, 0.0), plan, generator)
