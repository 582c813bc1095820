"""CREMA-D: six acted emotions by 91 actors, with what judges made of them.

Layout of the owners' repository: ``AudioWAV/1001_DFA_ANG_XX.wav`` (actor, sentence, acted emotion,
level), ``VideoFlash/1001_DFA_ANG_XX.flv``, ``SentenceFilenames.csv`` (the clips that belong to
it), ``VideoDemographics.csv`` and ``processedResults/summaryTable.csv`` (majority votes).

Source: cao2014cremad; vocabularies in ``data_manifests/crema-d.json``; notes item 12.
"""

from __future__ import annotations

import re
from pathlib import Path

from thesislib.corpora import layout
from thesislib.corpora.clip import Clip
from thesislib.corpora.layout import detect_variant
from thesislib.corpora.manifest import load_manifest
from thesislib.errors import InputError

__all__ = ["CORPUS", "FLAWED", "LABEL_SOURCES", "check", "detect_variant", "load_clips"]

CORPUS = "crema-d"
N_CLIPS = 7442  # of the release; section 5.1.2 says so too
NAME = re.compile(
    r"(?P<actor>\d{4})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<level>[A-Z]{2})"
)
LABEL_SOURCES = {
    "acted": "",
    "perceived-voice": "Voice",
    "perceived-face": "Face",
    "perceived-both": "MultiModal",
}
"""Where the emotion comes from, to the heading of its columns in the table of votes."""
FLAWED = {
    "1064_IEO_DIS_MD": "a minute long in the video, with all emotions",
    "1064_TIE_SAD_XX": "a video without a duration",
    "1076_MTI_NEU_XX": "a very short video without sound",
    "1076_MTI_SAD_XX": "no sound in either form, an error picture",
    "1006_TIE_HAP_XX": "the same recording of sound as 1006_TIE_NEU_XX",
    "1006_TIE_NEU_XX": "the same recording of sound as 1006_TIE_HAP_XX",
    "1013_WSI_DIS_XX": "the same recording of sound as 1013_WSI_SAD_XX",
    "1013_WSI_SAD_XX": "the same recording of sound as 1013_WSI_DIS_XX",
    "1017_IWW_ANG_XX": "the same recording of sound as 1017_IWW_FEA_XX",
    "1017_IWW_FEA_XX": "the same recording of sound as 1017_IWW_ANG_XX",
}
"""Flaws of the release, which are no fault of a copy; the clips are loaded like all others.

The first four are the owners' own remarks, the others follow from equal bytes under two names.
"""
FOLDERS = {"AudioWAV": (".wav",), "VideoFlash": (".flv", ".mp4")}
"""Folder to the suffixes of its recordings; many copies, and the twin, hold the videos as MP4."""


def load_clips(root: Path, *, labels: str = "acted") -> list[Clip]:
    """All clips under `root`, in order of name.

    Labels are ``emotion``, ``label_source`` (one of `LABEL_SOURCES`), ``sentence`` and
    ``intensity`` (the acted level, whatever the source). Perceived labels are the judges' majority
    vote, with the score ``strength``, their mean rating in [0, 1]; a clip whose vote is tied has
    no majority and is left out (420 of 7,442 for voice and face together).

    Args:
        root: Folder of the owners' repository, or of a twin.
        labels: ``acted``, or ``perceived`` by ``-voice``, ``-face`` or ``-both``; ``perceived``
            alone means both.

    Raises:
        InputError: the licence is not accepted, there is no clip, a name breaks the scheme, an
            actor or a clip is not in the owners' tables, or `labels` is none of the sources.
    """
    source = "perceived-both" if labels == "perceived" else labels
    if source not in LABEL_SOURCES:
        known = ", ".join(["perceived", *LABEL_SOURCES])
        raise InputError("labels", f"cannot be {labels!r}", f"choose one of: {known}")
    layout.require_licence(root, CORPUS)
    manifest = load_manifest(CORPUS)
    acted = {row["code"]: row["emotion"] for row in manifest.records("emotions")}
    levels = {row["code"]: row["level"] for row in manifest.records("levels")}
    sentences = {row["sentence"] for row in manifest.records("sentences")}
    sexes = _sexes(root)
    votes = {} if source == "acted" else _votes(root, LABEL_SOURCES[source])
    sound, pictures = (_recordings(root, folder) for folder in FOLDERS)
    clips = []
    for name in sorted(sound.keys() | pictures.keys()):
        path = sound.get(name) or pictures[name]
        match = NAME.fullmatch(name)
        if (
            match is None
            or match["emotion"] not in acted
            or match["level"] not in levels
            or match["sentence"] not in sentences
        ):
            raise InputError(
                path,
                "is not named like a CREMA-D recording (actor, sentence, emotion, level)",
                "rename it as in 1001_DFA_ANG_XX.wav, or move it out of the folder",
            )
        if match["actor"] not in sexes:
            mend = "restore the table, or move the recording out of the folder"
            raise InputError(path, "is of an actor whom VideoDemographics.csv lacks", mend)
        emotion, scores = acted[match["emotion"]], {}
        if votes:
            if name not in votes:
                raise InputError(path, "has no row in summaryTable.csv", "restore the table")
            vote, strength = votes[name]
            if vote is None:
                continue
            emotion, scores = vote, {"strength": strength}
        clips.append(
            Clip(
                clip_id=name,
                corpus=CORPUS,
                speaker=match["actor"],
                sex=sexes[match["actor"]],
                audio_path=sound.get(name),
                video_path=pictures.get(name),
                labels={
                    "emotion": emotion,
                    "label_source": source,
                    "sentence": match["sentence"],
                    "intensity": levels[match["level"]],
                },
                scores=scores,
            )
        )
    if not clips:
        raise InputError(root, "holds no clip", "run `thesis data check crema-d`")
    return clips


