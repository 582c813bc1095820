"""Windows of sound for the two branches, from any corpus, with the factors that are known of them.

Of a twin everything that was planted is known; it is read from ``twin.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thesislib.corpora.clip import Clip
from thesislib.corpora.loading import Corpus
from thesislib.corpora.splits import speaker_groups
from thesislib.errors import InputError
from thesislib.learning.branch_features import spectrograms
from thesislib.learning.feature_cache import BATCH, cached_features, features_key
from thesislib.learning.training import TensorData
from thesislib.models.dual_branch import DualBranch, Encoder, PatchGrid
from thesislib.signals.audio import SAMPLE_RATE
from thesislib.signals.media import read_waveform
from thesislib.signals.video_sound import read_video_audio

SHORTEST = 0.5  # share of a window that has to be filled, in training
VALIDATION_EVERY = 6  # speaker, in order of name
SOUND_FILES = (".wav", ".flac", ".mp3", ".ogg")
INTENSITIES = ("low", "medium", "high")
FACTORS = {
    "emodb": ("emotion", "speaker"),
    "emodb-twin": ("emotion", "speaker", "sentence", "sex", "intensity"),
    "crema-d": ("emotion",),
    "crema-d-twin": ("emotion", "sentence", "accent", "sex"),
    "librispeech": ("sex",),
    "librispeech-twin": ("emotion", "sentence", "accent", "sex"),
    "voxceleb2": ("sex",),
    "voxceleb2-twin": ("emotion", "sentence", "accent", "sex"),
} | {name + twin: ("expression",) for name in ("ndc-me", "ifadv", "ccdb") for twin in ("", "-twin")}
"""What the branches are probed for, by corpus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundWindows:
    """Windows of sound.

    Attributes:
        clips: The clip of each window, N of them.
        waveforms: `(N, n)` float32 in [-1, 1] at 16 kHz, zero-padded at the end.
        lengths: Samples of each before the padding `(N,)`.
    """

    clips: list[Clip]
    waveforms: Tensor
    lengths: Tensor


