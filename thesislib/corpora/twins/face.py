"""Whose face a twin shows, and where its parts lie at every moment.

Face coordinates `(u, v)` have their origin between the eyes: `u` points to the right of the image,
`v` down, the crown is near -1 and the chin at 1, so that one unit is about 11 cm. Features lie on
an ellipsoid, which `to_screen` projects; `thesislib.corpora.twins.face_render` draws them. All
sizes are round numbers chosen by eye from the usual proportions of a head, with no recognition
result in view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from thesislib.corpora.twins.face_motion import ACTION_UNITS, FaceMotion
from thesislib.errors import InputError

LANDMARKS = (
    "left_mouth_corner", "right_mouth_corner", "upper_lip_top", "upper_lip_bottom",
    "lower_lip_top", "lower_lip_bottom", "left_eye_outer", "left_eye_inner", "right_eye_inner",
    "right_eye_outer", "left_upper_lid", "right_upper_lid", "left_lower_lid", "right_lower_lid",
    "left_pupil", "right_pupil", "left_brow_inner", "right_brow_inner", "left_brow_outer",
    "right_brow_outer", "nose_tip", "left_nose_wing", "right_nose_wing", "chin",
)  # fmt: skip
"""Points of `landmarks`; left and right are those of the image."""
AXES = (0.80, 1.17, 0.80)
"""Half-axes of the ellipsoid that carries the features, for a head of width and height 1."""
PIVOT = (0.0, 0.75, -0.30)
"""Where the head turns upon the neck."""
OUTLINE_DEPTH = (0.10, 0.28)
"""Depth of the contour of the face, at `v` = 0 and its growth with `v`: the chin is in front."""
UNIT_SHARE, CENTRE_SHARE = 0.31, 0.44
"""A unit and the height of the eyes, as shares of the height of the image."""
GAZE_REACH = (0.055, 0.035)
"""How far the pupils move with a gaze of 1, in units."""
NOSE_HEIGHT = 0.16  # by which its tip stands out of the ellipsoid


@dataclass(frozen=True, slots=True)
class FaceIdentity:
    """What stays the same in every picture of one person; 1 is an average size.

    Attributes:
        head_width: Relative width of the head.
        head_height: Relative height of the head.
        jaw: Squareness of the jaw, 0 (tapering) to 1 (square).
        skin_tone: 0 (lightest) to 1 (darkest).
        hair_tone: 0 (black) over brown and auburn to 1 (blond).
        hair_grey: Share of grey, 0 to 1.
        hair_length: Where the hair ends: 0 (above the ears) to 1 (on the shoulders).
        hair_volume: Thickness of the hair above the skull, in units.
        hairline: Height of the hairline, in units above the eyes.
        hair_sweep: How far the parting leans to one side, -1 to 1.
        eye_tone: 0 (dark brown) over hazel, green and blue to 1 (grey).
        eye_size: Relative size of the eyes.
        eye_spacing: Relative distance between the eyes.
        eye_tilt: Lift of the outer corners, in units.
        brow_thickness: Relative thickness of the brows.
        brow_height: Height of the brows above the eyes, in units.
        nose_width: Relative width of the nose.
        nose_length: Relative length of the nose.
        mouth_width: Relative width of the mouth.
        lip_fullness: Relative height of the lips.
        age: Depth of lines and folds at rest, 0 to 1.
        beard: Density of the beard, 0 to 1.
        light_azimuth: Of the main light, radians, positive to the right of the image.
        light_elevation: Of the main light, radians above the camera.
        ambient: Share of light without direction, 0 to 1.
        background_hue: 0 to 1, around the circle of colours.
        background_lightness: 0 to 1.
        clothes_hue: 0 to 1.
        clothes_lightness: 0 to 1.
    """

    head_width: float = 1.0
    head_height: float = 1.0
    jaw: float = 0.5
    skin_tone: float = 0.3
    hair_tone: float = 0.35
    hair_grey: float = 0.0
    hair_length: float = 0.0
    hair_volume: float = 0.12
    hairline: float = 0.56
    hair_sweep: float = 0.4
    eye_tone: float = 0.3
    eye_size: float = 1.0
    eye_spacing: float = 1.0
    eye_tilt: float = 0.01
    brow_thickness: float = 1.0
    brow_height: float = 0.205
    nose_width: float = 1.0
    nose_length: float = 1.0
    mouth_width: float = 1.0
    lip_fullness: float = 1.0
    age: float = 0.2
    beard: float = 0.0
    light_azimuth: float = -0.5
    light_elevation: float = 0.5
    ambient: float = 0.45
    background_hue: float = 0.55
    background_lightness: float = 0.6
    clothes_hue: float = 0.6
    clothes_lightness: float = 0.35


def sample_identity(sex: str, generator: torch.Generator) -> FaceIdentity:
    """Draw a person; women and men differ in their means only, and every factor overlaps.

    Dark skin comes with dark hair and eyes more often than not.

    Args:
        sex: ``female`` or ``male``.
        generator: Source of chance, on the processor.

    Raises:
        InputError: `sex` is neither.

    >>> a = sample_identity("female", torch.Generator().manual_seed(0))
    >>> a == sample_identity("female", torch.Generator().manual_seed(0))
    True
    """
    if sex not in ("female", "male"):
        raise InputError(sex, "is no sex that a face is drawn for", "use female or male")
    woman = sex == "female"
    normals = torch.randn(24, generator=generator, dtype=torch.float64).clamp(-2, 2).tolist()
    uniforms = torch.rand(12, generator=generator, dtype=torch.float64).tolist()
    z, r = iter(normals), iter(uniforms)
    age, skin_tone = next(r), next(r)
    long_hair = next(r) < (0.85 if woman else 0.12)
    bearded = next(r) < (0.0 if woman else 0.4)
    return FaceIdentity(
        head_width=(0.97 if woman else 1.01) + 0.04 * next(z),
        head_height=(0.98 if woman else 1.02) + 0.03 * next(z),
        jaw=min(max((0.35 if woman else 0.6) + 0.17 * next(z), 0.0), 1.0),
        skin_tone=skin_tone,
        hair_tone=next(r) ** 1.3 * (1 - 0.85 * skin_tone),
        hair_grey=max(0.0, age - 0.55) * 2.0 * next(r),
        hair_length=0.45 + 0.5 * next(r) if long_hair else 0.12 * next(r),
        hair_volume=0.12 + 0.025 * next(z),
        hairline=(0.55 if woman else 0.60) + 0.03 * next(z) + (0.0 if woman else 0.1 * age**2),
        hair_sweep=max(-1.0, min(1.0, 0.55 * next(z))),
        eye_tone=next(r) * (1.1 - 1.05 * skin_tone),
        eye_size=(1.05 if woman else 0.97) + 0.06 * next(z),
        eye_spacing=1.0 + 0.045 * next(z),
        eye_tilt=0.010 + 0.007 * next(z),
        brow_thickness=(0.85 if woman else 1.2) * math.exp(0.2 * next(z)),
        brow_height=(0.215 if woman else 0.195) + 0.01 * next(z),
        nose_width=(0.95 if woman else 1.05) + 0.08 * next(z),
        nose_length=1.0 + 0.05 * next(z),
        mouth_width=(0.98 if woman else 1.02) + 0.06 * next(z),
        lip_fullness=(1.1 if woman else 0.9) * math.exp(0.17 * next(z)),
        age=age,
        beard=0.35 + 0.65 * next(r) if bearded else 0.0,
        light_azimuth=0.45 * next(z),
        light_elevation=0.5 + 0.15 * next(z),
        ambient=0.45 + 0.06 * next(z),
        background_hue=next(r),
        background_lightness=0.6 + 0.15 * next(z),
        clothes_hue=next(r),
        clothes_lightness=min(max(0.4 + 0.18 * next(z), 0.08), 0.85),
    )


@dataclass(frozen=True, slots=True)
class FaceShape:
    """Where the parts of one face lie, in face coordinates: all `(T, 1, 1)`, one row a frame.

    Attributes:
        au: Action units by number.
        jaw: By how much the chin is lowered.
        mouth_half: Half the width of the mouth.
        corner_v: Height of its corners.
        upper_v: Lower rim of the upper lip in the middle.
        lower_v: Upper rim of the lower lip in the middle; equal to `upper_v` where closed.
        upper_lip: Height of the upper lip in the middle.
        lower_lip: Height of the lower lip in the middle.
        eye_u: Centre of the eyes, mirrored for the left one.
        eye_half: Half the width of an eye.
        upper_lid: Height of the upper lid above the centre of the eye.
        lower_lid: Depth of the lower lid below it.
        brow_inner: `(u, v)` of the inner end of a brow.
        brow_middle: `v` that bends the brow between its ends.
        brow_outer: `(u, v)` of its outer end.
        nose_v: Height of the nostrils.
        nose_half: Half the width of the nose at its wings.
    """

    au: dict[int, Tensor]
    jaw: Tensor
    mouth_half: Tensor
    corner_v: Tensor
    upper_v: Tensor
    lower_v: Tensor
    upper_lip: Tensor
    lower_lip: Tensor
    eye_u: float
    eye_half: float
    upper_lid: Tensor
    lower_lid: Tensor
    brow_inner: tuple[Tensor, Tensor]
    brow_middle: Tensor
    brow_outer: tuple[Tensor, Tensor]
    nose_v: Tensor
    nose_half: Tensor


def face_shape(identity: FaceIdentity, motion: FaceMotion) -> FaceShape:
    """Move the parts of a face by its action units.

    AU12 draws the corners of the mouth up by 0.115 and outwards by 34 %, AU26 lowers the jaw by
    0.26 and, where AU25 has parted the lips, the lower lip with it; AU43 brings the upper lid
    onto the lower one; AU1, AU2 and AU4 move inner end, outer end and whole of the brows.
    """
    au = dict(zip(ACTION_UNITS, motion.action_units[:, :, None, None].unbind(1), strict=True))
    jaw = 0.26 * au[26]
    mouth_v = 0.615 + 0.02 * (identity.nose_length - 1)
    parted = (3 * au[25]).clamp(max=1)
    upper_v = mouth_v - 0.03 * au[10] - 0.02 * au[9] - 0.015 * au[17] - 0.018 * au[25]
    upper_v = upper_v - 0.012 * au[12] + 0.1 * jaw * (1 - parted)
    lower_v = upper_v + au[25] * (0.055 + 0.025 * au[12]) + 0.85 * jaw * parted
    thin = (1 - 0.3 * au[12]) * (1 - 0.5 * au[23]) * (1 - 0.25 * au[20]) * (1 + 0.35 * au[18])
    spread = 0.34 * au[12] + 0.22 * au[20] + 0.05 * au[15] - 0.36 * au[18] - 0.08 * au[23]
    size = identity.eye_size
    shut = (au[43] + 0.25 * au[7] + 0.22 * au[6]).clamp(max=1)
    lower_lid = 0.043 * size * (1 - 0.3 * au[7] - 0.5 * au[6])
    open_lid = 0.068 * size * (1 + 0.45 * au[5] - 0.12 * au[12])
    brow_v = -identity.brow_height + 0.05 * au[4] + 0.025 * au[9] + 0.012 * au[6]
    inner_v = brow_v + 0.02 * au[4] - 0.085 * au[1] - 0.02 * au[2]
    outer_v = brow_v + 0.02 - 0.085 * au[2] - 0.01 * au[4]
    return FaceShape(
        au=au,
        jaw=jaw,
        mouth_half=0.225 * identity.mouth_width * (1 + spread - 0.2 * jaw),
        corner_v=mouth_v - 0.008 - 0.115 * au[12] + 0.075 * au[15] + 0.02 * au[20] + 0.35 * jaw,
        upper_v=upper_v,
        lower_v=lower_v,
        upper_lip=0.052 * identity.lip_fullness * thin * (1 - 0.2 * au[10]),
        lower_lip=0.075 * identity.lip_fullness * thin * (1 + 0.2 * au[17]),
        eye_u=0.285 * identity.eye_spacing,
        eye_half=0.138 * size,
        upper_lid=open_lid * (1 - shut) - (lower_lid - 0.004) * shut,
        lower_lid=lower_lid,
        brow_inner=(0.105 - 0.03 * au[4], inner_v),
        brow_middle=0.5 * (inner_v + outer_v) - 0.05 - 0.02 * au[2],
        brow_outer=(0.455 + 0 * au[4], outer_v),
        nose_v=0.40 * identity.nose_length - 0.025 * au[9] - 0.012 * au[10] - 0.006 * au[12],
        nose_half=0.145 * identity.nose_width * (1 + 0.1 * au[12] + 0.1 * au[9]),
    )


def rotation(pose: Tensor) -> Tensor:
    """Rotation matrices `(T, 3, 3)` of the head from poses `(T, 6)`: yaw, then pitch, then roll."""
    (sy, sp, sr), (cy, cp, cr) = pose[:, :3].sin().unbind(1), pose[:, :3].cos().unbind(1)
    zero, one = torch.zeros_like(sy), torch.ones_like(sy)
    yaw = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], 1).view(-1, 3, 3)
    pitch = torch.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], 1).view(-1, 3, 3)
    roll = torch.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], 1).view(-1, 3, 3)
    return roll @ pitch @ yaw


def frame_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture.

    Raises:
        InputError: it has fewer than 32 pixels on a side.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 32:
        raise InputError("size", f"is {height} x {width}", "use at least 32 pixels on a side")
    return height, width


def pixels_per_unit(motion: FaceMotion, height: int) -> Tensor:
    """Scale `(T,)` of the picture; a face that comes nearer by one unit grows by a sixth."""
    return UNIT_SHARE * height * (1 + motion.pose[:, 5] / 6).clamp(0.3, 3)


def to_screen(
    points: Tensor,
    identity: FaceIdentity,
    motion: FaceMotion,
    size: int | tuple[int, int],
    lift: Tensor | float = 0.0,
) -> Tensor:
    """Where points of the face appear in the picture.

    Args:
        points: `(T, P, 2)` in face coordinates.
        identity: Person.
        motion: `T` frames.
        size: Height and width of the picture, or both in one.
        lift: By how much the points stand out of the ellipsoid.

    Returns:
        `(T, P, 2)`: column and row in pixels; the centre of the first pixel is (0, 0).
    """
    u, v = points.unbind(-1)
    depth = AXES[2] * (1 - (u / AXES[0]) ** 2 - (v / AXES[1]) ** 2).clamp_min(0).sqrt() + lift
    head = torch.stack([u * identity.head_width, v * identity.head_height, depth], -1)
    turned = (head - head.new_tensor(PIVOT)) @ rotation(motion.pose).transpose(1, 2)
    return _to_pixels(turned[..., :2] + head.new_tensor(PIVOT[:2]), motion, size)


def outline_to_screen(
    points: Tensor, identity: FaceIdentity, motion: FaceMotion, size: int | tuple[int, int]
) -> Tensor:
    """The same for points of the contour, which shifts and rolls but does not foreshorten.

    Args:
        points: `(T, P, 2)` in face coordinates.
        identity: Person.
        motion: `T` frames.
        size: Height and width of the picture, or both in one.
    """
    u, v = points.unbind(-1)
    depth = OUTLINE_DEPTH[0] + OUTLINE_DEPTH[1] * v - PIVOT[2]
    yaw, pitch, roll = motion.pose[:, :3, None].unbind(1)
    x = u * identity.head_width + yaw.sin() * depth - PIVOT[0]
    y = v * identity.head_height - pitch.sin() * depth - PIVOT[1]
    turned = torch.stack([x * roll.cos() - y * roll.sin(), x * roll.sin() + y * roll.cos()], -1)
    return _to_pixels(turned + points.new_tensor(PIVOT[:2]), motion, size)


def _to_pixels(plane: Tensor, motion: FaceMotion, size: int | tuple[int, int]) -> Tensor:
    height, width = frame_size(size)
    centre = plane.new_tensor([width / 2 - 0.5, CENTRE_SHARE * height - 0.5])
    scale = pixels_per_unit(motion, height)[:, None, None]
    return (plane + motion.pose[:, None, 3:5]) * scale + centre


def landmarks(
    identity: FaceIdentity, motion: FaceMotion, size: int | tuple[int, int] = 224
) -> Tensor:
    """Exact positions of the points named in `LANDMARKS`.

    Args:
        identity: Person.
        motion: `T` frames.
        size: Height and width of the picture, or both in one.

    Returns:
        `(T, 24, 2)` float32: column and row in pixels; the centre of the first pixel is (0, 0).
        Points on the far side of a turned head are given where they would be seen.
    """
    shape = face_shape(identity, motion)
    n = len(motion)

    def point(u: Tensor | float, v: Tensor | float) -> Tensor:
        at = motion.action_units.new_zeros(n, 2)
        at[:, 0] = u.reshape(-1) if isinstance(u, Tensor) else u
        at[:, 1] = v.reshape(-1) if isinstance(v, Tensor) else v
        return at

    e, h, tilt = shape.eye_u, shape.eye_half, identity.eye_tilt
    gaze_u, gaze_v = GAZE_REACH[0] * motion.gaze[:, 0], GAZE_REACH[1] * motion.gaze[:, 1]
    inner, outer = shape.brow_inner, shape.brow_outer
    surface = [
        point(-shape.mouth_half, shape.corner_v),
        point(shape.mouth_half, shape.corner_v),
        point(0, shape.upper_v - shape.upper_lip),
        point(0, shape.upper_v),
        point(0, shape.lower_v),
        point(0, shape.lower_v + shape.lower_lip),
        point(-e - h, -tilt),
        point(-e + h, tilt),
        point(e - h, tilt),
        point(e + h, -tilt),
        point(-e, -shape.upper_lid),
        point(e, -shape.upper_lid),
        point(-e, shape.lower_lid),
        point(e, shape.lower_lid),
        point(-e + gaze_u, gaze_v),
        point(e + gaze_u, gaze_v),
        point(-inner[0], inner[1]),
        point(inner[0], inner[1]),
        point(-outer[0], outer[1]),
        point(outer[0], outer[1]),
        point(0, shape.nose_v - 0.05),
        point(-shape.nose_half, shape.nose_v - 0.01),
        point(shape.nose_half, shape.nose_v - 0.01),
    ]
    lift = motion.action_units.new_zeros(len(surface))
    lift[LANDMARKS.index("nose_tip")] = NOSE_HEIGHT
    on_face = to_screen(torch.stack(surface, 1), identity, motion, size, lift)
    chin = outline_to_screen(point(0, 1 + shape.jaw)[:, None], identity, motion, size)
    return torch.cat([on_face, chin], 1)
