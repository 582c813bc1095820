"""The twins of VoxCeleb2 (people in the wild) and of First Impressions (personality in 15 s).

All sizes are round numbers, chosen by hand.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thesislib.corpora.first_impressions import ANNOTATIONS
from thesislib.corpora.twins.clip_plans import (
    EMOTIONS,
    PERSON_EFFECTS,
    ClipPlan,
    describe_people,
    of_people,
    person_of,
)
from thesislib.corpora.twins.dyads import Event, chance
from thesislib.corpora.twins.face import sample_identity
from thesislib.corpora.twins.film import Camera
from thesislib.corpora.twins.interference import draw_acoustics
from thesislib.corpora.twins.people import TRAITS, spontaneous_events
from thesislib.corpora.twins.sentences import ACCENTS, SENTENCES, speak, with_accent
from thesislib.corpora.twins.talk import CORPUS_LANGUAGES

VOXCELEB2, FIRST_IMPRESSIONS = "voxceleb2", "first-impressions"
BLOCK = 10
"""People come in tens, each with the same share of every part."""
VIDEOS, UTTERANCES = 3, 2
"""Of a speaker of VoxCeleb2: videos, and utterances from each."""
CUTS = 4
"""Clips from a video of First Impressions, which shows one person, who is in no other."""
CUT_S = 15.0
TEST = (1, 6)
"""Speakers of ten that belong to VoxCeleb2's ``test``."""
PARTS = ("train", "val", "test", "train", "train", "train", "train", "test", "val", "train")
"""Parts of First Impressions, by person of ten."""
RATER_NOISE = 0.05
"""Spread of the annotation of a trait around the trait."""
LAUGHS, SMILES = 0.2, 0.25
"""Share of VoxCeleb2's clips that begin with a laugh, and of those that begin with a smile."""
WHOLE: Mapping[str, int] = {VOXCELEB2: 1200, FIRST_IMPRESSIONS: 400}
VOXCELEB2_EFFECTS: Mapping[str, str] = {
    **PERSON_EFFECTS,
    "sentence": "share of syllables that are the sentence's own; the others are drawn at random",
    "accent": "share of syllables said in the speaker's accent",
    "setting": "light, background and clothes of each video instead of the speaker's own",
    "camera": "noise, blur, vignette, exposure and colour of the pictures",
    "pictures": "0 leaves the pictures out: sound alone, written many times as fast",
    "noise": "amplitude of the noise around the speaker",
    "reverberation": "amplitude of the room's echo",
    "music": "amplitude of music in three videos of ten",
}
"""Names of the planted effects of VoxCeleb2's twin: 1 is the documented size, 0 switches off."""
FIRST_IMPRESSIONS_EFFECTS: Mapping[str, str] = {
    **{name: what for name, what in PERSON_EFFECTS.items() if not name.startswith("emotion_")},
    "raters": "how far the annotated traits follow the person's own",
    "camera": "noise, blur, vignette, exposure and colour of the pictures",
    "pictures": "0 leaves the pictures out: sound alone, written many times as fast",
    "room": "amplitude of the noise of room and microphone",
}
"""The same of the twin of First Impressions."""
_SETTING = (
    "light_azimuth", "light_elevation", "ambient", "background_hue", "background_lightness",
    "clothes_hue", "clothes_lightness",
)  # fmt: skip
_KEY = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789-_"


