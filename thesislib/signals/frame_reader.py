"""Moving through the frames of a video: forward, and over what is not needed.

The difficulty is in the damage: decoders conceal it, drop frames and end early without a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import av
from av.container import InputContainer

from thesislib.errors import InputError
from thesislib.signals.containers import MEND, MOST_PIXELS, declared_s, origin_s, pictures, reason

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# Timestamps in whole milliseconds are up to half of one late.
_LARGEST_ROUNDING_S = 0.0005


class FrameReader:
    """A position in a video that moves forward, frame by frame or from key frame to key frame."""

    def __init__(self, path: Path, container: InputContainer) -> None:
        self.path, self.container = path, container
        self.stream = pictures(path, container)
        self.tick = float(self.stream.time_base)
        self.origin = origin_s(container)
        self.interval_s = 1 / float(self.stream.average_rate or 25)
        # Else only the container says how long it is, and that may be the length of the sound.
        self.exact = self.stream.duration is not None or not container.streams.audio
        # AVI stores no times, and what is put in their place for frames out of order is a guess.
        self.has_times = container.format.name != "avi"
        self.declared_s = declared_s(container, self.stream, self.origin)
        # A programme stream has no index, and its timestamps are too sparse to find a place by.
        self.seekable, self.sought = container.format.name != "mpeg", False
        self._restart(after_seek=False)

    def _restart(self, *, after_seek: bool) -> None:
        self.decoder = self._decode(after_seek)
        self.shown: VideoFrame | None = None
        self.pending: VideoFrame | None = None
        self.ended = False
        self.expected: set[int] = set()
        self.demuxed: int | None = None

    @property
    def end_s(self) -> float:
        """Where the frame that is shown ends."""
        if self.shown is None:
            return 0.0
        length = (self.shown.duration or 0) * self.tick
        return self._time(self.shown) + (length or self.interval_s)

    def _time(self, frame: VideoFrame) -> float:
        return float(frame.pts or 0) * self.tick - self.origin

    def _decode(self, after_seek: bool) -> Iterator[VideoFrame]:
        """Frames from here on; after a seek from the next key frame on.

        Pictures that follow a key frame in the file but precede it in time may need some from
        before it (an open group of pictures), which a seek has left out: they are passed over.
        """
        key: int | None = None
        for packet in self.container.demux(self.stream):
            place = (packet.pts or 0) * self.tick - self.origin
            if after_seek and key is None and packet.size:
                if not packet.is_keyframe:
                    continue
                key = packet.pts
            leads = key is not None and packet.pts is not None and packet.pts < key
            if packet.pts is not None and not packet.is_discard and not leads:
                self.expected.add(packet.pts)
            if packet.is_corrupt:
                self._refuse("holds a damaged packet", place)
            self.demuxed = packet.dts if packet.dts is not None else self.demuxed
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if leads:
                    continue
                self._refuse(f"pictures do not decode ({reason(error)})", place)
            if key is not None:
                frames = [frame for frame in frames if frame.pts is None or frame.pts >= key]
            for frame in frames:
                if frame.is_corrupt:
                    self._refuse("holds a damaged frame", self._time(frame))
                if abs(frame.rotation - 90 * round(frame.rotation / 90)) > 1 or (
                    abs(frame.rotation) > 180
                ):
                    self._refuse("is turned by no multiple of 90 degrees", self._time(frame))
                if frame.width * frame.height > MOST_PIXELS:
                    self._refuse("holds a frame of an impossible size", self._time(frame))
                yield frame

    def frame_at(self, time_s: float) -> VideoFrame:
        """The frame that is shown at a time, which must not lie before the last one asked for.

        Raises:
            InputError: the file is damaged there or before, or has ended.
        """
        try:
            return self._frame_at(time_s)
        except InputError:
            if not self.sought:
                raise
        # Some files cannot be entered at their key frames; damage shows from the start as well.
        self.seekable = self.sought = False
        self.container.seek(self._ticks(0), stream=self.stream)
        self._restart(after_seek=False)
        return self._frame_at(time_s)

    def _frame_at(self, time_s: float) -> VideoFrame:
        limit_s = time_s + min(self.tick / 2, _LARGEST_ROUNDING_S) + 1e-6
        if self._worth_seeking(limit_s):
            self._seek(limit_s)
        self._advance(limit_s)
        if self.shown is None:
            if self.pending is None:
                self._refuse("holds no frame that decodes", time_s)
            return self.pending
        self._check_lost(limit_s)
        if self.ended:
            self._check_end(time_s)
        return self.shown

    def _advance(self, limit_s: float) -> None:
        while not self.ended and (self.pending is None or self._time(self.pending) <= limit_s):
            if self.pending is not None:
                self.shown = self.pending
            try:
                self.pending = next(self.decoder)
                self.expected.discard(self.pending.pts)
            except StopIteration:
                self.pending, self.ended = None, True

    def _worth_seeking(self, limit_s: float) -> bool:
        """Whether a key frame lies between here and there, well ahead of what has been read."""
        target = self._ticks(limit_s)
        if self.ended or target <= 0 or not self.seekable:
            return False
        ahead = max(1, round(8 * self.interval_s / self.tick))
        index = self.stream.index_entries
        here = self.demuxed if self.demuxed is not None else self._ticks(0)
        if len(index):
            found = index.search_timestamp(target, backward=True)
            return bool(found >= 0 and index[found].timestamp - here > ahead)
        return target - here > 16 * ahead

    def _seek(self, limit_s: float) -> None:
        """Go to a key frame at or before a time; going by decoding order, containers may miss."""
        back_s, self.sought = 0.0, True
        while True:
            self.container.seek(
                max(self._ticks(limit_s - back_s), self._ticks(0)), stream=self.stream
            )
            self._restart(after_seek=True)
            self._advance(limit_s)
            if self.shown is not None or limit_s - back_s <= 0:
                return
            back_s = 2 * back_s + 1.0

    def _ticks(self, time_s: float) -> int:
        return math.floor((time_s + self.origin) / self.tick)

    def _check_lost(self, limit_s: float) -> None:
        """Refuse a stale frame: one of which a later packet came to nothing."""
        assert self.shown is not None
        if not self.has_times or self.shown.interlaced_frame:  # a packet may be half a frame
            return
        assert self.shown.pts is not None
        lost = [pts for pts in self.expected if self.shown.pts < pts <= self._ticks(limit_s)]
        if lost:
            self._refuse("loses a frame in decoding", min(lost) * self.tick - self.origin)
        self.expected = {pts for pts in self.expected if pts > self.shown.pts}

    def _check_end(self, time_s: float) -> None:
        """Whether the last frame may stand for a time after its end."""
        if time_s < self.end_s - 1e-6:
            return
        declared = self.declared_s
        slack = 0.1 * self.interval_s if self.exact else 2 * self.interval_s
        if declared is not None and declared - self.end_s > slack:
            self._refuse(
                f"is truncated: pictures end at {self.end_s:g} s of {declared:g} s", time_s
            )
        if time_s > self.end_s + 2 * self.interval_s:
            raise InputError(
                self.path,
                f"ends at {self.end_s:g} s, before the time asked for",
                "correct the time",
                where=f"{time_s:g} s",
            )

    def _refuse(self, problem: str, time_s: float) -> NoReturn:
        raise InputError(self.path, problem, MEND, where=f"{time_s:.3f} s")
