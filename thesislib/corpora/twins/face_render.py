"""Draw the face of a twin: frames and region masks from an identity and its motion.

A picture is a stack of layers (background, hair, neck, clothes, ears, skin, nose, mouth, brows,
eyes, hair in front), each computed for all frames of a chunk and only inside the box that it can
reach.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from thesislib.corpora.twins.face import (
    FaceIdentity,
)
from thesislib.corpora.twins.face_canvas import (
    Layer,
    View,
    muted,
    open_view,
)
from thesislib.corpora.twins.face_features import draw_eyes, draw_mouth, draw_nose
from thesislib.corpora.twins.face_head import draw_fringe, draw_head
from thesislib.corpora.twins.face_motion import FaceMotion
from thesislib.errors import InputError

REGIONS = ("background", "hair", "clothes", "skin", "brows", "eyes", "mouth")
"""Names of the regions of `region_masks`, in order."""


def _background(view: View) -> Tensor:
    """A wall `(3, H, W)` with light from one side and the soft edge of a panel."""
    identity, device = view.identity, view.scale.device
    y = torch.linspace(-1, 1, view.height, device=device)[:, None]
    x = torch.linspace(-1, 1, view.width, device=device)[None]
    edge = 0.75 * (2 * ((7.3 * identity.background_hue) % 1.0) - 1)
    panel = torch.sigmoid((x - edge) * 14) * 0.10 + torch.sigmoid((y - 0.35) * 10) * 0.06
    wall = 1.0 - 0.10 * y + 0.22 * identity.light_azimuth * x - panel - 0.10 * (x * x + y * y)
    colour = muted(identity.background_hue, identity.background_lightness, 0.16)
    return (wall * view.colour(colour)[0]).clamp(0, 1)


def _layers(view: View) -> Iterator[Layer]:
    for part in (draw_head, draw_nose, draw_mouth, draw_eyes, draw_fringe):
        yield from part(view)


def _chunks(motion: FaceMotion, chunk: int) -> Iterator[FaceMotion]:
    if chunk < 1:
        raise InputError("chunk", f"is {chunk}", "use at least one frame")
    for start in range(0, len(motion), chunk):
        yield motion[start : start + chunk]


@torch.no_grad()
def render(
    identity: FaceIdentity,
    motion: FaceMotion,
    size: int | tuple[int, int] = 224,
    chunk: int = 8,
) -> Iterator[Tensor]:
    """Draw the frames of a motion; memory depends on `chunk`, the pixels do not.

    Args:
        identity: Person.
        motion: `T` frames, on the device that shall draw.
        size: Height and width of the picture, or both in one.
        chunk: Frames drawn at a time.

    Yields:
        uint8 RGB of `(t, H, W, 3)`, `t` at most `chunk`, in the order of the frames.

    Raises:
        InputError: the size or the chunk is too small.
    """
    wall: Tensor | None = None
    for part in _chunks(motion, chunk):
        view = open_view(identity, part, size)
        wall = _background(view) if wall is None else wall
        image = wall.repeat(len(part), 1, 1, 1)
        for layer in _layers(view):
            top, bottom, left, right = layer.box
            target = image[:, :, top:bottom, left:right]
            alpha = layer.alpha[:, None]
            if layer.multiply:
                target.mul_(1 + alpha * (layer.colour - 1))
            else:
                target.lerp_(layer.colour.expand_as(target), alpha.expand_as(target))
        levels = image.mul_(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
        yield torch.stack(levels.unbind(1), -1)


@torch.no_grad()
def region_masks(
    identity: FaceIdentity,
    motion: FaceMotion,
    size: int | tuple[int, int] = 224,
    chunk: int = 8,
) -> Iterator[Tensor]:
    """Which region each pixel belongs to: that of the topmost layer that covers half of it.

    Args:
        identity: Person.
        motion: `T` frames.
        size: Height and width of the picture, or both in one.
        chunk: Frames at a time.

    Yields:
        uint8 `(t, H, W)`, indices of `REGIONS`. Eyes include their lids, the mouth its lips and
        inside, skin the neck and ears; every pixel has exactly one region.

    Raises:
        InputError: the size or the chunk is too small.
    """
    for part in _chunks(motion, chunk):
        view = open_view(identity, part, size)
        index = torch.zeros(len(part), view.height, view.width, dtype=torch.uint8,
                            device=view.scale.device)  # fmt: skip
        for layer in _layers(view):
            if layer.region is not None:
                top, bottom, left, right = layer.box
                target = index[:, top:bottom, left:right]
                target.masked_fill_(layer.alpha >= 0.5, REGIONS.index(layer.region))
        yield index
