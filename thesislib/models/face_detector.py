"""MTCNN: where a face is and where its eyes, nose and mouth corners are, by three small networks.

The first network looks at every place of a pyramid of shrunken pictures and proposes boxes, the
second refines them, the third decides and gives five points. Frames are processed as a batch:
each network runs once over the candidates of all frames, and these are cut out of a summed-area
table, by which any box is shrunk to 24 x 24 or 48 x 48 with four look-ups a pixel.

Source: zhang2016mtcnn; the weights come with facenet-pytorch (see the manifest `face-detector`).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from thesislib.errors import InputError
from thesislib.models.checkpoints import load_converted
from thesislib.signals.face import FaceLandmarks

# How sure each network has to be, the pyramid's step, and the overlaps at which of two boxes the
# less sure one goes: the values of the authors' code, which facenet-pytorch keeps.
_SURE = (0.6, 0.7, 0.7)
_PYRAMID_STEP = 0.709
_CELL, _STRIDE = 12, 2  # what one output of the first network sees, and how far the next one is
_OVERLAP_IN_LEVEL, _OVERLAP = 0.5, 0.7
# The most candidates of one frame and pyramid level; it bounds memory on a picture full of texture.
_MOST_CANDIDATES = 512
# Frames at a time: the summed-area table of one of 1080p takes 25 MB.
_CHUNK = 16


def _conv(n_in: int, n_out: int, kernel: int, layer: int) -> list[tuple[str, nn.Module]]:
    return [(f"conv{layer}", nn.Conv2d(n_in, n_out, kernel)), (f"prelu{layer}", nn.PReLU(n_out))]


def _pool(kernel: int, layer: int) -> list[tuple[str, nn.Module]]:
    # Windows that reach over the edge count, as in Caffe, where the networks were trained.
    return [(f"pool{layer}", nn.MaxPool2d(kernel, 2, ceil_mode=True))]


class ProposalNet(nn.Module):
    """Pictures -> a face probability and a box correction for every other 12 x 12 cell."""

    def __init__(self) -> None:
        super().__init__()
        layers = _conv(3, 10, 3, 1) + _pool(2, 1) + _conv(10, 16, 3, 2) + _conv(16, 32, 3, 3)
        self.body = nn.Sequential(OrderedDict(layers))
        self.conv4_1 = nn.Conv2d(32, 2, 1)
        self.conv4_2 = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, 3, H, W)`` -> probability ``(B, h, w)`` and correction ``(B, h, w, 4)``."""
        x = self.body(x)
        return self.conv4_1(x).softmax(1)[:, 1], self.conv4_2(x).permute(0, 2, 3, 1)


class RefinementNet(nn.Module):
    """Candidates of 24 x 24 -> a face probability and a box correction."""

    def __init__(self) -> None:
        super().__init__()
        layers = _conv(3, 28, 3, 1) + _pool(3, 1) + _conv(28, 48, 3, 2) + _pool(3, 2)
        self.body = nn.Sequential(OrderedDict(layers + _conv(48, 64, 2, 3)))
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, 3, 24, 24)`` -> probability ``(N,)`` and correction ``(N, 4)``."""
        # The weights were trained on columns before rows.
        x = self.prelu4(self.dense4(self.body(x).permute(0, 3, 2, 1).flatten(1)))
        return self.dense5_1(x).softmax(1)[:, 1], self.dense5_2(x)


class OutputNet(nn.Module):
    """Candidates of 48 x 48 -> a face probability, a box correction and five points."""

    def __init__(self) -> None:
        super().__init__()
        layers = _conv(3, 32, 3, 1) + _pool(3, 1) + _conv(32, 64, 3, 2) + _pool(3, 2)
        layers += _conv(64, 64, 3, 3) + _pool(2, 3) + _conv(64, 128, 2, 4)
        self.body = nn.Sequential(OrderedDict(layers))
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2 = nn.Linear(256, 2), nn.Linear(256, 4)
        self.dense6_3 = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(N, 3, 48, 48)`` -> probability ``(N,)``, correction ``(N, 4)``, points ``(N, 5, 2)``.

        Points are shares of the box's width and height, from its upper left corner.
        """
        x = self.prelu5(self.dense5(self.body(x).permute(0, 3, 2, 1).flatten(1)))
        points = self.dense6_3(x).unflatten(1, (2, 5)).transpose(1, 2)
        return self.dense6_1(x).softmax(1)[:, 1], self.dense6_2(x), points


