"""The head of a twin without its features: shaded skin, neck, clothes, ears and hair.

Skin is shaded by the normals of an ellipsoid with bumps, in half resolution, as it is smooth.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from thesislib.corpora.twins.face import (
    AXES,
    CENTRE_SHARE,
    NOSE_HEIGHT,
    PIVOT,
)
from thesislib.corpora.twins.face_canvas import (
    SKIN_STOPS,
    Box,
    Layer,
    View,
    between,
    blob,
    hair_colour,
    muted,
    ridge,
    upsample,
)


def _bumps(view: View, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes of nose, cheeks, chin and the rest upon the ellipsoid, along `u` and `v`."""
    s, au = view.shape, view.shape.au
    age = view.identity.age
    side, sign = u.abs(), u.sign()
    nose_u = NOSE_HEIGHT * view.turn[:, 0, 2, None, None]
    nose_v = s.nose_v + NOSE_HEIGHT * view.turn[:, 1, 2, None, None]
    lip_v = s.lower_v + 0.6 * s.lower_lip
    chin_v = 0.86 + s.jaw
    # One row a bump: distance in u and v, widths, height; those on both sides use |u|.
    single: list[tuple[Tensor, Tensor, float, float, Tensor | float]] = [
        (u - 0.5 * nose_u, v - nose_v + 0.24, 0.085, 0.20, 0.040),
        (u - nose_u, v - nose_v + 0.045, 0.088, 0.080, 0.060),
        (u, v - s.upper_v, 0.24, 0.19, 0.045),
        (u, v - lip_v - 0.075, 0.17, 0.045, -0.028),
        (u, v - chin_v, 0.17, 0.12, 0.045 + 0.03 * au[17]),
    ]
    paired: list[tuple[Tensor, Tensor, float, float, Tensor | float]] = [
        (side - 0.105 * view.identity.nose_width, v - nose_v - 0.005, 0.05, 0.05, 0.03),
        (side - 0.24, v + 0.17, 0.22, 0.08, 0.022 + 0.02 * au[4]),
        (side - s.eye_u, v - 0.01, 0.16, 0.11, -0.035),
        (side - 0.41, v - 0.30 + 0.06 * au[6] + 0.03 * au[12], 0.17, 0.14,
         0.025 + 0.03 * au[6] + 0.03 * au[12]),
        (side - s.eye_u, v - 0.125 + 0.02 * au[6], 0.12, 0.04, 0.006 + 0.012 * age + 0.014 * au[6]),
    ]  # fmt: skip
    slope_u, slope_v = torch.zeros_like(u), torch.zeros_like(v)
    for bumps, factor in ((single, None), (paired, sign)):
        for du, dv, u_width, v_width, height in bumps:
            bump = blob(du, dv, u_width, v_width) * (-2 * height)
            slope_v += bump * dv / v_width**2
            along_u = bump * du / u_width**2
            slope_u += along_u if factor is None else along_u * factor
    return slope_u, slope_v


def _folds(view: View, u: Tensor, v: Tensor) -> Tensor:
    """Darkening `(T, h, w)` by folds, lines and contact shadows."""
    s, au, identity = view.shape, view.shape.au, view.identity
    side, age = u.abs(), identity.age
    # Nasolabial fold: a bow from the wing of the nose round the corner of the mouth.
    top = s.nose_v - 0.03
    share = ((v - top) / (s.corner_v + 0.05 - top)).clamp(-0.3, 1.3)
    path = s.nose_half + 0.015 + (s.mouth_half + 0.075 - s.nose_half) * share
    across = side - (path + 0.10 * au[12] * share * (1 - share))
    within = (1.5 * (share + 0.15)).clamp(0, 1) * (4 * (1.15 - share)).clamp(0, 1)
    depth = (0.03 + 0.13 * age + 0.36 * au[12] + 0.2 * au[10] + 0.15 * au[9]).clamp(max=0.5)
    dark: Tensor = depth * within * ridge(across, 0.034)
    # The cheek that bulges beyond the fold catches light.
    bulge = (0.16 * au[12] + 0.05 * au[6]) * within
    dark = dark - bulge * ridge(across - 0.085, 0.07)
    dimple = 0.05 + 0.22 * au[12] + 0.12 * au[15]
    dark += dimple * blob(side - s.mouth_half - 0.025, v - s.corner_v, 0.028, 0.04)
    # Sockets, wings and base of the nose, below the lower lip.
    dark += (0.17 + 0.1 * au[4]) * blob(side - 0.23, v + 0.085, 0.16, 0.055)
    dark += 0.07 * blob(side - 0.11, v - 0.01, 0.06, 0.09)
    dark += (0.06 + 0.10 * age) * blob(side - s.eye_u + 0.02, v - 0.155, 0.12, 0.028)
    turned_u = u - 0.6 * NOSE_HEIGHT * view.turn[:, 0, 2, None, None]
    turned_v = v - s.nose_v - 0.6 * NOSE_HEIGHT * view.turn[:, 1, 2, None, None]
    wing = turned_u.abs() - s.nose_half
    dark += 0.26 * blob(wing - 0.005, turned_v - 0.0, 0.024, 0.05)
    dark += 0.20 * blob(turned_u, turned_v - 0.055, 0.13, 0.03)
    dark += 0.16 * blob(u, v - s.lower_v - s.lower_lip - 0.03, 0.15, 0.032)
    # Lines of the forehead (AU1, AU2), furrows between the brows (AU4), wrinkled nose (AU9).
    raised = 0.05 * age + 0.22 * torch.minimum(au[2], au[1] + 0.3) * (0.4 + 0.6 * age)
    waves = torch.cos((2 * torch.pi / 0.105) * (v + 0.10 * u * u)).clamp_min(0) ** 2
    dark += raised * waves * blob(u, v + 0.40, 0.34, 0.10)
    dark += 0.45 * au[4] * blob(side - 0.045, v + 0.20, 0.018, 0.075)
    crinkle = torch.cos((2 * torch.pi / 0.075) * (v + 0.5 * side)).clamp_min(0) ** 2
    dark += 0.55 * au[9] * crinkle * blob(u, v - 0.02, 0.10, 0.09)
    return dark


