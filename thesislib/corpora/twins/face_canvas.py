"""What the parts of a twin's face are drawn with: layers, boxes, coordinates and soft shapes.

The edge of a layer is a signed distance, in units of the face, whose coverage of each pixel falls
linearly over one pixel; strips such as lips and lids are differences of two such coverages, so that
strips thinner than a pixel keep their weight. Everything holds for all frames of a chunk at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from thesislib.corpora.twins.face import (
    AXES,
    CENTRE_SHARE,
    OUTLINE_DEPTH,
    PIVOT,
    FaceIdentity,
    FaceShape,
    face_shape,
    frame_size,
    outline_to_screen,
    pixels_per_unit,
    rotation,
    to_screen,
)
from thesislib.corpora.twins.face_motion import FaceMotion

Box = tuple[int, int, int, int]  # top, bottom, left, right, in pixels
Colour = tuple[float, float, float]
SKIN_STOPS = ((0.97, 0.82, 0.74), (0.90, 0.70, 0.58), (0.74, 0.53, 0.40), (0.50, 0.33, 0.24),
         (0.33, 0.21, 0.16))  # fmt: skip
HAIR_STOPS = ((0.07, 0.06, 0.06), (0.17, 0.11, 0.08), (0.33, 0.21, 0.13), (0.48, 0.24, 0.11),
         (0.76, 0.60, 0.37))  # fmt: skip
IRIS_STOPS = ((0.20, 0.12, 0.07), (0.38, 0.25, 0.12), (0.33, 0.42, 0.25), (0.30, 0.47, 0.62),
         (0.50, 0.56, 0.58))  # fmt: skip


def between(stops: tuple[Colour, ...], share: float) -> Colour:
    """Colour at a share, 0 to 1, of the way through the stops."""
    at = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    i = min(int(at), len(stops) - 2)
    low, high = stops[i], stops[i + 1]
    return tuple(a + (b - a) * (at - i) for a, b in zip(low, high, strict=True))  # type: ignore[return-value]


def muted(hue: float, lightness: float, saturation: float) -> Colour:
    """A muted colour; three cosines are enough for walls and clothes."""
    wheel = torch.cos(2 * torch.pi * (torch.tensor([0.0, 1 / 3, 2 / 3]) - hue))
    colour = (lightness * (1 + saturation * wheel)).clamp(0, 1).tolist()
    return colour[0], colour[1], colour[2]


@dataclass(frozen=True, slots=True)
class Layer:
    """Colour `(T or 1, 3, h or 1, w or 1)` where `alpha` `(T, h, w)` covers `box`."""

    region: str | None
    box: Box
    alpha: Tensor
    colour: Tensor
    multiply: bool = False  # the colour is a factor upon what lies below


@dataclass(frozen=True, slots=True)
class View:
    """One chunk: everything that the layers share."""

    identity: FaceIdentity
    motion: FaceMotion
    shape: FaceShape
    height: int
    width: int
    scale: Tensor  # (T, 1, 1), pixels a unit
    turn: Tensor  # (T, 3, 3)
    light: Tensor  # (T, 3), direction in the frame of the head

    def colour(self, colour: Colour) -> Tensor:
        """A plain colour `(1, 3, 1, 1)`."""
        return self.scale.new_tensor(colour).view(1, 3, 1, 1)

    def cover(self, distance: Tensor, softness: float = 1.0) -> Tensor:
        """Share of a pixel with negative distance, over `softness` pixels."""
        return (0.5 - distance * (self.scale / softness)).clamp_(0, 1)

    def box(self, points: Tensor, margin: int = 3) -> Box:
        """The box of points `(T, P, 2)` in pixels, cut to the picture, with even corners."""
        flat = points.reshape(-1, 2)
        low = (flat.amin(0).floor() - margin).tolist()
        high = (flat.amax(0).ceil() + margin + 1).tolist()
        left, top = (max(0, min(int(a), n - 2)) // 2 * 2
                     for a, n in zip(low, (self.width, self.height), strict=True))  # fmt: skip
        right = min(self.width, max(left + 2, (int(high[0]) + 1) // 2 * 2))
        bottom = min(self.height, max(top + 2, (int(high[1]) + 1) // 2 * 2))
        return top, bottom, left, right

    def feature_box(self, u: tuple[float, float], v0: Tensor, v1: Tensor) -> Box:
        """The box of a rectangle of the face, from `v0` to `v1` `(T, 1, 1)`."""
        us = self.scale.new_tensor([u[0], 0.5 * (u[0] + u[1]), u[1]])
        rows = [torch.stack([us.expand(len(v), 3), v[:, 0].expand(-1, 3)], -1) for v in (v0, v1)]
        points = torch.cat(rows, 1)
        return self.box(to_screen(points, self.identity, self.motion, (self.height, self.width)))

    def outline_box(self, u: tuple[float, float], v0: float, v1: float) -> Box:
        """The box of a rectangle of the contour."""
        corners = self.scale.new_tensor([[u[0], v0], [u[1], v0], [u[0], v1], [u[1], v1]])
        points = corners.expand(len(self.motion), 4, 2)
        size = (self.height, self.width)
        return self.box(outline_to_screen(points, self.identity, self.motion, size))

    def grid(self, box: Box, step: int = 1) -> tuple[Tensor, Tensor]:
        """Columns `(T, 1, w)` and rows `(T, h, 1)` in units from the point where the head turns."""
        top, bottom, left, right = box
        middle, device = (step - 1) / 2, self.scale.device
        columns = torch.arange(left, right, step, device=device).float()[None, None]
        rows = torch.arange(top, bottom, step, device=device).float()[None, :, None]
        x = (columns + (middle - self.width / 2 + 0.5)) / self.scale
        y = (rows + (middle - CENTRE_SHARE * self.height + 0.5)) / self.scale
        move = self.motion.pose[:, 3:5, None, None]
        return x - (move[:, 0] + PIVOT[0]), y - (move[:, 1] + PIVOT[1])

    def outline(self, box: Box, step: int = 1) -> tuple[Tensor, Tensor]:
        """Coordinates of the contour `(T, h, w)` at each pixel: undoes `outline_to_screen`."""
        x, y = self.grid(box, step)
        yaw, pitch, roll = self.motion.pose[:, :3, None, None].unbind(1)
        near = OUTLINE_DEPTH[0] - PIVOT[2]
        wide, high = self.identity.head_width, self.identity.head_height
        shift = pitch.sin() * near + PIVOT[1]
        v = (y * roll.cos() - x * roll.sin() + shift) / (high - pitch.sin() * OUTLINE_DEPTH[1])
        u = x * roll.cos() + y * roll.sin() + (PIVOT[0] - yaw.sin() * near)
        return (u - v * (yaw.sin() * OUTLINE_DEPTH[1])) / wide, v

    def surface(self, box: Box, step: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Where the ray of each pixel meets the ellipsoid: `u`, `v`, depth, all `(T, h, w)`."""
        x, y = self.grid(box, step)
        size = (AXES[0] * self.identity.head_width, AXES[1] * self.identity.head_height, AXES[2])
        turn = self.turn[..., None, None]
        start = [
            (x * turn[:, 0, i] + PIVOT[i]) / size[i] + y * (turn[:, 1, i] / size[i])
            for i in range(3)
        ]
        ray = [turn[:, 2, i] / size[i] for i in range(3)]
        square = ray[0] ** 2 + ray[1] ** 2 + ray[2] ** 2
        half = start[0] * ray[0] + start[1] * ray[1] + start[2] * ray[2]
        rest = start[0] ** 2 + start[1] ** 2 + start[2] ** 2 - 1
        # Beyond the contour of the ellipsoid the surface goes on as if it were seen edge on.
        along = ((half * half - square * rest).clamp_min_(0.01).sqrt_() - half) / square
        return (
            (start[0] + along * ray[0]) * AXES[0],
            (start[1] + along * ray[1]) * AXES[1],
            (start[2] + along * ray[2]) * AXES[2],
        )