class Faces(NamedTuple):
    """All faces that were found, frame by frame and the surest first.

    Attributes:
        frame: `(N,)` int64, index of the frame.
        box: `(N, 4)` float32: left, top, right, bottom in pixels.
        score: `(N,)` float32, probability of a face, 0 to 1.
        points: `(N, 5, 2)` float32, column and row in pixels (the centre of the first pixel is
            (0, 0)): the eyes, the tip of the nose and the corners of the mouth, each left before
            right as seen in the picture.
    """

    frame: Tensor
    box: Tensor
    score: Tensor
    points: Tensor


class FaceDetector(nn.Module):
    """The three networks and what lies between them.

    Args:
        smallest_share: Smallest face that is looked for, as a share of the shorter side of the
            picture, but at least 12 pixels. A larger one saves much of the work.
    """

    def __init__(self, smallest_share: float = 0.125) -> None:
        super().__init__()
        self.smallest_share = smallest_share
        self.pnet, self.rnet, self.onet = ProposalNet(), RefinementNet(), OutputNet()

    @property
    def identity(self) -> str:
        """What distinguishes its results from those of another detector, for caches and records."""
        return f"mtcnn facenet-pytorch-2.6.0 smallest_share={self.smallest_share:g}"

    def detect(self, frames: Tensor) -> FaceLandmarks:
        """Five landmarks of the largest face in each frame.

        Args:
            frames: ``(T, H, W, 3)`` uint8 RGB.

        Returns:
            `landmarks` ``(T, 5, 2)`` in pixels, NaN where no face is found, and `score` ``(T,)``,
            0 there. Order and pixels are those of `Faces`.

        Raises:
            ValueError: the frames have another shape or type.
        """
        found = self.find_faces(frames)
        landmarks = torch.full((len(frames), 5, 2), torch.nan, device=frames.device)
        score = torch.zeros(len(frames), device=frames.device)
        area = (found.box[:, 2:] - found.box[:, :2]).prod(1)
        order = area.argsort()
        largest = torch.full((len(frames),), -1, dtype=torch.int64, device=frames.device)
        # Of several values for one index, `scatter` may keep any; amax keeps the last in order.
        place = torch.arange(len(order), device=frames.device)
        largest = largest.scatter_reduce(0, found.frame[order], place, "amax")
        seen = largest >= 0
        chosen = order[largest[seen]]
        landmarks[seen], score[seen] = found.points[chosen], found.score[chosen]
        return FaceLandmarks(landmarks, score)

    @torch.no_grad()
    def find_faces(self, frames: Tensor) -> Faces:
        """All faces in all frames.

        Args:
            frames: ``(T, H, W, 3)`` uint8 RGB.

        Raises:
            ValueError: the frames have another shape or type.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
            raise ValueError(
                f"frames are {tuple(frames.shape)} {frames.dtype}, expected (T, H, W, 3) uint8"
            )
        parts = [
            self._find(frames[start : start + _CHUNK], start)
            for start in range(0, len(frames), _CHUNK)
        ]
        if not parts:
            empty = frames.new_zeros(0, dtype=torch.float32)
            return Faces(empty.long(), empty.view(0, 4), empty, empty.view(0, 5, 2))
        return Faces(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _find(self, frames: Tensor, first: int) -> Faces:
        frame, box = self._propose(frames)
        table = _summed_area(frames)
        score, shift = _run(self.rnet, table, frame, box, 24)
        kept = _surest(frame, box, score, score >= _SURE[1], _OVERLAP)
        frame, box = frame[kept], _square(_corrected(box[kept], shift[kept]))

        score, shift, points = _run(self.onet, table, frame, box, 48)
        # A box names its first and last pixel, counted from 1; the half makes edges centres.
        points = box[:, None, :2] - 1 + points * (box[:, 2:] - box[:, :2] + 1)[:, None] - 0.5
        box = _corrected(box, shift)
        kept = _surest(frame, box, score, score >= _SURE[2], _OVERLAP, of_smaller=True)
        return Faces(frame[kept] + first, box[kept], score[kept], points[kept])

    def _propose(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates of the first network: frame index ``(N,)`` and square boxes ``(N, 4)``."""
        shorter = min(frames.shape[1:3])
        scale = _CELL / max(_CELL, shorter * self.smallest_share)
        pixels = frames.permute(0, 3, 1, 2).float()
        found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        while shorter * scale >= _CELL:
            size = [int(side * scale + 1) for side in frames.shape[1:3]]
            level = _normalised(F.interpolate(pixels, size=size, mode="area"))
            score, shift = self.pnet(level)
            best = score.flatten(1).topk(min(_MOST_CANDIDATES, score[0].numel())).indices
            frame = torch.arange(len(frames), device=frames.device).repeat_interleave(best.shape[1])
            row, column = best.flatten() // score.shape[2], best.flatten() % score.shape[2]
            score, shift = score[frame, row, column], shift[frame, row, column]
            corner = torch.stack([column, row, column, row], 1) * _STRIDE + 1
            box = ((corner + corner.new_tensor([0, 0, _CELL - 1, _CELL - 1])) / scale).floor()
            kept = _surest(frame, box, score, score >= _SURE[0], _OVERLAP_IN_LEVEL)
            found.append((frame[kept], box[kept], score[kept], shift[kept]))
            scale *= _PYRAMID_STEP
        if not found:
            empty = pixels.new_zeros(0, 4)
            return empty[:, 0].long(), empty
        frame, box, score, shift = (torch.cat(column) for column in zip(*found, strict=True))
        kept = _surest(frame, box, score, torch.ones_like(score, dtype=torch.bool), _OVERLAP)
        box, shift = box[kept], shift[kept]
        side = (box[:, 2:] - box[:, :2]).repeat(1, 2)
        return frame[kept], _square(box + shift * side)


