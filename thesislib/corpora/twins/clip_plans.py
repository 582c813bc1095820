"""From the plan of a clip to its files: one person performs, is filmed or recorded.

The twins of recordings with one person (`acted`, `talking_heads`, `reading`) plan their clips and
have them made here, each from its own source of chance, whatever others there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import soundfile as sf
import torch
from av.audio.frame import AudioFrame
from torch import Tensor

from thesislib.corpora.twins import people
from thesislib.corpora.twins.dyads import Event, chance
from thesislib.corpora.twins.film import SAMPLE_RATE, Camera, open_film, record_sound
from thesislib.corpora.twins.interference import Acoustics, spoil_sound
from thesislib.corpora.twins.people import Person, sample_person
from thesislib.corpora.twins.performance import Performance, perform_clip
from thesislib.corpora.twins.phonetics import Syllable
from thesislib.corpora.twins.writing import tick
from thesislib.errors import InputError
from thesislib.files import atomic_write

EMOTIONS = ("neutral", "anger", "disgust", "fear", "happiness", "sadness")
PERSON_EFFECTS: Mapping[str, str] = {
    name: what for name, what in people.EFFECTS.items() if name not in ("nods", "leakage")
}
"""Effects of people and performances, less those that need two people."""
_ALONE_FPS = 25.0  # where nothing is filmed, the face is planned at this rate and thrown away


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPlan:
    """What a clip shall be.

    Attributes:
        files: Paths relative to the twin: the recording that stands for the clip, then those with
            the same sound alone, ``.wav``, ``.flac`` or ``.m4a``.
        corpus: Its corpus.
        person: Name of the person in it.
        sex: ``female`` or ``male``.
        seed: Of the twin.
        syllables: What is said; none for a monologue.
        emotion: One of `EMOTIONS`.
        intensity: Of the emotion, 0 to 1.
        events: Smiles and laughs.
        duration_s: Length, or None for that of the speech.
        language: Of a monologue.
        camera: What films it; None for sound alone.
        acoustics: What spoils the sound before it is recorded.
        room_db: Noise of the room where there is no camera, in dB below full scale.
        setting: Light, background and clothes, by fields of the person's `FaceIdentity`.
        factors: What else ``twin.json`` says of the clip.
    """

    files: tuple[str, ...]
    corpus: str
    person: str
    sex: str
    seed: int
    syllables: tuple[Syllable, ...] | None = None
    emotion: str = "neutral"
    intensity: float = 0.0
    events: tuple[Event, ...] = ()
    duration_s: float | None = None
    language: str = "reduced"
    camera: Camera | None = None
    acoustics: Acoustics | None = None
    room_db: float | None = None
    setting: Mapping[str, float] = field(default_factory=dict)
    factors: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The source of the clip's chance, besides the seed."""
        return f"{self.corpus} {self.files[0]}"


class ClipJob(NamedTuple):
    """A plan, where to write it, and the strengths of all effects."""

    folder: Path
    plan: ClipPlan
    scales: Mapping[str, float]


def person_of(corpus: str, name: str, sex: str, seed: int, scales: Mapping[str, float]) -> Person:
    """A person of a corpus; people of two corpora differ, whatever their names and the seed."""
    return sample_person(f"{corpus} {name}", sex, seed=seed, effects=of_people(scales))


def describe_people(
    corpus: str, sexes: Mapping[str, str], seed: int, scales: Mapping[str, float]
) -> dict[str, Any]:
    """What is planted in each person, for ``twin.json``: face, voice, personality."""
    found = {}
    for name, sex in sexes.items():
        person = person_of(corpus, name, sex, seed, scales)
        found[name] = {
            "sex": sex,
            "personality": dict(person.personality),
            "voice": asdict(person.voice),
            "identity": asdict(person.identity),
        }
    return found


def record_clip(job: ClipJob) -> dict[str, Any]:
    """Perform a plan and write its recordings.

    Returns:
        The record for ``twin.json``.

    Raises:
        InputError: a file cannot be written.
    """
    folder, plan, scales = job
    person = person_of(plan.corpus, plan.person, plan.sex, plan.seed, scales)
    person = replace(person, identity=replace(person.identity, **plan.setting))
    generator = chance(plan.seed, f"clip {plan.name}")
    play, film, noise = (int(value) for value in generator.integers(2**62, size=3))
    performance = perform_clip(
        person,
        plan.syllables,
        emotion=plan.emotion,
        intensity=plan.intensity,
        events=plan.events,
        duration_s=plan.duration_s,
        language=plan.language,
        fps=_ALONE_FPS if plan.camera is None else plan.camera.fps,
        seed=play,
        effects=of_people(scales),
    )
    if plan.acoustics is not None:
        spoilt = spoil_sound(performance.waveform, plan.acoustics, noise)
        performance = replace(performance, waveform=spoilt)
    heard = _record(folder / plan.files[0], plan, person, performance, film)
    for name in plan.files[1:] if plan.camera is not None else plan.files:
        write_sound(folder / name, heard)
    tick()
    return {
        "file": plan.files[0],
        "speaker": plan.person,
        "sex": plan.sex,
        "emotion": plan.emotion,
        "intensity": plan.intensity,
        **plan.factors,
        "setting": dict(plan.setting),
        "acoustics": None if plan.acoustics is None else asdict(plan.acoustics),
        "personality": dict(person.personality),
        "duration_s": len(heard) / SAMPLE_RATE,
        "syllables": [[round(a, 3), round(b, 3), phones] for a, b, phones in performance.syllables],
        "events": [
            {key: getattr(event, key) for key in ("kind", "start_ms", "end_ms", "intensity")}
            for event in plan.events
        ],
    }


def write_sound(path: Path, waveform: Tensor) -> None:
    """Write a waveform `(N,)` at 16 kHz as 16-bit ``.wav`` or ``.flac``, or as AAC in ``.m4a``.

    Raises:
        InputError: the file cannot be written.
    """
    pcm = (waveform * 32767).round().clamp(-32768, 32767).to(torch.int16).numpy()
    with atomic_write(path) as temporary:
        if path.suffix != ".m4a":
            sf.write(temporary, pcm, SAMPLE_RATE, subtype="PCM_16")
            return
        try:
            with av.open(
                str(temporary), "w", format="mp4", options={"fflags": "+bitexact"}
            ) as container:
                stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
                frame = AudioFrame.from_ndarray(
                    np.ascontiguousarray(pcm[None]), format="s16", layout="mono"
                )
                frame.sample_rate, frame.pts = SAMPLE_RATE, 0
                container.mux(stream.encode(frame))
                container.mux(stream.encode())
        except av.FFmpegError as error:
            problem = f"cannot be written ({error.strerror or error})"
            raise InputError(path, problem, "free space or choose another folder") from error


def _record(
    path: Path, plan: ClipPlan, person: Person, performance: Performance, seed: int
) -> Tensor:
    """Film a performance, or only listen to it; what the microphone hears."""
    if plan.camera is None:
        listening = Camera(fps=25, room_db=plan.room_db)
        chances = torch.Generator().manual_seed(seed)
        return record_sound(performance.waveform, listening, chances)
    with open_film(path, person, plan.camera, seed=seed) as write:
        return write(performance)


def of_people(scales: Mapping[str, float]) -> dict[str, float]:
    """The strengths of those effects that `people` knows."""
    return {name: value for name, value in scales.items() if name in people.EFFECTS}
