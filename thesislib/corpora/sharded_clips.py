"""Reading shards: the samples of `thesislib.corpora.shards` by number, in any order.

A training run that is to be resumed inside an epoch needs that. Damaged shards are named and set
aside, and the run goes on without them.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from thesislib.corpora.clip import Clip
from thesislib.corpora.shards import INDEX, read_index
from thesislib.errors import InputError
from thesislib.signals.audio import SAMPLE_RATE
from thesislib.signals.audio_visual import modalities

_BLOCK = tarfile.BLOCKSIZE
_MEND = "copy it again, or write it with `thesis data shard`"
Transform = Callable[[dict[str, Tensor], torch.Generator], dict[str, Tensor]]


class ShardedClips(Dataset):
    """The samples of shards by number, as `thesislib.learning.training.fit` reads them.

    Opening reads the headers of every shard, and keeps a few numbers a sample; a sample is one
    read. Shards that are truncated, empty or missing are set aside and named in `failures`.

    Args:
        shards: A folder of `thesislib.corpora.shards.write_shards`, or tar files.
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

    def clips(self) -> list[Clip]:
        """Who is in each sample and where its window lies; pictures and sound are not read.

        Raises:
            InputError: a sample has no description that can be read.
        """
        return [self._clip(row) for row in range(len(self))]

    def _clip(self, row: int) -> Clip:
        number, start, _ = (int(value) for value in self._spans[row])
        try:
            with self.paths[number].open("rb") as stream:
                stream.seek(start)
                with tarfile.open(fileobj=stream, mode="r:") as tar:
                    member = tar.next()  # the description comes first
                    content = b"" if member is None else tar.extractfile(member).read()  # type: ignore[union-attr]
            about = json.loads(content)
            names = ("clip_id", "corpus", "speaker", "sex", "labels", "scores")
            window = {name: about[name] for name in ("start_s", "duration_s")}
            return Clip(**{name: about[name] for name in names}, **window)
        except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
            raise self._error(row, f"has no readable description ({error})") from error

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
        listed = read_index(index)["shards"] if index.is_file() else []
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
