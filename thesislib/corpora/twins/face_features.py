"""Brows, eyes, nostrils and mouth of a twin, drawn in the coordinates of the face."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from thesislib.corpora.twins.face import (
    GAZE_REACH,
    NOSE_HEIGHT,
)
from thesislib.corpora.twins.face_canvas import (
    IRIS_STOPS,
    SKIN_STOPS,
    Layer,
    View,
    between,
    blob,
    hair_colour,
    ridge,
)


def draw_eyes(view: View) -> Iterator[Layer]:
    """Brows, lids, eyeballs, lashes and crow's feet, both sides at once by mirroring."""
    identity, s, au = view.identity, view.shape, view.shape.au
    zero = 0 * s.jaw
    box = view.feature_box((-0.66, 0.66), s.brow_middle - 0.10, zero + 0.24)
    u, v, _ = view.surface(box)
    side, sign = u.abs(), u.sign()

    (u0, v0), (u1, v1) = s.brow_inner, s.brow_outer
    share = ((side - u0) / (u1 - u0)).clamp(-0.05, 1.05)
    line = v0 * (1 - share) ** 2 + 2 * share * (1 - share) * s.brow_middle + v1 * share * share
    thick = 0.030 * identity.brow_thickness * (1 - 0.65 * share) * (8 * (share + 0.04)).clamp(0, 1)
    thick = thick * (12 * (1.03 - share)).clamp(0, 1)
    brow = view.cover(line - thick - v, 2.0) - view.cover(line + thick - v, 2.0)
    hair = hair_colour(identity)
    skin = between(SKIN_STOPS, identity.skin_tone)
    brow_hair = view.colour(tuple(0.62 * h + 0.10 * k for h, k in zip(hair, skin, strict=True)))  # type: ignore[arg-type]
    yield Layer("brows", box, 0.88 * brow.clamp_min(0), brow_hair)

    along = (side - s.eye_u) / s.eye_half
    bow = (1 - along * along).clamp_min(0)
    level = v + identity.eye_tilt * along
    upper, lower = -s.upper_lid * bow * (1.08 - 0.08 * bow), s.lower_lid * bow
    # The lid region is what the eye would fill with wide open lids.
    rim = 0.098 * identity.eye_size * bow
    lids = view.cover(-rim - level, 2.0) - view.cover(lower + 0.02 * bow - level, 2.0)
    lid_tint = view.colour((0.93, 0.86, 0.85))
    yield Layer("eyes", box, lids.clamp_min(0), lid_tint, multiply=True)
    crease_v = torch.minimum(-rim * 0.98, upper - 0.028)
    crease = view.cover(crease_v - 0.007 - level, 1.5) - view.cover(crease_v + 0.007 - level, 1.5)
    inside = (1.15 - along.abs()).mul(5).clamp(0, 1)
    dark = view.colour((0.55, 0.46, 0.44))
    yield Layer(None, box, 0.7 * crease.clamp_min(0) * inside, dark, multiply=True)
    bag = view.cover(lower + 0.012 - level, 1.5) - view.cover(lower + 0.030 - level, 1.5)
    bag_depth = 0.18 + 0.35 * au[6] + 0.15 * au[7] + 0.2 * identity.age
    yield Layer(None, box, bag_depth * bag.clamp_min(0) * inside, dark, multiply=True)

    gaze_u, gaze_v = (GAZE_REACH[i] * view.motion.gaze[:, i, None, None] for i in range(2))
    iris_u, iris_v = side - s.eye_u - gaze_u * sign, level - gaze_v + 0.008
    radius = (iris_u * iris_u + iris_v * iris_v + 1e-6).sqrt()
    size = 0.063 * identity.eye_size
    white = 0.93 - 0.16 * along * along - 0.22 * view.cover(upper + 0.028 - level, 3.0).neg().add(1)
    white = white * (0.72 + 0.28 * (1 - 0.5 * identity.skin_tone))
    ball = view.colour((0.97, 0.95, 0.94)) * white[:, None]
    ring = 1.15 - 0.55 * (radius / size).clamp(0, 1) ** 4 - 0.18 * (iris_v < 0)
    iris = view.colour(between(IRIS_STOPS, identity.eye_tone)) * ring[:, None]
    ball = torch.lerp(ball, iris, view.cover(radius - size)[:, None])
    ball = ball * (1 - 0.92 * view.cover(radius - 0.42 * size)[:, None])
    glint_u = u - sign * s.eye_u - gaze_u - 0.4 * size * (1 if identity.light_azimuth > 0 else -1)
    glint = (glint_u**2 + (iris_v + 0.4 * size) ** 2 + 1e-6).sqrt() - 0.3 * size
    ball = ball + (1 - ball) * (0.9 * view.cover(glint))[:, None]
    opening = (view.cover(upper - level) - view.cover(lower - level)).clamp_min(0)
    yield Layer("eyes", box, opening, ball)
    lash = view.cover(upper - 0.020 - 0.006 * along - level) - view.cover(upper + 0.006 - level)
    lash = lash.clamp_min(0) * (1.1 - along.abs()).mul(8).clamp(0, 1)
    yield Layer("eyes", box, 0.85 * lash, view.colour((0.10, 0.07, 0.06)))
    rim_line = view.cover(lower - 0.004 - level) - view.cover(lower + 0.009 - level)
    rim_line = rim_line.clamp_min(0) * (1.0 - along.abs()).mul(8).clamp(0, 1)
    yield Layer("eyes", box, 0.40 * rim_line, view.colour((0.35, 0.20, 0.17)))

    # Crow's feet: three lines that fan out from the outer corner.
    out_u, out_v = side - s.eye_u - s.eye_half - 0.035, v + identity.eye_tilt - 0.005
    reach = (out_u * 14).clamp(0, 1) * ((0.17 - out_u) * 12).clamp(0, 1)
    fan = torch.stack(
        [(out_v - slope * out_u).abs() for slope in (-0.55, 0.05, 0.65)]
    ).amin(0)  # fmt: skip
    strength = 0.05 * identity.age + 0.45 * au[6] * (0.5 + 0.5 * identity.age)
    feet = reach * (1 - fan * (0.7 * view.scale)).clamp_min(0)
    yield Layer(None, box, strength * feet, dark, multiply=True)


