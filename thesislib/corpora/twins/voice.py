"""Who speaks, and how: planted speakers and emotions, and the plan of one utterance.

`plan_utterance` turns a speaker, a sentence and an emotion into control tracks at 200 Hz, which
`thesislib.corpora.twins.source_filter.synthesise` makes audible.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from thesislib.corpora.twins.phonetics import Syllable
from thesislib.errors import InputError

FRAME_RATE_HZ = 200
"""Rate of the control tracks: one frame every 5 ms."""
NEUTRAL_LEVEL_DB = -28.0
"""Level of neutral speech, root mean square over its voiced part, in dB below full scale."""
_TABLE_TRACT_CM = 17.0  # the tract whose formants phonetics.py lists
_NEUTRAL_RATE = 1.2  # brings the table's citation-form durations to fluent speech


@dataclass(frozen=True, slots=True)
class SpeakerVoice:
    """What stays the same in everything that one speaker says.

    Attributes:
        f0_hz: Geometric mean of the fundamental frequency in neutral speech.
        tract_length_cm: Vocal-tract length; formants are proportional to its inverse.
        open_quotient: Open share of a glottal cycle; a small one has a high glottal formant.
        tilt_db_per_octave: Slope added to the voiced source above 500 Hz.
        breathiness: Amplitude of aspiration noise during voicing.
        jitter: Standard deviation of f0 from cycle to cycle, relative.
        shimmer: Standard deviation of the amplitude from cycle to cycle, relative.
    """

    f0_hz: float
    tract_length_cm: float
    open_quotient: float
    tilt_db_per_octave: float
    breathiness: float
    jitter: float
    shimmer: float


COMMON_VOICE = SpeakerVoice(157.0, 15.85, 0.60, -0.25, 0.013, 0.008, 0.05)
"""The voice that everybody shares where speaker effects are switched off."""


def sample_speaker(sex: str, generator: np.random.Generator) -> SpeakerVoice:
    """Draw a speaker.

    Means: f0 120 Hz (male) and 205 Hz (female), spread 2 semitones; tract 17.0 and 14.7 cm, spread
    0.5 cm; open quotient 0.55 and 0.65, spread 0.05; tilt 0 and -0.5 dB per octave, spread 1;
    women breathier. Draws are cut at two standard deviations.

    Args:
        sex: ``female`` or ``male``.
        generator: Source of chance.

    Raises:
        InputError: `sex` is neither.

    Source: Baken and Orlikoff (2000) for f0 and perturbation; Fitch and Giedd (1999) for tract
    lengths; Klatt and Klatt (1990) for open quotient, tilt and breathiness by sex.

    >>> sample_speaker("male", np.random.default_rng(0)).tract_length_cm > 15.9
    True
    """
    if sex not in ("female", "male"):
        raise InputError(sex, "is no sex that a voice is drawn for", "use female or male")
    female = sex == "female"
    z = [float(value) for value in np.clip(generator.standard_normal(6), -2, 2)]
    return SpeakerVoice(
        f0_hz=(205.0 if female else 120.0) * 2 ** (2.0 * z[0] / 12),
        tract_length_cm=(14.7 if female else 17.0) + 0.5 * z[1],
        open_quotient=(0.65 if female else 0.55) + 0.05 * z[2],
        tilt_db_per_octave=(-0.5 if female else 0.0) + 1.0 * z[3],
        breathiness=(0.016 if female else 0.010) * math.exp(0.3 * z[4]),
        jitter=0.008 * math.exp(0.25 * z[5]),
        shimmer=0.05 * math.exp(0.25 * z[5]),
    )


def blend_voice(
    voice: SpeakerVoice, *, f0: float = 1.0, tract: float = 1.0, quality: float = 1.0
) -> SpeakerVoice:
    """Move a voice towards `COMMON_VOICE`: 1 keeps the speaker's own value, 0 takes the common one.

    Args:
        voice: The speaker.
        f0: Share of the speaker's own f0, on a logarithmic scale.
        tract: The same for tract length, on a logarithmic scale.
        quality: The same for open quotient, tilt, breathiness, jitter and shimmer, linearly.
    """
    common = COMMON_VOICE
    linear = {
        name: (1 - quality) * getattr(common, name) + quality * getattr(voice, name)
        for name in ("open_quotient", "tilt_db_per_octave", "breathiness", "jitter", "shimmer")
    }
    return SpeakerVoice(
        f0_hz=common.f0_hz * (voice.f0_hz / common.f0_hz) ** f0,
        tract_length_cm=common.tract_length_cm
        * (voice.tract_length_cm / common.tract_length_cm) ** tract,
        **linear,
    )


@dataclass(frozen=True, slots=True)
class EmotionEffect:
    """How an emotion departs from neutral speech; the default values change nothing.

    Attributes:
        f0_level_ratio: Of the mean f0.
        f0_range_ratio: Of the excursions of f0 in semitones.
        rate_ratio: Of the speaking rate.
        energy_db: Of the level.
        tilt_db_per_octave: Added to the slope of the voiced source above 500 Hz.
        jitter_ratio: Of jitter.
        shimmer_ratio: Of shimmer.
    """

    f0_level_ratio: float = 1.0
    f0_range_ratio: float = 1.0
    rate_ratio: float = 1.0
    energy_db: float = 0.0
    tilt_db_per_octave: float = 0.0
    jitter_ratio: float = 1.0
    shimmer_ratio: float = 1.0

    def scaled(
        self,
        *,
        f0: float = 1.0,
        rate: float = 1.0,
        energy: float = 1.0,
        tilt: float = 1.0,
        jitter: float = 1.0,
    ) -> EmotionEffect:
        """The effect with its parts multiplied: ratios by their power, dB linearly, 0 removes.

        >>> EmotionEffect(f0_level_ratio=1.44, energy_db=6.0).scaled(f0=0.5, energy=0.0)
        EmotionEffect(f0_level_ratio=1.2, f0_range_ratio=1.0, rate_ratio=1.0, energy_db=0.0, \
tilt_db_per_octave=0.0, jitter_ratio=1.0, shimmer_ratio=1.0)
        """
        return EmotionEffect(
            self.f0_level_ratio**f0,
            self.f0_range_ratio**f0,
            self.rate_ratio**rate,
            self.energy_db * energy,
            self.tilt_db_per_octave * tilt,
            self.jitter_ratio**jitter,
            self.shimmer_ratio**jitter,
        )

    def varied(self, generator: np.random.Generator) -> EmotionEffect:
        """The effect as one utterance happens to show it: `UTTERANCE_SPREAD` of chance on top."""
        values = {}
        for field in fields(self):
            chance = getattr(UTTERANCE_SPREAD, field.name) * generator.standard_normal()
            value = getattr(self, field.name)
            values[field.name] = (
                value * math.exp(chance) if field.name.endswith("ratio") else value + chance
            )
        return EmotionEffect(**values)


EMOTION_EFFECTS: Mapping[str, EmotionEffect] = {
    "anger": EmotionEffect(1.45, 1.4, 1.10, 6.0, 4.0, 1.4, 1.4),
    "boredom": EmotionEffect(0.92, 0.6, 0.85, -2.0, -1.5, 1.0, 1.0),
    "disgust": EmotionEffect(1.05, 1.1, 0.82, 1.0, 0.5, 1.6, 1.5),
    "fear": EmotionEffect(1.45, 0.8, 1.18, 1.0, 1.5, 1.6, 1.4),
    "happiness": EmotionEffect(1.40, 1.5, 1.05, 4.0, 2.5, 0.9, 1.0),
    "sadness": EmotionEffect(0.93, 0.6, 0.75, -5.0, -3.0, 1.3, 1.2),
    "neutral": EmotionEffect(),
}
"""Effects at full intensity: f0 level, f0 range, rate, dB, dB per octave, jitter, shimmer.

