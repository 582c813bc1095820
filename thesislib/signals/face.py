"""The face and the mouth region of a video: landmarks made steady, and crops that follow them.

Any source of five landmarks will do (`LandmarkDetector`); the one with pretrained weights is
`thesislib.models.face_detector`. Points are in pixels, column before row, and the centre of the
first pixel is (0, 0).

Source: the mouth region of the thesis's section 6.2 as notes item 19 resolves it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from thesislib.errors import InputError
from thesislib.files import atomic_write, resolve, sha256_file
from thesislib.signals.decoding import DecodingWorker
from thesislib.signals.video import frame_times, iter_frames, probe_video

POINTS = ("left_eye", "right_eye", "nose_tip", "left_mouth_corner", "right_mouth_corner")
"""Order of the landmarks; left and right are those of the picture."""
MEAN_FACE_SIZE = 256
MEAN_FACE = ((97.5, 99.5), (157.5, 99.5), (127.5, 133.5), (102.5, 167.5), (152.5, 167.5))
"""Where the points of a mean face lie in 256 x 256 pixels.

The proportions are those of the five points to which deng2019arcface aligns faces, rounded and
symmetric; the scale makes a mouth at rest about half as wide as its crop of 96 x 96.
"""
# Aligned by eyes and nose alone: a smile must widen the mouth, not shrink the face.
_STABLE = (0, 1, 2)
_MOUTH = (3, 4)
_SMOOTHING_FRAMES = 12
# Detection works on frames of this height or width at most, whichever is the shorter one.
_DETECTION_SIDE = 288
_CHUNK = 32
# Raising it makes stored regions be computed anew.
_CACHE_VERSION = "1"
_CACHE_LIMIT_BYTES = 20 * 2**30


class FaceLandmarks(NamedTuple):
    """What a detector says about `T` frames.

    Attributes:
        landmarks: `(T, 5, 2)` float32, pixels in the order of `POINTS`; NaN where there is no face.
        score: `(T,)` float32, 0 (no face) to 1 (sure).
    """

    landmarks: Tensor
    score: Tensor


class LandmarkDetector(Protocol):
    """Anything that finds one face in each frame."""

    @property
    def identity(self) -> str:
        """What distinguishes its results from another detector's."""

    def detect(self, frames: Tensor) -> FaceLandmarks:
        """Landmarks in ``(T, H, W, 3)`` uint8 RGB frames."""


class FaceRegion(NamedTuple):
    """Crops that follow a face.

    Attributes:
        frames: `(T, S, S, 3)` uint8 RGB.
        landmarks: `(T, 5, 2)` float32 in pixels of the original frames, gaps filled.
        score: `(T,)` float32; 0 where the landmarks are interpolated.
    """

    frames: Tensor
    landmarks: Tensor
    score: Tensor


def fill_gaps(landmarks: Tensor) -> Tensor:
    """Interpolate over frames without a face, linearly in time; the ends hold the nearest value.

    Args:
        landmarks: ``(T, 5, 2)``, NaN where there is no face.

    Returns:
        ``(T, 5, 2)`` without NaN.

    Raises:
        ValueError: no frame has a face.

    >>> track = torch.tensor([0.0, torch.nan, torch.nan, 3.0, torch.nan])
    >>> fill_gaps(track[:, None, None].expand(-1, 5, 2))[:, 0, 0].tolist()
    [0.0, 1.0, 2.0, 3.0, 3.0]
    """
    seen = landmarks.isfinite().flatten(1).all(1).nonzero().flatten()
    if not len(seen):
        raise ValueError("no frame has a face")
    time = torch.arange(len(landmarks), device=landmarks.device)
    after = torch.searchsorted(seen, time).clamp(max=len(seen) - 1)
    before = (torch.searchsorted(seen, time, right=True) - 1).clamp(min=0)
    span = (seen[after] - seen[before]).clamp(min=1)
    share = ((time - seen[before]) / span).clamp(0, 1)[:, None, None]
    return torch.lerp(landmarks[seen[before]], landmarks[seen[after]], share)


def smooth(landmarks: Tensor, window: int = _SMOOTHING_FRAMES) -> Tensor:
    """Moving average over a centred window, shorter at the ends.

    Args:
        landmarks: ``(T, 5, 2)`` without NaN.
        window: Frames in the window; of an even number, one more lies before than after.

    >>> track = torch.arange(4.0)[:, None, None].expand(-1, 5, 2)
    >>> smooth(track, 2)[:, 0, 0].tolist()
    [0.0, 0.5, 1.5, 2.5]
    """
    before, after = window // 2, (window - 1) // 2
    total = F.pad(landmarks.double().cumsum(0), (0, 0, 0, 0, 1, 0))
    time = torch.arange(len(landmarks), device=landmarks.device)
    first, last = (time - before).clamp(min=0), (time + after + 1).clamp(max=len(landmarks))
    mean = (total[last] - total[first]) / (last - first)[:, None, None]
    return mean.to(landmarks.dtype)