def _skin(view: View, box: Box) -> Tensor:
    """Colour of the skin `(T, 3, h, w)` of the face, upsampled from half resolution."""
    identity, s = view.identity, view.shape
    u, v, depth = view.surface(box, step=2)
    steep = depth.clamp_min(0.12)
    slope_u, slope_v = _bumps(view, u, v)
    normal_u = u * (AXES[2] / AXES[0]) ** 2 / steep - slope_u
    normal_v = v * (AXES[2] / AXES[1]) ** 2 / steep - slope_v
    length = torch.rsqrt(1 + normal_u * normal_u + normal_v * normal_v)
    light = view.light[:, :, None, None]
    lit = ((normal_u * light[:, 0] + normal_v * light[:, 1] + light[:, 2]) * length).clamp_min(0)
    facing = (length * (normal_u * view.turn[:, 2, 0, None, None] + view.turn[:, 2, 2, None, None]
                        + normal_v * view.turn[:, 2, 1, None, None])).clamp(0, 1)  # fmt: skip
    shade = identity.ambient * (0.55 + 0.45 * facing) + (1.08 - identity.ambient) * lit
    shade *= 1 - _folds(view, u, v)
    # The hair, and whatever the contour hides, shade the border.
    shade *= 1 - 0.22 * ridge(v + identity.hairline, 0.09)
    gloss = (lit * facing) ** 2
    gloss = 0.10 * (gloss * gloss) ** 4
    blush = 0.07 * blob(u.abs() - 0.40, v - 0.30, 0.17, 0.15) + 0.06 * blob(u, v - 0.36, 0.1, 0.1)
    blush = blush * (1 + 0.3 * s.au[12])
    tone = between(SKIN_STOPS, identity.skin_tone)
    stubble = view.scale.new_zeros(())
    if identity.beard > 0:
        line = 0.50 - 0.42 * (u.abs() / 0.62) ** 3 + 0.25 * blob(u.abs() - 0.36, v - 0.4, 0.16, 1)
        chin = ((v - line.clamp_min(0.08)) / 0.10).clamp(0, 1)
        lips = blob(u, v - 0.5 * (s.upper_v + s.lower_v), 0.75 * s.mouth_half, 0.075 + s.jaw)
        stubble = 0.75 * identity.beard * chin * (1 - lips)
    hair = hair_colour(identity)
    channels = []
    for base, hair_base, loss, red in zip(tone, hair, (0.88, 1.0, 1.05), (0, 1, 0.8), strict=True):
        albedo = base * (1 - red * blush)
        albedo = albedo + (0.8 * hair_base - albedo) * stubble
        channels.append(albedo * (1 + (shade - 1) * loss) + gloss)
    return upsample(torch.stack(channels, 1), box)


