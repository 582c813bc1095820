"""Who a person of a twin is: a face, a voice and five traits of personality that show in both.

The traits are latent: nothing draws them but what they do to behaviour, listed here with its size.
Sizes are round numbers chosen by hand, in directions that studies of personality and nonverbal
behaviour report; no result of a classifier played a part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch

from thesislib.corpora.twins.dyads import Event, chance
from thesislib.corpora.twins.face import FaceIdentity, sample_identity
from thesislib.corpora.twins.voice import (
    EmotionEffect,
    SpeakerVoice,
    blend_voice,
    effect_scales,
    sample_speaker,
)
from thesislib.errors import InputError

TRAITS = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")
"""The five traits, each 0 to 1."""

EFFECTS: Mapping[str, str] = {
    "speaker_f0": "each speaker's own mean f0",
    "speaker_tract": "each speaker's own vocal-tract length, hence formants",
    "speaker_quality": "each speaker's own open quotient, tilt, breathiness, jitter and shimmer",
    "face_identity": "each person's own face: shape, skin, hair, eyes, light",
    "personality_voice": "level, rate, f0, pauses and hesitations by personality",
    "personality_face": "smiles, gaze, blinks, brows and head motion by personality",
    "emotion_f0": "f0 level and range of an emotion",
    "emotion_rate": "speaking rate of an emotion",
    "emotion_energy": "level of an emotion",
    "emotion_tilt": "spectral tilt of an emotion",
    "emotion_jitter": "jitter and shimmer of an emotion",
    "emotion_face": "action units of an emotion",
    "laugh_voice": "amplitude of the sound of laughs; at 0 speech goes on through them",
    "laugh_face": "intensity of laughs on the face, head and shoulders",
    "smile_voice": "formants raised by smiles",
    "smile_face": "intensity of smiles on the face",
    "lips": "lips that follow the syllables",
    "nods": "nods of a listener at backchannels",
    "leakage": "amplitude of the other person's voice in one's own microphone",
}
"""Effects of people and performances: 1 is the documented size, 0 switches one off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person of a twin.

    Attributes:
        name: As the corpus calls them.
        sex: ``female`` or ``male``.
        identity: Face.
        voice: Voice in neutral speech.
        personality: The five `TRAITS`, 0 to 1, independent of sex and of each other.
    """

    name: str
    sex: str
    identity: FaceIdentity
    voice: SpeakerVoice
    personality: Mapping[str, float]


def sample_person(
    name: str, sex: str, *, seed: int, effects: Mapping[str, float] | None = None
) -> Person:
    """Draw a person, whatever others there are: another name or seed is somebody else.

    Traits are drawn from a beta distribution with parameters 2 and 2, so they spread by 0.22
    around 0.5. Factors of face and voice that are switched off take one common value for all.

    Args:
        name: Of the person, any text.
        sex: ``female`` or ``male``.
        seed: Of the corpus, 0 or more.
        effects: Strengths that differ from 1, by the names of `EFFECTS`.

    Raises:
        InputError: the sex or an effect is unknown, or the seed is negative.

    >>> sample_person("1_1_A_F", "female", seed=0) == sample_person("1_1_A_F", "female", seed=0)
    True
    """
    scales = effect_scales(EFFECTS, effects)
    if seed < 0:
        raise InputError("seed", f"cannot be {seed}", "use 0 or more")
    voice = blend_voice(
        sample_speaker(sex, chance(seed, f"voice of {name}")),
        f0=scales["speaker_f0"],
        tract=scales["speaker_tract"],
        quality=scales["speaker_quality"],
    )
    face_seed = int(chance(seed, f"face of {name}").integers(2**62))
    own = sample_identity(sex, torch.Generator().manual_seed(face_seed))
    traits = chance(seed, f"personality of {name}").beta(2, 2, len(TRAITS))
    return Person(
        name=name,
        sex=sex,
        identity=_blend_identity(own, scales["face_identity"]),
        voice=voice,
        personality={trait: float(value) for trait, value in zip(TRAITS, traits, strict=True)},
    )


def _blend_identity(own: FaceIdentity, share: float) -> FaceIdentity:
    if share == 1.0:
        return own
    common = FaceIdentity()
    values = {}
    for field in fields(FaceIdentity):
        a, b = getattr(common, field.name), getattr(own, field.name)
        # Beyond the person's own value a factor could leave its range: caricatures are not drawn.
        values[field.name] = a + min(share, 1.0) * (b - a)
    return FaceIdentity(**values)


def _signed(person: Person) -> dict[str, float]:
    return {trait: 2 * person.personality[trait] - 1 for trait in TRAITS}


def manner_of_speaking(person: Person, scale: float = 1.0) -> EmotionEffect:
    """How personality changes the voice, as a departure from average speech.

    With traits `z` from -1 to 1: extraversion adds 4 dB and multiplies the rate by 1.15 to the
    power of `z`; openness widens the range of f0 by 1.4; neuroticism raises f0 by 1.06 and jitter
    and shimmer by 1.3; agreeableness softens the source by 1.5 dB per octave.

    Args:
        person: Who speaks.
        scale: Strength of the effect ``personality_voice``.

    Source: Scherer (1978) for loudness and rate of extraverts; other directions are plausible
    choices of our own.
    """
    z = {trait: scale * value for trait, value in _signed(person).items()}
    return EmotionEffect(
        f0_level_ratio=1.06 ** z["neuroticism"],
        f0_range_ratio=1.4 ** z["openness"],
        rate_ratio=1.15 ** z["extraversion"],
        energy_db=4.0 * z["extraversion"],
        tilt_db_per_octave=-1.5 * z["agreeableness"],
        jitter_ratio=1.3 ** z["neuroticism"],
        shimmer_ratio=1.3 ** z["neuroticism"],
    )


def pauses(person: Person, scale: float = 1.0) -> tuple[float, float]:
    """Factor on the length of pauses, and probability that a phrase begins with a hesitation.

    Extraversion divides pauses by 1.5 to the power of `z`; conscientiousness divides the
    probability of a hesitation, 0.1 on average, by 3 to the power of `z`.
    """
    z = _signed(person)
    ratio = 1.5 ** (-scale * z["extraversion"])
    return ratio, min(0.1 * 3.0 ** (-scale * z["conscientiousness"]), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What a person's face does on its own; the values are those of an average person.

    Attributes:
        blinks_per_min: Rate of blinks.
        away: Share of time for which the eyes look away from the camera or the partner.
        head_motion: Factor on the sway of the head.
        restlessness: Factor on how fast it sways.
        brow_raises: Probability that an accent raises the brows.
        resting_smile: AU12 at rest, 0 to 1.
        resting_frown: AU4 at rest, 0 to 1.
        smiles_per_min: Rate of smiles where no conversation plans them.
    """

    blinks_per_min: float = 17.0
    away: float = 0.25
    head_motion: float = 1.0
    restlessness: float = 1.0
    brow_raises: float = 0.25
    resting_smile: float = 0.06
    resting_frown: float = 0.05
    smiles_per_min: float = 4.0


