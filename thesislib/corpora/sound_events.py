"""Sound events: general audio-visual clips with classes, in the manner of AudioSet.

No corpus of this name exists: the thesis pre-trains on AudioSet, which is handed out as lists of
segments of YouTube's videos. The layout is theirs, with the segments already cut out:
``balanced_train_segments.csv`` and ``eval_segments.csv`` (key, start, end, classes),
``class_labels_indices.csv`` (names of classes), ``train/KEY.mp4`` and ``eval/KEY.mp4``.

Source: Gemmeke et al. (2017), "Audio Set: An ontology and human-labeled dataset for audio events";
``data_manifests/sound-events.json``.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from thesislib.corpora import layout
from thesislib.corpora.clip import Clip
from thesislib.corpora.layout import detect_variant
from thesislib.errors import InputError

__all__ = ["CORPUS", "check", "detect_variant", "load_clips"]

CORPUS = "sound-events"
SEGMENTS = {"train": "balanced_train_segments.csv", "eval": "eval_segments.csv"}
"""Part to its list of segments; the recordings of a part lie in a folder of its name."""
CLASSES = "class_labels_indices.csv"


def load_clips(root: Path) -> list[Clip]:
    """All listed segments under `root` whose recording is there, in order of part and key.

    Labels are ``partition``, ``event`` (the first class) and ``events`` (all, joined by ``|``).
    Nobody speaks: the speaker is the key, so that a split by speaker is one by recording.

    Raises:
        InputError: the folder or a list cannot be read, a class has no name, a recording is not
            listed, or there is no clip.
    """
    if not root.is_dir():
        raise InputError(root, "is not a folder", f"name the folder that holds {CORPUS}")
    segments = _segments(root)
    clips = []
    for part in SEGMENTS:
        for path in _recordings(root, part):
            if (part, path.stem) not in segments:
                problem = f"is not in {SEGMENTS[part]}"
                raise InputError(path, problem, "restore the list, or move the recording out")
            duration_s, events = segments[part, path.stem]
            clips.append(
                Clip(
                    clip_id=path.stem,
                    corpus=CORPUS,
                    speaker=path.stem,
                    audio_path=path,
                    video_path=path,
                    duration_s=duration_s,
                    labels={"partition": part, "event": events[0], "events": "|".join(events)},
                )
            )
    if not clips:
        raise InputError(root, "holds no clip", "put recordings into train/ and eval/")
    return clips


def check(root: Path) -> list[InputError]:
    """Every listed recording that is missing, every one not listed, every broken file."""
    problems = [*layout.missing_of_twin(root)]
    named = {Path(problem.path) for problem in problems}
    try:
        segments = _segments(root)
    except InputError as error:
        return [*problems, error]
    present = {(part, path.stem): path for part in SEGMENTS for path in _recordings(root, part)}
    for part, key in sorted(segments.keys() - present.keys()):
        path = root / part / f"{key}.mp4"
        if path not in named:
            problems.append(InputError(path, "is missing", "fetch the segment again"))
    for place, path in sorted(present.items()):
        if place not in segments:
            problem = f"is not in {SEGMENTS[place[0]]}"
            problems.append(InputError(path, problem, "move it out of the folder"))
        else:
            problems += layout.check_media(path)
    return problems


def _recordings(root: Path, part: str) -> list[Path]:
    return sorted((root / part).glob("*.mp4"))


def _segments(root: Path) -> dict[tuple[str, str], tuple[float, list[str]]]:
    """Part and key to length in seconds and names of classes."""
    rows = layout.read_table(root / CLASSES, ("mid", "display_name"))
    names = {row["mid"]: row["display_name"] for row in rows}
    found = {}
    for part, name in SEGMENTS.items():
        path = root / name
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise InputError(path, "is missing", "fetch it from the owners' page") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(path, f"cannot be read ({error})", "fetch it again") from error
        for number, line in enumerate(lines, start=1):
            if line.startswith("#") or not line.strip():
                continue
            try:
                key, start, end, labels = next(csv.reader([line], skipinitialspace=True))
                duration_s = float(end) - float(start)
                events = [names[label.strip()] for label in labels.split(",")]
            except (ValueError, KeyError, csv.Error):
                duration_s, events, key = math.nan, [], ""
            if not (duration_s > 0 and math.isfinite(duration_s) and events):
                problem = f"cannot read {line[:60]!r} as key, start, end and known classes"
                raise InputError(path, problem, "restore it", where=f"line {number}")
            if (part, key) in found:
                problem = f"lists {key} twice"
                raise InputError(path, problem, "keep one of them", where=f"line {number}")
            found[part, key] = (duration_s, events)
    return found
