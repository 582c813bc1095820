"""Multi-scale temporal convolutional network (MS-TCN) over lips or voice.

A front end (1-D over the waveform, or 3-D over the frames) feeds a ResNet-18 of the same
dimension; its features, one vector a time step, feed four temporal blocks that look through
kernels of 3, 5 and 7 steps at once; their mean over time is classified. Chapter 6 takes such a
model, trained to read lips, as the branch of LSN-TCN (`thesislib.models.lsn_tcn`).

Clips of different lengths share a batch. With ``layout="default"`` positions past a clip's end
are zero before every convolution and do not count in batch norm, so a clip gives the same result
alone and padded. With ``layout="official"`` the padding takes part in everything but the last
mean, as in the public lipreading code.

Source: Martinez et al. 2020, "Lipreading using temporal convolutional networks"; thesis sections
6.3.1 and 6.3.2; notes 14 to 18.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from thesislib.errors import InputError

Modality = Literal["audio", "video"]
Activation = Literal["relu", "prelu", "swish"]
Layout = Literal["default", "official", "release"]
Lengths = Sequence[int] | Tensor | None

SAMPLES_PER_STEP = 640  # 40 ms at 16 kHz: the front end divides by 4, the ResNet by 8, the pool 20


@dataclass(frozen=True)
class MsTcnConfig:
    """Sizes of one branch; the defaults are those of the lipreading checkpoints.

    Attributes:
        modality: ``audio`` (waveform at 16 kHz) or ``video`` (frames around the mouth).
        colours: Colour channels of a frame: 1 grey, 3 RGB.
        activation: ``relu``, ``prelu`` or ``swish``.
        width: Channels of the ResNet's first stage; its last has eight times as many.
        tcn_width: Channels of the temporal blocks, all kernels together.
        kernels: Sizes of the temporal kernels, in steps.
        blocks: Temporal blocks; the dilation doubles from one to the next.
        dropout: In the temporal blocks.
        classes: Size of the head.
        pool: Kernel and padding of the audio model's last pooling; (20, 0) is the lipreading
            model's, (21, 1) that of the LSN-TCN release.
        layout: ``default`` masks padding; ``official`` does as the lipreading code; ``release``
            as the LSN-TCN release, which also mixes up the axes of its frames (note 15).
    """

    modality: Modality
    colours: int = 1
    activation: Activation = "swish"
    width: int = 64
    tcn_width: int = 768
    kernels: tuple[int, ...] = (3, 5, 7)
    blocks: int = 4
    dropout: float = 0.2
    classes: int = 500
    pool: tuple[int, int] = (20, 0)
    layout: Layout = "default"

    def __post_init__(self) -> None:
        choices: list[tuple[str, object, tuple[object, ...]]] = [
            ("modality", self.modality, ("audio", "video")),
            ("colours", self.colours, (1, 3)),
            ("activation", self.activation, ("relu", "prelu", "swish")),
            ("layout", self.layout, ("default", "official", "release")),
        ]
        for name, value, allowed in choices:
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}, must be one of {allowed}")
        if any(kernel % 2 == 0 or kernel < 1 for kernel in self.kernels):
            raise ValueError(f"kernels are {self.kernels}, must be odd to keep a clip's length")
        if not self.kernels or self.tcn_width % len(self.kernels):
            raise ValueError(f"tcn_width {self.tcn_width} cannot be shared by {self.kernels}")
        if min(self.width, self.tcn_width, self.blocks, self.classes) < 1:
            raise ValueError("width, tcn_width, blocks and classes must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, must be in [0, 1)")

    @property
    def frame_width(self) -> int:
        """Size of the ResNet's feature vector for one step (512 at full size)."""
        return 8 * self.width


class Features(NamedTuple):
    """What a branch makes of a batch, from low to high.

    Attributes:
        frames: ResNet features, one vector a step, (B, T, 8 * width).
        steps: Output of the temporal blocks, (B, T, tcn_width).
        embedding: Mean of `steps` over a clip's own length, (B, tcn_width).
        mask: True at a clip's own steps, (B, T); None where no clip is padded.
    """

    frames: Tensor
    steps: Tensor
    embedding: Tensor
    mask: Tensor | None


