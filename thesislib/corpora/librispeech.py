"""LibriSpeech: read English from audiobooks, with its words; no labels of affect.

Layout of the archives, unpacked over each other: ``LibriSpeech/train-clean-100/103/1240/`` with
``103-1240-0000.flac`` and so on, and ``103-1240.trans.txt``; ``LibriSpeech/SPEAKERS.TXT``.

Source: panayotov2015librispeech; ``data_manifests/librispeech.json``.
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

CORPUS = "librispeech"
NAME = re.compile(r"(?P<reader>\d+)-(?P<chapter>\d+)-(?P<number>\d{4})")
SEXES = {"F": "female", "M": "male"}
MEND = "unpack the archive of its partition again"


def load_clips(root: Path) -> list[Clip]:
    """All utterances under `root`, in order of partition and name.

    Labels are ``partition``, ``chapter`` and ``transcript`` (capitals, no punctuation).

    Raises:
        InputError: there is no utterance, a name or place breaks the scheme, or an utterance has
            no reader in ``SPEAKERS.TXT`` or no transcript.
    """
    layout.require_licence(root, CORPUS)
    home = _home(root)
    sexes = {reader: sex for reader, (sex, _) in _readers(home).items()}
    clips = []
    transcripts: dict[str, str] = {}
    folder = None
    for partition, path in _utterances(home):
        match = NAME.fullmatch(path.stem)
        if match is None or path.parent.parts[-2:] != (match["reader"], match["chapter"]):
            raise InputError(
                path,
                "is not named and placed like an utterance (reader, chapter, number)",
                "restore its path as in 103/1240/103-1240-0000.flac",
            )
        if match["reader"] not in sexes:
            mend = "restore the table"
            raise InputError(path, "is of a reader whom SPEAKERS.TXT lacks", mend)
        if path.parent != folder:  # once a chapter
            folder, transcripts = path.parent, _transcripts(path.parent)
        if path.stem not in transcripts:
            raise InputError(path, "has no transcript beside it", MEND)
        clips.append(
            Clip(
                clip_id=path.stem,
                corpus=CORPUS,
                speaker=match["reader"],
                sex=sexes[match["reader"]],
                audio_path=path,
                labels={
                    "partition": partition,
                    "chapter": match["chapter"],
                    "transcript": transcripts[path.stem],
                },
            )
        )
    if not clips:
        raise InputError(home, "holds no utterance", "unpack the archive of a partition there")
    return clips


def check(root: Path) -> list[InputError]:
    """Every missing, unexpected or unreadable utterance of the partitions that are there.

    What should be there follows from the transcripts, of which every chapter has one.
    """
    home = _home(root)
    problems = [*layout.missing_of_twin(root)]
    named = {Path(problem.path) for problem in problems}
    try:
        readers = _readers(home)
    except InputError as error:
        return [*problems, error]
    present = {path for _, path in _utterances(home)}
    expected = set()
    partitions = [home / partition for partition in _partitions() if (home / partition).is_dir()]
    if not partitions:
        problems.append(InputError(home, "holds no partition", "unpack the archive of one there"))
    for partition in partitions:
        for reader in sorted(r for r, (_, part) in readers.items() if part == partition.name):
            if not (partition / reader).is_dir():
                problems.append(InputError(partition / reader, "is missing", MEND))
        for folder in sorted(path for path in partition.glob("*/*") if path.is_dir()):
            if readers.get(folder.parent.name, ("", ""))[1] != partition.name:
                problem = f"is of a reader whom SPEAKERS.TXT does not place in {partition.name}"
                problems.append(InputError(folder, problem, "restore the table"))
            try:
                expected |= {folder / f"{name}.flac" for name in _transcripts(folder)}
            except InputError as error:
                problems.append(error)
                expected |= present & set(folder.glob("*.flac"))  # said once, not once a file
    problems += [
        InputError(path, "is missing", MEND) for path in sorted(expected - present - named)
    ]
    problems += [
        InputError(path, "has no transcript beside it", MEND) for path in sorted(present - expected)
    ]
    for path in sorted(present & expected):
        problems += layout.check_media(path)
    return problems


def _home(root: Path) -> Path:
    """The folder with the partitions: the archives unpack into ``LibriSpeech``."""
    return root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root


def _partitions() -> list[str]:
    return [row["partition"] for row in load_manifest(CORPUS).records("partitions")]


def _utterances(home: Path) -> list[tuple[str, Path]]:
    return [
        (partition, path)
        for partition in _partitions()
        for path in sorted((home / partition).rglob("*.flac"))
    ]


def _readers(home: Path) -> dict[str, tuple[str, str]]:
    """Reader to sex and partition; a name may itself hold a bar."""
    path = home / "SPEAKERS.TXT"
    readers = {}
    for number, line in enumerate(_lines(path), start=1):
        cells = [cell.strip() for cell in line.split("|", 4)]
        if line.startswith(";") or not line.strip():
            continue
        if len(cells) != 5 or cells[1] not in SEXES:
            problem = f"cannot read {line.strip()!r} as reader, sex, partition, minutes, name"
            raise InputError(path, problem, "restore it", where=f"line {number}")
        readers[cells[0]] = (SEXES[cells[1]], cells[2])
    return readers


def _transcripts(folder: Path) -> dict[str, str]:
    """Utterance to its words, of one chapter."""
    path = folder / f"{folder.parent.name}-{folder.name}.trans.txt"
    pairs = (line.split(maxsplit=1) for line in _lines(path) if line.strip())
    return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(path, "is missing", MEND) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"cannot be read ({error})", MEND) from error