def draw_body(view: View) -> Iterator[Layer]:
    """Neck and clothes; they follow the head a little, and the shoulders."""
    identity, motion, s = view.identity, view.motion, view.shape
    shift = motion.pose[:, 3:5, None, None]

    def grid(box: Box) -> tuple[Tensor, Tensor]:
        x, y = view.grid(box)
        return x + (0.4 * shift[:, 0] + PIVOT[0]), y + (0.4 * shift[:, 1] + PIVOT[1])

    def rows_below(y: float) -> int:
        near = float((view.scale * (y + 0.6 * shift[:, 1:2, 0])).amin())
        return max(0, min(view.height - 2, int(CENTRE_SHARE * view.height + near))) // 2 * 2

    side = int(
        0.9 * float(view.scale.amax()) + 0.6 * float((view.scale * shift[:, :1, 0]).abs().amax())
    )
    middle = view.width // 2
    box = (
        rows_below(0.55),
        view.height,
        max(0, middle - side) // 2 * 2,
        min(view.width, middle + side),
    )
    x, y = grid(box)
    lean = motion.pose[:, 0, None, None].sin() * 0.22 - motion.pose[:, 2, None, None].sin() * 0.12
    neck_x = x - lean * ((1.6 - y) / 0.8).clamp(0, 1)
    half = identity.head_width * (0.40 + 0.10 * identity.jaw)
    flare = ((y - 1.05) / 0.45).clamp_min(0)
    bend = half + 0.16 * flare * flare
    across = (neck_x / bend).clamp(-1, 1)
    azimuth = view.scale.new_tensor(identity.light_azimuth)
    lit = identity.ambient + (1 - identity.ambient) * (
        azimuth.sin() * across + azimuth.cos() * (1.04 - across * across).sqrt()
    ).clamp_min(0)
    chin_shadow = 0.50 * ((1.10 + s.jaw + 0.6 * shift[:, 1] - y) / 0.22 + 0.5).clamp(0, 1)
    tendon = 0.05 * ridge(neck_x.abs() - 0.13 - 0.1 * (1.5 - y), 0.035)
    lit = lit * (0.94 - chin_shadow - tendon)
    tone = view.colour(between(SKIN_STOPS, identity.skin_tone))
    yield Layer("skin", box, view.cover(neck_x.abs() - bend), tone * lit[:, None])
    box = (rows_below(1.30 - float(motion.shoulders.amax())), view.height, 0, view.width)
    x, y = grid(box)
    y = y + motion.shoulders[:, None, None] * (0.35 + 0.65 * (x.abs() / 0.7).clamp(max=1))
    away = x.abs()
    slope = 1.34 + 0.27 * (away - 0.42) + 0.22 * (away - 1.05).clamp_min(0) ** 2
    dip = (0.20 + 0.10 * identity.hair_volume) * (1 - (away / 0.46) ** 2).clamp_min(0)
    collar = torch.maximum(slope, torch.full_like(slope, 1.34)) + dip
    seam = ridge(y - collar - 0.06, 0.016) * (away < 0.6)
    fold = 0.06 * torch.sin(9 * x + 5 * y) * ridge(away - 0.85, 0.3)
    cloth = 0.86 + 0.20 * torch.sin(azimuth) * x - 0.16 * x * x + fold - 0.16 * seam
    cloth = (cloth - 0.25 * ridge(y - collar, 0.08)).clamp_min(0.1)
    colour = view.colour(muted(identity.clothes_hue, identity.clothes_lightness, 0.30))
    yield Layer("clothes", box, view.cover((collar - y) * 0.96), colour * cloth[:, None])


