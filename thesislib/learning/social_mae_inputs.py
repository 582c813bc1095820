"""What chapter 7's models are shown: windows, normalised by a preset or by statistics of one's own.

Source: thesis section 7.3; notes item 6.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from thesislib.config import SocialMaeConfig
from thesislib.corpora.splits import speaker_split
from thesislib.errors import InputError
from thesislib.files import atomic_write
from thesislib.learning.social_mae_data import Say, load_pretraining
from thesislib.models.masked_autoencoder import COLOURS, MaskedAutoencoderConfig
from thesislib.signals.audio import SOCIAL_MAE
from thesislib.signals.audio_visual import PRESETS, AudioVisualPreset, FrontEnd, compute_stats

SHARES = (0.9, 0.05, 0.05)
"""Of the corpus of pre-training; the last two parts together are held out."""
_BATCH = 32


def preset_of(config: SocialMaeConfig) -> AudioVisualPreset:
    """The normalisation of a job's inputs: of pre-training and of the task alike.

    Raises:
        InputError: it is named by a file that does not hold one.
    """
    if config.normalisation in PRESETS:
        return PRESETS[config.normalisation]
    return read_statistics(Path(config.normalisation))


def front_end(config: SocialMaeConfig) -> FrontEnd:
    """From windows of a task to inputs; Social-MAE has colours of their own for NDC-ME.

    All else is normalised as in pre-training, so that a zero-shot error is in units that the model
    knows; section 7.3 gives the colours of the real NDC-ME.
    """
    preset = preset_of(config)
    if config.corpus == "ndc-me" and config.normalisation == "social-mae":
        preset = PRESETS["ndc-me"]
    return FrontEnd(
        preset=preset,
        audio_frames=config.audio_frames,
        n_frames=config.n_frames,
        image_size=config.image_size,
    )


def inputs(batch: Mapping[str, Tensor], sizes: MaskedAutoencoderConfig) -> tuple[Tensor, Tensor]:
    """Audio and video of a batch; a corpus without pictures shows even grey."""
    audio = batch["audio"]
    if "video" in batch:
        return audio, batch["video"]
    shape = (len(audio), COLOURS, sizes.n_frames, sizes.image_size, sizes.image_size)
    return audio, audio.new_zeros(shape)


def measure(config: SocialMaeConfig, *, say: Say = lambda line: None) -> AudioVisualPreset:
    """Statistics of the corpus of pre-training: of the part of its windows that is trained on.

    Raises:
        InputError: the corpus is not there, or has no usable window.
    """
    _, windows = load_pretraining(config, say=say)
    split = speaker_split(windows.clips, seed=0, shares=SHARES)
    tensors = windows.tensors()
    parts = torch.from_numpy(split.train).split(_BATCH)
    return compute_stats({name: values[part] for name, values in tensors.items()} for part in parts)


def write_statistics(preset: AudioVisualPreset, path: Path) -> None:
    """Keep a normalisation as JSON, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(asdict(preset), indent=2) + "\n", encoding="utf-8")


def read_statistics(path: Path) -> AudioVisualPreset:
    """What `write_statistics` wrote.

    Raises:
        InputError: the file is not there, or is something else.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        mean, std = (list(map(float, given[name])) for name in ("frame_mean", "frame_std"))
        return AudioVisualPreset(
            log_mel=replace(SOCIAL_MAE, **given["log_mel"]),
            frame_mean=(mean[0], mean[1], mean[2]),
            frame_std=(std[0], std[1], std[2]),
        )
    except (OSError, ValueError, TypeError, LookupError) as error:
        mend = f"name {', '.join(PRESETS)} or a file of `thesis data statistics CORPUS --out FILE`"
        raise InputError(path, f"holds no normalisation ({error})", mend) from error