def open_view(identity: FaceIdentity, motion: FaceMotion, size: int | tuple[int, int]) -> View:
    """What all layers of a chunk share: geometry, scale and light."""
    height, width = frame_size(size)
    turn = rotation(motion.pose)
    angles = turn.new_tensor([identity.light_azimuth, identity.light_elevation])
    (sin_a, sin_e), (cos_a, cos_e) = angles.sin(), angles.cos()
    light = torch.stack([sin_a * cos_e, -sin_e, cos_a * cos_e])
    scale = pixels_per_unit(motion, height)[:, None, None]
    shape = face_shape(identity, motion)
    # Rows of the transposed rotation take directions of the camera to those of the head.
    head_light = (turn * light[None, :, None]).sum(1)
    return View(identity, motion, shape, height, width, scale, turn, head_light)


def blob(u: Tensor, v: Tensor, u_width: Tensor | float, v_width: Tensor | float) -> Tensor:
    """Nearly `exp(-(u / u_width)^2 - (v / v_width)^2)`, but 0 beyond two widths and cheaper."""
    return _bell((u * (1 / u_width)).square() + (v * (1 / v_width)).square())


def _bell(square: Tensor) -> Tensor:
    return square.mul_(-0.25).add_(1).clamp_(min=0).square_().square_()


def ridge(distance: Tensor, width: float) -> Tensor:
    """The same in one direction."""
    return _bell((distance * (1 / width)).square())


def upsample(half: Tensor, box: Box) -> Tensor:
    """Bilinear enlargement of `(T, C, h, w)` to twice the size, cut to the box.

    The same as `interpolate`, at about a fifth of its time on a processor.
    """
    top, bottom, left, right = box
    padded = F.pad(half, (1, 1, 1, 1), mode="replicate")
    for dim in (2, 3):
        n = padded.shape[dim]
        middle = padded.narrow(dim, 1, n - 2) * 0.75
        sides = (padded.narrow(dim, 0, n - 2), padded.narrow(dim, 2, n - 2))
        pairs = torch.stack([middle.add(side, alpha=0.25) for side in sides], dim + 1)
        padded = pairs.flatten(dim, dim + 1)
    return padded[:, :, : bottom - top, : right - left]


def hair_colour(identity: FaceIdentity) -> Colour:
    """Colour of the hair with its share of grey."""
    colour = between(HAIR_STOPS, identity.hair_tone)
    grey = min(identity.hair_grey, 1.0)
    mixed = [c + (g - c) * grey for c, g in zip(colour, (0.66, 0.65, 0.64), strict=True)]
    return mixed[0], mixed[1], mixed[2]
