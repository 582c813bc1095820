"""The twin of CREMA-D: 91 actors say twelve sentences in six emotions, and raters judge them.

Raters hear the voice, see the face, or both, and judge what shows, so that perceived labels differ
from acted ones. All sizes are round numbers, chosen by hand.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thesislib.corpora.manifest import load_manifest
from thesislib.corpora.twins.clip_plans import EMOTIONS, PERSON_EFFECTS, ClipPlan, describe_people
from thesislib.corpora.twins.dyads import chance
from thesislib.corpora.twins.film import Camera
from thesislib.corpora.twins.sentences import ACCENTS, CREMA_D, speak, with_accent

CORPUS = "crema-d"
ACTORS = 91
WHOLE = ACTORS * 82
"""Clips of the whole design; the release has twenty fewer."""
EFFECTS: Mapping[str, str] = {
    **{name: what for name, what in PERSON_EFFECTS.items() if not name.startswith("laugh_")},
    "sentence": "share of syllables that are the sentence's own; the others are drawn at random",
    "accent": "share of syllables said in the actor's accent",
    "raters": "how far raters' choices follow the emotion that shows",
    "camera": "noise, blur, vignette, exposure and colour of the pictures",
    "pictures": "0 leaves the pictures out: sound alone, written many times as fast",
    "room": "amplitude of the noise of room and microphone",
}
"""Names of the planted effects: 1 is the documented size, 0 switches one off."""
CAMERA = Camera(
    fps=25, size=240, noise=2.5, blur_px=0.5, exposure=0.97, white_balance=(0.97, 1.02, 1.0),
    vignette=0.05, crf=24, profile="main", audio_rate=44_100, audio_bit_rate=64_000, room_db=-58.0,
)  # fmt: skip
STUDIO = {
    "light_azimuth": 0.2, "light_elevation": 0.6, "ambient": 0.55, "background_hue": 0.38,
    "background_lightness": 0.45,
}  # fmt: skip
"""Every actor sits before the same wall in the same light."""
LEVELS: Mapping[str, float] = {"LO": 0.35, "MD": 0.6, "HI": 0.9}
"""Intensity of a level, to which up to 0.05 is added or taken; of XX it is beta(4, 2)."""
CLARITY: Mapping[str, float] = {"Voice": 0.7, "Face": 1.0}
"""How much of an emotion's intensity reaches a rater from voice or face alone."""
RATERS = 10
CONFUSED: Mapping[str, str] = {
    "anger": "disgust", "disgust": "anger", "fear": "sadness", "sadness": "fear",
    "happiness": "neutral", "neutral": "sadness",
}  # fmt: skip
"""Which other emotion an emotion is most like; it gets a quarter of its evidence."""
_CONDITIONS = ("Voice", "Face", "MultiModal")
_VOICE = ("emotion_f0", "emotion_rate", "emotion_energy", "emotion_tilt", "emotion_jitter")