def plan_voxceleb2(
    clips: int, seed: int, scales: Mapping[str, float], duration_s: float | None = None
) -> list[ClipPlan]:
    """Plan utterances: blocks of ten speakers, who take turns, with six utterances each.

    Args:
        clips: 2 or more, so that both parts have one.
        seed: Of the twin.
        scales: Strength of every effect.
        duration_s: Not used: sentences have their own length.
    """
    plans = []
    for k in range(clips):
        block, place = divmod(k, BLOCK * VIDEOS * UTTERANCES)
        take, person = divmod(place, BLOCK)
        number = block * BLOCK + person
        speaker = f"id{90_000 + number:05}"  # the corpus's own end below
        part = "test" if person in TEST else "dev"
        video = _key(seed, f"{VOXCELEB2} {speaker} {take % VIDEOS}")
        stem = f"{speaker}/{video}/{1 + take // VIDEOS:05}"
        sex = ("male", "female")[number % 2]
        generator = chance(seed, f"plan {VOXCELEB2} {stem}")
        sentence = f"s{int(generator.integers(SENTENCES)):02}"
        emotion = EMOTIONS[int(generator.integers(len(EMOTIONS)))]
        drawn = float(generator.beta(2, 2))
        events = _events(generator)
        accent = list(ACCENTS)[number // 2 % len(ACCENTS)]
        said = speak(VOXCELEB2, sentence, scales["sentence"], generator)
        own = chance(seed, f"{VOXCELEB2} video {video}")
        camera = _camera(own).scaled(picture=scales["camera"], pictures=scales["pictures"])
        acoustics = draw_acoustics(
            own, room=scales["reverberation"], noise=scales["noise"], music=scales["music"]
        )
        plans.append(
            ClipPlan(
                files=(f"{part}/mp4/{stem}.mp4", f"{part}/aac/{stem}.m4a"),
                corpus=VOXCELEB2,
                person=speaker,
                sex=sex,
                seed=seed,
                syllables=with_accent(said, accent, scales["accent"], generator),
                emotion=emotion,
                intensity=0.0 if emotion == "neutral" else drawn,
                events=events,
                camera=camera,
                acoustics=acoustics,
                setting=_setting(sex, own) if scales["setting"] > 0 else {},
                factors={
                    "partition": part,
                    "video": video,
                    "sentence": sentence,
                    "accent": accent,
                    "camera": asdict(camera),
                },
            )
        )
    return sorted(plans, key=lambda clip: clip.files)


def write_voxceleb2_tables(
    folder: Path, records: Sequence[dict[str, Any]], seed: int, scales: Mapping[str, float]
) -> dict[str, Any]:
    """Write ``vox2_meta.csv``; the speakers, for ``twin.json``."""
    speakers = {r["speaker"]: (r["sex"], r["partition"]) for r in records}
    lines = ["VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set "]
    for speaker, (sex, part) in sorted(speakers.items()):
        lines.append(f"{speaker} ,n{speaker[2:]:>06} ,{sex[0]} ,{part} ")
    (folder / "vox2_meta.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sexes = {speaker: sex for speaker, (sex, _) in sorted(speakers.items())}
    return {"people": describe_people(VOXCELEB2, sexes, seed, scales)}


def plan_first_impressions(
    clips: int, seed: int, scales: Mapping[str, float], duration_s: float | None = None
) -> list[ClipPlan]:
    """Plan cuts of monologues: blocks of ten people, who take turns, with four clips each.

    Args:
        clips: 3 or more, so that every part has one.
        seed: Of the twin.
        scales: Strength of every effect.
        duration_s: Length of a clip; default `CUT_S`.
    """
    length_s = CUT_S if duration_s is None else duration_s
    plans = []
    for k in range(clips):
        block, place = divmod(k, BLOCK * CUTS)
        cut, person = divmod(place, BLOCK)
        number = block * BLOCK + person
        video = _key(seed, f"{FIRST_IMPRESSIONS} {number}")
        own = chance(seed, f"{FIRST_IMPRESSIONS} video {video}")
        room_db = float(own.uniform(-62, -48))
        camera = Camera(
            fps=25, size=(224, 288), noise=float(own.uniform(1, 3)), crf=int(own.integers(22, 28)),
            blur_px=float(own.uniform(0.2, 0.6)), exposure=float(np.exp(0.08 * _normal(own))),
            white_balance=(float(np.exp(0.04 * _normal(own))), 1.0,
                           float(np.exp(0.04 * _normal(own)))),
            vignette=float(own.uniform(0, 0.2)), profile="high", audio_rate=44_100,
            audio_bit_rate=128_000, room_db=room_db,
        ).scaled(
            picture=scales["camera"], room=scales["room"], pictures=scales["pictures"],
        )  # fmt: skip
        part, sex = PARTS[person], ("male", "female")[number % 2]
        file = f"{part}-videos/{video}.{cut:03}.mp4"
        events = spontaneous_events(
            person_of(FIRST_IMPRESSIONS, video, sex, seed, scales),
            length_s,
            seed=int(chance(seed, f"plan {FIRST_IMPRESSIONS} {file}").integers(2**62)),
            effects=of_people(scales),
        )
        plans.append(
            ClipPlan(
                files=(file,),
                corpus=FIRST_IMPRESSIONS,
                person=video,
                sex=sex,
                seed=seed,
                events=events,
                duration_s=length_s,
                language=CORPUS_LANGUAGES[FIRST_IMPRESSIONS],
                camera=camera,
                factors={"partition": part, "camera": asdict(camera)},
            )
        )
    return sorted(plans, key=lambda clip: clip.files)


def write_first_impressions_tables(
    folder: Path, records: Sequence[dict[str, Any]], seed: int, scales: Mapping[str, float]
) -> dict[str, Any]:
    """Write the three pickled annotations; each record gets its own, exactly as annotated.

    A trait is annotated as ``0.5 + raters (trait - 0.5)`` plus chance of `RATER_NOISE`, cut to 0
    to 1; ``interview`` is the mean of the five (neuroticism reversed), likewise.

    Returns:
        The people, for ``twin.json``.
    """
    parts: dict[str, dict[str, dict[str, float]]] = {part: {} for part in ANNOTATIONS}
    for record in records:
        name = Path(record["file"]).name
        generator = chance(seed, f"annotation of {name}")
        traits = record["personality"]
        favour = [traits[t] if t != "neuroticism" else 1 - traits[t] for t in TRAITS]
        wanted = {**{trait: traits[trait] for trait in TRAITS}, "interview": float(np.mean(favour))}
        noise = RATER_NOISE * generator.standard_normal(len(wanted))
        record["annotation"] = {
            trait: float(np.clip(0.5 + scales["raters"] * (value - 0.5) + chances, 0, 1))
            for (trait, value), chances in zip(wanted.items(), noise, strict=True)
        }
        for trait, value in record["annotation"].items():
            parts[record["partition"]].setdefault(trait, {})[name] = value
    for part, scores in parts.items():
        (folder / ANNOTATIONS[part]).write_bytes(pickle.dumps(scores, protocol=2))
    sexes = {record["speaker"]: record["sex"] for record in records}
    return {"people": describe_people(FIRST_IMPRESSIONS, sexes, seed, scales)}


def _events(generator: np.random.Generator) -> tuple[Event, ...]:
    """A laugh, a smile or nothing at the beginning of a clip."""
    which, length, strength = generator.random(3)
    if which >= LAUGHS + SMILES:
        return ()
    laughs = which < LAUGHS
    start = 200
    end = start + round(1000 * ((0.8 + 0.8 * length) if laughs else (1.2 + 1.5 * length)))
    intensity = float(0.2 + 0.8 * strength)
    return (
        Event(
            start_ms=start,
            apex_ms=start + round(0.25 * (end - start)),
            release_ms=start + round(0.65 * (end - start)),
            end_ms=end,
            kind="laugh" if laughs else "smile",
            intensity=intensity,
            shown=intensity,
            mimics=False,
        ),
    )


def _camera(generator: np.random.Generator) -> Camera:
    """A camera in the wild, of one video."""
    red, blue, light = (float(np.exp(v)) for v in (0.07, 0.07, 0.18) * _normal(generator, 3))
    noise, blur, vignette = (float(generator.uniform(*r)) for r in ((1, 8), (0.2, 0.7), (0, 0.4)))
    return Camera(
        fps=25, size=224, noise=noise, blur_px=blur, exposure=light, vignette=vignette,
        white_balance=(red, 1.0, blue), crf=int(generator.integers(24, 35)), profile="main",
        audio_rate=16_000, audio_bit_rate=64_000, room_db=None,
    )  # fmt: skip


def _setting(sex: str, generator: np.random.Generator) -> dict[str, float]:
    other = sample_identity(sex, torch.Generator().manual_seed(int(generator.integers(2**62))))
    return {name: float(getattr(other, name)) for name in _SETTING}


def _normal(generator: np.random.Generator, size: int | None = None) -> Any:  # noqa: ANN401
    """Normal chance cut at two standard deviations, one number or `(size,)`."""
    return np.clip(generator.standard_normal(size), -2, 2)


def _key(seed: int, what: str) -> str:
    """Eleven characters such as YouTube's, that begin with ``twin`` as no real one need."""
    picks = chance(seed, f"key of {what}").integers(len(_KEY), size=7)
    return "twin" + "".join(_KEY[i] for i in picks)
