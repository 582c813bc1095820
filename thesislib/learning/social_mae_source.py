"""What pre-training reads, one batch at a time: windows in memory-mapped files, or shards.

Source: thesis sections 7.3 and 7.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from thesislib.caching import cache_key
from thesislib.config import SocialMaeConfig
from thesislib.corpora.clip import Clip
from thesislib.corpora.sharded_clips import ShardedClips
from thesislib.corpora.shards import INDEX, read_index
from thesislib.errors import InputError
from thesislib.learning.datasets import Batch, TensorData
from thesislib.learning.feature_cache import tensor_sha256
from thesislib.learning.social_mae_data import Say, Windows


class Batches(Protocol):
    """What gives windows by their numbers."""

    def __getitem__(self, index: int) -> Batch:
        """One window."""

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch of them, `{name: (B, …)}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Windows to pre-train on.

    Attributes:
        clips: N clips, whose speakers are split.
        data: Their N windows; ``__getitems__(indices)`` gives a batch for a
            `thesislib.signals.audio_visual.FrontEnd`.
        sha256: Hash that names the data.
        with_video: Whether there are pictures.
    """

    clips: Sequence[Clip]
    data: Batches
    sha256: str
    with_video: bool


def of_windows(windows: Windows) -> Source:
    """Windows that were decoded into memory-mapped files."""
    tensors = windows.tensors()
    key = cache_key(inputs={name: tensor_sha256(values) for name, values in tensors.items()})
    return Source(
        clips=windows.clips,
        data=TensorData(transform=None, **tensors),
        sha256=key,
        with_video=windows.frames is not None,
    )


def of_shards(config: SocialMaeConfig, *, say: Say = lambda line: None) -> Source:
    """Shards of the corpus of pre-training; nothing is decoded but the batches that are asked for.

    Shards that cannot be used are left out and named. Split and cache key follow from the
    descriptions in the shards and the list beside them.

    Args:
        config: `shards` is a folder or a pattern of tar files.
        say: Called with a line for each shard that is left out.

    Raises:
        InputError: no shard there can be used, or they are of another corpus, longer windows or
            fewer frames than the configuration has.
    """
    given = Path(config.shards)
    folder = given if given.is_dir() else given.parent
    settings = read_index(folder / INDEX)["settings"]
    _check_settings(config, folder, settings)
    mode = settings["mode"]
    paths: list[Path] | Path = folder if given.is_dir() else sorted(folder.glob(given.name))
    data = ShardedClips(paths, mode=mode)
    for failure in data.failures:
        say(f"left out: {failure}")
    clips = data.clips()
    lengths = {path.name: path.stat().st_size for path in data.paths if path.exists()}
    key = cache_key(settings=settings, bytes=lengths, clips=[clip.clip_id for clip in clips])
    return Source(clips=clips, data=data, sha256=key, with_video=mode == "both")


def _check_settings(config: SocialMaeConfig, folder: Path, settings: Mapping[str, Any]) -> None:
    mend = "write them again with `thesis data shard`, or change the configuration"
    if settings["mode"] not in ("both", "audio"):
        problem = f"hold {settings['mode']!r}, not both modalities or sound"
    elif settings["corpus"] != config.pretraining:
        problem = f"are of {settings['corpus']}, but pretraining is {config.pretraining}"
    elif settings["window_s"] * 100 > config.audio_frames + 0.5:
        problem = f"have windows of {settings['window_s']:g} s, longer than audio_frames"
    elif settings["mode"] == "both" and settings["candidates"] < config.n_frames:
        problem = f"have {settings['candidates']} frames a window, fewer than n_frames"
    else:
        return
    raise InputError("shards", problem, mend, where=str(folder))


class Rows(Dataset):
    """Some rows of a data set, read when they are asked for.

    Args:
        data: With ``__getitems__``.
        rows: `(n,)` of its numbers.
        transform: As `thesislib.learning.datasets.TensorData` has one.
    """

    def __init__(
        self, data: Batches, rows: Tensor, transform: Callable[[Batch, torch.Generator], Batch]
    ) -> None:
        self.data, self.rows, self.transform = data, rows, transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        return self.data[int(self.rows[index])]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The batch of these of the rows."""
        return self.data.__getitems__(self.rows[list(indices)].tolist())
