"""`Clip`: the one type that every loader yields and every signal is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A stretch of one recording with its speaker and labels; the media stay on disk.

    Attributes:
        clip_id: Unique within the corpus.
        corpus: Name of the manifest.
        speaker: Speaker id as the corpus gives it.
        sex: ``female``, ``male`` or ``unknown``.
        audio_path: File with sound, if any.
        video_path: File with frames, if any.
        start_s: Start in the file, in seconds.
        duration_s: Length in seconds; None means to the end of the file.
        labels: Label name to value, such as ``{"emotion": "anger"}``.
        scores: Numbers attached to the clip, such as the share of listeners who recognised it.
    """

    clip_id: str
    corpus: str
    speaker: str
    sex: str = "unknown"
    audio_path: Path | None = None
    video_path: Path | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