Directions follow Banse and Scherer (1996), Juslin and Laukka (2003, Table 7) and, for German,
Burkhardt and Sendlmeier (2000); the sizes are round numbers of our own,
chosen after a coarse look at real spectra; no classification result was used.
"""

UTTERANCE_SPREAD = EmotionEffect(0.09, 0.25, 0.08, 1.5, 0.8, 0.25, 0.25)
"""Standard deviations between utterances of one kind: of the ratios' logarithms, else in dB."""


def effect_scales(known: Iterable[str], wanted: Mapping[str, float] | None) -> dict[str, float]:
    """Complete a choice of effect strengths: 1 as documented, 0 off, between or above a dose.

    Args:
        known: Names of all effects of a twin.
        wanted: Strengths that differ from 1.

    Raises:
        InputError: a name is unknown, or a strength is negative or not finite.

    >>> effect_scales(["sentence", "listeners"], {"sentence": 0})
    {'sentence': 0.0, 'listeners': 1.0}
    """
    scales = dict.fromkeys(known, 1.0)
    for name, value in (wanted or {}).items():
        if name not in scales:
            raise InputError(name, "is no effect of this twin", f"known are {', '.join(scales)}")
        if not (math.isfinite(value) and value >= 0):
            raise InputError(name, f"cannot have the strength {value}", "use 0 or more; 1 is full")
        scales[name] = float(value)
    return scales


