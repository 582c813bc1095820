"""Corpora as shards: tar files of decoded windows, which training reads without a video decoder.

A sample holds ``KEY.json`` (who, labels, where the window lies), ``KEY.flac`` (its sound, 16 kHz,
16 bit) and ``KEY.00.jpg``, ``KEY.01.jpg``, … (candidate frames in order of time): the layout of
WebDataset, which reads them too, as `thesislib.corpora.sharded_clips` does; ``shards.json`` beside
them says how they were made.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import soundfile
from PIL import Image

from thesislib.caching import cache_key
from thesislib.corpora.clip import Clip
from thesislib.errors import InputError
from thesislib.files import atomic_write
from thesislib.signals.audio import SAMPLE_RATE
from thesislib.signals.audio_visual import CANDIDATES, WINDOW_S, Window, modalities, read_windows
from thesislib.signals.face import LandmarkDetector

INDEX = "shards.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSettings:
    """How windows are cut and stored.

    Attributes:
        mode: A key of `thesislib.signals.audio_visual.MODALITIES`: what is stored.
        window_s: Longest window, in seconds.
        candidates: Frames of a window.
        size: Their height and width, in pixels.
        quality: Of JPEG, 1 to 100.
        faces: Frames are crops of the face rather than the middle of the picture.
    """

    mode: str = "both"
    window_s: float = WINDOW_S
    candidates: int = CANDIDATES
    size: int = 224
    quality: int = 95
    faces: bool = False

    def __post_init__(self) -> None:
        modalities(self.mode)
        for name, low, high in (("candidates", 1, 100), ("size", 1, 4096), ("quality", 1, 100)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(name, f"{value} leaves {low} to {high}", "choose another")
        if not 0 < self.window_s < 3600:
            raise InputError("window_s", f"{self.window_s:g} s is no length", f"try {WINDOW_S}")


def write_shards(
    clips: Sequence[Clip],
    out: Path,
    *,
    corpus: str,
    settings: ShardSettings | None = None,
    per_shard: int = 256,
    detector: LandmarkDetector | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Write clips as shards; a run that was stopped goes on where its last shard ended.

    A shard appears whole or not at all. Clips that cannot be used are left out and named.

    Args:
        clips: In the order in which they are stored.
        out: Folder for the shards.
        corpus: What they are called: ``voxceleb2-000000.tar``.
        settings: Sizes.
        per_shard: Clips of a shard.
        detector: Finds faces, where `settings.faces` asks for them.
        progress: Called with the number of clips done, those from an earlier run included.

    Returns:
        A line for each clip that was left out.

    Raises:
        InputError: nothing to write, two clips of one name, other shards in the folder, or none
            of the clips can be used.
    """
    settings = settings or ShardSettings()
    if per_shard < 1:
        raise InputError("shard size", f"{per_shard} is no number of clips", "use 1 or more")
    if settings.faces and detector is None:
        raise InputError("faces", "need a detector", "get the weights of the face detector")
    keys = _keys(clips, corpus)
    made_of = {
        "corpus": corpus, "per_shard": per_shard, **asdict(settings),
        "clips": cache_key(clips=[[key, c.start_s, c.duration_s] for key, c in keys]),
    }  # fmt: skip
    index = _started(out, made_of)
    options: dict[str, Any] = {
        "mode": settings.mode, "window_s": settings.window_s, "candidates": settings.candidates,
        "size": settings.size, "detector": detector if settings.faces else None,
    }  # fmt: skip
    first = len(index["shards"])
    progress(min(first * per_shard, len(keys)))
    windows = read_windows((clip for _, clip in keys[first * per_shard :]), **options)
    for number in range(first, -(-len(keys) // per_shard)):
        part = keys[number * per_shard : (number + 1) * per_shard]
        path = out / f"{corpus}-{number:06d}.tar"
        index["shards"].append(
            _write_shard(path, part, windows, settings.quality, progress, number * per_shard)
        )
        _write_index(out, index)
    failures = [line for shard in index["shards"] for line in shard["failures"]]
    if not any(shard["samples"] for shard in index["shards"]):
        raise InputError(corpus, f"has no usable clip of {len(keys)}", failures[0])
    return failures


def _keys(clips: Sequence[Clip], corpus: str) -> list[tuple[str, Clip]]:
    """Clips under names that a tar file and WebDataset take: no folder, no dot."""
    if not clips:
        raise InputError(corpus, "has no clip to write", "take another part of it")
    keys = [(clip.clip_id.replace("/", "_").replace(".", "_"), clip) for clip in clips]
    if len({key for key, _ in keys}) < len(keys):
        twice = next(k for i, (k, _) in enumerate(keys) if k in {key for key, _ in keys[:i]})
        raise InputError(corpus, f"has two clips called {twice}", "rename one of them")
    return keys


def _started(out: Path, made_of: dict[str, Any]) -> dict[str, Any]:
    """The index of the shards written so far."""
    path = out / INDEX
    if not path.exists():
        if out.is_dir() and any(out.glob("*.tar")):
            raise InputError(out, "holds tar files of another make", "choose an empty folder")
        index: dict[str, Any] = {"settings": made_of, "shards": []}
        _write_index(out, index)  # before the first shard, which a kill may leave without a line
        return index
    index = read_index(path)
    theirs = index["settings"]
    different = [name for name in made_of if theirs.get(name) != made_of[name]]
    if different:
        problem = f"holds shards with other {', '.join(different)}"
        raise InputError(out, problem, "choose another folder, or remove this one", where=INDEX)
    return index


def _write_index(out: Path, index: dict[str, Any]) -> None:
    with atomic_write(out / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1), encoding="utf-8")


def read_index(path: Path) -> dict[str, Any]:
    """The ``settings`` and ``shards`` (name, bytes, samples, failures) of a folder's `INDEX`.

    Raises:
        InputError: The file is none.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(index["settings"], dict) and all("name" in s for s in index["shards"]):
            return index
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            path, f"is no list of shards ({error})", "write the shards again"
        ) from error
    raise InputError(path, "is no list of shards", "write the shards again")


def _write_shard(
    path: Path,
    part: Sequence[tuple[str, Clip]],
    windows: Iterator[Window | InputError],
    quality: int,
    progress: Callable[[int], None],
    done: int,
) -> dict[str, Any]:
    failures, samples = [], 0
    with atomic_write(path) as temporary, tarfile.open(temporary, "w") as tar:
        for number, (key, clip) in enumerate(part, start=1):
            window = next(windows)
            if isinstance(window, InputError):
                failures.append(f"{clip.clip_id}: {window}")
            else:
                samples += 1
                for suffix, content in _members(clip, window, quality):
                    # No time and no owner: the same clips make the same bytes.
                    member = tarfile.TarInfo(f"{key}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
            progress(done + number)
    return {
        "name": path.name, "bytes": path.stat().st_size, "samples": samples, "failures": failures,
    }  # fmt: skip


def _members(clip: Clip, window: Window, quality: int) -> Iterator[tuple[str, bytes]]:
    about = {
        "clip_id": clip.clip_id, "corpus": clip.corpus, "speaker": clip.speaker, "sex": clip.sex,
        "labels": dict(clip.labels), "scores": dict(clip.scores),
        "start_s": window.start_s, "duration_s": window.duration_s,
    }  # fmt: skip
    yield "json", json.dumps(about, ensure_ascii=False).encode()
    if window.waveform is not None:
        sound = io.BytesIO()
        soundfile.write(
            sound, window.waveform.numpy(), SAMPLE_RATE, format="FLAC", subtype="PCM_16"
        )
        yield "flac", sound.getvalue()
    for number, frame in enumerate([] if window.frames is None else window.frames.numpy()):
        picture = io.BytesIO()
        # Without subsampling of colour, which would blur the lips.
        Image.fromarray(frame).save(picture, "JPEG", quality=quality, subsampling=0)
        yield f"{number:02d}.jpg", picture.getvalue()