def draw_nose(view: View) -> Iterator[Layer]:
    """The nostrils; the rest of the nose is shading."""
    s, zero = view.shape, 0 * view.shape.jaw
    lift = 0.75 * NOSE_HEIGHT
    centre_u = lift * view.turn[:, 0, 2, None, None]
    centre_v = lift * view.turn[:, 1, 2, None, None] + s.nose_v + 0.022
    box = view.feature_box((-0.3, 0.3), zero + 0.25, s.nose_v + 0.15)
    u, v, _ = view.surface(box)
    side = (u - centre_u).abs() - 0.45 * s.nose_half
    level = v - centre_v - 0.12 * side
    hole = ((side / (0.30 * s.nose_half)) ** 2 + (level / 0.017) ** 2 + 1e-6).sqrt() - 1
    yield Layer(None, box, 0.75 * view.cover(hole * 0.02, 1.3), view.colour((0.30, 0.20, 0.18)),
                 multiply=True)  # fmt: skip


def draw_mouth(view: View) -> Iterator[Layer]:
    """Cavity, tongue, teeth, lips and the line between them."""
    identity, s, au = view.identity, view.shape, view.shape.au
    high = torch.minimum(s.upper_v - s.upper_lip, s.corner_v) - 0.06
    low = torch.maximum(s.lower_v + s.lower_lip, s.corner_v) + 0.06
    box = view.feature_box((-0.42, 0.42), high, low)
    u, v, _ = view.surface(box)
    along = u / s.mouth_half
    square = (along * along).clamp(max=1.0)
    bow = 1 - square
    gap = s.lower_v - s.upper_v
    upper = s.corner_v + (s.upper_v - s.corner_v) * bow * (1 + 0.25 * square)
    lower = s.corner_v + (s.lower_v - s.corner_v) * bow * (1 + 0.35 * square)
    lower = torch.maximum(lower, upper)
    cupid = 1 - 0.20 * ridge(along, 0.13) + 0.06 * square
    top = upper - s.upper_lip * bow.sqrt() * (0.55 + 0.45 * bow) * cupid
    bottom = lower + s.lower_lip * bow.sqrt() * (0.45 + 0.55 * bow)
    # Vertical distances become distances by the slope of the two bows.
    tilt = torch.rsqrt(1 + (2 * along * (s.upper_v - s.corner_v) / s.mouth_half) ** 2)
    bend = torch.rsqrt(1 + (2 * along * (s.lower_v - s.corner_v) / s.mouth_half) ** 2)

    # Speech shows the edge of the upper teeth; a raised lip (smile, disgust, fear) the whole.
    bared = torch.maximum(torch.maximum(au[12], au[10]), au[20]) * (1 - 0.8 * au[18])
    tooth = (0.030 + 0.052 * bared.sqrt() - 0.015 * au[18]) * (1 - 0.45 * square)
    above = view.cover((upper - v) * tilt)
    cavity = (above - view.cover((lower - v) * bend)).clamp_min(0) * (bow > 0)
    deep = (
        view.colour((0.20, 0.07, 0.07)) * (0.55 + 0.45 * ((v - upper) / 0.2).clamp(0, 1))[:, None]
    )
    tongue_v = s.lower_v + 0.01 - 0.35 * s.jaw * bow
    tongue = view.cover(tongue_v + 0.06 * square - v, 2.5) * (6 * s.jaw).clamp(max=1)
    deep = torch.lerp(deep, view.colour((0.66, 0.30, 0.30)), (0.85 * tongue * bow)[:, None])
    edge = upper + tooth
    scallop = 0.007 * torch.cos(along * 18.0).abs()
    teeth = view.cover((edge - scallop - v).neg(), 1.2)
    lines = 1 - 0.09 * (1 - 3 * torch.cos(along * 18.0).abs()).clamp_min(0) - 0.42 * square
    shadow = 0.80 + 0.20 * ((v - upper) / 0.035).clamp(0, 1)
    enamel = view.colour((0.95, 0.92, 0.87)) * (lines * shadow)[:, None]
    deep = torch.lerp(deep, enamel, (teeth * (1.15 - 0.5 * square).clamp(0, 1))[:, None])
    rise = (8 * s.jaw - 0.9).clamp(0, 1) * 0.7
    below = view.cover(lower - 0.040 * bow - v, 1.5) * rise * bow
    deep = torch.lerp(deep, view.colour((0.80, 0.76, 0.71)), below[:, None])
    yield Layer("mouth", box, cavity, deep)

    pale = 0.35 * (1 - identity.skin_tone)
    lip = view.cover((top - v) * tilt) - above
    red = view.colour((0.83, 0.60 + 0.2 * pale, 0.62 + 0.2 * pale))
    yield Layer("mouth", box, lip.clamp_min(0), red * 0.93, multiply=True)
    fill = (v - lower) / (s.lower_lip * bow.sqrt() + 0.004)
    sheen = 1.02 + 0.16 * blob(fill - 0.45, along, 0.28, 0.55)
    sheen = sheen - 0.14 * (fill.clamp(0, 1) ** 2)
    lip = view.cover((lower - v) * bend) - view.cover((bottom - v) * bend)
    yield Layer("mouth", box, lip.clamp_min(0), red * sheen[:, None], multiply=True)

    # Where the lips touch: a dark line, deepest at the corners.
    middle, half = 0.5 * (upper + lower), 0.009 + 0.004 * square
    line = view.cover((middle - half - v) * tilt) - view.cover((middle + half - v) * tilt)
    closed = (1 - gap / 0.03).clamp(0, 1) * (0.55 + 0.45 * square) + 0.6 * square * square
    line = line.clamp_min(0) * closed.clamp(max=1) * (1.02 - along.abs()).mul(12).clamp(0, 1)
    yield Layer("mouth", box, 0.85 * line, view.colour((0.42, 0.25, 0.25)), multiply=True)
    corner = blob(u.abs() - s.mouth_half, v - s.corner_v, 0.026, 0.022)
    depth = 0.30 + 0.30 * au[12] + 0.15 * au[15]
    yield Layer(None, box, depth * corner, view.colour((0.45, 0.30, 0.28)), multiply=True)
