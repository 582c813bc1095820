"""Film a performance: draw the face, let a camera and a microphone spoil it, and encode the result.

Pictures and sound arrive in blocks and leave at once, so that memory does not grow with the length.
What a lens, a sensor and a codec do differs between corpora; all sizes are round numbers of our
own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.video.frame import VideoFrame
from torch import Tensor

from thesislib.corpora.twins.face_render import render
from thesislib.errors import InputError
from thesislib.files import atomic_write

if TYPE_CHECKING:
    from thesislib.corpora.twins.people import Person
    from thesislib.corpora.twins.performance import Performance

SAMPLE_RATE = 16_000
"""Of the sound of a performance, in hertz."""
LEAST_SIZE = 224
_CHUNK = 16  # frames drawn and spoilt at a time
_SHIFT = 64  # the noise of a frame is the bank's, moved by up to this many pixels either way


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera with its microphone and encoder.

    Attributes:
        fps: Frames a second, such as 25 or 50.
        size: Height and width in pixels, or both in one; even, at least 224.
        noise: Standard deviation of a pixel's noise at mid-grey, in levels of 255; it grows with
            the square root of the light.
        blur_px: Standard deviation of the lens's blur, 0 to 0.7 pixels.
        exposure: Factor on all levels.
        exposure_spread: Of its logarithm between recordings.
        white_balance: Factors on red, green and blue.
        vignette: Share of light lost in the corners.
        crf: Constant rate factor of the encoder; a greater one is coarser. Ignored with
            `bit_rate`.
        bit_rate: Of the pictures, in bit/s; 0 to go by `crf`.
        preset: Of the encoder, from ``ultrafast`` on.
        profile: Of H.264: ``baseline``, ``main`` or ``high``.
        gop_s: Longest time between two pictures that decode alone, in seconds.
        video_codec: Encoder of the pictures.
        audio_codec: Encoder of the sound.
        audio_rate: Of the sound in the file, in hertz.
        audio_bit_rate: Of the sound in the file, in bit/s.
        room_db: Noise of room and microphone, in dB below full scale; None for none.
        pictures: False for a file of sound alone.
    """

    fps: int
    size: int | tuple[int, int] = 224
    noise: float = 2.0
    blur_px: float = 0.4
    exposure: float = 1.0
    exposure_spread: float = 0.05
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    vignette: float = 0.1
    crf: int = 23
    bit_rate: int = 0
    preset: str = "superfast"
    profile: str = "main"
    gop_s: float = 2.0
    video_codec: str = "libx264"
    audio_codec: str = "aac"
    audio_rate: int = 48_000
    audio_bit_rate: int = 96_000
    room_db: float | None = -60.0
    pictures: bool = True

    def __post_init__(self) -> None:
        height, width = self.height_width
        if min(height, width) < LEAST_SIZE or height % 2 or width % 2:
            mend = f"use even numbers of at least {LEAST_SIZE}"
            raise InputError("size", f"is {height} x {width}", mend)
        if not 1 <= self.fps <= 120:
            raise InputError("fps", f"cannot be {self.fps}", "use 1 to 120")
        if not 0 <= self.blur_px <= 0.7:
            raise InputError("blur_px", f"cannot be {self.blur_px}", "use 0 to 0.7")

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def scaled(self, *, picture: float = 1.0, room: float = 1.0, pictures: float = 1.0) -> Camera:
        """The camera with its faults multiplied: 1 keeps them, 0 takes them away.

        Args:
            picture: Of noise, blur, vignette and departures of exposure and colour; the codec
                stays.
            room: Of the amplitude of the room's noise.
            pictures: 0 leaves the pictures out.

        >>> Camera(fps=25, white_balance=(1.21, 1.0, 1.0)).scaled(picture=0.5).white_balance[0]
        1.1
        """
        if room <= 0 or self.room_db is None:
            room_db = None
        else:
            room_db = self.room_db + 20 * math.log10(room)
        red, green, blue = (gain**picture for gain in self.white_balance)
        return replace(
            self,
            noise=picture * self.noise,
            blur_px=min(picture * self.blur_px, 0.7),
            exposure=self.exposure**picture,
            exposure_spread=picture * self.exposure_spread,
            white_balance=(red, green, blue),
            vignette=min(picture * self.vignette, 1.0),
            room_db=room_db,
            pictures=pictures > 0,
        )


