"""Spectrograms, optical flow and histograms of gradients, each as short as its definition."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from thesislib.errors import InputError
from thesislib.signals.audio import SAMPLE_RATE, check_waveforms, squared_magnitude

HYSTERESIS = 0.2  # no bin of a block holds more before the second normalisation


def spectrogram(
    waveforms: Tensor, *, window_ms: float, shift_ms: float, n_fft: int = 2048, range_db: float = 70
) -> Tensor:
    """Power spectra of overlapping Hann windows, below the loudest bin of each waveform.

    Args:
        waveforms: `(B, N)` floating point at 16 kHz.
        window_ms: Length of a window in milliseconds.
        shift_ms: From one window to the next, in milliseconds.
        n_fft: Points of the transform, at least a window; more points draw a smoother curve and
            resolve no more.
        range_db: Decibels that are kept.

    Returns:
        `(B, n_fft / 2 + 1, T)` in decibels, 0 at the loudest bin.

    Raises:
        InputError: the window has less than two samples or more than `n_fft`.
        ValueError: a waveform is shorter than a window.

    >>> spectrogram(torch.ones(1, 16000), window_ms=25, shift_ms=10).shape
    torch.Size([1, 1025, 98])
    """
    length, shift = (round(ms * SAMPLE_RATE / 1000) for ms in (window_ms, shift_ms))
    if not 2 <= length <= n_fft or shift < 1:
        problem = f"{window_ms} ms every {shift_ms} ms cannot be transformed with {n_fft} points"
        raise InputError("window", problem, "choose a window of at most n_fft samples")
    check_waveforms(waveforms, length)
    window = torch.hann_window(length, dtype=waveforms.dtype, device=waveforms.device)
    power = squared_magnitude(torch.fft.rfft(waveforms.unfold(1, length, shift) * window, n=n_fft))
    tiny = torch.finfo(power.dtype).tiny
    level = 10 * power.clamp(min=tiny).log10()
    top = level.amax(dim=(1, 2), keepdim=True)
    return (level - top).clamp(min=-range_db).transpose(1, 2)


class Flow(NamedTuple):
    """Motion between neighbouring frames.

    Attributes:
        shift: `(T - 1, H, W, 2)` pixels to the right and down from one frame to the next.
        texture: `(T - 1, H, W)` smaller eigenvalue of the structure tensor: where it is near
            zero, an edge or a plain surface leaves the motion open.
    """

    shift: Tensor
    texture: Tensor


def lucas_kanade(frames: Tensor, *, sigma: float = 2.5, iterations: int = 4) -> Flow:
    """Dense optical flow: the motion that explains best how the grey values around a pixel change.

    Within a Gaussian window the flow `d` is the least-squares solution of
    ``I_x d_x + I_y d_y = -I_t``. The second frame is then moved back by what was found, and the
    rest is solved for again.

    Args:
        frames: `(T, H, W)` floating point, T at least 2.
        sigma: Standard deviation of the window in pixels; motions much larger than it are missed.
        iterations: Solutions of the equation, the first included.

    Raises:
        InputError: `frames` is no sequence of at least two pictures.

    Source: Lucas and Kanade 1981.
    """
    if frames.ndim != 3 or len(frames) < 2 or not frames.is_floating_point():
        found = f"are {frames.dtype} of shape {tuple(frames.shape)}"
        raise InputError("frames", found, "give floating point of (T, H, W), T > 1")
    pictures = _blur(frames, 1.0)
    first, second = pictures[:-1], pictures[1:]
    shift = first.new_zeros(*first.shape, 2)
    for _ in range(iterations):
        moved = _moved_back(second, shift)
        middle = (first + moved) / 2
        down, right = torch.gradient(middle, dim=(1, 2))
        change = moved - first
        products = (right * right, right * down, down * down, right * change, down * change)
        xx, xy, yy, xt, yt = (_blur(product, sigma) for product in products)
        spread = (((xx - yy) / 2).square() + xy.square()).sqrt()
        texture = ((xx + yy) / 2 - spread).clamp(min=0)
        floor = 1e-3 * texture.amax()  # keeps flat places at rest instead of dividing by nothing
        xx, yy = xx + floor, yy + floor
        step = torch.stack([xy * yt - yy * xt, xy * xt - xx * yt], -1)
        step = step / (xx * yy - xy.square()).clamp(min=1e-20)[..., None]
        shift = shift + step.clamp(-1, 1)
    return Flow(shift, texture)


def _moved_back(pictures: Tensor, shift: Tensor) -> Tensor:
    """Pictures `(T, H, W)` sampled where each pixel has moved to."""
    _, height, width = pictures.shape
    rows = torch.arange(height, dtype=shift.dtype, device=shift.device)[:, None]
    columns = torch.arange(width, dtype=shift.dtype, device=shift.device)
    x = (columns + shift[..., 0]) * 2 / (width - 1) - 1
    y = (rows + shift[..., 1]) * 2 / (height - 1) - 1
    grid = torch.stack([x, y], -1)
    sampled = F.grid_sample(pictures[:, None], grid, padding_mode="border", align_corners=True)
    return sampled[:, 0]


def _blur(pictures: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of `(T, H, W)`, one direction after the other."""
    reach = ceil(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, dtype=pictures.dtype, device=pictures.device)
    weights = (-0.5 * (offsets / sigma).square()).exp()
    weights = weights / weights.sum()
    x = F.pad(pictures[:, None], (reach, reach, reach, reach), mode="replicate")
    x = F.conv2d(x, weights.view(1, 1, 1, -1))
    return F.conv2d(x, weights.view(1, 1, -1, 1))[:, 0]


