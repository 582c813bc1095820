"""Decoding video: frames at given times and the sound beside them, with damage reported by name.

Time 0 is the start of the file: where its earliest stream starts, so that pictures and sound stay
together. These functions decode in the calling process; `thesislib.signals.decoding` runs them in
one that may crash.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from thesislib.errors import InputError
from thesislib.signals.containers import (
    MEND,
    opened,
    picture_streams,
    sound_stream,
)
from thesislib.signals.frame_reader import FrameReader
from thesislib.signals.video_sound import LOOSE_S, sound_blocks

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a file declares about itself.

    Attributes:
        duration_s: Declared length in seconds; None where the file does not say.
        has_video: Whether it has pictures (a cover image is none).
        has_audio: Whether it has sound.
        fps: Average frames a second; None without pictures or where unknown.
        n_frames: Declared number of frames; None where the file does not say.
        width: Of the upright picture, in pixels; 0 without pictures.
        height: Of the upright picture, in pixels; 0 without pictures.
        rotation: Degrees counterclockwise by which the stored pictures are turned for display.
        sample_rate: Of the sound in hertz; None without sound.
    """

    duration_s: float | None
    has_video: bool
    has_audio: bool
    fps: float | None
    n_frames: int | None
    width: int
    height: int
    rotation: int
    sample_rate: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaCheck:
    """What decoding a file from start to end gives, beside what it declares.

    Attributes:
        info: The declaration.
        video_s: End of the last picture in seconds; None without pictures.
        n_frames: Pictures that decode.
        audio_s: End of the sound in seconds; None without sound.
        problem: What is lost, in words; None where all that is declared is there.
    """

    info: VideoInfo
    video_s: float | None
    n_frames: int
    audio_s: float | None
    problem: str | None


def probe_video(path: str | Path) -> VideoInfo:
    """Read what a file declares, decoding no more than one frame (for its rotation).

    Args:
        path: A recording with pictures, sound or both.

    Raises:
        InputError: the file is missing, empty or no recording, or its first frame does not decode.
    """
    path = Path(path)
    with opened(path) as container:
        return _describe(path, container)


def frame_times(start_s: float, duration_s: float, fps: float) -> list[float]:
    """Times of the frames of a window at a constant rate, for `read_frames`.

    Args:
        start_s: Start of the window, in seconds.
        duration_s: Length of the window, in seconds; ``round(duration_s * fps)`` frames.
        fps: Frames a second.

    >>> frame_times(1.0, 0.16, 25)
    [1.0, 1.04, 1.08, 1.12]
    """
    return [start_s + i / fps for i in range(round(duration_s * fps))]


def read_frames(
    path: str | Path, times_s: Sequence[float], *, size: tuple[int, int] | None = None
) -> Tensor:
    """Decode the frames that are shown at given times, seeking over the rest.

    The frame shown at a time is the last one that starts at or before it, so that any rate and a
    variable one are resampled alike; before the first frame it is the first one.

    Args:
        path: A video.
        times_s: Times in seconds, in any order.
        size: Height and width to shrink to; None keeps those of the upright picture.

    Returns:
        ``(T, H, W, 3)`` uint8 RGB, upright.

    Raises:
        InputError: the file cannot be used, has no pictures, is damaged before one of the times or
            ends before it, or a time is negative or not finite.
    """
    order = sorted(range(len(times_s)), key=lambda i: times_s[i])
    chunks = list(iter_frames(path, [times_s[i] for i in order], size=size))
    if not chunks:
        info = probe_video(path)
        height, width = size or (info.height, info.width)
        return torch.zeros(0, height, width, 3, dtype=torch.uint8)
    frames = torch.cat(chunks)
    if order == list(range(len(order))):
        return frames
    return frames[torch.tensor(order).argsort()]


