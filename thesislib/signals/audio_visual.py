"""What the masked autoencoder reads of a clip: the log-mel and a few frames of one window.

`read_window` decodes the sound and some candidate frames of a clip, both from the same stretch of
it; `FrontEnd` makes a batch of such windows the model's input, and picks its frames among the
candidates: sorted, across the window, at random in training and fixed in evaluation.

Source: thesis section 7.4.1; notes 6 and 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from thesislib.corpora.clip import Clip
from thesislib.errors import InputError
from thesislib.signals import audio
from thesislib.signals.audio import (
    FRAME_LENGTH,
    SAMPLE_RATE,
    LogMelPreset,
    frame_count,
    kaldi_log_mel,
)
from thesislib.signals.decoding import DecodingWorker
from thesislib.signals.face import LandmarkDetector, read_region
from thesislib.signals.media import read_waveform
from thesislib.signals.video import probe_video, read_frames
from thesislib.signals.video_sound import read_video_audio

Colour = tuple[float, float, float]

WINDOW_S = 10.24
"""Length of a window: 1024 columns of a spectrogram, 10 ms each."""
CANDIDATES = 16
"""Frames that are decoded of a window, from which a model's eight are drawn."""
IMAGENET_MEAN: Colour = (0.4850, 0.4560, 0.4060)
IMAGENET_STD: Colour = (0.2290, 0.2240, 0.2250)
MODALITIES = {
    "both": ("audio", "video"),
    "audio": ("audio",),
    "video": ("video",),
    "missing_audio": ("video",),
    "missing_video": ("audio",),
}
"""What there is to read in each mode of `thesislib.models.masked_autoencoder`."""
_LIBSNDFILE = (".wav", ".flac", ".mp3", ".ogg")


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioVisualPreset:
    """How the inputs of a model are brought to zero mean and unit variance.

    Attributes:
        log_mel: Front end of the sound, with its mean and deviation.
        frame_mean: Of red, green and blue in [0, 1].
        frame_std: Of the same.
    """

    log_mel: LogMelPreset
    frame_mean: Colour = IMAGENET_MEAN
    frame_std: Colour = IMAGENET_STD

    def __post_init__(self) -> None:
        if len(self.frame_mean) != 3 or len(self.frame_std) != 3 or min(self.frame_std) <= 0:
            raise InputError(
                "frame_mean, frame_std",
                f"{self.frame_mean} and {self.frame_std} are not three numbers each, std above 0",
                "give red, green and blue",
            )


PRESETS = {
    "cav-mae": AudioVisualPreset(log_mel=audio.CAV_MAE),
    "social-mae": AudioVisualPreset(log_mel=audio.SOCIAL_MAE),
    "ast": AudioVisualPreset(log_mel=audio.AST),
    "ndc-me": AudioVisualPreset(
        log_mel=audio.SOCIAL_MAE,
        frame_mean=(0.5452, 0.3590, 0.2160),
        frame_std=(0.2193, 0.1876, 0.1488),
    ),
}
"""The normalisations of note 6 for the sound, with ImageNet's for the frames, which section 7.3
gives as those of VoxCeleb2 (note 38), or, for ``ndc-me``, with those that it gives for NDC-ME."""


class Window(NamedTuple):
    """What `read_window` decodes of a clip.

    Attributes:
        waveform: `(N,)` float32 at 16 kHz, or None where the sound was not asked for.
        frames: `(K, S, S, 3)` uint8 RGB, in order of time, or None likewise.
        start_s: Where both start in their files, in seconds.
        duration_s: How long they last.
    """

    waveform: Tensor | None
    frames: Tensor | None
    start_s: float
    duration_s: float