class MsTcn(nn.Module):
    """One branch: front end and ResNet-18, temporal blocks, linear head.

    >>> config = MsTcnConfig("audio", width=2, tcn_width=6, blocks=1, classes=3)
    >>> MsTcn(config).eval()(torch.zeros(2, 1, 1280)).shape
    torch.Size([2, 3])
    """

    def __init__(self, config: MsTcnConfig, *, own_tcn: bool = True) -> None:
        """Build the branch; without `own_tcn`, `embed` takes the temporal blocks of another."""
        super().__init__()
        self.config = config
        self.encoder: nn.Module = (
            AudioEncoder(config) if config.modality == "audio" else VideoEncoder(config)
        )
        self.tcn = MultiScaleTcn(config) if own_tcn else None
        self.head = nn.Linear(config.tcn_width, config.classes)
        self.apply(_initialise)

    def forward(self, inputs: Tensor, lengths: Lengths = None) -> Tensor:
        """Logits (B, classes).

        Args:
            inputs: Waveform (B, 1, samples), or frames (B, colours, T, H, W), float.
            lengths: Samples or frames of each clip; None where all are full.

        Raises:
            InputError: A clip is too short for one step, or longer than the batch, or the
                input has the wrong shape.
        """
        return self.head(self.embed(inputs, lengths).embedding)

    def embed(
        self, inputs: Tensor, lengths: Lengths = None, tcn: MultiScaleTcn | None = None
    ) -> Features:
        """Features of every level; `tcn` stands in for the branch's own temporal blocks."""
        tcn = tcn or self.tcn
        if tcn is None:
            raise ValueError("this branch has no temporal blocks of its own: pass `tcn`")
        counts = _check(inputs, lengths, self.config)
        full = counts is None or bool((counts == inputs.shape[2]).all())
        if self.config.layout != "default":
            frames, valid = self.encoder(inputs, None)
            mask = None if counts is None or full else self._official_mask(counts, frames)
        else:
            frames, valid = self.encoder(inputs, None if full else counts)
            mask = valid
        steps = tcn(frames.transpose(1, 2), valid).transpose(1, 2)
        return Features(frames, steps, masked_mean(steps, mask), mask)

    def _official_mask(self, counts: Tensor, frames: Tensor) -> Tensor:
        steps = counts // SAMPLES_PER_STEP if self.config.modality == "audio" else counts
        return length_mask(steps, frames.shape[1], frames.device)


# Front ends and backbones ------------------------------------------------------------------------


