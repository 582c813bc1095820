"""The twin of sound events: things that move as they sound, nobody among them.

It stands for general audio-visual pre-training, which is out of the domain of faces and voices.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import torch
from av.video.frame import VideoFrame
from torch import Tensor

from thesislib.corpora.manifest import load_manifest
from thesislib.corpora.sound_events import CLASSES, SEGMENTS
from thesislib.corpora.twins.dyads import chance
from thesislib.corpora.twins.event_pictures import draw
from thesislib.corpora.twins.event_sounds import (
    DURATION_S,
    KINDS,
    Happening,
    plan_happening,
    sound,
)
from thesislib.corpora.twins.film import (
    _BITEXACT,
    SAMPLE_RATE,
    Camera,
    _add_streams,
    _audio_frame,
    _optics,
    record_sound,
    spoil,
)
from thesislib.corpora.twins.writing import tick
from thesislib.errors import InputError
from thesislib.files import atomic_write

CORPUS = "sound-events"
WHOLE = 1200
EFFECTS: Mapping[str, str] = {
    "synchrony": "share of clips whose picture follows the same course as the sound",
    "size_pitch": "pitch that falls with the size of the thing",
    "background": "amplitude of the noise in the background",
    "camera": "noise, blur, vignette, exposure and colour of the pictures",
    "pictures": "0 leaves the pictures out: sound alone, written many times as fast",
}
"""Names of the planted effects: 1 is the documented size, 0 switches one off."""
CAMERA = Camera(
    fps=25, size=224, noise=1.5, blur_px=0.3, exposure_spread=0.1, vignette=0.12, crf=23,
    profile="high", audio_rate=44_100, audio_bit_rate=128_000, room_db=None,
)  # fmt: skip


class EventPlan(NamedTuple):
    """A clip: its path relative to the twin, its part, and what happens in it."""

    file: str
    partition: str
    happening: Happening
    seed: int


class EventJob(NamedTuple):
    """A plan, where to write it, and the strengths of all effects."""

    folder: Path
    plan: EventPlan
    scales: Mapping[str, float]


def plan(
    clips: int, seed: int, scales: Mapping[str, float], duration_s: float | None = None
) -> list[EventPlan]:
    """Plan clips: classes take turns, and every fifth clip is for evaluation.

    Args:
        clips: 1 or more.
        seed: Of the twin.
        scales: Strength of every effect.
        duration_s: Not used: every clip has `DURATION_S`.
    """
    plans = []
    for k in range(clips):
        kind = list(KINDS)[k % len(KINDS)]
        part = "eval" if k % 5 == 4 else "train"
        key = f"twin-{k:06}"
        generator = chance(seed, f"plan {CORPUS} {key}")
        happening = plan_happening(kind, generator, scales)
        plans.append(EventPlan(f"{part}/{key}.mp4", part, happening, seed))
    return sorted(plans, key=lambda clip: clip.file)


def record_event(job: EventJob) -> dict[str, Any]:
    """Draw, sound and encode a clip; the record for ``twin.json``.

    Raises:
        InputError: the file cannot be written.
    """
    folder, event, scales = job
    camera = CAMERA.scaled(picture=scales["camera"], pictures=scales["pictures"])
    frames = draw(
        event.happening, round(DURATION_S * camera.fps), camera.fps, camera.height_width[0]
    )
    noise = int(chance(event.seed, f"clip {CORPUS} {event.file}").integers(2**62))
    _film(folder / event.file, frames, sound(event.happening), camera, noise)
    tick()
    return {
        "file": event.file,
        "partition": event.partition,
        "event": event.happening.kind,
        "synchronous": event.happening.seen == event.happening.heard,
        "duration_s": DURATION_S,
        **asdict(event.happening),
    }


def write_tables(
    folder: Path, records: Sequence[dict[str, Any]], seed: int, scales: Mapping[str, float]
) -> dict[str, Any]:
    """Write the lists of segments of both parts and the list of classes, as AudioSet has them."""
    rows = load_manifest(CORPUS).records("events")
    codes = {row["event"]: row["mid"] for row in rows}
    with (folder / CLASSES).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["index", "mid", "display_name"])
        writer.writerows((i, row["mid"], row["event"]) for i, row in enumerate(rows))
    for part, name in SEGMENTS.items():
        found = [record for record in records if record["partition"] == part]
        lines = [
            "# Segments of a synthetic twin",
            f"# num_ytids={len(found)}, num_segs={len(found)}",
            "# YTID, start_seconds, end_seconds, positive_labels",
        ]
        lines += [
            f'{Path(record["file"]).stem}, 0.000, {DURATION_S:.3f}, "{codes[record["event"]]}"'
            for record in found
        ]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {}


def _film(path: Path, drawn: Iterator[Tensor], waveform: Tensor, camera: Camera, seed: int) -> None:
    """Spoil and encode frames that show no person; what `film.film` is to people."""
    chances = torch.Generator().manual_seed(seed)
    gain, bank = _optics(camera, chances)
    heard = record_sound(waveform, camera, chances)
    number = 0
    with atomic_write(path) as temporary:
        try:
            with av.open(str(temporary), "w", options=_BITEXACT) as container:
                pictures, sounds = _add_streams(container, camera)
                if pictures is None:
                    container.mux(sounds.encode(_audio_frame(heard, 0)))
                    container.mux(sounds.encode())
                    return
                for frames in drawn:
                    for picture in spoil(frames, camera, gain, bank, chances).numpy():
                        frame = VideoFrame.from_ndarray(picture, format="rgb24")
                        frame.pts, frame.time_base = number, Fraction(1, camera.fps)
                        start, end = (
                            round(n * SAMPLE_RATE / camera.fps) for n in (number, number + 1)
                        )
                        container.mux(sounds.encode(_audio_frame(heard[start:end], start)))
                        container.mux(pictures.encode(frame))
                        number += 1
                container.mux(pictures.encode())
                container.mux(sounds.encode())
        except av.FFmpegError as error:
            problem = f"cannot be written ({error.strerror or error})"
            raise InputError(path, problem, "free space or choose another codec") from error