def load_face_detector(smallest_share: float = 0.125) -> FaceDetector:
    """The detector with its pretrained weights, in evaluation mode, without gradients.

    Args:
        smallest_share: As for `FaceDetector`.

    Raises:
        InputError: the weights are absent or damaged: run ``thesis weights get face-detector``.
    """
    _, state = load_converted("face-detector")
    with torch.random.fork_rng(devices=[]):  # initial values are drawn, then overwritten
        detector = FaceDetector(smallest_share)
    named = {}
    for name in detector.state_dict():  # ours nest the convolutions in `body`
        named[name] = state.get(name.replace(".body.", "."))
    if None in named.values() or len(named) != len(state):
        raise InputError("face-detector", "holds other parameters", "get the weights again")
    detector.load_state_dict(named, assign=True)
    return detector.requires_grad_(False).eval()


def _normalised(pixels: Tensor) -> Tensor:
    return (pixels - 127.5) / 128


def _square(box: Tensor) -> Tensor:
    """Boxes with both sides as long as the longer one, about the same centre."""
    side = (box[:, 2:] - box[:, :2]).amax(1, keepdim=True)
    corner = (box[:, :2] + box[:, 2:] - side) / 2
    return torch.cat([corner, corner + side], 1)


def _corrected(box: Tensor, shift: Tensor) -> Tensor:
    return box + shift * (box[:, 2:] - box[:, :2] + 1).repeat(1, 2)


