"""Decoding recordings to mono waveforms of an exact window, and refusing damaged ones by name."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly
from torch import Tensor

from thesislib.corpora.clip import Clip
from thesislib.errors import InputError

# A WAV writer that cannot seek back leaves its largest size (or sox's 0x7FFFF000 and a bit) or 0.
_UNKNOWN_SIZE = 0x7FFFF000
# Lossy codecs overshoot full scale a little; twice full scale means integers stored as floats.
_LARGEST_PEAK = 2.0
# Low-pass for resampling, at the lower of the two rates: flat to about 92 % of its Nyquist
# frequency and 80 dB down from there on.
_ZERO_CROSSINGS = 64
_KAISER_BETA = 8.0
_CUTOFF = 0.96


class WaveformBatch(NamedTuple):
    """What `read_batch` returns.

    Attributes:
        waveforms: `(B, N)` float32 in [-1, 1], zero-padded at the end.
        lengths: `(B,)` int64, the samples of each row that come from the recording.
        failures: One error for each item left out.
        kept: Position in the input of each row, so that labels can follow.
    """

    waveforms: Tensor
    lengths: Tensor
    failures: list[InputError]
    kept: list[int]


def read_waveform(
    path: str | Path,
    *,
    sample_rate: int = 16000,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Tensor:
    """Decode a window of a recording to a mono waveform.

    Channels are averaged and the signal is resampled with a band-limiting filter, which sees the
    sound around the window, so that a window equals the same stretch of the whole recording.

    Args:
        path: A file that libsndfile decodes: wav, flac, ogg, mp3, aiff and others.
        sample_rate: Rate of the result, in hertz.
        start_s: Start of the window, in seconds, rounded to a sample of the file.
        duration_s: Length of the window, in seconds; None reads to the end of the file.

    Returns:
        `(N,)` float32 in [-1, 1]. With `duration_s`, N is exactly
        ``round(duration_s * sample_rate)``: zeros follow where the recording ends earlier.

    Raises:
        InputError: the file is missing, empty, without samples, truncated, not a recording, holds
            NaN or infinite samples, or ends before the window starts.

    Truncation shows in WAV files (the header declares more than is there) and in formats whose
    decoder stops early; a cut AIFF or Ogg file cannot be told from a short one.
    """
    waveform = _decode(Path(path), sample_rate, start_s, duration_s)
    if duration_s is None:
        return waveform
    return _fit(waveform, round(duration_s * sample_rate))


def read_batch(
    items: Sequence[str | Path | Clip],
    *,
    sample_rate: int = 16000,
    duration_s: float | None = None,
    on_error: Literal["raise", "quarantine"] = "raise",
) -> WaveformBatch:
    """Decode recordings into one padded batch; broken ones stop the run or are set aside.

    Args:
        items: Paths, or clips with their own start and duration.
        sample_rate: Rate of the result, in hertz.
        duration_s: Length of every row, in seconds; None pads to the longest.
        on_error: ``raise`` stops at the first broken recording; ``quarantine`` names it in
            `failures`, leaves it out of the batch and goes on.

    Returns:
        The batch; it has no rows when every recording is broken.

    Raises:
        InputError: a recording cannot be used and `on_error` is ``raise``.
        ValueError: `on_error` is neither of the two.
    """
    if on_error not in ("raise", "quarantine"):
        raise ValueError(f"on_error is 'raise' or 'quarantine', not {on_error!r}")
    waveforms: list[Tensor] = []
    failures: list[InputError] = []
    kept: list[int] = []
    for position, item in enumerate(items):
        try:
            waveforms.append(_decode_item(item, sample_rate, duration_s))
            kept.append(position)
        except InputError as error:
            if on_error == "raise":
                raise
            failures.append(error)
    lengths = [len(waveform) for waveform in waveforms]
    n_samples = max(lengths, default=0) if duration_s is None else round(duration_s * sample_rate)
    batch = torch.zeros(len(waveforms), n_samples)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return WaveformBatch(batch, torch.tensor(lengths, dtype=torch.int64), failures, kept)


def _decode_item(item: str | Path | Clip, sample_rate: int, duration_s: float | None) -> Tensor:
    if not isinstance(item, Clip):
        return _decode(Path(item), sample_rate, 0.0, duration_s)
    if item.audio_path is None:
        raise InputError(
            item.clip_id, "has no recording", "leave it out or give it an audio_path", where="clip"
        )
    durations = [value for value in (duration_s, item.duration_s) if value is not None]
    return _decode(
        item.audio_path, sample_rate, item.start_s, min(durations) if durations else None
    )


def _fit(waveform: Tensor, n_samples: int) -> Tensor:
    """Cut or zero-pad at the end."""
    return torch.nn.functional.pad(waveform, (0, n_samples - len(waveform)))


def _decode(path: Path, sample_rate: int, start_s: float, duration_s: float | None) -> Tensor:
    """At most the window, `(n,)` float32: shorter where the recording ends earlier, never empty."""
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
    source = _check_container(path)
    try:
        with soundfile.SoundFile(source) as recording:
            return _decode_window(path, recording, sample_rate, start_s, duration_s)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless .raw
        problem = f"cannot be decoded as a recording ({error})"
        raise InputError(path, problem, "replace it with a good copy or leave it out") from error


def _decode_window(
    path: Path,
    recording: soundfile.SoundFile,
    sample_rate: int,
    start_s: float,
    duration_s: float | None,
) -> Tensor:
    rate, frames = recording.samplerate, recording.frames
    if frames < 1:
        raise InputError(path, "holds no samples", "record or export it again", where="header")
    start = round(start_s * rate)
    if start >= frames:
        raise InputError(
            path,
            f"ends at {frames / rate:g} s, before the window starts",
            "correct the start time",
            where=f"{start_s:g} s",
        )
    up, down, context = resampling(rate, sample_rate)
    before = min(context, start // down)
    stop = frames
    if duration_s is not None:
        stop = min(frames, start + math.ceil(duration_s * rate) + context * down)
    recording.seek(start - before * down)
    expected = stop - recording.tell()
    samples = recording.read(expected, dtype="float32", always_2d=True)
    if len(samples) < expected:
        raise InputError(
            path,
            f"is truncated: decoding stops after {len(samples)} of {expected} samples",
            "copy or export it again",
            where=f"{(stop - expected + len(samples)) / rate:g} s",
        )
    check_samples(path, samples, (stop - expected) / rate, rate)
    waveform = resample(samples.mean(axis=1), up, down)[before * up :]
    if duration_s is not None:
        waveform = waveform[: round(duration_s * sample_rate)]
    return torch.from_numpy(np.clip(waveform, -1.0, 1.0))


def resampling(rate: int, sample_rate: int) -> tuple[int, int, int]:
    """How to get from one rate to another: factors `up` and `down`, and the filter's context.

    The context, to be read on both sides of a window, counts groups of `down` input samples: a
    group before the window is `up` output samples to drop.

    >>> resampling(48000, 16000)
    (1, 3, 64)
    """
    divisor = math.gcd(rate, sample_rate)
    up, down = sample_rate // divisor, rate // divisor
    return up, down, 0 if up == down else math.ceil(_ZERO_CROSSINGS * max(up, down) / up / down)


def check_samples(path: Path, samples: NDArray[np.float32], start_s: float, rate: int) -> None:
    """Refuse sound that is not a number or far beyond full scale.

    Args:
        path: Named in the error.
        samples: ``(N, channels)``.
        start_s: Time of the first sample.
        rate: In hertz.

    Raises:
        InputError: naming the first such sample by its time.
    """
    for broken, problem in (
        (~np.isfinite(samples), "holds a NaN or infinite sample"),
        (np.abs(samples) > _LARGEST_PEAK, "holds a sample far beyond full scale (1.0)"),
    ):
        rows = np.flatnonzero(broken.any(axis=1))
        if len(rows):
            place = f"{start_s + rows[0] / rate:.4f} s"
            raise InputError(path, problem, "export it again, as 16-bit PCM say", where=place)


@lru_cache(maxsize=8)
def _low_pass(up: int, down: int) -> NDArray[np.float64]:
    longer = max(up, down)
    taps = 2 * _ZERO_CROSSINGS * longer + 1
    return firwin(taps, _CUTOFF / longer, window=("kaiser", _KAISER_BETA))


def resample(waveform: NDArray[np.float32], up: int, down: int) -> NDArray[np.float32]:
    """Resample ``(N,)`` by the factor ``up / down``, band-limited, without a delay."""
    if up == down:
        return waveform
    return resample_poly(waveform, up, down, window=_low_pass(up, down)).astype(np.float32)


def _check_container(path: Path) -> Path | BinaryIO:
    """What to hand to the decoder, once the file exists and a WAV header agrees with its size."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise InputError(path, "is a folder", "name a recording")
        if size == 0:
            raise InputError(path, "is empty (0 bytes)", "record or copy it again")
        with path.open("rb") as stream:
            return _check_riff(path, stream, size) or path
    except FileNotFoundError as error:
        raise InputError(path, "does not exist", "check the name and the data root") from error
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise InputError(path, problem, "check its permissions") from error


def _check_riff(path: Path, stream: BinaryIO, size: int) -> BinaryIO | None:
    """Walk the chunks of a WAV file; libsndfile reads a truncated one without a word.

    Returns:
        The repaired bytes of a streamed file whose sizes were left at 0, which libsndfile takes
        for an empty one; else None.
    """
    head = stream.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    (riff_size,) = struct.unpack("<I", head[4:8])
    while len(header := stream.read(8)) == 8:
        name, declared = header[:4], struct.unpack("<I", header[4:])[0]
        present = size - stream.tell()
        if name != b"data":
            stream.seek(declared + declared % 2, io.SEEK_CUR)  # chunks start at even offsets
            continue
        if present < declared < _UNKNOWN_SIZE:
            raise InputError(
                path,
                f"is truncated: {declared} bytes of sound declared, {present} present",
                "copy or export it again",
                where="data chunk",
            )
        if declared == 0 and present > 0 and riff_size + 8 <= stream.tell():
            place = stream.tell()
            stream.seek(0)
            content = stream.read()
            return io.BytesIO(content[: place - 4] + b"\xff" * 4 + content[place:])
        return None
    return None