def film(
    path: Path, person: Person, blocks: Iterable[Performance], camera: Camera, *, seed: int
) -> None:
    """Draw, spoil and encode a performance, with its sound.

    Args:
        path: Recording to write, such as ``.mp4``; the suffix chooses the container. Replaced as
            a whole or not at all.
        person: Who is seen.
        blocks: Consecutive blocks of the performance, at the camera's frame rate; the sound of
            all but the last lasts exactly as long as the pictures.
        camera: Camera, microphone and encoder.
        seed: Of the camera's and the room's noise; the same seed gives the same file.

    Raises:
        InputError: the file cannot be written, or a block's sound and pictures differ in length
            by more than a frame.
    """
    with open_film(path, person, camera, seed=seed) as write:
        for block in blocks:
            write(block)


@contextmanager
def open_film(
    path: Path, person: Person, camera: Camera, *, seed: int
) -> Iterator[Callable[[Performance], Tensor]]:
    """`film` for callers that have several cameras running: yields what takes one block.

    Args:
        path: As for `film`.
        person: As for `film`.
        camera: As for `film`.
        seed: As for `film`.

    Yields:
        A function that appends a block and returns its sound `(N,)` with the room's noise, as
        the microphone hears it and before any codec does.

    Raises:
        InputError: as `film`.
    """
    chance = torch.Generator().manual_seed(seed)
    gain, bank = _optics(camera, chance)
    frames_written = samples_written = 0
    with atomic_write(path) as temporary:
        try:
            with av.open(str(temporary), "w", options=_BITEXACT) as container:
                pictures, sound = _add_streams(container, camera)

                def write(block: Performance) -> Tensor:
                    nonlocal frames_written, samples_written
                    heard = record_sound(block.waveform, camera, chance)
                    _check_lengths(path, len(heard), len(block.motion), camera.fps)
                    if pictures is None:
                        container.mux(sound.encode(_audio_frame(heard, samples_written)))
                        samples_written += len(heard)
                        return heard
                    done = start = 0
                    chunks = render(person.identity, block.motion, camera.height_width, _CHUNK)
                    for drawn in chunks:
                        spoilt = spoil(drawn, camera, gain, bank, chance).numpy()
                        done += len(spoilt)
                        last = done == len(block.motion)
                        end = len(heard) if last else round(done * SAMPLE_RATE / camera.fps)
                        piece = _audio_frame(heard[start:end], samples_written + start)
                        container.mux(sound.encode(piece))
                        start = end
                        for picture in spoilt:
                            frame = VideoFrame.from_ndarray(picture, format="rgb24")
                            frame.pts, frame.time_base = frames_written, Fraction(1, camera.fps)
                            container.mux(pictures.encode(frame))
                            frames_written += 1
                    samples_written += len(heard)
                    return heard

                yield write
                if pictures is not None:
                    container.mux(pictures.encode())
                container.mux(sound.encode())
        except av.FFmpegError as error:
            problem = f"cannot be written ({error.strerror or error})"
            raise InputError(path, problem, "free space or choose another codec") from error


def record_sound(waveform: Tensor, camera: Camera, chance: torch.Generator) -> Tensor:
    """What the microphone hears: the sound with the noise of the room, cut at full scale.

    Args:
        waveform: `(N,)` at 16 kHz, full scale at 1.
        camera: Its `room_db` is used.
        chance: Source of the noise.

    Returns:
        `(N,)` float32 in -1 to 1.
    """
    if camera.room_db is None:
        return waveform.clamp(-1, 1)
    noise = torch.randn(len(waveform), generator=chance)
    return (waveform + 10 ** (camera.room_db / 20) * noise).clamp(-1, 1)