class VideoEncoder(nn.Module):
    """3-D convolution (5 x 7 x 7), pooling by 2, and a 2-D ResNet-18 on every frame.

    After the 3-D convolution frames are independent, so they are stacked as a batch of
    pictures, those past a clip's end left out: nothing is computed for padding, and batch norm
    sees the clips' own frames only.
    """

    def __init__(self, config: MsTcnConfig) -> None:
        super().__init__()
        self.mixed_up = config.layout == "release"
        self.conv = nn.Conv3d(
            config.colours, config.width, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False
        )
        self.norm = nn.BatchNorm2d(config.width)
        self.activation = activation(config.activation, config.width)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.resnet = resnet18(config.width, config.activation, dimensions=2)

    def forward(self, frames: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Features (B, T, 8 * width) and the mask (B, T), from frames (B, colours, T, H, W)."""
        valid = None if lengths is None else length_mask(lengths, frames.shape[2], frames.device)
        if valid is not None:
            frames = frames * valid[:, None, :, None, None]  # the convolution sees 2 frames ahead
        # Channels last is free for pictures decoded as (T, H, W, C), and the fast order on a CPU.
        maps = self.conv(frames.contiguous(memory_format=torch.channels_last_3d))
        maps = maps.permute(0, 2, 1, 3, 4)  # (B, T, width, H / 2, W / 2)
        pictures = maps.flatten(0, 1) if valid is None else maps[valid]
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        pictures = self.norm(pictures)
        # The largest of four stays the largest where the activation rises: a quarter of the work.
        if rises(self.activation):
            pictures = self.activation(self.pool(pictures))
        else:
            pictures = self.pool(self.activation(pictures))
        if self.mixed_up:
            pictures = _mix_up_axes(pictures.unflatten(0, maps.shape[:2]))
        vectors = self.resnet(pictures).mean(dim=(2, 3))
        if valid is None:
            return vectors.unflatten(0, maps.shape[:2]), None
        features = vectors.new_zeros(*valid.shape, vectors.shape[1])
        features[valid] = vectors
        return features, valid


class AudioEncoder(nn.Module):
    """1-D convolution (80 samples, stride 4), a 1-D ResNet-18 and pooling to 25 steps a second."""

    def __init__(self, config: MsTcnConfig) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, config.width, 80, stride=4, padding=38, bias=False)
        self.norm = nn.BatchNorm1d(config.width)
        self.activation = activation(config.activation, config.width)
        self.resnet = resnet18(config.width, config.activation, dimensions=1)
        self.window, self.padding = config.pool
        self.pool = nn.AvgPool1d(self.window, padding=self.padding)

    def forward(self, waveform: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Features (B, T, 8 * width) and the mask (B, T), from a waveform (B, 1, samples)."""
        valid = None
        if lengths is not None:
            waveform = waveform * length_mask(lengths, waveform.shape[2], waveform.device)[:, None]
        maps = self.conv(waveform)
        if lengths is not None:
            lengths = lengths // 4  # of the convolution above, at any length from 4 on
            valid = length_mask(lengths, maps.shape[2], maps.device)
        maps = self.activation(norm_valid(self.norm, maps, valid))
        for block in self.resnet:
            assert isinstance(block, ResidualBlock)
            maps = block(maps, lengths)
            lengths = None if lengths is None else -(-lengths // block.stride)
        features = self.pool(maps).transpose(1, 2)
        if lengths is None:
            return features, None
        lengths = (lengths + 2 * self.padding) // self.window
        valid = length_mask(lengths, features.shape[1], features.device)
        return features * valid[..., None], valid


def resnet18(width: int, activation_name: Activation, dimensions: Literal[1, 2]) -> nn.Sequential:
    """The eight residual blocks of ResNet-18: 1, 2, 4, 8 times `width`, halving three times."""
    blocks: list[nn.Module] = []
    channels = width
    for stage in range(4):
        for stride in (1 if stage == 0 else 2, 1):
            out = width * 2**stage
            blocks.append(ResidualBlock(channels, out, stride, activation_name, dimensions))
            channels = out
    return nn.Sequential(*blocks)


class ResidualBlock(nn.Module):
    """Two convolutions of kernel 3 and the shortcut around them, over time or over a picture.

    torchvision's block is the same for pictures and ReLU; this one also serves waveforms, masks
    and PReLU, which needs weights of its own in either place.
    """

    def __init__(
        self, channels: int, out: int, stride: int, activation_name: Activation, dimensions: int
    ) -> None:
        super().__init__()
        conv: type[nn.Module] = nn.Conv1d if dimensions == 1 else nn.Conv2d
        norm: type[nn.Module] = nn.BatchNorm1d if dimensions == 1 else nn.BatchNorm2d
        self.stride = stride
        self.conv1 = conv(channels, out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = norm(out)
        self.activation1 = activation(activation_name, out)
        self.conv2 = conv(out, out, 3, padding=1, bias=False)
        self.norm2 = norm(out)
        self.activation2 = activation(activation_name, out)
        self.shortcut: nn.Module | None = None
        if stride != 1 or channels != out:
            self.shortcut = conv(channels, out, 1, stride=stride, bias=False)
            self.shortcut_norm = norm(out)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The block's output; `lengths` (B,) are those of `x`, for waveforms only."""
        y = self.conv1(x)
        valid = None
        if lengths is not None:
            valid = length_mask(-(-lengths // self.stride), y.shape[2], y.device)
        y = self.activation1(norm_valid(self.norm1, y, valid))
        y = norm_valid(self.norm2, self.conv2(y), valid)
        if self.shortcut is not None:
            x = norm_valid(self.shortcut_norm, self.shortcut(x), valid)
        return self.activation2(y + x)


# Temporal blocks ---------------------------------------------------------------------------------


class MultiScaleTcn(nn.Module):
    """Temporal blocks with dilations 1, 2, 4, …; (B, C, T) to (B, tcn_width, T)."""

    def __init__(self, config: MsTcnConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            TemporalBlock(config, config.tcn_width if block else config.frame_width, 2**block)
            for block in range(config.blocks)
        )

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Run the blocks; steps where `valid` (B, T) is False come out as zero."""
        for block in self.blocks:
            x = block(x, valid)
        return x


class TemporalBlock(nn.Module):
    """Twice a set of parallel convolutions, one a kernel size, and a 1 x 1 shortcut."""

    def __init__(self, config: MsTcnConfig, channels: int, dilation: int) -> None:
        super().__init__()
        branch = config.tcn_width // len(config.kernels)

        def scales(inputs: int) -> nn.ModuleList:
            return nn.ModuleList(
                TemporalConv(inputs, branch, kernel, dilation, config.activation)
                for kernel in config.kernels
            )

        self.first, self.second = scales(channels), scales(config.tcn_width)
        self.dropout = nn.Dropout(config.dropout)
        # The released models have this projection in every block, equal widths or not.
        self.shortcut = nn.Conv1d(channels, config.tcn_width, 1)
        self.activation = activation(config.activation, config.tcn_width)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """One block, (B, C, T) to (B, tcn_width, T)."""
        y = self.dropout(torch.cat([scale(x, valid) for scale in self.first], dim=1))
        y = self.dropout(torch.cat([scale(y, valid) for scale in self.second], dim=1))
        y = self.activation(y + self.shortcut(x))
        return y if valid is None else y * valid[:, None]


class TemporalConv(nn.Module):
    """Dilated convolution, batch norm, activation; as many steps out as in.

    The published model pads by a whole receptive field on both sides, normalises, and only then
    chops half of it off again on either side. In evaluation that equals a convolution that
    computes the kept steps alone, which is what happens here. In training the steps to be chopped
    belong to the statistics (note 17), so there they are computed as well. (Computing the two
    margins apart, with the part of the kernel that meets the clip, was tried: three small
    convolutions are slower than one long one.)
    """

    def __init__(
        self, channels: int, out: int, kernel: int, dilation: int, activation_name: Activation
    ) -> None:
        super().__init__()
        self.margin = (kernel - 1) * dilation // 2
        self.conv = nn.Conv1d(channels, out, kernel, padding=self.margin, dilation=dilation)
        self.norm = nn.BatchNorm1d(out)
        self.activation = activation(activation_name, out)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """One scale, (B, C, T) to (B, out, T)."""
        if not self.norm.training or self.margin == 0:
            return self.activation(norm_valid(self.norm, self.conv(x), valid))
        wide = F.conv1d(
            x,
            self.conv.weight,
            self.conv.bias,
            padding=2 * self.margin,
            dilation=self.conv.dilation,
        )
        reach = None
        if valid is not None:  # a clip's margin follows its own end
            reach = length_mask(valid.sum(dim=1) + 2 * self.margin, wide.shape[2], wide.device)
        y = norm_valid(self.norm, wide, reach).narrow(2, self.margin, x.shape[2])
        return self.activation(y if valid is None else y * valid[:, None])


# Small parts -------------------------------------------------------------------------------------


def activation(name: Activation, channels: int) -> nn.Module:
    """``relu``, ``prelu`` (a slope a channel) or ``swish`` (x times its logistic function)."""
    if name == "prelu":
        return _PReLU(channels)
    return nn.ReLU() if name == "relu" else nn.SiLU()


def rises(layer: nn.Module) -> bool:
    """Whether an activation never falls: ReLU, and PReLU unless a slope is below zero.

    >>> rises(nn.ReLU()), rises(nn.SiLU()), rises(nn.PReLU()), rises(nn.PReLU(init=-0.1))
    (True, False, True, False)
    """
    if isinstance(layer, nn.PReLU):
        return bool((layer.weight >= 0).all())
    return isinstance(layer, nn.ReLU)


class _PReLU(nn.PReLU):
    """PReLU of channels in the second dimension; in training by kernels that are vectorised.

    The gradient of torch's own is computed one value at a time on CPU: it took a third of a
    training step of the voice.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        slope = self.weight.to(x.dtype).unflatten(0, (-1, *[1] * (x.ndim - 2)))
        return _SlopedReLU.apply(x, slope)


class _SlopedReLU(torch.autograd.Function):
    """x where it is positive, elsewhere its product with a slope a channel, `(C, 1, ...)`."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return torch.lerp(x.relu(), x, slope)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors  # type: ignore[attr-defined]
        above = torch.ops.aten.threshold_backward(gradient, x, 0)  # zero where x is not positive
        for_x = torch.lerp(above, gradient, slope)
        below = above.sub_(gradient).mul_(x)
        others = [d for d in range(x.ndim) if d != 1]
        return for_x, -below.sum(dim=others, keepdim=True)[0]


def length_mask(lengths: Tensor, steps: int, device: torch.device) -> Tensor:
    """True at the first `lengths` of `steps` positions, (B, steps).

    >>> length_mask(torch.tensor([1, 3]), 3, torch.device("cpu")).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    return torch.arange(steps, device=device) < lengths.to(device)[:, None]


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the time axis of (B, T, D) where `mask` (B, T) is True; over all where None."""
    if mask is None:
        return x.mean(dim=1)
    return (x * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def norm_valid(norm: nn.Module, x: Tensor, valid: Tensor | None) -> Tensor:
    """Batch norm of (B, C, T) over the positions where `valid` (B, T) is True; zero elsewhere."""
    if valid is None:
        return norm(x)
    rows = x.transpose(1, 2)
    normed = norm(rows[valid])  # (positions, C)
    result = normed.new_zeros(rows.shape)
    result[valid] = normed
    return result.transpose(1, 2)


def _mix_up_axes(pictures: Tensor) -> Tensor:
    """Pictures (B, T, C, H, W) as (B * T, C, H, W) the way the LSN-TCN release reshapes them.

    It keeps time last, moves the height where time should go, and reads on in memory order, so
    that hardly an element stays in its frame. Checkpoints trained so need it so.
    """
    batch, steps, *shape = pictures.shape
    return pictures.permute(0, 3, 2, 4, 1).reshape(batch * steps, *shape)


def _check(inputs: Tensor, lengths: Lengths, config: MsTcnConfig) -> Tensor | None:
    """Lengths (B,) on the CPU, or None; clear errors before any computing."""
    video = config.modality == "video"
    channels, rank = (config.colours, 5) if video else (1, 3)
    if inputs.ndim != rank or inputs.shape[1] != channels:
        wanted = f"(B, {channels}, T, H, W)" if video else "(B, 1, samples)"
        raise InputError(
            f"{config.modality} batch", f"has shape {tuple(inputs.shape)}", f"give {wanted}"
        )
    counts = None if lengths is None else torch.as_tensor(lengths).cpu()
    if counts is not None and counts.shape != inputs.shape[:1]:
        raise InputError(
            f"{config.modality} batch",
            f"has {inputs.shape[0]} clips and lengths of shape {tuple(counts.shape)}",
            "give one length a clip",
        )
    unit, least = ("frames", 1) if video else ("samples", SAMPLES_PER_STEP)
    clips = [inputs.shape[2]] if counts is None else counts.tolist()
    for index, length in enumerate(clips):
        if not least <= length <= inputs.shape[2]:
            raise InputError(
                f"{config.modality} batch",
                f"{length} {unit} of {inputs.shape[2]}, at least {least} are needed",
                "leave the clip out or take a longer window",
                where=f"clip {index}",
            )
    return counts


def _initialise(module: nn.Module) -> None:
    """He initialisation by fan-out for convolutions, by fan-in for the head, as published."""
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight)