def iter_frames(
    path: str | Path,
    times_s: Sequence[float],
    *,
    size: tuple[int, int] | None = None,
    chunk: int = 32,
) -> Iterator[Tensor]:
    """`read_frames` in pieces, with one pass over the file: memory depends on `chunk` alone.

    Args:
        path: A video.
        times_s: Times in seconds, ascending.
        size: As for `read_frames`.
        chunk: Frames in a piece.

    Yields:
        ``(t, H, W, 3)`` uint8 RGB, `t` at most `chunk`.

    Raises:
        InputError: as for `read_frames`.
        ValueError: the times do not ascend.
    """
    path = Path(path)
    for time_s in times_s:
        if not (math.isfinite(time_s) and time_s >= 0):
            raise InputError(path, f"{time_s} s is no time", "give 0 or more", where="times")
    if any(b < a for a, b in itertools.pairwise(times_s)):
        raise ValueError("times_s must ascend")
    if not times_s:
        return
    with opened(path) as container:
        reader = FrameReader(path, container)
        reformatter = VideoReformatter()  # one for all: it keeps the tables of its scaling
        pieces: list[NDArray[np.uint8]] = []
        last: tuple[VideoFrame, NDArray[np.uint8]] | None = None
        shape = None
        for time_s in times_s:
            frame = reader.frame_at(time_s)
            if last is None or last[0] is not frame:
                last = frame, _upright_rgb(frame, size, reformatter)
            shape = shape or last[1].shape
            if last[1].shape != shape:
                raise InputError(path, "changes its frame size", MEND, where=f"{time_s:g} s")
            pieces.append(last[1])
            if len(pieces) == chunk:
                yield torch.from_numpy(np.stack(pieces))
                pieces = []
        if pieces:
            yield torch.from_numpy(np.stack(pieces))


def check_media(path: str | Path) -> MediaCheck:
    """Decode a file from start to end and compare that with what it declares.

    Args:
        path: A recording with pictures, sound or both.

    Returns:
        Durations and what is lost, if anything is. A changed byte inside a packet that still
        decodes cannot be told from an unchanged one; only a hash in a manifest shows it.

    Raises:
        InputError: the file is missing, empty or no recording, or a part of it does not decode.
    """
    path = Path(path)
    with opened(path) as container:
        info = _describe(path, container)
    problems = []
    video_s, n_frames, audio_s = None, 0, None
    if info.has_video:
        with opened(path) as container:
            reader = FrameReader(path, container)
            try:
                for frame in reader.decoder:
                    n_frames, reader.shown = n_frames + 1, frame
            except InputError as error:
                problems.append(f"{error.where}: {error.problem}")
            video_s, declared = reader.end_s, reader.declared_s
            if info.n_frames is not None and n_frames < info.n_frames and not problems:
                problems.append(f"{n_frames} of {info.n_frames} frames decode")
            elif (
                reader.exact and declared is not None and declared - video_s > reader.interval_s / 2
            ):
                problems.append(f"pictures end at {video_s:g} s of {declared:g} s")
    if info.has_audio:
        with opened(path) as container:
            stream = sound_stream(path, container)
            audio_s = 0.0
            try:
                for position, block in sound_blocks(path, container, stream, 0, None):
                    audio_s = (position + block.shape[1]) / stream.rate
            except InputError as error:
                problems.append(f"{error.where or 'sound'}: {error.problem}")
    end_s = max(video_s or 0, audio_s or 0)
    if not problems and info.duration_s is not None and info.duration_s - end_s > LOOSE_S:
        problems.append(f"ends at {end_s:g} s of {info.duration_s:g} s")
    return MediaCheck(
        info=info,
        video_s=video_s,
        n_frames=n_frames,
        audio_s=audio_s,
        problem="; ".join(problems) or None,
    )


def _describe(path: Path, container: InputContainer) -> VideoInfo:
    has_audio, pictures = bool(container.streams.audio), picture_streams(container)
    if not has_audio and not pictures:
        raise InputError(path, "has neither pictures nor sound", MEND)
    duration = container.duration / av.time_base if container.duration else None
    rate = None
    if has_audio and container.streams.audio[0].codec_context is not None:
        rate = container.streams.audio[0].rate
    if not pictures:
        return VideoInfo(
            duration_s=duration, has_video=False, has_audio=has_audio, fps=None, n_frames=None,
            width=0, height=0, rotation=0, sample_rate=rate,
        )  # fmt: skip
    reader = FrameReader(path, container)
    frame = reader.frame_at(0.0)
    upright = (frame.width, frame.height) if _turns(frame) % 2 == 0 else (frame.height, frame.width)
    stream = reader.stream
    return VideoInfo(
        duration_s=duration,
        has_video=True,
        has_audio=has_audio,
        fps=float(stream.average_rate) if stream.average_rate else None,
        n_frames=stream.frames or None,
        width=upright[0],
        height=upright[1],
        rotation=90 * _turns(frame),
        sample_rate=rate,
    )


def _turns(frame: VideoFrame) -> int:
    """Quarter turns counterclockwise from the stored to the upright picture."""
    return round(frame.rotation / 90) % 4


def _upright_rgb(
    frame: VideoFrame, size: tuple[int, int] | None, reformatter: VideoReformatter
) -> NDArray[np.uint8]:
    turns = _turns(frame)
    height, width = size or (None, None)
    if turns % 2:
        height, width = width, height
    rgb = reformatter.reformat(
        frame, width=width, height=height, format="rgb24", interpolation="AREA", threads=1
    )
    return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), turns))