def read_window(
    clip: Clip,
    worker: DecodingWorker,
    *,
    mode: str = "both",
    window_s: float = WINDOW_S,
    candidates: int = CANDIDATES,
    size: int = 224,
    detector: LandmarkDetector | None = None,
    generator: torch.Generator | None = None,
) -> Window:
    """Decode the sound and the candidate frames of one window of a clip.

    Args:
        clip: A clip; one that is longer than the window is read around its middle.
        worker: What decodes.
        mode: A key of `MODALITIES`: which of the two are read.
        window_s: Longest window, in seconds.
        candidates: Frames, at the middles of as many equal parts of the window.
        size: Height and width of a frame, in pixels.
        detector: Finds the face, of which the frames then are crops; without one they are the
            middle square of the picture.
        generator: Draws where the window lies in a longer clip.

    Raises:
        InputError: the clip has no such recording, or it cannot be used.
    """
    wanted = modalities(mode)
    for name, path in (("audio", clip.audio_path), ("video", clip.video_path)):
        if name in wanted and path is None:
            mend = f"leave it out, or use mode missing_{name}"
            raise InputError(clip.clip_id, f"has no {name}, but mode {mode!r} needs it", mend)
    length_s = clip.duration_s
    if length_s is None:
        length_s = _length_s(clip, wanted, worker) - clip.start_s
    duration_s = min(length_s, window_s)
    if not duration_s > 0:
        raise InputError(clip.clip_id, f"lasts {length_s:g} s", "correct its start and duration")
    share = 0.5 if generator is None else float(torch.rand((), generator=generator))
    start_s = clip.start_s + share * (length_s - duration_s)
    waveform = frames = None
    if "audio" in wanted:
        assert clip.audio_path is not None
        waveform = _sound(clip.audio_path, worker, start_s, duration_s)
    if "video" in wanted:
        assert clip.video_path is not None
        step_s = duration_s / candidates
        first_s = start_s + step_s / 2
        if detector is None:
            times = [first_s + i * step_s for i in range(candidates)]
            frames = _middle_squares(clip.video_path, worker, times, size)
        else:
            region = read_region(
                clip.video_path, "face", detector, worker,
                start_s=first_s, duration_s=duration_s, fps=1 / step_s,
            )  # fmt: skip
            frames = _resized(region.frames, size)
    return Window(waveform, frames, start_s, duration_s)


def read_windows(
    clips: Iterable[Clip], *, limit_s: float = 60.0, **options: object
) -> Iterator[Window | InputError]:
    """`read_window` of each clip in turn; one that cannot be used yields its error instead.

    Args:
        clips: Any number of them.
        limit_s: Seconds after which a file that hangs the decoder is given up.
        **options: As for `read_window`.
    """
    with DecodingWorker(limit_s) as worker:
        for clip in clips:
            try:
                yield read_window(clip, worker, **options)  # type: ignore[arg-type]
            except InputError as error:
                yield error


def modalities(mode: str) -> tuple[str, ...]:
    """Which inputs a mode has.

    >>> modalities("missing_audio")
    ('video',)

    Raises:
        InputError: the mode is unknown.
    """
    if mode not in MODALITIES:
        raise InputError("mode", f"{mode!r} is unknown", f"use {', '.join(MODALITIES)}")
    return MODALITIES[mode]


def _length_s(clip: Clip, wanted: Sequence[str], worker: DecodingWorker) -> float:
    """How long the recording is, in seconds: the frames decide where there are any."""
    path = clip.video_path if "video" in wanted else clip.audio_path
    assert path is not None
    if path.suffix.lower() in _LIBSNDFILE:
        return len(read_waveform(path)) / SAMPLE_RATE
    length_s = worker.run(probe_video, path).duration_s
    if length_s is None:
        raise InputError(path, "does not declare its length", "give its clip a duration")
    return length_s


def _sound(path: Path, worker: DecodingWorker, start_s: float, duration_s: float) -> Tensor:
    if path.suffix.lower() in _LIBSNDFILE:
        return read_waveform(path, start_s=start_s, duration_s=duration_s)
    return worker.run(read_video_audio, path, start_s=start_s, duration_s=duration_s)


def _middle_squares(
    path: Path, worker: DecodingWorker, times_s: Sequence[float], size: int
) -> Tensor:
    """The middle square of the pictures at these times, `(K, size, size, 3)` uint8."""
    info = worker.run(probe_video, path)
    factor = size / max(1, min(info.height, info.width))
    height, width = (max(size, round(n * factor)) for n in (info.height, info.width))
    frames = worker.run(read_frames, path, times_s, size=(height, width))
    top, left = (height - size) // 2, (width - size) // 2
    return frames[:, top : top + size, left : left + size].contiguous()


