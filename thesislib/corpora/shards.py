"""Corpora as shards: tar files of decoded windows, which training reads without a video decoder.

A sample holds ``KEY.json`` (who, labels, where the window lies), ``KEY.flac`` (its sound, 16 kHz,
16 bit) and ``KEY.00.jpg``, ``KEY.01.jpg``, … (candidate frames in order of time): the layout of
WebDataset, which reads them too. `ShardedClips` reads them in any order, as a training run that is
to be resumed inside an epoch needs; ``shards.json`` beside them says how they were made.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from thesislib.caching import cache_key
from thesislib.corpora.clip import Clip
from thesislib.errors import InputError
from thesislib.files import atomic_write
from thesislib.signals.audio import SAMPLE_RATE
from thesislib.signals.audio_visual import CANDIDATES, WINDOW_S, Window, modalities, read_windows
from thesislib.signals.face import LandmarkDetector

INDEX = "shards.json"
_BLOCK = tarfile.BLOCKSIZE
_MEND = "copy it again, or write it with `thesis data shard`"
Transform = Callable[[dict[str, Tensor], torch.Generator], dict[str, Tensor]]


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
    index = _read_index(path)
    theirs = index["settings"]
    different = [name for name in made_of if theirs.get(name) != made_of[name]]
    if different:
        problem = f"holds shards with other {', '.join(different)}"
        raise InputError(out, problem, "choose another folder, or remove this one", where=INDEX)
    return index


def _write_index(out: Path, index: dict[str, Any]) -> None:
    with atomic_write(out / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1), encoding="utf-8")


def _read_index(path: Path) -> dict[str, Any]:
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


# --------------------------------------------------------------------------------------- reading


class ShardedClips(Dataset):
    """The samples of shards by number, as `thesislib.learning.training.fit` reads them.

    Opening reads the headers of every shard, and keeps a few numbers a sample; a sample is one
    read. Shards that are truncated, empty or missing are set aside and named in `failures`.

    Args:
        shards: A folder of `write_shards`, or tar files.
        mode: A key of `thesislib.signals.audio_visual.MODALITIES`: what is read. Samples that lack
            it are left out; `left_out` counts them.
        transform: Applied to each batch by `fit`, such as a
            `thesislib.signals.audio_visual.FrontEnd`.
        on_error: ``quarantine`` sets a shard aside that cannot be used, ``raise`` stops.

    Raises:
        InputError: no shard is there or can be used, or one cannot and `on_error` is ``raise``.
    """

    def __init__(
        self,
        shards: str | Path | Sequence[Path],
        *,
        mode: str = "both",
        transform: Transform | None = None,
        on_error: Literal["quarantine", "raise"] = "quarantine",
    ) -> None:
        self.mode, self.transform = mode, transform
        wanted = modalities(mode)
        self.paths = _paths(shards)
        self.failures: list[InputError] = []
        self.left_out = 0
        spans: list[tuple[int, int, int]] = []
        for number, path in enumerate(self.paths):
            try:
                samples = _scan(path)
            except InputError as error:
                if on_error == "raise":
                    raise
                self.failures.append(error)
                continue
            kept = [span for span, there in samples if set(wanted) <= there]
            self.left_out += len(samples) - len(kept)
            spans += [(number, start, stop) for start, stop in kept]
        if not spans:
            line = str(self.failures[0]) if self.failures else f"none has what {mode!r} needs"
            raise InputError("shards", f"hold no sample that can be used ({line})", _MEND)
        self._spans = np.array(spans, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: rows[0] for name, rows in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A batch: ``row`` `(B,)` and, as `mode` says, ``waveform``, ``length``, ``frames``.

        Waveforms `(B, N)` are padded to the longest; frames are `(B, K, S, S, 3)` uint8.

        Raises:
            InputError: a sample does not decode, naming its shard and itself, or its frames are
                not as many and as large as those of the others.
        """
        rows = [int(index) for index in indices]
        samples = [self._members(row) for row in rows]
        batch = {"row": torch.tensor(rows)}
        if "audio" in modalities(self.mode):
            waveforms = [
                self._waveform(row, sample) for row, sample in zip(rows, samples, strict=True)
            ]
            batch["length"] = torch.tensor([len(waveform) for waveform in waveforms])
            batch["waveform"] = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
        if "video" in modalities(self.mode):
            frames = [self._frames(row, sample) for row, sample in zip(rows, samples, strict=True)]
            for row, picture in zip(rows, frames, strict=True):
                if picture.shape != frames[0].shape:
                    problem = f"has frames {picture.shape}, others {frames[0].shape}"
                    raise self._error(row, problem)
            batch["frames"] = torch.from_numpy(np.stack(frames))
        return batch

    def about(self, index: int) -> dict[str, Any]:
        """What is stored about a sample: ``clip_id``, ``speaker``, ``labels`` and so on."""
        try:
            return json.loads(self._members(index)["json"])
        except (KeyError, ValueError) as error:
            raise self._error(index, "has no readable json") from error

    def _members(self, row: int) -> dict[str, bytes]:
        """Suffix to content of a sample's members, which lie in one piece."""
        number, start, stop = (int(value) for value in self._spans[row])
        try:
            with self.paths[number].open("rb") as stream:
                stream.seek(start)
                content = io.BytesIO(stream.read(stop - start))
            with tarfile.open(fileobj=content) as tar:
                return {
                    member.name.partition(".")[2]: tar.extractfile(member).read()  # type: ignore[union-attr]
                    for member in tar
                }
        except (OSError, tarfile.TarError) as error:
            raise self._error(row, f"cannot be read ({error})") from error

    def _waveform(self, row: int, sample: dict[str, bytes]) -> Tensor:
        try:
            samples, rate = soundfile.read(io.BytesIO(sample["flac"]), dtype="float32")
        except (soundfile.LibsndfileError, KeyError) as error:
            raise self._error(row, f"has no sound that decodes ({error})") from error
        if rate != SAMPLE_RATE or samples.ndim != 1 or not len(samples):
            raise self._error(row, f"has {samples.shape} samples at {rate} Hz, not mono at 16 kHz")
        return torch.from_numpy(samples)

    def _frames(self, row: int, sample: dict[str, bytes]) -> np.ndarray:
        names = sorted(name for name in sample if name.endswith("jpg"))
        try:
            pictures = [Image.open(io.BytesIO(sample[name])).convert("RGB") for name in names]
            return np.stack([np.asarray(picture) for picture in pictures])
        except (OSError, ValueError) as error:
            raise self._error(row, f"has frames that do not decode ({error})") from error

    def _error(self, row: int, problem: str) -> InputError:
        number, start, _ = (int(value) for value in self._spans[row])
        return InputError(self.paths[number], problem, _MEND, where=f"sample at byte {start}")


