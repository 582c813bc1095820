"""Pictures of the twin of sound events: things that move as they sound, drawn in batches.

A thing is a few soft shapes; the picture's height is 2 units, its middle the origin, and y points
down. Whatever is drawn follows `Happening.seen`.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thesislib.corpora.twins.event_sounds import KINDS, Happening, strength, turns

_CHUNK = 10  # frames drawn at a time


@torch.no_grad()
def draw(happening: Happening, n_frames: int, fps: float, size: int) -> Iterator[Tensor]:
    """Draw the frames of a clip.

    Args:
        happening: What happens.
        n_frames: How many frames.
        fps: Frames a second; a frame shows its middle.
        size: Height and width, in pixels.

    Yields:
        uint8 RGB of `(t, size, size, 3)`, `t` at most 10.
    """
    generator = np.random.default_rng(happening.seed)
    scenery = _scenery(happening, size, generator)
    time_s = (np.arange(n_frames) + 0.5) / fps
    drops = torch.from_numpy(generator.random((2 * size, size)).astype(np.float32))
    for start in range(0, n_frames, _CHUNK):
        canvas = _Canvas(scenery, len(time_s[start : start + _CHUNK]))
        _draw_thing(canvas, happening, time_s[start : start + _CHUNK], drops)
        levels = canvas.image.mul_(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
        yield torch.stack(levels.unbind(1), -1)


class _Canvas:
    """Frames `(T, 3, H, W)` with the coordinates of their pixels."""

    def __init__(self, scenery: Tensor, n_frames: int) -> None:
        self.image = scenery.expand(n_frames, -1, -1, -1).clone()
        size = scenery.shape[-1]
        self.pixel = 2 / size
        self.x = (torch.arange(size) + 0.5) * self.pixel - 1
        self.y = self.x[:, None]

    def paint(self, alpha: Tensor, colour: tuple[float, float, float]) -> None:
        """Lay a colour over all frames, as densely as `alpha` `(T, H, W)` says."""
        target = torch.tensor(colour)[None, :, None, None]
        self.image.lerp_(target.expand_as(self.image), alpha[:, None].expand_as(self.image))

    def bar(
        self,
        start: tuple[NDArray | float, NDArray | float],
        end: tuple[NDArray | float, NDArray | float],
        radius: NDArray | float,
        colour: tuple[float, float, float],
        alpha: NDArray | float = 1.0,
    ) -> None:
        """A bar with round ends; numbers or tracks `(T,)`. A disc where both ends are one."""
        ax, ay, bx, by, r, a = (self._track(v) for v in (*start, *end, radius, alpha))
        dx, dy = bx - ax, by - ay
        px, py = self.x - ax, self.y - ay
        along = ((px * dx + py * dy) / (dx * dx + dy * dy).clamp(min=1e-9)).clamp(0, 1)
        distance = torch.hypot(px - along * dx, py - along * dy)
        self.paint(((r - distance) / self.pixel + 0.5).clamp(0, 1) * a, colour)

    def disc(
        self,
        x: NDArray | float,
        y: NDArray | float,
        radius: NDArray | float,
        colour: tuple[float, float, float],
        *,
        hole: NDArray | float = 0.0,
        alpha: NDArray | float = 1.0,
    ) -> None:
        """A disc, or a ring around a hole of radius `hole`."""
        cx, cy, r, inner, a = (self._track(v) for v in (x, y, radius, hole, alpha))
        distance = torch.hypot(self.x - cx, self.y - cy)
        inside = ((r - distance) / self.pixel + 0.5).clamp(0, 1)
        inside = inside * ((distance - inner) / self.pixel + 0.5).clamp(0, 1)
        self.paint(inside * a, colour)

    def _track(self, value: NDArray | float) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float32).reshape(-1, 1, 1)


def _scenery(happening: Happening, size: int, generator: np.random.Generator) -> Tensor:
    """A wall and a floor `(3, H, W)` with light from one side."""
    wall = torch.tensor(_colour(float(generator.random()), 0.15, 0.25 + 0.5 * generator.random()))
    floor = torch.tensor(_colour(float(generator.random()), 0.2, 0.2 + 0.3 * generator.random()))
    y = torch.linspace(-1, 1, size)[:, None]
    x = torch.linspace(-1, 1, size)[None]
    slant = float(generator.uniform(-0.2, 0.2))
    below = torch.sigmoid((y - 0.72) * 40)
    light = 1 + slant * x - 0.12 * y
    mix = wall[:, None, None] * (1 - below) + floor[:, None, None] * below
    return (mix * light).clamp(0, 1)


def _colour(hue: float, saturation: float, lightness: float) -> tuple[float, float, float]:
    return colorsys.hls_to_rgb(hue % 1.0, lightness, saturation)


def _draw_thing(canvas: _Canvas, happening: Happening, time_s: NDArray, drops: Tensor) -> None:
    vivid, dark = _colour(happening.hue, 0.75, 0.5), _colour(happening.hue + 0.5, 0.3, 0.2)
    scale = 0.6 + 0.4 * happening.size
    if KINDS[happening.kind].strokes:
        _draw_stroke(canvas, happening, time_s, scale, vivid, dark)
        return
    level, angle = (
        strength(happening.seen, time_s),
        2 * math.pi * turns(happening, time_s, seen=True),
    )
    c, s = np.cos(angle), np.sin(angle)
    if happening.kind == "engine":  # a wheel, a rod and a piston
        wheel, r = 0.45 * scale, 0.33 * scale
        canvas.disc(-0.3, 0.25, wheel, dark)
        canvas.disc(-0.3, 0.25, 0.08, vivid)
        pin = (-0.3 + r * c, 0.25 + r * s)
        head = -0.3 + r * c + np.sqrt((0.9 * scale) ** 2 - (r * s) ** 2)
        canvas.bar(pin, (head, 0.25), 0.05, (0.75, 0.75, 0.78))
        canvas.bar((head, 0.12), (head, 0.38), 0.09, vivid)
        canvas.disc(0.6, -0.55, 0.1 + 0.25 * level, (0.6, 0.6, 0.6), alpha=0.25 + 0.5 * level)
    elif happening.kind == "siren":  # a lamp that turns and swells with the pitch
        glow = 0.5 + 0.5 * s
        canvas.disc(0.0, 0.1, 0.55 * scale + 0.35 * glow, vivid, alpha=0.35 * glow)
        canvas.bar((0.0, 0.5), (0.0, 0.8), 0.25 * scale, dark)
        canvas.disc(0.0, 0.1, 0.32 * scale, vivid)
        canvas.bar((0.0, 0.1), (0.28 * scale * c, 0.1 + 0.1 * s), 0.07, (1.0, 1.0, 0.9))
    elif happening.kind == "fan":
        canvas.bar((0.0, 0.0), (0.0, 0.8), 0.06, dark)
        canvas.disc(0.0, -0.1, 0.72 * scale, dark, hole=0.68 * scale)
        for blade in range(3):
            turned = angle + blade * 2 * math.pi / 3
            tip = (0.5 * scale * np.cos(turned), -0.1 + 0.5 * scale * np.sin(turned))
            canvas.bar((0.0, -0.1), tip, 0.12 * scale, vivid)
        canvas.disc(0.0, -0.1, 0.1, dark)
    elif happening.kind == "rain":
        _draw_rain(canvas, happening, time_s, level, drops)
    else:
        surface = torch.as_tensor(0.75 - 0.9 * level * scale, dtype=torch.float32).reshape(-1, 1, 1)
        drift = torch.as_tensor(angle, dtype=torch.float32).reshape(-1, 1, 1)
        surface = surface + 0.05 * torch.sin(7 * canvas.x + drift)
        depth = (canvas.y - surface) / canvas.pixel
        canvas.paint((depth / 3 + 0.5).clamp(0, 1) * 0.9, _colour(0.55, 0.6, 0.4))
        canvas.paint((1 - depth.abs() / 6).clamp(0, 1) * 0.8, (0.95, 0.97, 1.0))


def _draw_stroke(
    canvas: _Canvas,
    happening: Happening,
    time_s: NDArray,
    scale: float,
    vivid: tuple[float, float, float],
    dark: tuple[float, float, float],
) -> None:
    times, levels = np.array(happening.seen).T
    gap = 1 / happening.rate_hz
    knots = np.concatenate([[times[0] - gap], times, [times[-1] + gap]])
    index = np.clip(np.searchsorted(knots, time_s, side="right") - 1, 0, len(times))
    between = knots[index + 1] - knots[index]
    u = np.clip((time_s - knots[index]) / between, 0, 1)  # 0 at one stroke, 1 at the next
    since = np.where(index > 0, time_s - knots[index], 9.0)
    hit = np.concatenate([[0.0], levels])[index] * np.exp(-since / 0.12)
    arc = np.clip(4 * u * (1 - u), 0, 1)
    white = (0.97, 0.97, 0.95)
    if happening.kind == "bouncing ball":
        height = np.minimum(1.3, 2.2 * between**2)
        r = 0.2 * scale
        y = 0.85 - r - height * arc
        canvas.disc(0.1 * np.sin(2 * time_s), y, r * (1 + 0.15 * hit), vivid)
        canvas.disc(0.1 * np.sin(2 * time_s) - 0.3 * r, y - 0.3 * r, 0.25 * r, white, alpha=0.7)
    elif happening.kind == "bell":  # it swings to one side and to the other
        swing = 0.5 * np.cos(math.pi * (index + u))
        c, s = np.cos(swing), np.sin(swing)
        canvas.bar((0.0, -0.8), (0.75 * s, -0.8 + 0.75 * c), 0.2 * scale, vivid)
        canvas.bar((0.55 * s - 0.3 * scale * c, -0.8 + 0.75 * c + 0.3 * scale * s),
                   (0.55 * s + 0.3 * scale * c, -0.8 + 0.75 * c - 0.3 * scale * s),
                   0.1 * scale + 0.05 * hit, vivid)  # fmt: skip
        canvas.disc(1.1 * s, -0.8 + 1.1 * c, 0.1 * scale, dark)
    elif happening.kind in ("drum", "hammer"):
        lift = 1.1 * arc
        hand = (0.75, -0.2)
        tip = (0.75 - 0.75 * np.cos(lift), -0.2 + 0.62 - 0.9 * np.sin(lift) * 0.9)
        if happening.kind == "drum":
            r = 0.55 * scale
            canvas.bar((-0.35, 0.62), (-0.35, 0.75), r, dark)
            canvas.bar((-0.35 - 0.6 * r, 0.5), (0.2 - r * 0.2, 0.5), 0.1 + 0.08 * hit, white)
            canvas.bar(hand, tip, 0.035, vivid)
            canvas.disc(*tip, 0.07, vivid)
        else:
            canvas.bar((-0.3, 0.6), (0.2, 0.6), 0.14 * scale, dark)
            canvas.bar(hand, tip, 0.04, (0.5, 0.35, 0.2))
            canvas.bar((tip[0] - 0.12 * scale, tip[1]), (tip[0] + 0.12 * scale, tip[1]),
                       0.09 * scale, vivid)  # fmt: skip
            canvas.disc(0.0, 0.42, 0.05 + 0.3 * hit, (1.0, 0.9, 0.5), alpha=0.8 * hit)
    elif happening.kind == "clock":
        ease = np.clip(since / 0.06, 0, 1)
        turned = math.pi / 6 * (index - 1 + np.where(index > 0, ease, 1.0))
        r = 0.7 * scale
        canvas.disc(0.0, 0.0, r, dark)
        canvas.disc(0.0, 0.0, 0.9 * r, white)
        canvas.bar((0.0, 0.0), (0.0, -0.45 * r), 0.05, dark)
        canvas.bar((0.0, 0.0), (0.8 * r * np.sin(turned), -0.8 * r * np.cos(turned)), 0.03, vivid)
    elif happening.kind == "bird":
        hop, r = 0.2 * hit, 0.25 * scale
        canvas.bar((-0.9, 0.55), (0.9, 0.5), 0.04, (0.35, 0.25, 0.15))
        canvas.bar((-r, 0.3 - hop), (0.6 * r, 0.15 - hop), 0.8 * r, vivid)
        canvas.disc(0.9 * r, -0.1 - hop, 0.55 * r, vivid)
        for side in (-1, 1):
            end = -0.1 - hop + side * 0.25 * r * np.minimum(1, 2.5 * hit)
            canvas.bar((1.3 * r, -0.1 - hop), (1.9 * r, end), 0.03, (0.95, 0.7, 0.1))
        canvas.disc(1.0 * r, -0.2 - hop, 0.04, (0.05, 0.05, 0.05))
    else:
        _draw_fireworks(canvas, happening, time_s, scale)


def _draw_fireworks(canvas: _Canvas, happening: Happening, time_s: NDArray, scale: float) -> None:
    canvas.image.mul_(0.35)  # night
    places = np.random.default_rng(happening.seed + 1).uniform(-0.5, 0.5, (41, 2))
    for number, (onset, level) in enumerate(happening.seen):  # a handful
        age = time_s - onset
        if age[-1] < 0 or age[0] > 1.5:
            continue
        cx, cy = places[number, 0], places[number, 1] - 0.3
        radius = torch.as_tensor(scale * level * 0.9 * (1 - np.exp(-np.maximum(age, 0) / 0.35)))
        fade = torch.as_tensor(np.exp(-np.maximum(age, 0) / 0.6) * (age >= 0))
        radius, fade = (v.float().reshape(-1, 1, 1) for v in (radius, fade))
        px, py = canvas.x - cx, canvas.y - cy
        distance, bearing = torch.hypot(px, py), torch.atan2(py, px)
        rays = (0.5 + 0.5 * torch.cos(14 * bearing)) ** 3
        shell = torch.exp(-(((distance - radius) / (0.05 + 0.25 * radius)) ** 2))
        flash = torch.exp(-((distance / (0.1 + 0.2 * fade)) ** 2)) * fade**4
        canvas.paint(
            ((rays * shell) * fade + flash).clamp(0, 1),
            _colour(happening.hue + 0.17 * number, 0.9, 0.65),
        )


def _draw_rain(
    canvas: _Canvas, happening: Happening, time_s: NDArray, level: NDArray, drops: Tensor
) -> None:
    """Streaks that scroll down, as many as it rains, over clouds that darken."""
    size = canvas.image.shape[-1]
    length = 6 + round(10 * happening.size)
    dense = torch.as_tensor(level, dtype=torch.float32).reshape(-1, 1, 1)
    canvas.image.mul_(1.0 - 0.35 * dense[:, None])
    canvas.bar((-0.5, -0.9), (0.5, -0.9), 0.2 + 0.2 * level, (0.45, 0.47, 0.5))
    falls = (time_s * 1.6 * size).astype(np.int64)
    rows = (torch.arange(size)[None] - torch.from_numpy(falls)[:, None]) % (2 * size)
    # A streak begins where the field is rare enough for how hard it rains.
    fields = drops[rows] > 1 - 0.012 * dense
    streaks = torch.nn.functional.max_pool2d(
        torch.nn.functional.pad(fields.float(), (0, 0, length - 1, 0))[:, None], (length, 1), 1
    )[:, 0]
    canvas.paint(0.75 * streaks, (0.8, 0.87, 0.97))