def plan(
    clips: int, seed: int, scales: Mapping[str, float], duration_s: float | None = None
) -> list[ClipPlan]:
    """Plan a number of clips, round-robin over actors and emotions.

    The first six clips have every emotion, the first 91 every actor, the first 546 every pair; a
    clip does not depend on how many there are.

    Args:
        clips: 1 to `WHOLE`.
        seed: Of the twin.
        scales: Strength of every effect.
        duration_s: Not used: sentences have their own length.
    """
    codes = {row["emotion"]: row["code"] for row in load_manifest(CORPUS).records("emotions")}
    sexes = actor_sexes()
    pools = {
        (actor, emotion): _takes(actor, emotion) for actor in range(ACTORS) for emotion in EMOTIONS
    }
    plans: list[ClipPlan] = []
    turn = 0
    while len(plans) < clips:
        actor, emotion = turn % ACTORS, EMOTIONS[turn % len(EMOTIONS)]
        turn += 1
        if not pools[actor, emotion]:
            continue
        sentence, level = pools[actor, emotion].pop(0)
        speaker = list(sexes)[actor]
        name = f"{speaker}_{sentence}_{codes[emotion]}_{level}"
        generator = chance(seed, f"plan {CORPUS} {name}")
        accent = list(ACCENTS)[actor // 2 % len(ACCENTS)]
        said = speak(CORPUS, sentence, scales["sentence"], generator)
        said = with_accent(said, accent, scales["accent"], generator)
        plans.append(
            ClipPlan(
                files=(f"VideoFlash/{name}.mp4", f"AudioWAV/{name}.wav"),
                corpus=CORPUS,
                person=speaker,
                sex=sexes[speaker],
                seed=seed,
                syllables=said,
                emotion=emotion,
                intensity=_intensity(emotion, level, generator),
                camera=CAMERA.scaled(
                    picture=scales["camera"], room=scales["room"], pictures=scales["pictures"]
                ),
                setting=STUDIO,
                factors={"sentence": sentence, "level": level, "accent": accent},
            )
        )
    return sorted(plans, key=lambda clip: clip.files)


def actor_sexes() -> dict[str, str]:
    """Actor to sex: 43 women and 48 men, who take turns."""
    return {f"{1001 + i}": "female" if i % 2 and i < 86 else "male" for i in range(ACTORS)}


def write_tables(
    folder: Path, records: Sequence[dict[str, Any]], seed: int, scales: Mapping[str, float]
) -> dict[str, Any]:
    """Write the owners' tables; each record gets what the raters made of its clip.

    Args:
        folder: Of the twin.
        records: Of `clip_plans.record_clip`, in order of name.
        seed: Of the twin.
        scales: Strength of every effect.

    Returns:
        The actors, for ``twin.json``.
    """
    people = describe_people(CORPUS, actor_sexes(), seed, scales)
    names = [Path(record["file"]).stem for record in records]
    _table(folder / "SentenceFilenames.csv", ["Stimulus_Number", "Filename"], enumerate(names, 1))
    _table(
        folder / "VideoDemographics.csv",
        ["ActorID", "Age", "Sex", "Race", "Ethnicity"],
        [
            [int(name), round(20 + 54 * about["identity"]["age"]), about["sex"].capitalize(),
             "Unknown", "Unknown"]
            for name, about in people.items()
        ],
    )  # fmt: skip
    letters = {row["emotion"]: row["vote"] for row in load_manifest(CORPUS).records("emotions")}
    summary: list[list[object]] = []
    tabulated: list[list[object]] = []
    for number, (name, record) in enumerate(zip(names, records, strict=True), 1):
        chosen, strengths = rate(
            record["emotion"], record["intensity"], scales, chance(seed, f"raters of {name}")
        )
        record["votes"] = {}
        cells: list[object] = []
        for condition, choices, levels in zip(_CONDITIONS, chosen, strengths, strict=True):
            row = _count(choices, levels, letters)
            record["votes"][condition] = row["counts"]
            cells += [row["vote"], row["level"]]
            code = f"{(_CONDITIONS.index(condition) + 1) * 100_000 + number}"
            tabulated.append([code, *row["counts"].values(), name, RATERS, row["agreement"],
                              row["vote"], float(levels.mean()), *row["means"]])  # fmt: skip
        summary.append([f"{number}", name, *cells])
    processed = folder / "processedResults"
    processed.mkdir()
    heads = [f"{condition}{what}" for condition in _CONDITIONS for what in ("Vote", "Level")]
    _table(processed / "summaryTable.csv", ["", "FileName", *heads], summary)
    order = sorted(letters, key=letters.__getitem__)
    adjectives = {"happiness": "Happy", "neutral": "Neutral", "sadness": "Sad"}
    means = [f"mean{adjectives.get(emotion, emotion.capitalize())}Resp" for emotion in order]
    heads = [letters[emotion] for emotion in order]
    heads += ["fileName", "numResponses", "agreement", "emoVote", "meanEmoResp", *means]
    tabulated.sort(key=lambda row: str(row[0]))
    _table(processed / "tabulatedVotes.csv", ["", *heads], tabulated)
    return {"people": people}


def rate(
    emotion: str, intensity: float, scales: Mapping[str, float], generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What ten raters choose from voice, from face, and from both.

    Evidence is the intensity that shows times `CLARITY`; from both it is
    ``1 - (1 - voice)(1 - face)``. A choice follows the softmax of scores: 5 times the evidence
    for the acted emotion, a quarter of that for the one it is confused with, and 3 for neutral;
    the effect ``raters`` multiplies them, so that at 0 choices are chance.

    Args:
        emotion: Acted.
        intensity: 0 to 1; 0 for neutral.
        scales: Strength of every effect. What does not show in voice or face is not rated: the
            effects of an emotion scale its evidence.
        generator: Source of chance; the same draws serve every strength.

    Returns:
        Choices `(3, 10)`, indices of `EMOTIONS`, and their strengths `(3, 10)`, 0 to 100.
    """
    voice = CLARITY["Voice"] * intensity * min(float(np.mean([scales[n] for n in _VOICE])), 1.0)
    face = CLARITY["Face"] * intensity * min(scales["emotion_face"], 1.0)
    evidence = np.array([voice, face, 1 - (1 - voice) * (1 - face)])
    scores = np.zeros((3, len(EMOTIONS)))
    scores[:, EMOTIONS.index("neutral")] += 3.0
    scores[:, EMOTIONS.index(emotion)] += 5.0 * evidence
    scores[:, EMOTIONS.index(CONFUSED[emotion])] += 1.25 * evidence
    gumbel = generator.gumbel(size=(3, RATERS, len(EMOTIONS)))
    chosen = (scales["raters"] * scores[:, None] + gumbel).argmax(-1)
    spread = 15 * generator.standard_normal((3, RATERS))
    felt = np.where(chosen == EMOTIONS.index("neutral"), 65.0, 30 + 50 * evidence[:, None])
    return chosen, np.clip(np.round(felt + spread), 1, 100)


def _count(
    choices: NDArray[np.int64], levels: NDArray[np.float64], letters: Mapping[str, str]
) -> dict[str, Any]:
    """Votes of one condition by letter, the majority (several where tied), and mean strengths."""
    order = sorted(EMOTIONS, key=letters.__getitem__)
    picked = {emotion: levels[choices == EMOTIONS.index(emotion)] for emotion in order}
    counts = {letters[emotion]: len(values) for emotion, values in picked.items()}
    most = max(counts.values())
    winners = [emotion for emotion in order if len(picked[emotion]) == most]
    return {
        "counts": counts,
        "agreement": most / len(choices),
        "vote": ":".join(letters[emotion] for emotion in winners),
        "level": ":".join(f"{picked[emotion].mean():.2f}" for emotion in winners),
        "means": [float(v.mean()) if len(v) else -1 for v in picked.values()],
    }


def _takes(actor: int, emotion: str) -> list[tuple[str, str]]:
    """Sentences and levels of one actor and emotion; actors begin at different ones."""
    takes = [(sentence, "XX") for sentence in CREMA_D if sentence != "IEO"]
    levels = ["XX"] if emotion == "neutral" else list(LEVELS)
    takes += [("IEO", level) for level in levels]
    first = (actor + 2 * EMOTIONS.index(emotion)) % len(takes)
    return takes[first:] + takes[:first]


def _intensity(emotion: str, level: str, generator: np.random.Generator) -> float:
    drawn, jitter = float(generator.beta(4, 2)), float(generator.uniform(-0.05, 0.05))
    if emotion == "neutral":
        return 0.0
    return LEVELS[level] + jitter if level in LEVELS else drawn


def _table(path: Path, header: list[str], rows: Any) -> None:  # noqa: ANN401 - rows of cells
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC).writerows([header, *rows])