def habits(person: Person, scale: float = 1.0) -> Habits:
    """How personality shows in the face.

    With traits `z` from -1 to 1: extraversion doubles smiles, halves the time looking away and
    multiplies head motion by 1.5; agreeableness adds 0.06 to the resting smile and multiplies
    smiles by 1.4; neuroticism multiplies blinks by 1.6 and restlessness by 1.4 and adds 0.05 to
    the resting frown; openness doubles brow raises; conscientiousness divides head motion by 1.4
    and time looking away by 1.3; all ratios to the power of `z`.

    Args:
        person: Whose face.
        scale: Strength of the effect ``personality_face``.

    Source: Riggio and Friedman (1986) for smiles, gaze and gestures of extraverts; other
    directions are plausible choices of our own.
    """
    z = {trait: scale * value for trait, value in _signed(person).items()}
    extraversion, agreeable = z["extraversion"], z["agreeableness"]
    careful, anxious = z["conscientiousness"], z["neuroticism"]
    usual = Habits()
    return Habits(
        blinks_per_min=usual.blinks_per_min * 1.6**anxious,
        away=min(usual.away * 2.0**-extraversion * 1.3**-careful, 0.9),
        head_motion=usual.head_motion * 1.5**extraversion * 1.4**-careful,
        restlessness=usual.restlessness * 1.4**anxious,
        brow_raises=min(usual.brow_raises * 2.0 ** z["openness"], 1.0),
        resting_smile=min(max(usual.resting_smile + 0.06 * agreeable, 0.0), 1.0),
        resting_frown=min(max(usual.resting_frown + 0.05 * anxious, 0.0), 1.0),
        smiles_per_min=usual.smiles_per_min * 2.0**extraversion * 1.4**agreeable,
    )


def merge_effects(*effects: EmotionEffect) -> EmotionEffect:
    """Departures that act together: ratios are multiplied, dB added."""
    values = {}
    for field in fields(EmotionEffect):
        parts = [getattr(effect, field.name) for effect in effects]
        values[field.name] = (
            math.prod(parts) if field.name.endswith("ratio") else float(np.sum(parts))
        )
    return EmotionEffect(**values)


def spontaneous_events(
    person: Person,
    duration_s: float,
    *,
    seed: int,
    effects: Mapping[str, float] | None = None,
) -> tuple[Event, ...]:
    """Smiles and laughs of somebody alone before a camera, at the rate of their habits.

    One in ten is a laugh. Lengths and intensities are drawn as in conversations (smiles of 2.5 s
    and laughs of 1.5 s in the median).

    Args:
        person: Who.
        duration_s: Length of the clip.
        seed: Of the clip.
        effects: Strengths that differ from 1; with ``personality_face`` at 0 all smile alike.

    Returns:
        Disjoint events in order of time, within the clip.
    """
    scale = effect_scales(EFFECTS, effects)["personality_face"]
    wait_s = 60.0 / habits(person, scale).smiles_per_min
    generator = chance(seed, f"events of {person.name}")
    events: list[Event] = []
    now_s = 0.0
    while True:
        now_s += float(generator.exponential(wait_s))
        laughs = bool(generator.random() < 0.1)
        z, intensity = float(generator.standard_normal()), float(generator.beta(2, 2.5))
        length_s = min(max((1.5 if laughs else 2.5) * math.exp(0.5 * z), 0.8), 6.0)
        if now_s + length_s > duration_s:
            return tuple(events)
        start, length = round(1000 * now_s), round(1000 * length_s)
        events.append(
            Event(
                start_ms=start,
                apex_ms=start + round(0.25 * length),
                release_ms=start + round(0.65 * length),
                end_ms=start + length,
                kind="laugh" if laughs else "smile",
                intensity=intensity,
                shown=intensity,
                mimics=False,
            )
        )
        now_s += length_s + 0.1