def similarity(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The rotation, scale and shift that bring points closest to others, by least squares.

    Args:
        source: ``(T, P, 2)``.
        target: ``(T, P, 2)`` or ``(P, 2)``.

    Returns:
        Complex `a` and `b` of ``(T,)``: with points as complex numbers ``x + iy``, the target is
        ``a * source + b``. ``abs(a)`` is the scale and ``angle(a)`` the rotation.

    Source: umeyama1991; in the plane and without reflections it is a regression of one complex
    number on another.

    >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    >>> a, b = similarity(square[None], 2 * square + 3)
    >>> round(a.real.item(), 5), round(b.real.item(), 5), round(b.imag.item(), 5)
    (2.0, 3.0, 3.0)
    """
    z, w = torch.view_as_complex(source.contiguous()), torch.view_as_complex(target.contiguous())
    w = w.expand_as(z)
    z_mean, w_mean = z.mean(1), w.mean(1)
    z_centred = z - z_mean[:, None]
    spread = z_centred.abs().square().sum(1).clamp(min=1e-6)
    a = (z_centred.conj() * (w - w_mean[:, None])).sum(1) / spread
    return a, w_mean - a * z_mean


def crop_mouth(frames: Tensor, landmarks: Tensor, *, size: int = 96) -> Tensor:
    """The mouth region: a square of the mean face about the middle of the mouth corners.

    The transform comes from landmarks that are smoothed over 12 frames, the centre from those of
    the frame itself, so that the crop neither trembles nor lags behind a shaking head.

    Args:
        frames: ``(T, H, W, 3)`` uint8 RGB.
        landmarks: ``(T, 5, 2)`` in pixels of the frames, NaN where there is no face.
        size: Side of the crop, in pixels of the 256 x 256 mean face.

    Returns:
        ``(T, size, size, 3)`` uint8 RGB; black outside the picture.

    Raises:
        ValueError: no frame has a face.

    Source: notes item 19.
    """
    return _crop(frames, *_mouth_view(landmarks), size)


def crop_face(frames: Tensor, landmarks: Tensor, *, size: int = 224) -> Tensor:
    """The face: the middle square of the mean face.

    Args:
        frames: ``(T, H, W, 3)`` uint8 RGB.
        landmarks: ``(T, 5, 2)`` in pixels of the frames, NaN where there is no face.
        size: Side of the crop, in pixels of the 256 x 256 mean face.

    Returns:
        ``(T, size, size, 3)`` uint8 RGB; black outside the picture.

    Raises:
        ValueError: no frame has a face.
    """
    return _crop(frames, *_face_view(landmarks), size)


def _face_view(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """What a crop looks at: `a` of the transform into the mean face, and the centre there."""
    a, b = _into_mean_face(fill_gaps(landmarks))
    return a, ((MEAN_FACE_SIZE - 1) / 2 * (1 + 1j) - b) / a


def _mouth_view(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    filled = fill_gaps(landmarks)
    centre = filled[:, _MOUTH].mean(1)
    return _into_mean_face(filled)[0], torch.view_as_complex(centre.contiguous())


def _into_mean_face(filled: Tensor) -> tuple[Tensor, Tensor]:
    target = filled.new_tensor(MEAN_FACE)
    return similarity(smooth(filled)[:, _STABLE], target[list(_STABLE)])


def _crop(frames: Tensor, a: Tensor, centre: Tensor, size: int) -> Tensor:
    """Squares of the mean face's scale and rotation about a point of the frame."""
    # Several samples a pixel where the face is larger than the mean face, against aliasing.
    finer = int((1 / a.abs()).median().round().clamp(1, 8))
    offset = (torch.arange(size * finer, device=frames.device) + 0.5) / finer - size / 2
    square = torch.complex(*torch.meshgrid(offset, offset, indexing="xy"))
    at = centre[:, None, None] + square / a[:, None, None]
    height, width = frames.shape[1:3]
    grid = torch.stack([(2 * at.real + 1) / width - 1, (2 * at.imag + 1) / height - 1], -1)
    crops = [
        F.avg_pool2d(
            F.grid_sample(
                frames[i : i + _CHUNK].permute(0, 3, 1, 2).float(),
                grid[i : i + _CHUNK].float(),
                align_corners=False,
            ),
            finer,
        )
        for i in range(0, len(frames), _CHUNK)
    ]
    return torch.cat(crops).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous()


def read_region(
    path: str | Path,
    region: Literal["mouth", "face"],
    detector: LandmarkDetector,
    worker: DecodingWorker,
    *,
    start_s: float = 0.0,
    duration_s: float,
    fps: float,
    every: int = 1,
) -> FaceRegion:
    """Decode a window of a video twice: small to find the face, in full to cut out the region.

    Memory does not grow with the length, but for the crops.

    Args:
        path: A video.
        region: ``mouth``, 96 x 96 (`crop_mouth`), or ``face``, 224 x 224 (`crop_face`).
        detector: Where the landmarks come from.
        worker: What decodes.
        start_s: Start of the window, in seconds.
        duration_s: Length of the window, in seconds.
        fps: Frames a second of the result.
        every: The face is looked for in every so many-th frame and in the last; between them its
            landmarks are interpolated, and the score is 0.

    Raises:
        InputError: the video cannot be used, or shows no face in the window.
    """
    view, size = _REGIONS[region]
    times = frame_times(start_s, duration_s, fps)
    asked = sorted({*range(0, len(times), every), len(times) - 1})
    info = worker.run(probe_video, path)
    shrink = min(1.0, _DETECTION_SIDE / max(1, min(info.height, info.width)))
    small = (max(1, round(info.height * shrink)), max(1, round(info.width * shrink)))
    found = [
        detector.detect(frames)
        for frames in worker.stream(
            iter_frames, path, [times[i] for i in asked], size=small, chunk=_CHUNK
        )
    ]
    score = torch.zeros(len(times))
    score[asked] = torch.cat([part.score for part in found]).cpu()
    factor = torch.tensor([info.width / small[1], info.height / small[0]])
    raw = torch.full((len(times), 5, 2), torch.nan)
    raw[asked] = (torch.cat([part.landmarks for part in found]).cpu() + 0.5) * factor - 0.5
    try:
        filled = fill_gaps(raw)
    except ValueError as error:
        where = f"{start_s:g} s to {start_s + duration_s:g} s"
        mend = "leave it out or take another window"
        raise InputError(path, str(error), mend, where=where) from error
    a, centre = view(filled)
    crops, done = [], 0
    for frames in worker.stream(iter_frames, path, times, chunk=_CHUNK):
        part = slice(done, done + len(frames))
        crops.append(_crop(frames, a[part], centre[part], size))
        done += len(frames)
    return FaceRegion(torch.cat(crops), filled, score)


_REGIONS = {"mouth": (_mouth_view, 96), "face": (_face_view, 224)}


def cached_region(
    path: str | Path,
    region: Literal["mouth", "face"],
    detector: LandmarkDetector,
    worker: DecodingWorker,
    *,
    start_s: float = 0.0,
    duration_s: float,
    fps: float,
    cache: str | Path = "data/cache/regions",
) -> FaceRegion:
    """`read_region`, kept on disk by the content of the video and all that bears on the result.

    Args:
        path: A video.
        region: ``mouth`` or ``face``.
        detector: Where the landmarks come from.
        worker: What decodes.
        start_s: Start of the window, in seconds.
        duration_s: Length of the window, in seconds.
        fps: Frames a second of the result.
        cache: Folder of the results; those unused for longest go when it holds over 20 GiB.

    Raises:
        InputError: the video cannot be used, or shows no face in the window.
    """
    path, cache = Path(path), resolve(cache)
    key = [_CACHE_VERSION, _content(path), region, detector.identity, start_s, duration_s, fps]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    stored = cache / name[:2] / f"{name}.safetensors"
    with suppress(OSError, SafetensorError, KeyError), safe_open(stored, "pt") as file:
        result = FaceRegion(*(file.get_tensor(field) for field in FaceRegion._fields))
        stored.touch()  # how `_prune` knows that it was used
        return result
    result = read_region(
        path, region, detector, worker, start_s=start_s, duration_s=duration_s, fps=fps
    )
    with atomic_write(stored) as temporary:
        save_file(result._asdict(), temporary)
    if name.startswith("00"):  # one result in 256: looking through the folder takes time
        _prune(cache, _CACHE_LIMIT_BYTES)
    return result


def _content(path: Path) -> str:
    try:
        status = path.stat()
        return _hash(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise InputError(path, problem, "check the name and the data root") from error


@functools.lru_cache(maxsize=4096)
def _hash(path: Path, size: int, mtime_ns: int) -> str:
    return sha256_file(path)


def _prune(cache: Path, limit_bytes: int) -> None:
    """Remove the files that were used longest ago until the folder is small enough."""
    found = [(file.stat(), file) for file in cache.glob("*/*.safetensors")]
    total = sum(status.st_size for status, _ in found)
    for status, file in sorted(found, key=lambda pair: pair[0].st_mtime):
        if total <= limit_bytes:
            return
        file.unlink(missing_ok=True)
        total -= status.st_size