def check(root: Path) -> list[InputError]:
    """Every missing, unexpected, empty or unfetched file by name; an empty list means complete."""
    problems = [*layout.missing_of_twin(root)]
    named = {Path(problem.path) for problem in problems}
    try:
        expected = {row["Filename"] for row in _table(root, "SentenceFilenames.csv", "Filename")}
    except InputError as error:
        return [*problems, error]
    if detect_variant(root) == "release" and len(expected) != N_CLIPS:
        problem = f"lists {len(expected)} clips, not {N_CLIPS}"
        problems.append(InputError(root / "SentenceFilenames.csv", problem, "restore it"))
    for folder, suffixes in FOLDERS.items():
        if not (root / folder).is_dir():
            mend = "fetch the owners' repository with git lfs"
            problems.append(InputError(root / folder, "is missing", mend))
            continue
        present = _recordings(root, folder)
        missing = [root / folder / f"{name}{suffixes[0]}" for name in expected - present.keys()]
        mend = "restore it from the owners' repository"
        problems += [InputError(p, "is missing", mend) for p in sorted(missing) if p not in named]
        for name, path in present.items():
            if name not in expected:
                problem = "does not belong to the corpus (SentenceFilenames.csv)"
                problems.append(InputError(path, problem, "move it out of the folder"))
            else:
                problems += layout.check_media(path)
    for read in (_sexes, lambda folder: _votes(folder, "MultiModal")):
        try:
            read(root)
        except InputError as error:
            problems.append(error)
    return problems


def _recordings(root: Path, folder: str) -> dict[str, Path]:
    """Name to file; where both forms of a video are there, the owners' own."""
    found: dict[str, Path] = {}
    for suffix in FOLDERS[folder]:
        for path in sorted((root / folder).glob(f"*{suffix}")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def _table(root: Path, name: str, *columns: str) -> list[dict[str, str]]:
    return layout.read_table(root / name, columns)


def _sexes(root: Path) -> dict[str, str]:
    """Actor to sex; age, race and ethnicity are not read, for nothing here needs them."""
    rows = _table(root, "VideoDemographics.csv", "ActorID", "Sex")
    return {row["ActorID"]: row["Sex"].lower() for row in rows}


def _votes(root: Path, heading: str) -> dict[str, tuple[str | None, float]]:
    """Clip to the emotion of the majority (None where it is tied) and its mean strength."""
    path = root / "processedResults" / "summaryTable.csv"
    records = load_manifest(CORPUS).records("emotions")
    emotions: dict[str, str] = {row["vote"]: row["emotion"] for row in records}
    vote, level = f"{heading}Vote", f"{heading}Level"
    votes: dict[str, tuple[str | None, float]] = {}
    for number, row in enumerate(layout.read_table(path, ("FileName", vote, level)), start=2):
        try:
            strengths = [float(value) / 100 for value in row[level].split(":")]
            found = [emotions[value] for value in row[vote].split(":")]
        except (KeyError, ValueError):
            problem = f"cannot read {row[vote]!r} and {row[level]!r} as votes and strengths"
            raise InputError(path, problem, "restore it", where=f"row {number}") from None
        votes[row["FileName"]] = (found[0] if len(found) == 1 else None, strengths[0])
    return votes
