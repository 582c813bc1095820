"""Clip-level features: pooled hidden states of a frozen encoder, and MFCC statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thesislib.corpora.clip import Clip
from thesislib.errors import InputError
from thesislib.models.encoders import WhisperEncoder
from thesislib.signals.audio import SAMPLE_RATE, WHISPER_SHIFT, mfcc, whisper_log_mel
from thesislib.signals.media import read_batch

BATCH = 32
# Both convolutions together halve the frame rate: one position covers two frames, 20 ms.
SAMPLES_PER_POSITION = 2 * WHISPER_SHIFT


def pool_mean_std(states: Tensor, lengths: Tensor) -> Tensor:
    """Mean and population standard deviation over the first positions of each sequence.

    Args:
        states: Hidden states `(B, T, D)`.
        lengths: Positions to pool in each row `(B,)`, at least 1.

    Returns:
        `(B, 2 D)`: the means, then the standard deviations.

    Source: mean+std is the variant of note 28; the thesis pools the mean.
    """
    mask = (torch.arange(states.shape[1], device=states.device) < lengths[:, None])[..., None]
    count = lengths[:, None].to(states.dtype)
    mean = (states * mask).sum(1) / count
    variance = ((states - mean[:, None]).square() * mask).sum(1) / count
    return torch.cat([mean, variance.sqrt()], dim=1)


def extract_features(
    clips: Sequence[Clip],
    encoder: WhisperEncoder,
    *,
    window_s: float,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, NDArray[np.float32]], list[int], list[InputError]]:
    """Pooled features of every clip: MFCC statistics and each layer of the encoder.

    The encoder sees the first `window_s` seconds, zero-padded to its own window; only the
    positions of the recording are pooled. Broken recordings are left out and named.

    Args:
        clips: N clips with sound.
        encoder: Frozen encoder with L blocks.
        window_s: Analysed window, in seconds, at most the encoder's.
        device: Where to compute.
        progress: Called with the number of clips done.

    Returns:
        ``{"mfcc": (N', 40), "layer_0": (N', 2 D), …, "layer_L": (N', 2 D)}`` in float32, the
        positions of the N' usable clips, and one error for each of the others.

    Raises:
        InputError: no clip is usable, or the window is longer than the encoder's.
    """
    chunk_s = encoder.config.n_positions * SAMPLES_PER_POSITION / SAMPLE_RATE
    if window_s > chunk_s:
        raise InputError(
            "parameter window_s", f"{window_s} s exceeds the encoder's {chunk_s} s", "shorten it"
        )
    rows: list[dict[str, Tensor]] = []
    kept: list[int] = []
    failures: list[InputError] = []
    encoder = encoder.to(device)
    for start in range(0, len(clips), BATCH):
        part = list(clips[start : start + BATCH])
        batch = read_batch(part, duration_s=window_s, on_error="quarantine")
        failures += batch.failures
        kept += [start + position for position in batch.kept]
        if batch.kept:
            rows.append(_pooled(batch.waveforms, batch.lengths, encoder, chunk_s, device))
        if progress is not None:
            progress(start + len(part))
    if not rows:
        raise InputError(
            clips[0].corpus if clips else "corpus",
            f"has no usable recording among {len(clips)}",
            str(failures[0]) if failures else "give it some clips",
        )
    names = list(rows[0])
    return {name: torch.cat([r[name] for r in rows]).numpy() for name in names}, kept, failures


@torch.inference_mode()
def _pooled(
    waveforms: Tensor, lengths: Tensor, encoder: WhisperEncoder, chunk_s: float, device: str
) -> dict[str, Tensor]:
    waveforms, lengths = waveforms.to(device), lengths.to(device)
    log_mel = whisper_log_mel(
        waveforms,
        n_mels=encoder.config.n_mels,
        chunk_s=chunk_s,
        normalise_waveform=True,
        lengths=lengths,
    )
    positions = (lengths // SAMPLES_PER_POSITION).clamp(min=1)
    coefficients = mfcc(waveforms)
    frames = (lengths * coefficients.shape[1] // waveforms.shape[1]).clamp(min=1)
    pooled = {"mfcc": pool_mean_std(coefficients, frames)}
    for number, states in enumerate(encoder.hidden_states(log_mel)):
        pooled[f"layer_{number}"] = pool_mean_std(states, positions)
    return {name: value.float().cpu() for name, value in pooled.items()}
