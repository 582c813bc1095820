"""How a twin's face moves: action units over time from smiles, laughs, emotions, speech and blinks.

Intensities are tracks `(T,)` of values between 0 and 1. Their sizes on the face are in
`thesislib.corpora.twins.face`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from thesislib.corpora.twins.voice import FRAME_RATE_HZ, Utterance
from thesislib.errors import InputError

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 18, 20, 23, 25, 26, 43)
"""Columns of an action-unit track, by number in the Facial Action Coding System; 43 also blinks."""


@dataclass(frozen=True, slots=True)
class FaceMotion:
    """How a face moves, one row a frame.

    Attributes:
        action_units: `(T, 17)` float32 in 0 to 1, columns as in `ACTION_UNITS`.
        pose: `(T, 6)`: yaw (to the right of the image), pitch (chin up) and roll (clockwise) in
            radians, then translation to the right, down and towards the camera in units.
        shoulders: `(T,)`, how far they are raised, in units.
        gaze: `(T, 2)`, to the right and down, -1 to 1.
    """

    action_units: Tensor
    pose: Tensor
    shoulders: Tensor
    gaze: Tensor

    def __post_init__(self) -> None:
        n = len(self.action_units)
        wanted = {"action_units": (n, 17), "pose": (n, 6), "shoulders": (n,), "gaze": (n, 2)}
        for name, shape in wanted.items():
            track: Tensor = getattr(self, name)
            if tuple(track.shape) != shape:
                raise InputError(name, f"has the shape {tuple(track.shape)}", f"it must be {shape}")
            if track.dtype != torch.float32:
                raise InputError(name, f"is {track.dtype}", "convert it with .float()")
            if not bool(torch.isfinite(track).all()):
                raise InputError(name, "is not finite everywhere", "look for NaN in the track")

    def __len__(self) -> int:
        return len(self.action_units)

    def __getitem__(self, frames: slice) -> FaceMotion:
        return FaceMotion(
            self.action_units[frames], self.pose[frames], self.shoulders[frames], self.gaze[frames]
        )


def action_units(tracks: Mapping[int, Tensor]) -> Tensor:
    """Collect tracks `(T,)` of single action units into `(T, 17)`; those not given are 0.

    Args:
        tracks: From the number of an action unit to its intensity, 0 to 1; values are cut there.

    Raises:
        InputError: nothing is given, or an action unit is not one of `ACTION_UNITS`.

    >>> action_units({12: torch.ones(3)}).sum(0)[ACTION_UNITS.index(12)]
    tensor(3.)
    """
    if not tracks:
        raise InputError("action units", "are none", "give at least one track")
    unknown = set(tracks) - set(ACTION_UNITS)
    if unknown:
        raise InputError(f"AU{min(unknown)}", "is not drawn", f"known are {ACTION_UNITS}")
    template = next(iter(tracks.values())).float()
    columns = [tracks.get(number, torch.zeros_like(template)) for number in ACTION_UNITS]
    return torch.stack([column.float() for column in columns], 1).clamp(0, 1)


def face_motion(
    units: Tensor,
    *,
    pose: Tensor | None = None,
    shoulders: Tensor | None = None,
    gaze: Tensor | None = None,
) -> FaceMotion:
    """A motion from action units `(T, 17)`; what is not given stays at rest."""
    n = len(units)
    return FaceMotion(
        units,
        units.new_zeros(n, 6) if pose is None else pose,
        units.new_zeros(n) if shoulders is None else shoulders,
        units.new_zeros(n, 2) if gaze is None else gaze,
    )


def combine(*units: Tensor) -> Tensor:
    """Join action-unit tracks `(T, 17)` of causes that act together: each adds to what is left.

    >>> combine(torch.full((1, 17), 0.5), torch.full((1, 17), 0.5))[0, 0]
    tensor(0.7500)
    """
    return 1 - torch.stack([1 - track.clamp(0, 1) for track in units]).prod(0)


def smile(intensity: Tensor) -> Tensor:
    """Action units of a smile: AU12 from the start, AU6 from a quarter, parted lips from a half.

    Args:
        intensity: `(T,)`, 0 to 1.

    Returns:
        `(T, 17)`.

    Source: Ekman, Davidson and Friesen (1990), "The Duchenne smile", for AU6 with AU12.
    """
    level = intensity.float().clamp(0, 1)
    return action_units(
        {
            6: (level - 0.2) / 0.8,
            7: 0.3 * (level - 0.4),
            12: level,
            25: (level - 0.5) / 0.5,
            26: 0.25 * (level - 0.6),
        }
    )


def laugh(intensity: Tensor, time_s: Tensor, rate_hz: float = 5.0) -> FaceMotion:
    """A laugh: open mouth and jaw pulsing with the calls, narrowed eyes, head back, shaking trunk.

    Args:
        intensity: `(T,)`, 0 to 1; bring it from and to 0 smoothly.
        time_s: `(T,)`; a call begins wherever it is a whole number of `1 / rate_hz`, so that a
            warped time makes the face follow calls at any spacing.
        rate_hz: Calls a second.

    Source: Ruch and Ekman (2001), "The expressive pattern of laughter", for the parts and for
    about five calls a second.
    """
    level = intensity.float().clamp(0, 1)
    phase = 2 * math.pi * rate_hz * time_s.double()
    pulse = (0.5 + 0.5 * torch.sin(phase)).float()
    lag = torch.sin(phase - 0.9).float()  # the head follows the chest
    onset = (3 * level).clamp(max=1)
    units = action_units(
        {
            6: 0.5 * onset + 0.5 * level,
            7: 0.45 * level,
            12: 0.55 * onset + 0.4 * level,
            25: 0.75 * onset + 0.25 * level * pulse,
            26: 0.12 * onset + level * (0.38 + 0.34 * pulse),
            43: 0.15 * level + 0.15 * level * pulse,
        }
    )
    zero = torch.zeros_like(level)
    sway = torch.sin(2 * math.pi * 0.7 * time_s.double()).float()
    pose = torch.stack(
        [
            0.05 * level * sway,
            0.15 * level + 0.05 * level * lag,
            0.07 * level * sway,
            0.02 * level * sway,
            0.028 * level * lag - 0.03 * level,
            zero,
        ],
        1,
    )
    shoulders = 0.05 * level + 0.07 * level * pulse
    return face_motion(units, pose=pose, shoulders=shoulders)


EMOTION_UNITS: Mapping[str, Mapping[int, float]] = {
    "anger": {4: 1.0, 5: 0.6, 7: 0.8, 23: 0.9, 17: 0.3},
    "disgust": {9: 0.9, 10: 0.8, 15: 0.5, 17: 0.4, 4: 0.4, 7: 0.4},
    "fear": {1: 0.9, 2: 0.6, 4: 0.6, 5: 1.0, 20: 0.9, 25: 0.6, 26: 0.3},
    "happiness": {6: 0.8, 12: 0.85, 25: 0.6},
    "neutral": {},
    "sadness": {1: 0.9, 4: 0.6, 15: 0.9, 17: 0.5, 43: 0.2},
    "surprise": {1: 0.9, 2: 0.9, 5: 0.8, 25: 1.0, 26: 0.8},
}
"""Action units of an emotion at full intensity; `emotion` names the sources."""


def emotion(name: str, intensity: Tensor) -> Tensor:
    """Action units `(T, 17)` of an acted emotion.

    Args:
        name: A key of `EMOTION_UNITS`.
        intensity: `(T,)`, 0 to 1.

    Raises:
        InputError: no emotion has this name.

    Source: the prototypes of Ekman and Friesen (1978), *Facial Action Coding System*, and EMFACS
    (Friesen and Ekman, 1983), as listed by Matsumoto et al. (2008); the strengths of the single
    units are our own.
    """
    if name not in EMOTION_UNITS:
        raise InputError(name, "is no emotion", f"choose one of {', '.join(EMOTION_UNITS)}")
    level = intensity.float().clamp(0, 1)
    units = {number: share * level for number, share in EMOTION_UNITS[name].items()}
    return action_units(units or {12: torch.zeros_like(level)})


def visemes(openness: Tensor, rounding: Tensor) -> Tensor:
    """Action units `(T, 17)` of speaking lips.

    Args:
        openness: `(T,)`, 0 (lips closed) to 1 (as for an open *a*).
        rounding: `(T,)`, -1 (spread, as for *i*) to 1 (rounded, as for *u*).
    """
    parted = (openness.float() / 0.15).clamp(0, 1)
    return action_units(
        {
            18: 0.8 * rounding.float(),
            20: -0.3 * rounding.float(),
            25: parted * (0.35 + 0.45 * openness.float()),
            26: 0.6 * openness.float(),
        }
    )


def mouth_tracks(utterance: Utterance, fps: float) -> tuple[Tensor, Tensor]:
    """What the lips do while the voice of a twin says an utterance.

    F1 rises as the mouth opens; rounded lips lower F2 of back vowels and F3 of front vowels, and
    spread lips raise F2. Lips close for labials, whose F2 is low outside vowels, and in pauses.

    Args:
        utterance: Plan of the voice.
        fps: Frames a second.

    Returns:
        Openness 0 to 1 and rounding -1 to 1, both `(T,)`, averages over the time of a frame, for
        `ceil(duration * fps)` frames.

    Source: Stevens (1998), *Acoustic Phonetics*, for the relations; `phonetics.py` for the scale.
    """
    tracks = utterance.tracks
    f1, f2, f3 = (tracks[:, :3] * (utterance.voice.tract_length_cm / 17.0)).T
    loud = tracks[:, 4:7].sum(1)
    reach = round(0.06 * FRAME_RATE_HZ)
    padded = np.pad(np.clip(loud / 0.2, 0, 1), reach, mode="edge")
    active = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(1)
    vowel = np.clip((tracks[:, 4] - 0.3) / 0.3, 0, 1) * np.clip(2.5 - tracks[:, 3], 0, 1)
    labial = np.clip((1250 - f2) / 200, 0, 1) * (1 - vowel)
    openness = (0.12 + 0.88 * np.clip((f1 - 270) / 420, 0, 1)) * (1 - labial) * active
    back = np.clip((1300 - f2) / 450, 0, 1) - np.clip((f1 - 300) / 800, 0, 1)
    front = np.clip((2350 - f3) / 200, 0, 1)
    spread = np.clip((f2 - 1700) / 400, 0, 1) * (1 - front)
    rounding = (np.maximum(np.clip(back, 0, 1), front) - spread) * vowel
    n_frames = math.ceil(utterance.duration_s * fps)
    edges = np.linspace(0, n_frames / fps * FRAME_RATE_HZ, n_frames + 1)
    grid = np.arange(len(f1) + 1)
    frames = [
        np.diff(np.interp(edges, grid, np.concatenate([[0.0], np.cumsum(track)])))
        for track in (openness, rounding)
    ]
    width = FRAME_RATE_HZ / fps
    return (
        torch.from_numpy(frames[0] / width).float().clamp(0, 1),
        torch.from_numpy(frames[1] / width).float().clamp(-1, 1),
    )


def blinks(onsets_s: Tensor, n_frames: int, fps: float) -> Tensor:
    """A track `(T,)` of AU43 that closes the eyes in 80 ms and opens them in 160 ms.

    Args:
        onsets_s: `(K,)`, times at which blinks begin; those outside the frames are left out.
        n_frames: Length `T` of the track.
        fps: Frames a second.
    """
    at = (onsets_s * fps).round().long()
    impulses = torch.zeros(n_frames)
    impulses[at[(at >= 0) & (at < n_frames)]] = 1.0
    time_s = torch.arange(math.ceil(0.24 * fps) + 1) / fps
    shape = torch.minimum(time_s / 0.08, (0.24 - time_s) / 0.16).clamp(0, 1)
    track = F.conv1d(F.pad(impulses, (len(shape) - 1, 0))[None, None], shape.flip(0)[None, None])
    return track[0, 0].clamp(0, 1)
