"""Lips and voices of the twins, and what becomes of their agreement when one of them is late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from thesislib.corpora.twins.face import LANDMARKS, landmarks
from thesislib.corpora.twins.people import sample_person
from thesislib.corpora.twins.performance import perform_clip
from thesislib.errors import InputError
from thesislib.signals.audio import SAMPLE_RATE

LEVEL_FLOOR = 1e-6  # mean square: 60 dB below full scale


def lips_and_voices(
    people: int,
    *,
    duration_s: float,
    fps: int = 25,
    seed: int = 0,
    effects: Mapping[str, float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Monologues of synthetic people, as two tracks at the rate of the pictures.

    Args:
        people: How many, women and men in turn.
        duration_s: Length of a monologue.
        fps: Pictures a second; it divides 16,000.
        seed: Of the people and of what they say.
        effects: Strengths that differ from 1, such as ``{"lips": 0}`` for lips at rest.

    Returns:
        Distance between the lips in pixels of a picture of 224, and level of the voice in decibels
        below full scale, `(P, T)` each.

    Raises:
        InputError: there is nobody, or the rate does not divide 16,000.

    >>> [track.shape for track in lips_and_voices(1, duration_s=1.0)]
    [torch.Size([1, 25]), torch.Size([1, 25])]
    """
    if people < 1 or SAMPLE_RATE % fps:
        raise InputError("people or fps", f"{people} and {fps} cannot be used", "try 4 and 25")
    upper, lower = (LANDMARKS.index(f"{lip}") for lip in ("upper_lip_bottom", "lower_lip_top"))
    openings, levels = [], []
    for number in range(people):
        sex = ("female", "male")[number % 2]
        person = sample_person(f"speaker {number}", sex, seed=seed, effects=effects)
        shown = perform_clip(person, duration_s=duration_s, fps=fps, seed=seed, effects=effects)
        points = landmarks(person.identity, shown.motion)
        openings.append((points[:, lower] - points[:, upper]).norm(dim=-1))
        frames = shown.waveform.unfold(0, SAMPLE_RATE // fps, SAMPLE_RATE // fps)
        levels.append(10 * frames.square().mean(1).clamp(min=LEVEL_FLOOR).log10())
    return torch.stack(openings), torch.stack(levels)


def correlation_over_shifts(first: Tensor, second: Tensor, shifts: Sequence[int]) -> Tensor:
    """Pearson's correlation of two tracks when the second comes later.

    Args:
        first: `(P, T)`.
        second: `(P, T)`.
        shifts: Frames by which the second is delayed; negative where it comes early.

    Returns:
        `(P, S)`; every shift is judged over the same number of frames.

    Raises:
        InputError: a shift leaves fewer than two frames.

    >>> track = torch.tensor([[0.0, 1.0, 0.0, 0.0, 2.0, 0.0]])
    >>> correlation_over_shifts(track, track.roll(1), [-1, 0, 1]).round(decimals=1)
    tensor([[ 1.0000, -0.5000, -0.5000]])
    """
    reach = max(abs(shift) for shift in shifts)
    length = first.shape[1] - 2 * reach
    if length < 2:
        raise InputError("shifts", f"of {reach} frames leave nothing", "use longer tracks")
    kept = _standardised(first[:, reach : reach + length])
    moved = [second[:, reach - shift : reach - shift + length] for shift in shifts]
    return torch.stack([(kept * _standardised(part)).mean(1) for part in moved], 1)


def find_the_voice(lips: Tensor, voices: Tensor, *, delay: int, window: int, reach: int) -> Tensor:
    """Whether the voice that goes best with a pair of lips is that person's own.

    Each window of a person's lips is compared with everybody's voice at that time, delayed.

    Args:
        lips: `(P, T)`.
        voices: `(P, T)`.
        delay: Frames by which every voice is late, between `-reach` and `reach`.
        window: Frames of a window.
        reach: Frames left out at both ends, so that every delay has the same windows.

    Returns:
        `(P, W)`, 1 where the own voice correlates best; guessing gives one in `P`.

    Raises:
        InputError: no window fits, or the delay exceeds the reach.
    """
    length = lips.shape[1] - 2 * reach
    if abs(delay) > reach or length < window:
        problem = f"of {delay} frames and windows of {window} do not fit"
        raise InputError("delay", problem, "use longer tracks or a larger reach")
    seen = lips[:, reach : reach + length].unfold(1, window, window)
    heard = voices[:, reach - delay : reach - delay + length].unfold(1, window, window)
    match = torch.einsum("pwt,qwt->pwq", _standardised(seen), _standardised(heard))
    best = match.argmax(2)
    return (best == torch.arange(len(lips))[:, None]).float()


def _standardised(tracks: Tensor) -> Tensor:
    """Zero mean and unit variance along time; a constant track becomes zero."""
    centred = tracks - tracks.mean(-1, keepdim=True)
    return F.normalize(centred, dim=-1) * centred.shape[-1] ** 0.5