def read_windows(
    clips: Sequence[Clip],
    window_s: float,
    *,
    most: int = 0,
    every: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> SoundWindows:
    """Cut clips into windows; what cannot be read is left out by name.

    Args:
        clips: With sound, in files of sound or of video.
        window_s: Length of a window, in seconds.
        most: Most windows, the first of every clip before the second of any; 0 for all.
        every: Take all windows of a clip that are at least half full; else the first.
        say: Told of what is left out.

    Raises:
        InputError: no clip can be used.
    """
    size = round(window_s * SAMPLE_RATE)
    found: list[tuple[int, int, Clip, Tensor]] = []
    for number, clip in enumerate(clips):
        try:
            sound = _read(clip, None if every else window_s)
        except InputError as error:
            say(f"left out: {error}")
            continue
        pieces = sound.split(size) if every else (sound[:size],)
        for rank, piece in enumerate(pieces):
            if rank == 0 or len(piece) >= SHORTEST * size:
                found.append((rank, number, clip, piece))
    if not found:
        raise InputError("clips", f"none of {len(clips)} can be used", "take another corpus")
    found.sort(key=lambda window: window[:2])
    found = found[: most or None]
    waveforms = torch.zeros(len(found), size)
    for row, (_, _, _, piece) in zip(waveforms, found, strict=True):
        row[: len(piece)] = piece
    return SoundWindows(
        clips=[clip for _, _, clip, _ in found],
        waveforms=waveforms,
        lengths=torch.tensor([len(piece) for _, _, _, piece in found]),
    )


def _read(clip: Clip, window_s: float | None) -> Tensor:
    if clip.audio_path is None:
        raise InputError(clip.clip_id, "has no sound", "leave it out", where="clip")
    durations = [value for value in (window_s, clip.duration_s) if value is not None]
    duration_s = min(durations) if durations else None
    read = read_waveform if clip.audio_path.suffix in SOUND_FILES else read_video_audio
    # Read to the end where the clip may be shorter than the window, or the end would be silence.
    open_end = clip.duration_s is None
    waveform = read(
        clip.audio_path, start_s=clip.start_s, duration_s=None if open_end else duration_s
    )
    return waveform if duration_s is None else waveform[: round(duration_s * SAMPLE_RATE)]


def branch_inputs(windows: SoundWindows, encoder: Encoder, grid: PatchGrid) -> Tensor:
    """The encoder's spectrograms of all windows."""
    parts = [
        spectrograms(
            encoder, grid, windows.waveforms[i : i + BATCH], windows.lengths[i : i + BATCH]
        )
        for i in range(0, len(windows.clips), BATCH)
    ]
    return torch.cat(parts)


def branch_data(branches: DualBranch, inputs: Tensor) -> TensorData:
    """Inputs with the main branch's features from the cache, or without where it has no room."""
    if branches.config.mask_main:  # it depends on the mask then
        return TensorData(spectrogram=inputs)
    key = features_key(branches.main, inputs, n_tokens=branches.grid.n_tokens)
    main = cached_features(branches.main_features, inputs, key)
    return TensorData(spectrogram=inputs) if main is None else TensorData(
        spectrogram=inputs, main=main
    )  # fmt: skip


def split_by_speaker(clips: Sequence[Clip]) -> tuple[list[int], list[int]]:
    """Positions for training and for validation: every sixth speaker validates.

    Raises:
        InputError: there is one speaker only.
    """
    speakers = sorted({clip.speaker for clip in clips})
    if len(speakers) < 2:
        raise InputError("training corpus", "has one speaker", "take clips of two or more")
    held_out = set(speakers[::VALIDATION_EVERY])
    chosen = [clip.speaker in held_out for clip in clips]
    return (
        [position for position, held in enumerate(chosen) if not held],
        [position for position, held in enumerate(chosen) if held],
    )


# --------------------------------------------------------------------------------------- factors


def known_factors(corpus: Corpus, clips: Sequence[Clip]) -> list[dict[str, Any]]:
    """What is known of each clip: its labels, its speaker, and of a twin what was planted."""
    planted: dict[str, dict[str, Any]] = {}
    path = corpus.root / "twin.json"
    if corpus.synthetic and path.is_file():
        for record in json.loads(path.read_text(encoding="utf-8")).get("clips", []):
            planted[record["file"]] = record
    rows = []
    for clip in clips:
        media = [p for p in (clip.audio_path, clip.video_path) if p is not None]
        names = [p.relative_to(corpus.root).as_posix() for p in media]
        known = next((planted[name] for name in names if name in planted), {})
        rows.append({"speaker": clip.speaker, "sex": clip.sex} | dict(clip.labels) | dict(known))
    return rows


def targets_of(rows: Sequence[dict[str, Any]], factor: str) -> list[str | None]:
    """A factor of every clip as a class, or None where it has none.

    A planted intensity, 0 to 1, becomes one of three classes of equal size; that of a neutral
    clip is nothing that could be heard.

    >>> rows = [{"emotion": "fear", "intensity": i / 6} for i in range(1, 7)]
    >>> targets_of(rows, "intensity")
    ['low', 'low', 'medium', 'medium', 'high', 'high']
    """
    if factor != "intensity":
        return [None if row.get(factor) is None else str(row[factor]) for row in rows]
    acted = [row.get("emotion") != "neutral" and "intensity" in row for row in rows]
    values = np.array(
        [row["intensity"] if known else np.nan for row, known in zip(rows, acted, strict=True)],
        dtype=float,
    )
    cuts = np.nanquantile(values, [1 / 3, 2 / 3])
    return [
        INTENSITIES[int(np.searchsorted(cuts, value))] if known else None
        for value, known in zip(values, acted, strict=True)
    ]


def folds_of(
    clips: Sequence[Clip], rows: Sequence[dict[str, Any]], factor: str, most: int
) -> list[str]:
    """The fold of every clip: people, or for their identity sentences, are never split.

    Args:
        clips: N clips.
        rows: Their `known_factors`.
        factor: What is to be predicted.
        most: Most folds; with more groups these share folds.
    """
    groups = (
        [str(row["sentence"]) for row in rows] if factor == "speaker" else speaker_groups(clips)
    )
    names = sorted(set(groups))
    if len(names) <= most:
        return groups
    place = {name: f"fold {number % most}" for number, name in enumerate(names)}
    return [place[group] for group in groups]
