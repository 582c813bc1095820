"""What goes into the two branches, and what comes out of them for a clip: means over its tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from thesislib.errors import InputError
from thesislib.models.ast import ASTEncoder
from thesislib.models.dual_branch import DualBranch, Encoder, PatchGrid
from thesislib.signals.audio import (
    AST,
    FRAME_LENGTH,
    FRAME_SHIFT,
    SAMPLE_RATE,
    LogMelPreset,
    kaldi_log_mel,
    whisper_log_mel,
)

BRANCHES = ("main", "auxiliary", "concatenated")
BATCH = 16


def spectrograms(
    encoder: Encoder, grid: PatchGrid, waveforms: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """The encoder's own front end, for the window that counts.

    Args:
        encoder: Either kind.
        grid: Of its patches.
        waveforms: `(B, n)` in [-1, 1] at 16 kHz, no longer than the window.
        lengths: Samples before the padding of each row `(B,)`; None takes all.

    Returns:
        `(B, n_mels, T)` for a Whisper encoder, `(B, T, n_mels)` for an AST.

    Raises:
        InputError: waveforms are longer than the window or shorter than a frame.
    """
    longest, shortest = window_samples(encoder, grid), int(waveforms.shape[1])
    if lengths is not None:
        shortest = int(lengths.min())
    if waveforms.shape[1] > longest or shortest < FRAME_LENGTH:
        raise InputError(
            "waveforms",
            f"last {shortest / SAMPLE_RATE:g} to {waveforms.shape[1] / SAMPLE_RATE:g} s",
            f"cut them into windows of 0.025 s to {longest / SAMPLE_RATE:g} s",
        )
    config = encoder.config
    if isinstance(encoder, ASTEncoder):
        preset = LogMelPreset(
            n_mels=config.n_mels, mean=AST.mean, std=AST.std, target_frames=encoder.config.n_frames
        )
        return kaldi_log_mel(waveforms, preset=preset, lengths=lengths)
    return whisper_log_mel(
        waveforms,
        n_mels=config.n_mels,
        chunk_s=longest / SAMPLE_RATE,
        normalise_waveform=True,
        lengths=lengths,
    )


def window_samples(encoder: Encoder, grid: PatchGrid) -> int:
    """Samples at 16 kHz in the longest window that counts: 30 s for Whisper as it comes."""
    if isinstance(encoder, ASTEncoder):
        return (encoder.config.n_frames - 1) * FRAME_SHIFT + FRAME_LENGTH
    return grid.blocks * grid.frames * FRAME_SHIFT


def mean_of_tokens(states: Tensor, lengths: Tensor, grid: PatchGrid) -> Tensor:
    """Mean over the tokens that begin within each recording.

    Args:
        states: Output of a branch `(B, N, D)`.
        lengths: Samples of each recording in the window `(B,)`.
        grid: Of the tokens.

    Returns:
        `(B, D)`.

    Source: note 28.
    """
    if grid.whisper:  # every token spans all bands of two frames
        frames = 2 * torch.arange(states.shape[1], device=states.device)
    else:
        blocks = torch.arange(grid.blocks, device=states.device).expand(grid.bands, -1)
        frames = grid.frames * blocks.flatten()
    inside = frames * FRAME_SHIFT < lengths.to(states.device)[:, None]
    mask = inside.to(states.dtype)[..., None]
    return (states * mask).sum(1) / mask.sum(1).clamp(min=1)


@torch.inference_mode()
def branch_features(
    model: DualBranch, inputs: Tensor, lengths: Tensor, main: Tensor | None = None
) -> dict[str, Tensor]:
    """Mean-pooled outputs of either branch and of both, without masking, as they are probed.

    Args:
        model: Trained.
        inputs: `spectrograms` of N windows.
        lengths: Samples of each `(N,)`.
        main: `DualBranch.main_features` of the windows, where they are at hand.

    Returns:
        ``{"main": (N, D), "auxiliary": (N, D), "concatenated": (N, 2 D)}`` in float32 on the CPU.

    Source: section 8.4, figure 8.5.
    """
    rows: dict[str, list[Tensor]] = {"main": [], "auxiliary": []}
    device = model.mask_token.device
    for start in range(0, len(inputs), BATCH):
        part = slice(start, start + BATCH)
        windows = inputs[part].to(device)
        states = model.main_features(windows) if main is None else main[part].to(device)
        for name, values in ("main", states), ("auxiliary", model.auxiliary_features(windows)):
            rows[name].append(mean_of_tokens(values.float(), lengths[part], model.grid).cpu())
    pooled = {name: torch.cat(parts) for name, parts in rows.items()}
    return pooled | {"concatenated": torch.cat([pooled["main"], pooled["auxiliary"]], dim=1)}


def describe_recordings(
    model: DualBranch,
    waveforms: Sequence[Tensor],
    names: Sequence[str],
    *,
    say: Callable[[str], None] = print,
) -> dict[str, Tensor]:
    """Features of whole recordings: long ones are cut into windows, whose features are averaged.

    Args:
        model: Trained.
        waveforms: N recordings at 16 kHz, each `(n,)` of its own length.
        names: What to call them in messages.
        say: Told of each recording that had to be cut.

    Returns:
        As `branch_features`, a row for each recording; windows count by their length.

    Raises:
        InputError: a recording is shorter than one patch.
    """
    grid = model.grid
    least = (grid.frames - 1) * FRAME_SHIFT + FRAME_LENGTH
    longest = min(window_samples(model.main, grid), grid.blocks * grid.frames * FRAME_SHIFT)
    windows, lengths, owners = [], [], []
    for number, (waveform, name) in enumerate(zip(waveforms, names, strict=True)):
        if len(waveform) < least:
            raise InputError(
                name,
                f"lasts {len(waveform) / SAMPLE_RATE:.3f} s, less than one patch",
                f"give {least / SAMPLE_RATE:.3f} s or more",
            )
        pieces = [piece for piece in waveform.split(longest) if len(piece) >= least]
        if len(waveform) > longest:
            say(
                f"{name}: {len(waveform) / SAMPLE_RATE:.1f} s exceed the window of "
                f"{longest / SAMPLE_RATE:g} s: mean of {len(pieces)} windows"
            )
        owners += [number] * len(pieces)
        lengths += [len(piece) for piece in pieces]
        windows += [torch.nn.functional.pad(p, (0, longest - len(p))) for p in pieces]
    sizes = torch.tensor(lengths)
    features = branch_features(
        model, spectrograms(model.main, grid, torch.stack(windows), sizes), sizes
    )
    share = torch.zeros(len(waveforms), len(windows))
    share[torch.tensor(owners), torch.arange(len(windows))] = sizes.float()
    share = share / share.sum(dim=1, keepdim=True)
    return {name: share @ values for name, values in features.items()}