def parse_effects(pairs: Iterable[str]) -> dict[str, float]:
    """Strengths of effects as people write them.

    Args:
        pairs: Each ``name=number``.

    Raises:
        InputError: a pair is written otherwise.

    >>> parse_effects(["mimicry=0", "noise=0.5"])
    {'mimicry': 0.0, 'noise': 0.5}
    """
    effects = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            effects[name] = float(value)
        except ValueError:
            raise InputError(f"effect {pair}", "is not NAME=NUMBER", "e.g. emotion_f0=0") from None
    return effects


@dataclass(frozen=True, slots=True)
class Utterance:
    """Everything that `synthesise` needs for one clip.

    Attributes:
        voice: Speaker, with the utterance's own jitter, shimmer and tilt.
        level_db: Root mean square of the voiced part, or of the noise where nothing is voiced, in
            dB relative to full scale.
        f0_hz: `(T,)`, at `FRAME_RATE_HZ`, also where nothing is voiced.
        tracks: `(T, 9)`: F1, F2, F3 in Hz, bandwidth ratio, voicing, aspiration and frication
            amplitudes, centre and bandwidth of the frication in Hz.
        noise_seed: Of the utterance's noise, jitter and shimmer.
        syllable_s: Start and end of each syllable in seconds.
    """

    voice: SpeakerVoice
    level_db: float
    f0_hz: NDArray[np.float64]
    tracks: NDArray[np.float64]
    noise_seed: int
    syllable_s: tuple[tuple[float, float], ...] = ()

    @property
    def duration_s(self) -> float:
        """Length in seconds, a whole number of frames."""
        return len(self.f0_hz) / FRAME_RATE_HZ

    @property
    def mean_f0_hz(self) -> float:
        """Geometric mean of f0, weighted by voicing."""
        return float(np.exp(np.average(np.log(self.f0_hz), weights=self.tracks[:, 4])))


