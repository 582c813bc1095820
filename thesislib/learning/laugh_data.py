"""Windows of a conversation as the models of chapter 6 take them: the mouth and the voice.

One path for a licensed corpus and for a twin. Windows overlap, so a stretch of a recording that
they cover without a gap is decoded once, at the model's rate, whatever the recording's: the face is
found in some of its frames, its landmarks in between are interpolated; the mouth is cut out; the
sound is resampled. Every window then takes its frames, from the one nearest to its start. What was
cut out is kept on disk, a file a recording, under a hash of all that made it.

Source: thesis sections 6.2 and 6.3; notes items 14, 19 and 36.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from thesislib.caching import cache_folder, cache_key
from thesislib.code import code_sha256
from thesislib.corpora.clip import Clip
from thesislib.corpora.splits import PARTS, SHARES, Split, published_split, speaker_groups
from thesislib.errors import InputError
from thesislib.files import atomic_write, sha256_file
from thesislib.models.face_detector import load_face_detector
from thesislib.models.ms_tcn import SAMPLES_PER_STEP
from thesislib.signals.audio import SAMPLE_RATE
from thesislib.signals.decoding import DecodingWorker
from thesislib.signals.face import LandmarkDetector, read_region
from thesislib.signals.media import read_waveform
from thesislib.signals.video_sound import read_video_audio

WINDOW_S = 1.2
"""What a model sees of a window of 1.22 s: 60 frames at 50 fps (note 36)."""
CLASS_OF = {"laugh": "Laughs", "smile": "Smiles", "none": "None"}
"""From the label ``expression`` of a window to the class, in the order of the models' outputs."""
SILENCE = 2.0**-15  # below one step of 16-bit sound: no microphone is as quiet
BLACK = 16  # of 255: the black of broadcast video
STRETCH_S = 30.0
"""Longest piece of a recording that is cut out at once: it bounds memory."""
_ORDERS, _VALID = 1000, 16
_SOUND_FILES = (".wav", ".flac", ".mp3", ".ogg")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a model sees of a window.

    Attributes:
        frames: Number of frames over `WINDOW_S`.
        side: Height and width of the mouth region, in pixels.
        samples: Samples at 16 kHz, from the middle of the window.
        detect_every_s: Time from one face detection to the next; 0 for every frame.
    """

    frames: int
    side: int
    samples: int
    detect_every_s: float = 0.0

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.frames / WINDOW_S

    @property
    def step(self) -> int:
        """From one frame in which the face is looked for to the next; every window holds one."""
        return min(self.frames, max(1, round(self.detect_every_s * self.fps)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Clips with what is seen and heard of them.

    Attributes:
        clips: N windows.
        frames: `(N, T, S, S, 3)` uint8 RGB, the mouth.
        waveform: `(N, samples)` float32 in [-1, 1].
        failures: One error for each window that was left out.
    """

    clips: list[Clip]
    frames: Tensor
    waveform: Tensor
    failures: list[InputError]

    def __len__(self) -> int:
        return len(self.clips)


