"""First Impressions V2: people talking to a camera, with apparent personality traits.

Layout, unpacked: MP4 clips anywhere below the folder, named ``VIDEO.NUMBER.mp4`` after the
YouTube video that they come from, and a pickled dictionary a part, ``annotation_training.pkl``,
``annotation_validation.pkl`` and ``annotation_test.pkl``: trait, then clip, then score.

A pickle can run code, so nothing here unpickles freely: `read_annotation` builds dictionaries,
lists, text and numbers and refuses whatever else a file asks for.

Source: ponce2016chalearn; ``data_manifests/first-impressions.json``.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thesislib.corpora import layout
from thesislib.corpora.clip import Clip
from thesislib.corpora.layout import detect_variant
from thesislib.corpora.manifest import load_manifest
from thesislib.errors import InputError

__all__ = ["CORPUS", "check", "detect_variant", "load_clips", "read_annotation"]

CORPUS = "first-impressions"
NAME = re.compile(r"(?P<video>.+)\.(?P<number>\d{3})")
ANNOTATIONS = {
    "train": "annotation_training.pkl",
    "val": "annotation_validation.pkl",
    "test": "annotation_test.pkl",
}
_LARGEST = 64 * 2**20  # the largest real one has about 2 MB


def load_clips(root: Path) -> list[Clip]:
    """All annotated clips under `root` whose video is there, in order of part and name.

    The label ``partition`` is the publishers' part; the scores are the traits, in [0, 1]. The
    corpus names nobody: the speaker is the source video, so that clips of one video stay together
    when speakers are split. Somebody with two videos counts twice, which cannot be helped.

    Raises:
        InputError: the licence is not accepted, there is no clip, an annotation cannot be read,
            or a clip is there without one.
    """
    layout.require_licence(root, CORPUS)
    videos = _videos(root)
    scores = _scores(root)
    for name, path in videos.items():
        if name not in scores:
            mend = "restore annotation_*.pkl of its part, or move the clip out of the folder"
            raise InputError(path, "has no annotation", mend)
    clips = [
        Clip(
            clip_id=name,
            corpus=CORPUS,
            speaker=_source_video(videos[name]),
            audio_path=videos[name],
            video_path=videos[name],
            labels={"partition": part},
            scores=traits,
        )
        for name, (part, traits) in scores.items()
        if name in videos
    ]
    if not clips:
        problem = "holds archives and no clip" if any(root.rglob("*.zip")) else "holds no clip"
        raise InputError(root, problem, "unpack the owners' archives there")
    return clips


def check(root: Path) -> list[InputError]:
    """Every annotated clip that is missing, every clip without annotation, every broken file."""
    problems = [*layout.missing_of_twin(root)]
    named = {Path(problem.path).stem for problem in problems}
    try:
        videos, scores = _videos(root), _scores(root)
    except InputError as error:
        return [*problems, error]
    parts = {part for part, _ in scores.values()}
    for part in ANNOTATIONS.keys() - parts:
        problem = f"holds no {ANNOTATIONS[part]}"
        problems.append(InputError(root, problem, f"unpack the annotation of {part} there"))
    problems += [
        InputError(root, f"lacks {name}.mp4", f"unpack the clips of {part} again")
        for name, (part, _) in sorted(scores.items())
        if name not in videos and name not in named
    ]
    for name, path in videos.items():
        if name not in scores:
            problems.append(InputError(path, "has no annotation", "move it out of the folder"))
        elif NAME.fullmatch(name) is None:
            problem = "is not named after a video and a number, as in J4GQm9j0JZ0.003.mp4"
            problems.append(InputError(path, problem, "restore its name"))
        else:
            problems += layout.check_media(path)
    return problems


def read_annotation(path: Path) -> dict[str, dict[str, float]]:
    """Clip (without ``.mp4``) to trait to score, of one part.

    The file may hold plain Python floats or NumPy scalars, from Python 2 or 3.

    Raises:
        InputError: the file is missing, damaged or implausibly large, asks for anything but plain
            data, or does not hold a score in [0, 1] for every clip and trait of the manifest.
    """
    content = _unpickle_plain(path)
    traits = [row["trait"] for row in load_manifest(CORPUS).records("traits")]
    mend = "fetch it again from the owners' page"
    if not isinstance(content, dict) or not all(
        isinstance(content.get(trait), dict) for trait in traits
    ):
        raise InputError(path, f"is no dictionary of {', '.join(traits)}", mend)
    result: dict[str, dict[str, float]] = {}
    for trait in traits:
        if content[trait].keys() != content[traits[0]].keys():
            raise InputError(path, f"{trait} and {traits[0]} are of different clips", mend)
        for clip, score in content[trait].items():
            if not isinstance(clip, str) or not (
                isinstance(score, float | int) and math.isfinite(score) and 0 <= score <= 1
            ):
                # Not the value itself: printing what a hostile file nests could take forever.
                shown = score if isinstance(score, float | int) else type(score).__name__
                name = clip[:40] if isinstance(clip, str) else type(clip).__name__
                problem = f"the score of {name} is {shown}"
                raise InputError(path, problem, mend, where=trait)
            result.setdefault(clip.removesuffix(".mp4"), {})[trait] = float(score)
    return result


def _unpickle_plain(path: Path) -> Any:  # noqa: ANN401 - whatever containers and numbers it holds
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= _LARGEST else b""
    except OSError as error:
        mend = "unpack the owners' annotations there"
        raise InputError(path, f"cannot be read ({error.strerror})", mend) from None
    if size > _LARGEST:
        raise InputError(path, f"has {size} bytes, more than {_LARGEST}", "fetch it again")
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        problem = f"cannot be read as plain data ({error})"
    except Exception as error:  # a damaged pickle raises almost anything
        problem = f"is damaged ({type(error).__name__})"
    raise InputError(path, problem, "fetch it again from the owners' page; do not unpickle it")


class _PlainUnpickler(pickle._Unpickler):
    """Builds containers, text and numbers, and NumPy's floating scalars as Python floats.

    It derives from the unpickler in Python: the one in C allocates whatever a damaged memo index
    asks for, which may be more than the machine has.
    """

    dispatch = {  # noqa: RUF012 - the unpickler's own table, without what allocates unread bytes
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code != pickle.BYTEARRAY8[0]
    }

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """A stand-in for the names that a NumPy scalar needs; everything else is refused."""
        # A new function at each request, so that a file cannot alter it for the next one.
        if (module, name) == ("numpy", "dtype"):
            return lambda code, *_: _FloatType(code)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes at protocol 2
            return lambda text, _: str.encode(text, "latin1")
        if name == "scalar" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return lambda kind, data: kind.value(data)
        raise pickle.UnpicklingError(f"it asks for {module[:40]}.{name[:40]}")


class _FloatType:
    """What stands for a NumPy data type: how to read the bytes of one number."""

    __slots__ = ("letter", "order")

    def __init__(self, code: object) -> None:
        letters = {"f8": "d", "f4": "f"}
        if code not in letters:
            raise pickle.UnpicklingError("it holds an array type that is no floating scalar")
        self.letter, self.order = letters[str(code)], "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def value(self, data: bytes | str) -> float:
        """The number in bytes, which Python 2 wrote as text."""
        raw = data.encode("latin1") if isinstance(data, str) else data
        return float(struct.unpack(self.order + self.letter, raw)[0])


def _videos(root: Path) -> dict[str, Path]:
    return layout.unique_stems(root.rglob("*.mp4"))


def _source_video(path: Path) -> str:
    match = NAME.fullmatch(path.stem)
    if match is None:
        problem = "is not named after a video and a number, as in J4GQm9j0JZ0.003.mp4"
        raise InputError(path, problem, "restore its name")
    return match["video"]


def _scores(root: Path) -> dict[str, tuple[str, dict[str, float]]]:
    """Clip to part and traits, of the annotations that are there."""
    result: dict[str, tuple[str, dict[str, float]]] = {}
    for part, name in ANNOTATIONS.items():
        for path in layout.unique_stems(root.rglob(name)).values():
            for clip, traits in sorted(read_annotation(path).items()):
                if clip in result:
                    problem = f"annotates {clip}, as does the part {result[clip][0]}"
                    raise InputError(path, problem, "fetch it again from the owners' page")
                result[clip] = (part, traits)
    if not result:
        mend = "unpack the owners' annotations there"
        raise InputError(root, "holds no annotation_*.pkl with a clip", mend)
    return result