def hog(pictures: Tensor, *, cell: int = 8, bins: int = 9, block: int = 2) -> Tensor:
    """Histograms of oriented gradients, as ``skimage.feature.hog`` gives them, in a batch.

    Args:
        pictures: `(B, H, W)` floating point; pixels beyond whole cells are not counted.
        cell: Side of a cell in pixels.
        bins: Orientations from 0 to 180 degrees.
        block: Cells along a side of a block, within which histograms are normalised (L2-Hys).

    Returns:
        `(B, R, C, block, block, bins)`: for each block of cells its histograms.

    Raises:
        InputError: the pictures hold less than one block.

    Source: Dalal and Triggs 2005.

    >>> hog(torch.rand(2, 32, 48)).shape
    torch.Size([2, 3, 5, 2, 2, 9])
    """
    if pictures.ndim != 3 or min(pictures.shape[1:]) < cell * block:
        problem = f"of shape {tuple(pictures.shape)} hold no block of {cell * block} pixels"
        raise InputError("pictures", problem, "give larger ones, as (B, H, W)")
    down, right = torch.zeros_like(pictures), torch.zeros_like(pictures)
    down[:, 1:-1] = pictures[:, 2:] - pictures[:, :-2]
    right[:, :, 1:-1] = pictures[:, :, 2:] - pictures[:, :, :-2]
    strength = torch.hypot(down, right)
    angle = torch.rad2deg(torch.atan2(down, right)) % 180
    member = (angle * bins / 180).long().clamp(max=bins - 1)
    votes = F.one_hot(member, bins).to(strength) * strength[..., None]  # (B, H, W, bins)
    cells = F.avg_pool2d(votes.permute(0, 3, 1, 2), cell).permute(0, 2, 3, 1)
    blocks = cells.unfold(1, block, 1).unfold(2, block, 1)  # (B, R, C, bins, block, block)
    blocks = blocks.permute(0, 1, 2, 4, 5, 3)
    clipped = _unit(blocks).clamp(max=HYSTERESIS)
    return _unit(clipped)


def _unit(blocks: Tensor) -> Tensor:
    energy = blocks.square().sum(dim=(3, 4, 5), keepdim=True)
    return blocks / (energy + 1e-10).sqrt()