def spoil(
    frames: Tensor, camera: Camera, gain: Tensor, bank: Tensor, chance: torch.Generator
) -> Tensor:
    """What the sensor gets: blur, light, colour and noise, in this order.

    Args:
        frames: uint8 RGB `(T, H, W, 3)`.
        camera: Its `blur_px` is used.
        gain: `(H, W, 3)`, factor on each level.
        bank: Noise `(H + 64, W + 64, 3)` at mid-grey; each frame takes a place of its own in it.
        chance: Source of these places.

    Returns:
        uint8 `(T, H, W, 3)`.
    """
    light = frames.float()
    if share := camera.blur_px**2 / 2:  # three points, of which the outer two have this weight
        for axis in (1, 2):
            n = light.shape[axis]
            blurred = light * (1 - 2 * share)
            body = blurred.narrow(axis, 1, n - 1)
            body.add_(light.narrow(axis, 0, n - 1), alpha=share)
            blurred.narrow(axis, 0, n - 1).add_(light.narrow(axis, 1, n - 1), alpha=share)
            for edge in (0, n - 1):
                blurred.narrow(axis, edge, 1).add_(light.narrow(axis, edge, 1), alpha=share)
            light = blurred
    light.mul_(gain)
    if camera.noise > 0:
        height, width = light.shape[1:3]
        places = torch.randint(_SHIFT + 1, (len(light), 2), generator=chance).tolist()
        noise = torch.stack([bank[y : y + height, x : x + width] for y, x in places])
        light.addcmul_(noise, (light / 127.5).sqrt_())
    return light.add_(0.5).clamp_(0, 255).to(torch.uint8)


_BITEXACT = {"fflags": "+bitexact"}  # no version or clock in the file


def _optics(camera: Camera, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Gain `(H, W, 3)` and bank of noise of one recording."""
    height, width = camera.height_width
    y = torch.linspace(-1, 1, height)[:, None]
    x = torch.linspace(-1, 1, width)[None]
    vignette = 1 - camera.vignette * (x * x + y * y) / 2
    drawn = float(torch.randn(1, generator=chance).clamp(-2, 2))
    exposure = camera.exposure * math.exp(camera.exposure_spread * drawn)
    gain = exposure * vignette[..., None] * torch.tensor(camera.white_balance)
    shape = (height + _SHIFT, width + _SHIFT, 3)
    return gain, camera.noise * torch.randn(shape, generator=chance)


def _add_streams(
    container: OutputContainer, camera: Camera
) -> tuple[av.VideoStream | None, av.AudioStream]:
    pictures = _add_pictures(container, camera) if camera.pictures else None
    sound = container.add_stream(camera.audio_codec, rate=camera.audio_rate, layout="mono")
    if not isinstance(sound, av.AudioStream):
        raise InputError(camera.audio_codec, "encodes no sound", "use aac")
    sound.bit_rate = camera.audio_bit_rate
    return pictures, sound


def _add_pictures(container: OutputContainer, camera: Camera) -> av.VideoStream:
    height, width = camera.height_width
    options = {"g": str(max(1, round(camera.gop_s * camera.fps)))}
    if camera.video_codec == "libx264":
        options |= {"preset": camera.preset, "profile": camera.profile}
        options |= {} if camera.bit_rate else {"crf": str(camera.crf)}
    pictures = container.add_stream(camera.video_codec, rate=camera.fps, options=options)
    if not isinstance(pictures, av.VideoStream):
        raise InputError(camera.video_codec, "encodes no pictures", "use libx264")
    pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
    pictures.codec_context.time_base = Fraction(1, camera.fps)
    pictures.thread_count = 1  # one process draws one recording; and its bytes depend on nothing
    if camera.bit_rate:
        pictures.bit_rate = camera.bit_rate
    return pictures


def _audio_frame(waveform: Tensor, position: int) -> AudioFrame:
    pcm = (waveform * 32767).round().to(torch.int16).numpy()
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(pcm[None]), format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, position, Fraction(1, SAMPLE_RATE)
    return frame


def _check_lengths(path: Path, samples: int, frames: int, fps: int) -> None:
    if frames < 1 or abs(samples / SAMPLE_RATE - frames / fps) > 1 / fps:
        problem = f"has a block of {samples} samples and {frames} frames at {fps} fps"
        raise InputError(path, problem, "give pictures and sound of the same length")