def ingest(
    clips: Sequence[Clip],
    view: View,
    *,
    detector: LandmarkDetector | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Windows:
    """Cut the mouth and the voice out of every window; what cannot be used is left out by name.

    Left out are windows without a face, with black frames only, or without any sound, and those
    of recordings that do not decode.

    Args:
        clips: Windows with sound and frames.
        view: What the model takes.
        detector: Where landmarks come from; the face detector with its weights by default.
        say: Called with a line a recording.

    Raises:
        InputError: a window has no recording with frames or with sound, is shorter than the
            models' kernels, or no window can be used.
    """
    if not clips:
        raise InputError("windows", "are none", "take another corpus or longer recordings")
    if view.samples < SAMPLES_PER_STEP:
        mend = f"give {SAMPLES_PER_STEP} or more"
        raise InputError("parameter samples", f"{view.samples} is shorter than a kernel", mend)
    by_recording: dict[Path, list[Clip]] = {}
    for clip in clips:
        if clip.video_path is None or clip.audio_path is None:
            missing = "frames" if clip.video_path is None else "sound"
            mend = "copy it beside the annotation"
            raise InputError(clip.clip_id, f"has no recording with {missing}", mend)
        if clip.duration_s is not None and clip.duration_s < WINDOW_S:
            mend = f"cut windows of {WINDOW_S} s or more"
            raise InputError(clip.clip_id, f"lasts {clip.duration_s} s only", mend)
        by_recording.setdefault(clip.video_path, []).append(clip)
    source = detector or load_face_detector()
    kept: list[Clip] = []
    frames, waveforms, failures = [], [], []
    with DecodingWorker() as worker:
        for number, (path, windows) in enumerate(by_recording.items(), start=1):
            stored, problems = _recording(path, windows, view, source, worker)
            lost = dict(problems)
            kept += [clip for clip in windows if clip.clip_id not in lost]
            failures += list(lost.values())
            frames.append(stored["frames"])
            waveforms.append(stored["waveform"])
            say(f"{path.name}: {len(windows) - len(lost)} windows ({number}/{len(by_recording)})")
    if not kept:
        line = str(failures[0])
        raise InputError(clips[0].corpus, f"has no usable window of {len(clips)}", line)
    return Windows(
        clips=kept, frames=torch.cat(frames), waveform=torch.cat(waveforms), failures=failures
    )


def _recording(
    path: Path,
    windows: Sequence[Clip],
    view: View,
    source: LandmarkDetector,
    worker: DecodingWorker,
) -> tuple[dict[str, Tensor], list[tuple[str, InputError]]]:
    """The windows of one recording, from disk where they were cut out before."""
    key = cache_key(
        video=_sha256(path),
        sound=_sha256(windows[0].audio_path or path),
        windows=[[clip.clip_id, clip.start_s] for clip in windows],
        view=[view.frames, view.side, view.samples, view.step],
        detector=source.identity,
        code=code_sha256(["thesislib.signals.face", "thesislib.signals.video_sound"]),
    )
    stored = cache_folder("mouths", key) / "windows.safetensors"
    with suppress(OSError, SafetensorError, KeyError, TypeError), safe_open(stored, "pt") as file:
        parts = json.loads(file.metadata()["lost"])
        lost = [(name, InputError(*rest[:3], where=rest[3])) for name, *rest in parts]
        return {name: file.get_tensor(name) for name in ("frames", "waveform")}, lost
    found: dict[str, tuple[Tensor, Tensor] | InputError] = {}
    for stretch in stretches(windows):
        found |= _cut(stretch, view, source, worker)
    problems = [(name, e) for name, e in found.items() if isinstance(e, InputError)]
    cut = [pair for pair in (found[c.clip_id] for c in windows) if not isinstance(pair, InputError)]
    tensors = {
        "frames": torch.stack([mouth for mouth, _ in cut])
        if cut
        else torch.zeros(0, view.frames, view.side, view.side, 3, dtype=torch.uint8),
        "waveform": torch.stack([sound for _, sound in cut])
        if cut
        else torch.zeros(0, view.samples),
    }
    rows = [(name, e.path, e.problem, e.mend, e.where) for name, e in problems]
    with atomic_write(stored) as temporary:
        save_file(tensors, temporary, metadata={"lost": json.dumps(rows)})
    return tensors, problems


def stretches(windows: Sequence[Clip]) -> list[list[Clip]]:
    """Windows of one recording by the stretches that they cover without a gap, in order of time.

    A stretch that would be longer than `STRETCH_S` goes on as another one.
    """
    parts: list[list[Clip]] = []
    for clip in sorted(windows, key=lambda clip: clip.start_s):
        joins = parts and clip.start_s <= parts[-1][-1].start_s + WINDOW_S
        if joins and clip.start_s + WINDOW_S <= parts[-1][0].start_s + STRETCH_S:
            parts[-1].append(clip)
        else:
            parts.append([clip])
    return parts


def _cut(
    stretch: Sequence[Clip], view: View, source: LandmarkDetector, worker: DecodingWorker
) -> dict[str, tuple[Tensor, Tensor] | InputError]:
    """Mouth `(T, S, S, 3)` and voice `(samples,)` of each window, or what is wrong with it.

    Where a stretch cannot be used as a whole, its halves are tried, down to a single window: what
    is damaged costs the windows that it lies in and no other.
    """
    try:
        return _cut_at_once(stretch, view, source, worker)
    except InputError as error:
        if len(stretch) == 1:
            return {stretch[0].clip_id: error}
    half = len(stretch) // 2
    return {
        **_cut(stretch[:half], view, source, worker),
        **_cut(stretch[half:], view, source, worker),
    }


def _cut_at_once(
    stretch: Sequence[Clip], view: View, source: LandmarkDetector, worker: DecodingWorker
) -> dict[str, tuple[Tensor, Tensor] | InputError]:
    """As `_cut`; InputError where the stretch does not decode or shows no face."""
    path, sound_path = stretch[0].video_path, stretch[0].audio_path
    assert path is not None
    assert sound_path is not None
    start_s = stretch[0].start_s
    inset_s = max(0.0, (WINDOW_S - view.samples / SAMPLE_RATE) / 2)
    begins = [round((clip.start_s - start_s) * SAMPLE_RATE) for clip in stretch]
    firsts = [round((clip.start_s - start_s) * view.fps) for clip in stretch]
    n_frames, n_samples = firsts[-1] + view.frames, begins[-1] + view.samples
    begin_s, length_s = start_s + inset_s, n_samples / SAMPLE_RATE
    if sound_path.suffix.lower() in _SOUND_FILES:
        sound = read_waveform(sound_path, start_s=begin_s, duration_s=length_s)
    else:
        sound = worker.run(read_video_audio, sound_path, start_s=begin_s, duration_s=length_s)
    region = read_region(
        path, "mouth", source, worker,
        start_s=start_s, duration_s=n_frames / view.fps, fps=view.fps, every=view.step,
    )  # fmt: skip
    small = adaptive_avg_pool2d(region.frames.permute(0, 3, 1, 2).float(), view.side)
    mouth = small.round().byte().permute(0, 2, 3, 1).contiguous()
    seen = region.score > 0
    found: dict[str, tuple[Tensor, Tensor] | InputError] = {}
    for clip, first, begin in zip(stretch, firsts, begins, strict=True):
        frames = slice(first, first + view.frames)
        voice = sound[begin : begin + view.samples].clone()
        mend, place = "leave the window out", f"{clip.start_s:g} s"
        if voice.abs().max() < SILENCE:
            found[clip.clip_id] = InputError(sound_path, "is silent", mend, where=place)
        elif int(region.frames[frames].max()) < BLACK:
            black = "shows black frames only"
            found[clip.clip_id] = InputError(path, black, mend, where=place)
        elif not seen[frames].any():
            found[clip.clip_id] = InputError(path, "shows no face", mend, where=place)
        else:
            found[clip.clip_id] = mouth[frames].clone(), voice
    return found


def choose(clips: Sequence[Clip], most: int) -> list[Clip]:
    """At most so many windows of a class, drawn by a hash of their names; all where `most` is 0.

    The choice does not depend on the order of the list, and a window that was chosen stays chosen
    when other recordings join, unless the class is full.
    """
    if not most:
        return list(clips)
    order = sorted(clips, key=lambda clip: hashlib.sha256(clip.clip_id.encode()).digest())
    taken: Counter[str] = Counter()
    chosen = set()
    for clip in order:
        name = clip.labels["expression"]
        if taken[name] < most:
            taken[name] += 1
            chosen.add(clip.clip_id)
    return [clip for clip in clips if clip.clip_id in chosen]


def check_parts(corpus: str, clips: Sequence[Clip], split: Split) -> None:
    """Refuse a split that leaves the training or the test part without a class.

    Raises:
        InputError: naming the class and the part.
    """
    for part in ("train", "test"):
        there = {clips[i].labels["expression"] for i in getattr(split, part)}
        for name in CLASS_OF:
            if name not in there:
                mend = "use more recordings, longer ones, or another seed"
                raise InputError(
                    corpus, f"has no window of class {CLASS_OF[name]}", mend, where=f"{part} part"
                )


def balanced_split(corpus: str, clips: Sequence[Clip], *, seed: int) -> Split:
    """A split by speaker in which all classes are spread over the parts as evenly as can be.

    As `thesislib.corpora.splits.speaker_split`, which looks at the number of windows alone: with
    few people it may leave a part without laughs. Orders of the groups of people are drawn from
    the seed; of the first `_VALID` whose training and test part hold every class, the one is taken
    whose classes come closest to their shares.

    Args:
        corpus: Named in errors.
        clips: With distinct ids and the label ``expression``.
        seed: Another one gives another split.

    Raises:
        InputError: one speaker only, fewer than three groups of people (those who share dyads are
            one), or a class that a part lacks in every order that was tried.
    """
    groups = np.array(speaker_groups(clips), dtype=str)
    names = np.unique(groups)
    if len({clip.speaker for clip in clips}) < 2:
        mend = "add recordings of other people"
        raise InputError(corpus, f"has one speaker only, {clips[0].speaker}", mend)
    if len(names) < len(PARTS):
        mend = "add dyads of other people, or choose the random split"
        raise InputError(corpus, f"has {len(names)} groups of people, three are needed", mend)
    classes = np.array([list(CLASS_OF).index(clip.labels["expression"]) for clip in clips])
    group = np.searchsorted(names, groups)
    counts = np.zeros((len(names), len(CLASS_OF)))
    np.add.at(counts, (group, classes), 1)
    shares = np.cumsum(SHARES)[:2]
    generator = np.random.default_rng([seed, 64])
    best: tuple[float, NDArray[np.int64]] | None = None
    valid = 0
    for _ in range(_ORDERS):
        order = generator.permutation(len(names))
        upto = counts[order].sum(1).cumsum()
        first = 1 + int(np.argmin(abs(upto[:-2] - shares[0] * len(clips))))
        second = first + 1 + int(np.argmin(abs(upto[first:-1] - shares[1] * len(clips))))
        part = np.empty(len(names), np.int64)
        part[order] = np.repeat(np.arange(3), [first, second - first, len(names) - second])
        held = np.stack([counts[part == number].sum(0) for number in range(3)])
        if held[[0, 2]].min() == 0 and best is not None:
            continue
        valid += held[[0, 2]].min() > 0
        wanted = np.array(SHARES)[:, None] * counts.sum(0)
        error = float((abs(held - wanted) / np.maximum(counts.sum(0), 1)).max())
        error += 10 * (held[[0, 2]].min() == 0)
        if best is None or error < best[0]:
            best = error, part
        if valid == _VALID:
            break
    assert best is not None
    marked = [
        replace(clip, labels={**clip.labels, "partition": PARTS[best[1][number]]})
        for clip, number in zip(clips, group, strict=True)
    ]
    split = replace(published_split(marked, {name: name for name in PARTS}), name="speaker")
    check_parts(corpus, clips, split)
    return split


def targets(clips: Sequence[Clip]) -> Tensor:
    """Class numbers `(N,)` in the order of `CLASS_OF`."""
    names = list(CLASS_OF)
    return torch.tensor([names.index(clip.labels["expression"]) for clip in clips])


_HASHES: dict[tuple[Path, int, int], str] = {}


def _sha256(path: Path) -> str:
    status = path.stat()
    known = (path, status.st_size, status.st_mtime_ns)
    if known not in _HASHES:
        _HASHES[known] = sha256_file(path)
    return _HASHES[known]
