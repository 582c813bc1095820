"""Opening recordings with PyAV: which streams they have, and what they declare about themselves."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer

from thesislib.errors import InputError

# Other formats name further files or addresses (playlists), or take any text for a picture.
_FORMATS = "mov,mp4,m4a,3gp,matroska,webm,avi,mpegts,mpeg,flv,asf,mp3,wav,aiff,flac,ogg,aac,dv"
MOST_PIXELS = 2**26
"""More than in 8192 x 8192 are taken for damage, before memory is asked for them."""
MEND = "copy or export it again, or leave it out"


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The demuxer, with decoders that report damage.

    Args:
        path: A recording.

    Raises:
        InputError: the file is missing, empty, shorter than it declares or no recording; whatever
            FFmpeg raises inside the block becomes one too.
    """
    try:
        if path.is_dir():
            raise InputError(path, "is a folder", "name a recording")
        size = path.stat().st_size
        if size == 0:
            raise InputError(path, "is empty (0 bytes)", "record or copy it again")
        with path.open("rb") as file:
            declared = _declared_size(file, size)
        if declared > size:
            problem = f"is truncated: {declared} bytes declared, {size} present"
            raise InputError(path, problem, "copy or export it again")
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
        with av.open(path, options=options, metadata_errors="ignore") as container:
            for stream in (*container.streams.video, *container.streams.audio):
                if stream.codec_context is not None:
                    stream.codec_context.options = {
                        "err_detect": "explode", "max_pixels": str(MOST_PIXELS)
                    }  # fmt: skip
            yield container
    except FileNotFoundError as error:
        raise InputError(path, "does not exist", "check the name and the data root") from error
    except PermissionError as error:
        raise InputError(path, "cannot be read", "check its permissions") from error
    except (av.FFmpegError, OverflowError) as error:
        raise InputError(path, f"cannot be decoded ({reason(error)})", MEND) from error


def reason(error: Exception) -> str:
    """What FFmpeg says, without the number and the path that its message repeats."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _declared_size(file: BinaryIO, size: int) -> int:
    """How many bytes the outermost parts of an MP4 or Matroska file ask for; 0 where unknown."""
    head = file.read(64)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        at = 0
        while at + 8 <= size:
            file.seek(at)
            length, _, long = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            at += size - at if length == 0 else long if length == 1 else max(8, length)
        return at
    if head[:4] == b"\x1aE\xdf\xa3":
        at, length, _ = _element(head, 0)
        at, length, known = _element(head, at + length)
        return at + length if known else 0
    return 0


def _element(head: bytes, at: int) -> tuple[int, int, bool]:
    """Start and length of a Matroska element's content, and whether the length is known."""
    at += 4  # both outermost elements have names of four bytes
    width = 9 - head[at].bit_length() if at < len(head) else 9
    if width > 8 or at + width > len(head):
        return 0, 0, False
    value = int.from_bytes(head[at : at + width], "big") & ((1 << 7 * width) - 1)
    return at + width, value, value != (1 << 7 * width) - 1  # all ones: a live recording


def picture_streams(container: InputContainer) -> list[Any]:
    """Streams with moving pictures: a cover image is none."""
    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def pictures(path: Path, container: InputContainer) -> Any:  # noqa: ANN401 - of PyAV
    """The first stream with pictures.

    Raises:
        InputError: there is none, or no decoder for it.
    """
    streams = picture_streams(container)
    if not streams:
        raise InputError(path, "has no pictures", "name a video")
    if streams[0].codec_context is None or not streams[0].time_base:
        raise InputError(path, "has pictures of an unknown codec", MEND)
    _check_index(path, container, streams[0])
    return streams[0]


def sound_stream(path: Path, container: InputContainer) -> Any:  # noqa: ANN401 - of PyAV
    """The first stream with sound.

    Raises:
        InputError: there is none, or no decoder for it.
    """
    if not container.streams.audio:
        raise InputError(path, "has no sound", "name a recording with sound")
    stream = container.streams.audio[0]
    if stream.codec_context is None or not stream.time_base or not stream.rate:
        raise InputError(path, "has sound of an unknown codec", MEND)
    _check_index(path, container, stream)
    return stream


def _check_index(path: Path, container: InputContainer, stream: Any) -> None:  # noqa: ANN401
    """Refuse an MP4 file that names fewer places of packets than it says it has."""
    indexed = len(stream.index_entries)
    if container.format.name.startswith("mov") and indexed < stream.frames:
        problem = f"has places for {indexed} of its {stream.frames} packets"
        raise InputError(path, problem, MEND, where=f"index of the {stream.type}")


def origin_s(container: InputContainer) -> float:
    """The file's own time, in seconds, at which its earliest stream starts: our time 0."""
    return (container.start_time or 0) / av.time_base


def declared_s(container: InputContainer, stream: Any, origin_s: float) -> float | None:  # noqa: ANN401
    """Where a stream is declared to end; the container's end where only that is said."""
    if stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin_s
    if clock := re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "")):
        return sum(float(n) * unit for n, unit in zip(clock.groups(), (3600, 60, 1), strict=True))
    return container.duration / av.time_base if container.duration else None