def plan_utterance(
    voice: SpeakerVoice,
    syllables: Sequence[Syllable],
    effect: EmotionEffect,
    generator: np.random.Generator,
) -> Utterance:
    """Lay out one utterance: timing, gliding formants, pitch contour, voicing and noise.

    F0 falls by 3 semitones over the utterance, by 2 more in its last 0.25 s, and rises by about 3.5
    on accents, all times the effect's range; the contour is centred, so that its mean is the
    speaker's f0 times the effect's level. Accented vowels last a quarter longer than others and the
    last syllable a third; durations vary by 8 %.

    Args:
        voice: Speaker.
        syllables: Sentence plan, at least one syllable.
        effect: Emotion, already scaled and varied.
        generator: Source of chance.

    Raises:
        InputError: there are no syllables.
    """
    if not syllables:
        raise InputError("syllables", "is empty", "give at least one syllable")
    rows, accents_s, spans_s, now = [], [], [], 0.06 + 0.06 * generator.random()
    rate = effect.rate_ratio * _NEUTRAL_RATE
    for index, syllable in enumerate(syllables):
        table = syllable.segments()
        stretch = np.exp(0.08 * generator.standard_normal(len(table))) / rate
        stretch *= np.where((table[:, 10] > 0) & syllable.accented, 1.25, 1.0)
        stretch *= 4 / 3 if index == len(syllables) - 1 else 1.0
        table[:, 0] *= stretch
        table[:, 5] *= 1.25 if syllable.accented else 1.0
        rows.append(_silence(table[0], now if index == 0 else 0.0))
        rows.append(table)
        begins_s = now
        now += table[:, 0].sum()
        spans_s.append((float(begins_s), float(now)))
        if syllable.accented:
            accents_s.append(now - table[:, 0].sum() / 2)
        pause_s = syllable.pause_s / effect.rate_ratio * math.exp(0.2 * generator.standard_normal())
        rows.append(_silence(table[-1], pause_s))
        now += pause_s
    rows.append(_silence(rows[-2][-1], 0.15))
    segments = np.concatenate(rows)
    ends_s = np.cumsum(segments[:, 0])
    times_s = np.arange(math.ceil(ends_s[-1] * FRAME_RATE_HZ)) / FRAME_RATE_HZ
    targets = segments[np.searchsorted(ends_s, times_s, side="right").clip(max=len(ends_s) - 1)]
    slow, quick = _smooth(targets, 17), _smooth(targets, 5)  # 85 and 25 ms of articulation
    tracks = np.concatenate([slow[:, 1:5], quick[:, 5:8], quick[:, 8:10]], axis=1)
    scale = _TABLE_TRACT_CM / voice.tract_length_cm
    tracks[:, [0, 1, 2, 7, 8]] *= scale
    speech = np.clip((times_s - segments[0, 0]) / (now - segments[0, 0]), 0, 1)
    tracks[:, 4:7] *= 10 ** (-4 * speech[:, None] / 20)  # the level falls with the breath
    tracks[:, 5] += voice.breathiness * tracks[:, 4]
    semitones = -3.0 * speech - 2.0 * np.clip((times_s - now + 0.25) / 0.25, 0, 1)
    for accent_s in accents_s:
        height = 3.5 * math.exp(0.25 * generator.standard_normal())
        semitones += height * np.exp(-0.5 * ((times_s - accent_s) / 0.09) ** 2)
    drift = _smooth(generator.standard_normal((len(times_s), 1)), 41)[:, 0]
    semitones = semitones * effect.f0_range_ratio + 1.5 * drift
    semitones -= np.average(semitones, weights=tracks[:, 4])
    f0_hz = voice.f0_hz * effect.f0_level_ratio * 2 ** (semitones / 12)
    own = replace(
        voice,
        jitter=voice.jitter * effect.jitter_ratio,
        shimmer=voice.shimmer * effect.shimmer_ratio,
        tilt_db_per_octave=voice.tilt_db_per_octave + effect.tilt_db_per_octave,
    )
    seed = int(generator.integers(2**62))
    level_db = NEUTRAL_LEVEL_DB + effect.energy_db
    return Utterance(own, level_db, f0_hz, tracks, seed, tuple(spans_s))


def _silence(like: NDArray[np.float64], duration_s: float) -> NDArray[np.float64]:
    row = like.copy()[None]
    row[:, 0] = duration_s
    row[:, 5:8] = 0.0
    return row


def _smooth(track: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Average `(T, C)` over a Hann window of `width` frames (odd), edges held."""
    window = np.hanning(width + 2)[1:-1]
    padded = np.pad(track, ((width // 2, width // 2), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, width, axis=0) @ (window / window.sum())