def _resized(frames: Tensor, size: int) -> Tensor:
    """Frames `(…, H, W, 3)` uint8 at another height and width."""
    if frames.shape[-3:-1] == (size, size):
        return frames
    pictures = frames.flatten(0, -4).movedim(-1, 1).float()
    pictures = functional.interpolate(pictures, (size, size), mode="bilinear", antialias=True)
    pictures = pictures.round().clamp(0, 255).byte().movedim(1, -1)
    return pictures.unflatten(0, frames.shape[:-3])


def sample_frames(
    n_candidates: int, n_frames: int, batch_size: int, generator: torch.Generator | None = None
) -> Tensor:
    """Which candidate frames each clip of a batch shows: sorted, one from each equal part.

    Args:
        n_candidates: Frames at hand.
        n_frames: Frames to take, at most so many.
        batch_size: Clips.
        generator: Draws one of each part; None takes the middle one, the same each time.

    Returns:
        Whole numbers `(batch_size, n_frames)`, ascending.

    Raises:
        InputError: There are fewer candidates than frames.

    Source: section 7.4.1, as note 7 reads it.

    >>> sample_frames(16, 4, 1).tolist()
    [[1, 5, 9, 13]]
    """
    if not 0 < n_frames <= n_candidates:
        raise InputError(
            "n_frames",
            f"{n_frames} cannot be taken from {n_candidates} frames of a window",
            "lower n_frames, or decode more candidates",
        )
    edges = torch.arange(n_frames + 1) * n_candidates // n_frames
    low, counts = edges[:-1], edges.diff()
    if generator is None:
        return (low + (counts - 1) // 2).expand(batch_size, -1)
    noise = torch.rand(batch_size, n_frames, generator=generator, device=generator.device).cpu()
    return low + (noise * counts).long()


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontEnd:
    """From decoded windows to the inputs of a model, a batch at a time.

    Attributes:
        preset: Normalisation.
        audio_frames: Columns of the spectrogram.
        n_frames: Frames of a clip.
        image_size: Height and width of a frame, in pixels.

    >>> front = FrontEnd(preset=PRESETS["cav-mae"], audio_frames=32, n_frames=1, image_size=16)
    >>> windows = {"waveform": torch.zeros(2, 4000), "frames": torch.zeros(2, 4, 8, 8, 3).byte()}
    >>> {name: tuple(inputs.shape) for name, inputs in front(windows).items()}
    {'audio': (2, 32, 128), 'video': (2, 3, 1, 16, 16)}
    """

    preset: AudioVisualPreset
    audio_frames: int = 1024
    n_frames: int = 8
    image_size: int = 224

    def __call__(
        self,
        windows: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        *,
        index: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Inputs of what is there; fits `thesislib.learning.datasets.TensorData` as `transform`.

        Args:
            windows: ``waveform`` `(B, N)` with ``length`` `(B,)`, the samples before each row's
                padding, if rows differ; ``frames`` `(B, K, H, W, 3)` uint8. A modality that is
                left out stays so. Anything else is handed on.
            generator: Draws the frames; None takes fixed ones, for evaluation.
            index: `(B, n_frames)` from `sample_frames`: the frames to show, in place of a draw.

        Returns:
            ``audio`` `(B, audio_frames, n_mels)` and ``video`` `(B, 3, n_frames, image_size,
            image_size)`, float32, standardised; and what was handed on.

        Raises:
            InputError: There is neither sound nor frames, or too little of either.
        """
        inputs = {n: t for n, t in windows.items() if n not in ("waveform", "length", "frames")}
        if "waveform" not in windows and "frames" not in windows:
            raise InputError("windows", "hold neither waveform nor frames", "give one of them")
        if "waveform" in windows:
            log_mel = replace(self.preset.log_mel, target_frames=self.audio_frames)
            waveforms, lengths = windows["waveform"], windows.get("length")
            shortest = waveforms.shape[1] if lengths is None else int(lengths.min())
            if shortest < FRAME_LENGTH:
                problem = f"has {shortest} samples, fewer than the {FRAME_LENGTH} of one column"
                raise InputError("waveform", problem, "leave such clips out")
            inputs["audio"] = kaldi_log_mel(waveforms, preset=log_mel, lengths=lengths)
        if "frames" in windows:
            inputs["video"] = self._video(windows["frames"], generator, index)
        return inputs

    def _video(
        self, frames: Tensor, generator: torch.Generator | None, index: Tensor | None
    ) -> Tensor:
        if frames.ndim != 5 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
            raise InputError(
                "frames",
                f"{frames.dtype} of shape {tuple(frames.shape)} are not (B, K, H, W, 3) uint8",
                "give RGB frames as they were decoded",
            )
        if index is None:
            index = sample_frames(frames.shape[1], self.n_frames, len(frames), generator)
        rows = torch.arange(len(frames), device=frames.device)[:, None]
        chosen = _resized(frames[rows, index.to(frames.device)], self.image_size)
        mean = torch.tensor(self.preset.frame_mean, device=frames.device).view(3, 1, 1, 1)
        std = torch.tensor(self.preset.frame_std, device=frames.device).view(3, 1, 1, 1)
        return (chosen.permute(0, 4, 1, 2, 3).float() / 255 - mean) / std


def compute_stats(
    windows: Iterable[Mapping[str, Tensor]], base: AudioVisualPreset = PRESETS["social-mae"]
) -> AudioVisualPreset:
    """The normalisation of an own corpus, in one pass and constant memory.

    Mean and deviation are over the valid part of each spectrogram, without its padding, and over
    the pixels of all candidate frames.

    Args:
        windows: Batches as `FrontEnd` takes them; of the training part only.
        base: Gives the filters and the window, and the numbers of a modality that is not there.

    Raises:
        InputError: There is nothing to measure, or all of it is the same value.

    >>> noise = torch.rand(4, 8000, generator=torch.Generator().manual_seed(0)) - 0.5
    >>> round(compute_stats([{"waveform": noise}]).log_mel.mean, 1)
    1.2
    """
    sums = {name: torch.zeros(3, size, dtype=torch.float64) for name, size in _CHANNELS.items()}
    for batch in windows:
        if "waveform" in batch:
            waveforms = batch["waveform"]
            plain = replace(base.log_mel, mean=0.0, std=1.0, target_frames=None)
            log_mel = kaldi_log_mel(waveforms, preset=plain).double().cpu()
            lengths = batch.get("length", torch.full((len(waveforms),), waveforms.shape[1]))
            counts = torch.tensor([frame_count(int(n)) for n in lengths])
            valid = torch.arange(log_mel.shape[1]) < counts[:, None]
            _add(sums["audio"], log_mel[valid].reshape(-1, 1))
        if "frames" in batch:
            _add(sums["video"], batch["frames"].reshape(-1, 3).double().cpu() / 255)
    found = {name: _moments(name, total) for name, total in sums.items() if total[0].any()}
    if not found:
        raise InputError("windows", "hold nothing to measure", "give batches with sound or frames")
    result = base
    if "audio" in found:
        mean, std = found["audio"]
        result = replace(result, log_mel=replace(base.log_mel, mean=mean[0], std=std[0]))
    if "video" in found:
        colours = [(values[0], values[1], values[2]) for values in found["video"]]
        result = replace(result, frame_mean=colours[0], frame_std=colours[1])
    return result


_CHANNELS = {"audio": 1, "video": 3}


def _add(sums: Tensor, rows: Tensor) -> None:
    sums += torch.stack([torch.full_like(sums[0], len(rows)), rows.sum(0), rows.square().sum(0)])


def _moments(name: str, sums: Tensor) -> tuple[list[float], list[float]]:
    mean = sums[1] / sums[0]
    std = (sums[2] / sums[0] - mean.square()).clamp(min=0).sqrt()
    if not bool((std > 1e-6).all()):
        raise InputError("windows", f"hold one value of {name} only", "give recordings")
    return mean.tolist(), std.tolist()
