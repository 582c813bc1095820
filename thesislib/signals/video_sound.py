"""The sound of a video, as a mono waveform of an exact window."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.container import InputContainer
from numpy.typing import NDArray
from torch import Tensor

from thesislib.errors import InputError
from thesislib.signals.containers import (
    MEND,
    declared_s,
    opened,
    origin_s,
    picture_streams,
    reason,
    sound_stream,
)
from thesislib.signals.media import check_samples, resample, resampling

# Sound decoded before a window and thrown away: codecs need what came before (Opus 80 ms).
_PREROLL_S = 0.2
# Less than a packet of any usual codec (AAC: 21 ms at 48 kHz): where one is lost, it shows.
_SOUND_TOLERANCE_S = 0.010
LOOSE_S = 0.1
"""By how much containers other than MP4 overstate a length: they count an encoder's filling."""
_LARGEST_PACKET = 4096  # samples


def read_video_audio(
    path: str | Path,
    *,
    sample_rate: int = 16000,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Tensor:
    """Decode a window of the sound of a video to a mono waveform.

    The same as `thesislib.signals.media.read_waveform` for files that libsndfile does not read.

    Args:
        path: A recording with sound.
        sample_rate: Rate of the result, in hertz.
        start_s: Start of the window, in seconds, rounded to a sample of the file.
        duration_s: Length of the window, in seconds; None reads to the end.

    Returns:
        ``(N,)`` float32 in [-1, 1]. With `duration_s`, N is exactly
        ``round(duration_s * sample_rate)``: zeros follow where the sound is declared to end
        earlier, and precede it where it starts later than the file.

    Raises:
        InputError: the file cannot be used, has no sound, is damaged in the window, or ends before
            the window starts or before it says.
    """
    path = Path(path)
    if sample_rate < 1:
        raise ValueError(f"sample_rate must be positive, not {sample_rate}")
    if not (math.isfinite(start_s) and start_s >= 0):
        raise InputError(path, f"start {start_s} s is no time", "give 0 or more", where="window")
    if duration_s is not None and not (
        math.isfinite(duration_s) and round(duration_s * sample_rate) > 0
    ):
        raise InputError(
            path, f"duration {duration_s} s is no length", "give more than 0", where="window"
        )
    with opened(path) as container:
        stream = sound_stream(path, container)
        rate = stream.rate
        up, down, context = resampling(rate, sample_rate)
        start = round(start_s * rate)
        before = min(context, start // down)
        first, stop = start - before * down, None
        if duration_s is not None:
            stop = start + math.ceil(duration_s * rate) + context * down
        samples = _samples(sound_blocks(path, container, stream, first, stop), first, stop)
    if first + len(samples) <= start:
        raise InputError(
            path,
            f"ends at {(first + len(samples)) / rate:g} s, before the window starts",
            "correct the start time",
            where=f"{start_s:g} s",
        )
    check_samples(path, samples, first / rate, rate)
    waveform = resample(samples.mean(axis=1), up, down)[before * up :]
    result = torch.from_numpy(np.clip(waveform, -1.0, 1.0))
    if duration_s is None:
        return result
    n_samples = round(duration_s * sample_rate)
    return torch.nn.functional.pad(result[:n_samples], (0, max(0, n_samples - len(result))))


def sound_blocks(
    path: Path,
    container: InputContainer,
    stream: Any,  # noqa: ANN401
    first: int,
    stop: int | None,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Decode a stream packet by packet, and see that nothing is missing between or after them.

    Args:
        path: Named in errors.
        container: The open recording.
        stream: Its sound.
        first: Where to start, in samples of the file's own rate; decoding starts at or before it.
        stop: Where to stop; None for the end.

    Yields:
        The position of a block's first sample, and the block, ``(channels, n)``.

    Raises:
        InputError: the sound is damaged, has a gap, or ends before it says.
    """
    rate, tick, origin = stream.rate, float(stream.time_base), origin_s(container)
    if first / rate > _PREROLL_S:
        target = math.floor((first / rate - _PREROLL_S + origin) / tick)
        container.seek(target, stream=stream)
    declared = declared_s(container, stream, origin)
    exact = container.format.name.startswith("mov")
    if stream.duration is None and "DURATION" not in stream.metadata and picture_streams(container):
        declared = None  # the container's duration may be that of the pictures
    end = round(declared * rate) if exact and declared is not None else None
    to_float = av.AudioResampler(format="fltp")
    position, channels = None, None
    try:
        for frame in container.decode(stream):
            channels = channels or len(frame.layout.channels)
            if (frame.sample_rate, len(frame.layout.channels)) != (rate, channels):
                raise InputError(path, "changes the format of its sound", MEND)
            at = None if frame.pts is None else round((frame.pts * tick - origin) * rate)
            if position is None:
                position = first if at is None else at
            if at is not None and abs(at - position) > _SOUND_TOLERANCE_S * rate:
                problem = f"sound is {(at - position) / rate:+.3f} s off: some of it is lost"
                raise InputError(path, problem, MEND, where=f"{position / rate:.3f} s")
            for part in to_float.resample(frame):
                block = part.to_ndarray().astype(np.float32)
                if end is not None and 0 < position + block.shape[1] - end < _LARGEST_PACKET:
                    block = block[:, : max(0, end - position)]  # an encoder fills its last packet
                yield position, block
                position += part.samples
            if stop is not None and position >= stop:
                return
    except av.FFmpegError as error:
        problem = f"sound does not decode ({reason(error)})"
        raise InputError(path, problem, MEND, where=f"{(position or 0) / rate:.3f} s") from error
    reached_s = (first if position is None else position) / rate
    slack_s = _SOUND_TOLERANCE_S if exact else LOOSE_S
    if declared is not None and declared - reached_s > slack_s:
        problem = f"is truncated: sound ends at {reached_s:g} s of {declared:g} s"
        raise InputError(path, problem, MEND, where=f"{reached_s:.3f} s")


def _samples(
    blocks: Iterator[tuple[int, NDArray[np.float32]]], first: int, stop: int | None
) -> NDArray[np.float32]:
    """Samples `first` to `stop`, ``(n, channels)``: fewer where the sound ends earlier."""
    found = list(blocks)
    if not found:
        return np.zeros((0, 1), np.float32)
    begin = found[0][0]
    samples = np.concatenate([block for _, block in found], axis=1).T
    if begin > first:  # sound that starts later than the pictures
        samples = np.pad(samples, ((begin - first, 0), (0, 0)))
    else:
        samples = samples[first - begin :]
    return samples[: None if stop is None else stop - first]
