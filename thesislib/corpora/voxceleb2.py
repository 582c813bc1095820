"""VoxCeleb2: utterances of celebrities, cut from interviews on YouTube; no labels of affect.

Layout of the owners' archives, unpacked: ``dev/mp4/id00012/VIDEO/00001.mp4`` with sound, the same
under ``test/``, and optionally the sound alone as ``dev/aac/id00012/VIDEO/00001.m4a``;
``vox2_meta.csv`` gives gender and part of each speaker.

Source: chung2018voxceleb2; ``data_manifests/voxceleb2.json``.
"""

from __future__ import annotations

import re
from pathlib import Path

from thesislib.corpora import layout
from thesislib.corpora.clip import Clip
from thesislib.corpora.layout import detect_variant
from thesislib.corpora.manifest import load_manifest
from thesislib.errors import InputError

__all__ = ["CORPUS", "check", "detect_variant", "load_clips"]

CORPUS = "voxceleb2"
PARTS = re.compile(r"(?P<speaker>id\d{5})/(?P<video>.{11})/(?P<number>\d{5})\.mp4")
SEXES = {"f": "female", "m": "male"}


def load_clips(root: Path) -> list[Clip]:
    """All utterances under `root`, in order of partition and path.

    Labels are ``partition`` (the publishers' ``dev`` or ``test``) and ``video`` (YouTube's key).
    The sound is that of the MP4 unless the utterance is there as M4A too.

    Raises:
        InputError: the licence is not accepted, there is no utterance, a path breaks the scheme,
            or a speaker is not in ``vox2_meta.csv``.
    """
    layout.require_licence(root, CORPUS)
    sexes = {speaker: sex for speaker, (sex, _) in _speakers(root).items()}
    clips = []
    for partition, path, name in _utterances(root):
        match = PARTS.fullmatch(name)
        if match is None:
            raise InputError(
                path,
                "is not placed like a VoxCeleb2 utterance (speaker, video, number)",
                "restore its path as in id00012/21Uxsk56VDQ/00001.mp4",
            )
        if match["speaker"] not in sexes:
            raise InputError(path, "is of a speaker whom vox2_meta.csv lacks", "restore the table")
        sound = root / partition / "aac" / Path(name).with_suffix(".m4a")
        clips.append(
            Clip(
                clip_id=f"{match['speaker']}-{match['video']}-{match['number']}",
                corpus=CORPUS,
                speaker=match["speaker"],
                sex=sexes[match["speaker"]],
                audio_path=sound if sound.is_file() else path,
                video_path=path,
                labels={"partition": partition, "video": match["video"]},
            )
        )
    if not clips:
        mend = "unpack the owners' archives so that it holds dev/mp4 and test/mp4"
        raise InputError(root, "holds no utterance", mend)
    return clips


def check(root: Path) -> list[InputError]:
    """Every speaker without a folder or in the wrong part, and every file that is no MP4.

    The owners publish no list of files that comes with the media, so a missing utterance of a
    real copy shows only in the counts of the manifest, and a copy may be a part of the corpus.
    """
    problems = [*layout.missing_of_twin(root)]
    try:
        speakers = _speakers(root)
    except InputError as error:
        return [*problems, error]
    table = root / "vox2_meta.csv"
    present: dict[str, set[str]] = {part: set() for part in _partitions()}
    for partition, path, name in _utterances(root):
        match = PARTS.fullmatch(name)
        if match is None:
            problem = "is not placed like an utterance (speaker, video, number)"
            problems.append(InputError(path, problem, "restore its path"))
            continue
        present[partition].add(match["speaker"])
        problems += layout.check_media(path)
    for partition, found in present.items():
        for speaker in sorted(found):
            folder = root / partition / "mp4" / speaker
            if speaker not in speakers:
                problems.append(InputError(folder, "is not in vox2_meta.csv", "restore the table"))
            elif speakers[speaker][1] != partition:
                problem = f"belongs to {speakers[speaker][1]} (vox2_meta.csv)"
                problems.append(InputError(folder, problem, "move the folder there"))
        if not found:
            mend = f"unpack the archive of {partition}"
            problems.append(InputError(root / partition / "mp4", "holds no utterance", mend))
            continue
        for speaker in sorted(s for s, (_, part) in speakers.items() if part == partition):
            if speaker not in found:
                problem = f"speaker {speaker} has no utterance in {partition}/mp4"
                problems.append(InputError(table, problem, "unpack the archive again"))
    return problems


def _partitions() -> list[str]:
    return [row["partition"] for row in load_manifest(CORPUS).records("partitions")]


def _utterances(root: Path) -> list[tuple[str, Path, str]]:
    """Partition, file, and its path below the speakers' folders, in order."""
    return [
        (partition, path, path.relative_to(root / partition / "mp4").as_posix())
        for partition in _partitions()
        for path in sorted((root / partition / "mp4").rglob("*.mp4"))
    ]


def _speakers(root: Path) -> dict[str, tuple[str, str]]:
    """Speaker to sex and partition."""
    path = root / "vox2_meta.csv"
    rows, partitions = layout.read_table(path, ("VoxCeleb2 ID", "Gender", "Set")), _partitions()
    for number, row in enumerate(rows, start=2):
        if row["Gender"] not in SEXES or row["Set"] not in partitions:
            problem = f"cannot read gender {row['Gender']!r} and set {row['Set']!r}"
            raise InputError(path, problem, "restore it", where=f"row {number}")
    return {row["VoxCeleb2 ID"]: (SEXES[row["Gender"]], row["Set"]) for row in rows}
