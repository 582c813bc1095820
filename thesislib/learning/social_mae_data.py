"""What chapter 7 learns from: windows of a corpus, decoded once.

Sound and candidate frames of every window are decoded together (`thesislib.signals.audio_visual`)
and kept in files that are mapped into memory, so that a corpus need not fit in it. A window that
cannot be used is left out by name.

Source: thesis sections 7.3 and 7.5; notes items 6 and 7.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thesislib import files
from thesislib.caching import cache_folder, cache_key
from thesislib.code import code_sha256
from thesislib.config import SocialMaeConfig
from thesislib.corpora import dyadic
from thesislib.corpora.clip import Clip
from thesislib.corpora.loading import Corpus, load_corpus
from thesislib.corpora.twins.voice import parse_effects
from thesislib.errors import InputError
from thesislib.files import atomic_write, sha256_file
from thesislib.learning.datasets import seeded
from thesislib.learning.laugh_data import SILENCE, choose
from thesislib.locking import exclusive
from thesislib.models.face_detector import load_face_detector
from thesislib.signals.audio import SAMPLE_RATE
from thesislib.signals.audio_visual import Window, read_window
from thesislib.signals.decoding import DecodingWorker
from thesislib.signals.face import LandmarkDetector

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is decoded of a window.

    Attributes:
        audio_frames: Its length in columns of a spectrogram, 10 ms each.
        candidates: Frames, spread over it.
        size: Height and width of a frame, in pixels.
        faces: ``middle`` for the middle square of a picture, ``face`` for the face in it.
    """

    audio_frames: int
    candidates: int
    size: int
    faces: str = "middle"

    @property
    def window_s(self) -> float:
        """Length of a window, in seconds."""
        return self.audio_frames / 100

    @property
    def samples(self) -> int:
        """Samples of a window at 16 kHz."""
        return round(self.window_s * SAMPLE_RATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Clips with what is seen and heard of them.

    Attributes:
        clips: N clips, each with the start of its window and its length.
        waveform: `(N, samples)` float32, zeros after `length`.
        length: `(N,)` int64, samples that come from the recording.
        frames: `(N, K, S, S, 3)` uint8 RGB; None of a corpus without pictures.
        failures: One error for each clip that was left out.
    """

    clips: list[Clip]
    waveform: Tensor
    length: Tensor
    frames: Tensor | None
    failures: list[InputError]

    def __len__(self) -> int:
        return len(self.clips)

    def tensors(self) -> dict[str, Tensor]:
        """As `thesislib.signals.audio_visual.FrontEnd` takes them."""
        found = {"waveform": self.waveform, "length": self.length}
        return found if self.frames is None else found | {"frames": self.frames}


def view_of(config: SocialMaeConfig) -> View:
    """What a job decodes."""
    return View(
        audio_frames=config.audio_frames,
        candidates=config.candidates,
        size=config.image_size,
        faces=config.faces,
    )


def load_task(config: SocialMaeConfig, *, say: Say = lambda line: None) -> tuple[Corpus, Windows]:
    """The corpus of the task, and its windows.

    Raises:
        InputError: the corpus is not there, or has no usable window.
    """
    name = config.corpus.removesuffix("-twin")
    wanted: dict[str, Any] = {}
    if config.corpus.endswith("-twin"):
        wanted = {"seed": config.twin_seed, "effects": parse_effects(config.effects.split())}
        if name in dyadic.CORPORA:
            wanted |= {"dyads": config.dyads}
        if name in (*dyadic.CORPORA, "first-impressions"):
            wanted |= {"duration_s": config.duration_s}
    clips = 0 if name in dyadic.CORPORA else config.clips
    with exclusive(files.resolve("data/twins") / f".{config.corpus}.lock"):
        corpus = load_corpus(config.corpus, clips=clips, **wanted)
    chosen = corpus.clips
    if name in dyadic.CORPORA:
        windows = dyadic.load_clips(corpus.root, name, hop_s=config.hop_s or None)
        chosen = choose(windows, config.clips)
    return corpus, ingest(chosen, view_of(config), say=say)


def load_pretraining(
    config: SocialMaeConfig, *, say: Say = lambda line: None
) -> tuple[Corpus, Windows]:
    """The corpus of pre-training, and windows of its clips, drawn at random from each.

    Raises:
        InputError: the corpus is not there, or has no usable window.
    """
    name = config.pretraining
    with exclusive(files.resolve("data/twins") / f".{name}.lock"):
        seed = config.twin_seed if name.endswith("-twin") else 0
        corpus = load_corpus(name, clips=config.pretraining_clips, seed=seed)
    total = config.pretraining_windows or len(corpus.clips)
    drawn = [
        replace(clip, clip_id=f"{clip.clip_id}@{number}")
        for number in range(-(-total // len(corpus.clips)))
        for clip in corpus.clips
    ]
    return corpus, ingest(drawn[:total], view_of(config), seed=config.twin_seed, say=say)


def ingest(
    clips: Sequence[Clip], view: View, *, seed: int | None = None, say: Say = lambda line: None
) -> Windows:
    """Decode a window of every clip, from disk where that was done before.

    Args:
        clips: With sound; with pictures, too, if the first one has any.
        view: What is decoded.
        seed: Draws where a window lies in a longer clip; None takes the middle.
        say: Called with a line every hundred clips.

    Raises:
        InputError: there is no clip, or none that can be used.
    """
    if not clips:
        raise InputError("windows", "are none", "take another corpus or more clips")
    has_video = clips[0].video_path is not None
    detector = load_face_detector() if has_video and view.faces == "face" else None
    media = {path: None for clip in clips for path in (clip.audio_path, clip.video_path) if path}
    key = cache_key(
        clips=[[clip.clip_id, clip.start_s, clip.duration_s] for clip in clips],
        media=[_sha256(path) for path in media],
        view=[view.audio_frames, view.candidates, view.size, view.faces],
        detector=None if detector is None else detector.identity,
        seed=seed,
        code=code_sha256(["thesislib.signals.audio_visual", "thesislib.signals.face"]),
    )
    folder = cache_folder("windows", key)
    # Of jobs that want the same windows at the same time, one decodes them.
    with exclusive(folder.parent / f".{key}.lock"):
        with suppress(OSError, ValueError, KeyError, RuntimeError):
            return _stored(folder, clips, view)
        _decode(folder, clips, view, detector, seed, has_video, say)
    return _stored(folder, clips, view)


def _decode(
    folder: Path,
    clips: Sequence[Clip],
    view: View,
    detector: LandmarkDetector | None,
    seed: int | None,
    has_video: bool,
    say: Say,
) -> None:
    kept: list[tuple[int, float, float, int]] = []
    lost: list[list[str | None]] = []
    with (
        atomic_write(folder / "waveform.bin") as sound,
        atomic_write(folder / "frames.bin") as pictures,
        sound.open("wb") as sound_file,
        pictures.open("wb") as pictures_file,
        DecodingWorker() as worker,
    ):
        for number, clip in enumerate(clips):
            try:
                window = read_window(
                    clip, worker, mode="both" if has_video else "audio",
                    window_s=view.window_s, candidates=view.candidates, size=view.size,
                    detector=detector, generator=None if seed is None else seeded(seed, number),
                )  # fmt: skip
                waveform, length = _fitted(clip, window, view)
            except InputError as error:
                lost.append([error.path, error.problem, error.mend, error.where])
                continue
            sound_file.write(waveform.numpy().tobytes())
            if window.frames is not None:
                pictures_file.write(window.frames.numpy().tobytes())
            kept.append((number, window.start_s, window.duration_s, length))
            if len(kept) % 100 == 0:
                say(f"{clip.corpus}: {len(kept)} of {len(clips)} windows")
    with atomic_write(folder / "index.json") as temporary:
        about = {"kept": kept, "lost": lost, "video": has_video}
        temporary.write_text(json.dumps(about), encoding="utf-8")


def _fitted(clip: Clip, window: Window, view: View) -> tuple[Tensor, int]:
    """The sound at the length of the window, and how much of it is the recording's."""
    assert window.waveform is not None
    sound = window.waveform[: view.samples]
    path = clip.audio_path or clip.clip_id
    if len(sound) < SAMPLE_RATE // 10:
        raise InputError(path, f"has {len(sound)} samples of sound", "leave the clip out")
    if sound.abs().max() < SILENCE:
        mend = "leave the clip out"
        raise InputError(path, "is silent", mend, where=f"{window.start_s:g} s")
    return torch.nn.functional.pad(sound, (0, view.samples - len(sound))).contiguous(), len(sound)


def _stored(folder: Path, clips: Sequence[Clip], view: View) -> Windows:
    about = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    rows = about["kept"]
    failures = [InputError(*parts[:3], where=parts[3]) for parts in about["lost"]]
    if not rows:
        problem = f"has no usable window of {len(clips)}"
        raise InputError(clips[0].corpus, problem, str(failures[0]))
    frames = None
    if about["video"]:
        shape = (len(rows), view.candidates, view.size, view.size, 3)
        frames = _mapped(folder / "frames.bin", shape, torch.uint8)
    return Windows(
        clips=[replace(clips[i], start_s=start, duration_s=long) for i, start, long, _ in rows],
        waveform=_mapped(folder / "waveform.bin", (len(rows), view.samples), torch.float32),
        length=torch.tensor([row[3] for row in rows]),
        frames=frames,
        failures=failures,
    )


def _mapped(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A file as a tensor that is read as it is used; what is written to it is not kept."""
    if path.stat().st_size != prod(shape) * dtype.itemsize:
        raise ValueError(f"{path} is not of shape {shape}")
    return torch.from_file(str(path), shared=False, size=prod(shape), dtype=dtype).view(shape)


_HASHES: dict[tuple[Path, int, int], str] = {}


def _sha256(path: Path) -> str:
    """Hash of a file, computed once a process; a long one's by its first and last megabyte."""
    status = path.stat()
    known = (path, status.st_size, status.st_mtime_ns)
    if known not in _HASHES:
        if status.st_size < 2**24:
            _HASHES[known] = sha256_file(path)
        else:
            digest = hashlib.sha256(str(status.st_size).encode())
            with path.open("rb") as file:
                digest.update(file.read(2**20))
                file.seek(-(2**20), 2)
                digest.update(file.read())
            _HASHES[known] = digest.hexdigest()
    return _HASHES[known]