def _surest(
    frame: Tensor,
    box: Tensor,
    score: Tensor,
    allowed: Tensor,
    overlap: float,
    *,
    of_smaller: bool = False,
) -> Tensor:
    """Greedy suppression within each frame: indices of the boxes that stay, ordered by frame.

    A box goes if a surer one that stays covers more than `overlap` of their union (or of the
    smaller of the two). Instead of one box after the other, all are decided at once, again and
    again: a box is final as soon as all surer ones are, so this ends with the greedy answer, and
    in a few rounds.
    """
    kept = allowed.nonzero().flatten()
    kept = kept[score[kept].argsort(descending=True, stable=True)]
    kept = kept[frame[kept].argsort(stable=True)]
    if not len(kept):
        return kept
    _, count = frame[kept].unique_consecutive(return_counts=True)
    row = torch.arange(len(count), device=box.device).repeat_interleave(count)
    column = torch.arange(len(kept), device=box.device) - (count.cumsum(0) - count)[row]
    padded = box.new_zeros(len(count), int(count.max()), 4)
    padded[row, column] = box[kept]
    exists = padded.new_zeros(padded.shape[:2], dtype=torch.bool)
    exists[row, column] = True

    low = torch.maximum(padded[:, :, None, :2], padded[:, None, :, :2])
    high = torch.minimum(padded[:, :, None, 2:], padded[:, None, :, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    area = (padded[..., 2:] - padded[..., :2]).prod(-1)
    one, other = area[:, :, None], area[:, None, :]
    whole = torch.minimum(one, other) if of_smaller else one + other - common
    # [b, i, j]: box j is surer than box i and covers it
    covers = (common > overlap * whole).tril(diagonal=-1) & exists[:, None, :]
    stays = exists
    while True:
        decided = exists & ~(covers & stays[:, None, :]).any(-1)
        if torch.equal(decided, stays):
            return kept[stays[row, column]]
        stays = decided


def _summed_area(frames: Tensor) -> Tensor:
    """``(T, H + 1, W + 1, 3)``: the sum of all pixels above and to the left, in whole numbers."""
    most = 255 * frames.shape[1] * frames.shape[2]
    dtype = torch.int32 if most < 2**31 else torch.int64  # 32 bits suffice up to 3840 x 2160
    table = frames.cumsum(1, dtype=dtype).cumsum(2, dtype=dtype)
    return F.pad(table, (0, 0, 1, 0, 1, 0))


def _run(
    network: nn.Module, table: Tensor, frame: Tensor, box: Tensor, size: int
) -> tuple[Tensor, ...]:
    """The network's outputs for boxes cut out of the frames and shrunk to `size` x `size`.

    A pixel of the result is the mean over the pixels that it touches, as `interpolate` with
    ``mode="area"`` has it; outside the picture all is black.
    """
    first = box[:, :2].trunc().long() - 1  # boxes count pixels from 1
    length = (box[:, 2:].trunc().long() - first).clamp(min=1)
    step = torch.arange(size, device=box.device)
    low = first[..., None] + (step * length[..., None]) // size  # (N, 2, size)
    high = first[..., None] - (-(step + 1) * length[..., None]) // size
    count = (high - low)[:, 1, :, None] * (high - low)[:, 0, None, :]
    limit = torch.tensor([table.shape[2] - 1, table.shape[1] - 1], device=box.device)[:, None]
    low, high = low.clamp(min=0).minimum(limit), high.clamp(min=0).minimum(limit)
    at = frame[:, None, None]
    x0, x1, y0, y1 = low[:, 0, None], high[:, 0, None], low[:, 1, :, None], high[:, 1, :, None]
    total = table[at, y1, x1] - table[at, y0, x1] - table[at, y1, x0] + table[at, y0, x0]
    pixels = (total / count[..., None]).permute(0, 3, 1, 2)
    return network(_normalised(pixels))
