"""The twin of LibriSpeech: clean, read sentences with their words; sound alone.

Readers act a little, as readers of stories do. All sizes are round numbers, chosen by hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thesislib.corpora.twins.clip_plans import EMOTIONS, PERSON_EFFECTS, ClipPlan, describe_people
from thesislib.corpora.twins.dyads import chance
from thesislib.corpora.twins.film import Camera
from thesislib.corpora.twins.sentences import ACCENTS, SENTENCES, speak, spelt, with_accent

CORPUS = "librispeech"
WHOLE = 1000
BLOCK = 10
CHAPTERS, UTTERANCES = 2, 5
"""Of a reader: chapters, and utterances of each."""
PARTS = (
    "train-clean-100", "dev-clean", "test-clean", "train-clean-100", "train-clean-100",
    "train-clean-100", "dev-clean", "test-clean", "train-clean-100", "train-clean-100",
)  # fmt: skip
"""Partitions, by reader of ten."""
MICROPHONE = Camera(fps=25, room_db=-64.0)
"""Of this camera only the noise of its room is heard."""
EFFECTS: Mapping[str, str] = {
    **{
        name: what
        for name, what in PERSON_EFFECTS.items()
        if name.startswith(("speaker_", "emotion_", "personality_")) and "face" not in name
    },
    "sentence": "share of syllables that are the sentence's own; the others are drawn at random",
    "accent": "share of syllables said in the reader's accent",
    "room": "amplitude of the noise of room and microphone",
}
"""Names of the planted effects: 1 is the documented size, 0 switches one off."""


def plan(
    clips: int, seed: int, scales: Mapping[str, float], duration_s: float | None = None
) -> list[ClipPlan]:
    """Plan utterances: blocks of ten readers, who take turns, with ten utterances each.

    Args:
        clips: 1 or more.
        seed: Of the twin.
        scales: Strength of every effect.
        duration_s: Not used: sentences have their own length.
    """
    plans = []
    for k in range(clips):
        block, place = divmod(k, BLOCK * CHAPTERS * UTTERANCES)
        take, person = divmod(place, BLOCK)
        number = block * BLOCK + person
        reader = f"{90_001 + number}"  # the corpus's own end below
        chapter = f"{900_001 + number * CHAPTERS + take % CHAPTERS}"
        stem = f"{reader}-{chapter}-{take // CHAPTERS:04}"
        generator = chance(seed, f"plan {CORPUS} {stem}")
        # A reader meets each sentence once at most, and every sentence has many readers.
        sentence = f"s{(11 * number + 7 * take) % SENTENCES:02}"
        emotion = EMOTIONS[int(generator.integers(len(EMOTIONS)))]
        drawn = float(generator.beta(2, 4))
        accent = list(ACCENTS)[number // 2 % len(ACCENTS)]
        said = speak(CORPUS, sentence, scales["sentence"], generator)
        plans.append(
            ClipPlan(
                files=(f"LibriSpeech/{PARTS[person]}/{reader}/{chapter}/{stem}.flac",),
                corpus=CORPUS,
                person=reader,
                sex=("male", "female")[number % 2],
                seed=seed,
                syllables=with_accent(said, accent, scales["accent"], generator),
                emotion=emotion,
                intensity=0.0 if emotion == "neutral" else drawn,
                room_db=MICROPHONE.scaled(room=scales["room"]).room_db,
                factors={
                    "partition": PARTS[person],
                    "chapter": chapter,
                    "sentence": sentence,
                    "accent": accent,
                    "transcript": spelt(said),
                },
            )
        )
    return sorted(plans, key=lambda clip: clip.files)


def write_tables(
    folder: Path, records: Sequence[dict[str, Any]], seed: int, scales: Mapping[str, float]
) -> dict[str, Any]:
    """Write transcripts and ``SPEAKERS.TXT``; the readers, for ``twin.json``."""
    home = folder / "LibriSpeech"
    words: defaultdict[Path, list[str]] = defaultdict(list)
    minutes: defaultdict[str, float] = defaultdict(float)
    readers: dict[str, tuple[str, str]] = {}
    for record in records:
        path = folder / record["file"]
        words[path.parent].append(f"{path.stem} {record['transcript']}")
        minutes[record["speaker"]] += record["duration_s"] / 60
        readers[record["speaker"]] = (record["sex"], record["partition"])
    for chapter, lines in words.items():
        name = f"{chapter.parent.name}-{chapter.name}.trans.txt"
        (chapter / name).write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for reader, (sex, part) in sorted(readers.items()):
        letter = sex[0].upper()
        lines.append(f"{reader:<5}| {letter} | {part:<16} | {minutes[reader]:.2f} | Twin {reader}")
    (home / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sexes = {reader: sex for reader, (sex, _) in sorted(readers.items())}
    return {"people": describe_people(CORPUS, sexes, seed, scales)}
