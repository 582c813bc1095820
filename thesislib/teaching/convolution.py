"""Convolution as its equation has it, and a few kernels that are worth seeing."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from thesislib.errors import InputError

KERNELS: dict[str, tuple[tuple[float, ...], ...]] = {
    "blur": ((1 / 9,) * 3,) * 3,
    "vertical edges": ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "horizontal edges": ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    "sharpen": ((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
}


def output_size(size: int, kernel: int, *, stride: int = 1, padding: int = 0) -> int:
    """Positions along one axis at which a kernel fits.

    Args:
        size: Pixels along the axis.
        kernel: Width of the kernel.
        stride: Pixels from one position to the next.
        padding: Zeros added at each end.

    Raises:
        InputError: the kernel does not fit, or the stride is below one.

    >>> output_size(8, 3), output_size(8, 3, padding=1), output_size(8, 3, stride=2, padding=1)
    (6, 8, 4)
    """
    if stride < 1 or kernel < 1 or padding < 0 or size + 2 * padding < kernel:
        raise InputError(
            "convolution",
            f"kernel {kernel}, stride {stride}, padding {padding} do not fit {size} pixels",
            "enlarge the input or the padding",
        )
    return (size + 2 * padding - kernel) // stride + 1


def convolve(picture: Tensor, kernel: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
    """Slide one kernel over a picture; the responses of its channels are summed.

    The kernel is not flipped: what networks call convolution is a cross-correlation.

    Args:
        picture: `(C, H, W)`.
        kernel: `(C, h, w)`.
        stride: Pixels from one position to the next, along both axes.
        padding: Zeros added on each side.

    Returns:
        Feature map `(H', W')`.

    Source: thesis equation 2.7.

    >>> convolve(torch.ones(1, 3, 3), torch.ones(1, 2, 2))
    tensor([[4., 4.],
            [4., 4.]])
    """
    if picture.ndim != 3 or kernel.ndim != 3 or len(picture) != len(kernel):
        raise InputError(
            "kernel",
            f"of shape {tuple(kernel.shape)} does not fit a picture {tuple(picture.shape)}",
            "give both as (channels, height, width), with as many channels",
        )
    height, width = kernel.shape[1:]
    for size, reach in zip(picture.shape[1:], (height, width), strict=True):
        output_size(size, reach, stride=stride, padding=padding)
    padded = F.pad(picture, (padding,) * 4)
    windows = padded.unfold(1, height, stride).unfold(2, width, stride)
    return torch.einsum("cijab,cab->ij", windows, kernel)