def _paths(shards: str | Path | Sequence[Path]) -> list[Path]:
    if not isinstance(shards, str | Path):
        paths = [Path(path) for path in shards]
    elif (folder := Path(shards)).is_dir():
        index = folder / INDEX
        listed = _read_index(index)["shards"] if index.is_file() else []
        names = {shard["name"] for shard in listed} | {path.name for path in folder.glob("*.tar")}
        empty = {shard["name"] for shard in listed if not shard.get("samples", 1)}
        paths = [folder / name for name in sorted(names - empty)]
    else:
        paths = [folder]
    if not paths:
        raise InputError(str(shards), "holds no shard", "write some with `thesis data shard`")
    return paths


def _scan(path: Path) -> list[tuple[tuple[int, int], set[str]]]:
    """Where each sample of a shard lies, first to last byte, and which modalities it has.

    Raises:
        InputError: the shard is missing, no tar file, truncated or empty.
    """
    size = -1
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            members = [(m.name, m.offset, m.offset_data + m.size) for m in tar if m.isfile()]
        with path.open("rb") as stream:
            # A cut between two members leaves a file that tar reads without a word, but for the
            # two blocks of zeros at its end.
            end = max((-(-stop // _BLOCK) * _BLOCK for _, _, stop in members), default=0)
            stream.seek(end)
            closing = stream.read(2 * _BLOCK)
    except FileNotFoundError as error:
        raise InputError(path, "does not exist", _MEND) from error
    except (OSError, tarfile.TarError) as error:
        problem = "is empty (0 bytes)" if size == 0 else f"is truncated or no tar file ({error})"
        raise InputError(path, problem, _MEND) from error
    if closing != bytes(2 * _BLOCK):
        raise InputError(path, "is truncated: the end of the archive is missing", _MEND)
    if not members:
        raise InputError(path, "holds no sample", _MEND)
    samples = []
    for _, group in groupby(members, key=lambda member: member[0].partition(".")[0]):
        named = list(group)
        last = -(-named[-1][2] // _BLOCK) * _BLOCK
        samples.append(((named[0][1], last), _modalities_of(name for name, _, _ in named)))
    return samples


def _modalities_of(names: Iterable[str]) -> set[str]:
    suffixes = {name.rpartition(".")[2] for name in names}
    return {m for m, suffix in (("audio", "flac"), ("video", "jpg")) if suffix in suffixes}