def draw_head(view: View) -> Iterator[Layer]:
    """Hair behind, body, ears, skin; the hair in front comes last, from `draw_fringe`."""
    identity, s = view.identity, view.shape
    long_hair = identity.hair_length > 0.3
    hair = view.colour(hair_colour(identity))
    yaw = view.motion.pose[:, 0, None, None].sin()
    if not long_hair:
        yield from draw_body(view)
    # Hair behind: an ellipse above the ears, straight sides, and rounded corners at the end. It
    # lies further back than the face, so that a turned head shows it.
    box = _hair_box(view) if long_hair else view.outline_box((-1.0, 1.0), -1.12, 0.74)
    u, v = view.outline(box)
    behind = u + yaw * 0.4
    end = 0.55 + 0.95 * identity.hair_length if long_hair else 0.66
    broad = 0.74 + identity.hair_volume if long_hair else 0.70
    lower = ((v - end + 0.45) / 0.45).clamp_min(0)
    upper = ((v + 0.05).clamp(max=0.0) / (0.96 + identity.hair_volume)) ** 2
    taper = 0.06 * v if long_hair else -0.32 * v.clamp_min(0)
    across = (behind / (broad * (1 + taper))) ** 2
    edge = 0.4 * (across + upper + (lower**4 if long_hair else lower**2) - 1)
    strands = 0.62 + 0.10 * torch.sin(34 * behind + 2.0 * torch.sin(3 * v))
    yield Layer("hair", box, view.cover(edge, 2.0), hair * strands[:, None])
    if long_hair:
        yield from draw_body(view)
    if not long_hair:
        box = view.outline_box((-0.90, 0.90), -0.20, 0.34)
        u, v = view.outline(box)
        ear_u = (u + yaw * 0.14).abs() - 0.735
        ear = ((ear_u / 0.085) ** 2 + ((v - 0.08 + 0.4 * ear_u) / 0.175) ** 2 - 1) * 0.045
        hollow = ((ear_u - 0.012) / 0.05) ** 2 + ((v - 0.07) / 0.11) ** 2
        inner = 0.72 + 0.28 * hollow.clamp(max=1)
        lobe = between(SKIN_STOPS, identity.skin_tone)
        ear_colour = view.colour((lobe[0] * 0.88, lobe[1] * 0.76, lobe[2] * 0.74))
        yield Layer("skin", box, view.cover(ear), ear_colour * inner[:, None])
    box = view.outline_box((-0.76, 0.76), -identity.hairline - 0.32, 1.04 + float(s.jaw.amax()))
    u, v = view.outline(box)
    # Skin: an ellipse above, below a bow between ellipse and box that tapers to the chin.
    below = v.clamp_min(0)
    taper = 0.715 * (1 - (0.23 - 0.12 * identity.jaw) * below)
    flank = (u / taper) ** 2
    deep = (v / torch.where(v > 0, 1 + s.jaw, view.scale.new_tensor(1.0))) ** 2
    square = 0.22 + 0.34 * identity.jaw
    field = flank + torch.where(v > 0, deep * (1 - square) + square * deep * deep, deep) - 1
    steep = (u / taper**2) ** 2 + torch.where(
        v > 0, v * v * ((1 - square) + 2 * square * deep) ** 2 / (1 + s.jaw) ** 4, v * v
    )
    alpha = view.cover(field / (2 * (steep + 1e-3).sqrt()))
    yield Layer("skin", box, alpha, _skin(view, box))


def _hair_box(view: View) -> Box:
    long_hair = view.identity.hair_length > 0.3
    side = 0.78 + view.identity.hair_volume * (1.1 if long_hair else 0.5)
    if not long_hair:
        return view.outline_box((-side, side), -1.18, 0.14 + 0.5 * view.identity.hair_length)
    return view.outline_box(
        (-side - 0.2, side + 0.2), -1.18, 0.60 + 0.95 * view.identity.hair_length
    )


def draw_fringe(view: View) -> Iterator[Layer]:
    """Hair in front: the skull, made thicker, less a window for the face."""
    identity = view.identity
    long_hair = identity.hair_length > 0.3
    box = _hair_box(view)
    u, v = view.outline(box)
    upper = v.clamp(max=0.0) if long_hair else v
    broad = 0.725 + (0.85 if long_hair else 0.45) * identity.hair_volume
    high = 0.99 + identity.hair_volume
    across, rise = (u / broad) ** 2, ((upper + 0.02) / high) ** 2
    skull = across * (0.75 + 0.25 * across) + rise - 1
    skull = skull / (2 * ((u / broad**2) ** 2 + (upper / high**2) ** 2 + 1e-3).sqrt())
    part = 0.35 * identity.hair_sweep
    tall = (
        identity.hairline
        + 0.22
        - (0.16 if long_hair else 0.26) * identity.hair_sweep * u
        - 0.10 * (u - part).abs()
    )
    above = ((v - 0.22).clamp(max=0.0) / tall) ** 2
    across = (u / (0.60 if long_hair else 0.69)) ** 2
    square = 0.5 if long_hair else 0.9
    window = across * (1 - square + square * across) + above * (0.6 + 0.4 * above) - 1
    end = 0.50 + 0.75 * identity.hair_length if long_hair else 0.02 + 0.5 * identity.hair_length
    half_u, half_v = view.outline(box, step=2)
    rays = (half_u - part) / (half_v + 1.45).clamp_min(0.2)
    strands = torch.sin(31 * rays + 1.3) + 0.7 * torch.sin(67 * rays + 9 * half_v)
    shine = ridge(half_v + 0.80 - 0.15 * half_u * half_u, 0.13)
    side = 0.22 * view.light[:, 0, None, None] * half_u
    bright = 0.80 + side - 0.10 * half_v + 0.09 * strands + shine * (0.22 + 0.07 * strands)
    hair = view.colour(hair_colour(identity))
    colour = upsample(hair * bright[:, None] + 0.03 * shine[:, None], box)
    tip = (v - end) * 0.8 + (0.25 * (u.abs() - 0.66) if not long_hair else 0.0)
    alpha = view.cover(skull, 1.6) * (1 - view.cover(window * 0.28, 3.0)) * view.cover(tip, 5.0)
    yield Layer("hair", box, alpha, colour)
