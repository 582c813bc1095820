"""The twins of NDC-ME, IFADV and CCDB as media: filmed conversations with ELAN files beside them.

Two people take turns (`dyads`), speak, smile and laugh (`performance`), are filmed (`film`) and
annotated (`annotators`); everything true about it goes into ``twin.json``. The twin of the IB
annotations has what the other annotators of the very same conversations hand in.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import soundfile as sf

from thesislib.corpora.twins import annotators, people
from thesislib.corpora.twins import dyads as timelines
from thesislib.corpora.twins.annotators import annotators_of, write_annotations
from thesislib.corpora.twins.dyads import Dyad, Participant, chance, simulate_dyad
from thesislib.corpora.twins.film import SAMPLE_RATE, Camera, open_film
from thesislib.corpora.twins.people import Person, sample_person
from thesislib.corpora.twins.performance import Performance, perform_dyad
from thesislib.corpora.twins.voice import effect_scales
from thesislib.corpora.twins.writing import describe_twin, new_twin, run_parallel, tick
from thesislib.errors import InputError

CORPORA = tuple(timelines.FLAVOURS)
DYADS = 6
"""Conversations of a twin, where nobody asks for another number."""
CAMERAS: Mapping[str, Camera] = {
    "ndc-me": Camera(
        fps=50, size=224, noise=2.0, blur_px=0.35, white_balance=(1.04, 1.0, 0.95),
        vignette=0.08, crf=23, profile="high", audio_rate=48_000, audio_bit_rate=96_000,
        room_db=-58.0,
    ),
    "ifadv": Camera(
        fps=25, size=(240, 320), noise=3.5, blur_px=0.6, exposure=1.05, vignette=0.15,
        white_balance=(0.96, 1.0, 1.06), crf=26, profile="main", audio_rate=48_000,
        audio_bit_rate=64_000, room_db=-66.0,
    ),
    "ccdb": Camera(
        fps=25, size=240, noise=1.5, blur_px=0.5, exposure=0.92, vignette=0.25,
        white_balance=(0.98, 1.02, 0.98), bit_rate=300_000, preset="ultrafast",
        profile="baseline", audio_rate=44_100, audio_bit_rate=128_000, room_db=-52.0,
    ),
}  # fmt: skip
LEAKAGE_DB: Mapping[str, float] = {"ndc-me": -22.0, "ifadv": -30.0, "ccdb": -18.0}
"""Level of the other person in one's own microphone, relative to their own."""
SEPARATE_SOUND = ("ifadv",)
"""Corpora whose sound also comes as a ``.wav`` that no lossy codec has seen."""
EFFECTS: Mapping[str, str] = {
    **timelines.EFFECTS,
    **{name: what for name, what in people.EFFECTS.items() if not name.startswith("emotion_")},
    **annotators.EFFECTS,
    "camera": "noise, blur, vignette, exposure and colour of the pictures",
    "pictures": "0 leaves the pictures out: sound alone, written many times as fast",
    "room": "amplitude of the noise of room and microphone",
}
"""Names of all planted effects: 1 is the documented size, 0 switches one off."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One conversation to film, with its two recordings."""

    folder: Path
    corpus: str
    number: int
    seed: int
    duration_s: float | None
    scales: Mapping[str, float]


def write_twin(
    corpus: str,
    out: Path,
    *,
    seed: int = 0,
    dyads: int | None = None,
    duration_s: float | None = None,
    effects: Mapping[str, float] | None = None,
    progress: Callable[[int], None] | None = None,
    workers: int | None = None,
) -> Path:
    """Write a twin of conversations in the layout that `thesislib.corpora.dyadic` reads.

    Each participant has ``NAME.mp4`` and ``NAME.eaf`` (of IFADV ``NAME.wav`` as well), where the
    annotation is that of the first of `annotators_of`: of every third conversation it covers the
    first two minutes only. The twin of ``ib`` has no media but all annotations, as
    ``CORPUS/ANNOTATOR/NAME.eaf``, of the same conversations. A conversation does not depend on
    how many there are, and its two people appear in no other.

    Args:
        corpus: ``ndc-me``, ``ifadv``, ``ccdb`` or ``ib``.
        out: Folder; an older twin of the same corpus is replaced.
        seed: 0 or more; the same seed gives the same annotations and the same pictures.
        dyads: Number of conversations; default `DYADS`.
        duration_s: Length of each, at least 5 s; default that of the corpus.
        effects: Strengths that differ from 1, by the names of `EFFECTS`; 0 for a null twin.
        progress: Called with the number of seconds filmed so far (of conversations annotated,
            for ``ib``); see `amount`.
        workers: Processes; default one a processor.

    Returns:
        `out`.

    Raises:
        InputError: the corpus or an effect is unknown, a number cannot be used, `out` holds
            something that is no such twin, or it cannot be written.
    """
    scales = effect_scales(EFFECTS, effects)
    dyads = DYADS if dyads is None else dyads
    if corpus not in (*CORPORA, "ib"):
        known = ", ".join((*CORPORA, "ib"))
        raise InputError(corpus, "is no twin of conversations", f"use one of {known}")
    if dyads < 1 or seed < 0:
        mend = "use at least one, and a seed from 0"
        raise InputError("dyads", f"cannot be {dyads} with the seed {seed}", mend)
    _check_duration(duration_s)
    with new_twin(out, corpus) as folder:
        jobs = [
            _Job(folder, name, number, seed, duration_s, scales)
            for name in (CORPORA if corpus == "ib" else (corpus,))
            for number in range(1, dyads + 1)
        ]
        _conversation(jobs[0])  # a number that cannot be used is refused before work begins
        write = _annotate_dyad if corpus == "ib" else _film_dyad
        rows = run_parallel(write, jobs, workers=workers, progress=progress)
        describe_twin(
            folder,
            corpus,
            module=__name__,
            seed=seed,
            effects=scales,
            clips=[row for pair in rows for row in pair],
            dyads=dyads,
            duration_s=duration_s,
            camera=asdict(CAMERAS[corpus].scaled(**_faults(scales))) if corpus != "ib" else None,
            leakage_db=LEAKAGE_DB.get(corpus),
        )
    return out


def amount(corpus: str, *, dyads: int | None = None, duration_s: float | None = None) -> int:
    """How much `write_twin` will have reported at its end: seconds of media, or conversations.

    >>> amount("ndc-me", dyads=2, duration_s=60), amount("ib", dyads=2)
    (240, 6)
    """
    n = DYADS if dyads is None else dyads
    if corpus == "ib":
        return n * len(CORPORA)
    length_s = timelines.FLAVOURS[corpus].duration_s if duration_s is None else duration_s
    _check_duration(length_s)
    return 2 * n * max(1, round(length_s))


def speaker_name(participant: Participant, corpus: str, number: int) -> str:
    """What the loader calls a participant: by pair and seat, by number, or by letter.

    >>> [speaker_name(simulate_dyad(c, 7).participants[1], c, 7) for c in CORPORA]
    ['7B', 'N', 'P14']
    """
    if corpus == "ndc-me":
        return f"{number}{participant.seat}"
    if corpus == "ccdb":
        return f"P{2 * number - (participant.seat == 'A')}"
    return re.sub(r"^DV[AB]\d+", "", participant.name)


def _check_duration(duration_s: float | None) -> None:
    if duration_s is not None and not math.isfinite(duration_s):
        raise InputError("duration", f"cannot be {duration_s} s", "use 5 s or more")


def _conversation(job: _Job) -> Dyad:
    return simulate_dyad(
        job.corpus,
        job.number,
        seed=job.seed,
        duration_s=job.duration_s,
        effects=_of(timelines.EFFECTS, job.scales),
    )


def _of(known: Mapping[str, str], scales: Mapping[str, float]) -> dict[str, float]:
    """The strengths of one module's effects."""
    return {name: scales[name] for name in known if name in scales}


def _faults(scales: Mapping[str, float]) -> dict[str, float]:
    return {
        "picture": scales["camera"], "room": scales["room"], "pictures": scales["pictures"],
    }  # fmt: skip


def _film_dyad(job: _Job) -> list[dict[str, Any]]:
    """Film both people of one conversation, and write what their annotator hands in."""
    dyad = _conversation(job)
    acting = _of(people.EFFECTS, job.scales)
    names = [speaker_name(p, job.corpus, job.number) for p in dyad.participants]
    pair = tuple(
        # The corpus is part of the name: nobody appears in two corpora.
        sample_person(f"{job.corpus} {name}", p.sex, seed=job.seed, effects=acting)
        for name, p in zip(names, dyad.participants, strict=True)
    )
    camera = CAMERAS[job.corpus].scaled(**_faults(job.scales))
    blocks = perform_dyad(
        dyad,
        (pair[0], pair[1]),
        fps=camera.fps,
        leakage_db=LEAKAGE_DB[job.corpus],
        seed=job.seed,
        effects=acting,
    )
    frames = [0, 0]
    syllables: tuple[list[Any], list[Any]] = ([], [])
    with ExitStack() as stack:
        write = [
            _open_recording(stack, job, participant, person, camera)
            for participant, person in zip(dyad.participants, pair, strict=True)
        ]
        for block in blocks:
            for side, performance in enumerate(block):
                write[side](performance)
                frames[side] += len(performance.motion)
                syllables[side].extend(performance.syllables)
                tick(round(len(performance.motion) / camera.fps))
    annotator = annotators_of(job.number)[0]
    with tempfile.TemporaryDirectory(dir=job.folder) as own:
        for path in write_annotations(
            Path(own),
            [dyad],
            seed=job.seed,
            effects=_of(annotators.EFFECTS, job.scales),
            dirt=True,
            who=lambda number: (annotator,),
        ):
            path.rename(job.folder / path.name)
    return [
        {
            "file": f"{participant.name}.mp4",
            "dyad": job.number,
            "speaker": name,
            "sex": person.sex,
            "annotator": annotator.name,
            "fps": camera.fps,
            "frames": n,
            "personality": dict(person.personality),
            "expressiveness": participant.expressiveness,
            "identity": asdict(person.identity),
            "voice": asdict(person.voice),
            "roles": [(s.start_ms, s.end_ms, s.value) for s in participant.roles],
            "backchannels": [(s.start_ms, s.end_ms) for s in participant.backchannels],
            "events": [asdict(event) for event in participant.events],
            "syllables": [(round(a, 4), round(b, 4), text) for a, b, text in spoken],
        }
        for participant, person, name, n, spoken in zip(
            dyad.participants, pair, names, frames, syllables, strict=True
        )
    ]


def _open_recording(
    stack: ExitStack, job: _Job, participant: Participant, person: Person, camera: Camera
) -> Callable[[Performance], None]:
    """What takes the blocks of one participant: the film and, for some corpora, the ``.wav``."""
    path = job.folder / f"{participant.name}.mp4"
    seed = int(chance(job.seed, f"camera of {participant.name}").integers(2**62))
    shoot = stack.enter_context(open_film(path, person, camera, seed=seed))
    sound = None
    if job.corpus in SEPARATE_SOUND:
        wav = sf.SoundFile(path.with_suffix(".wav"), "w", SAMPLE_RATE, 1, subtype="PCM_16")
        sound = stack.enter_context(wav)

    def take(block: Performance) -> None:
        heard = shoot(block)
        if sound is not None:
            sound.write(heard.numpy())

    return take


def _annotate_dyad(job: _Job) -> list[dict[str, Any]]:
    """Write what all annotators of one conversation hand in."""
    paths = write_annotations(
        job.folder / job.corpus,
        [_conversation(job)],
        seed=job.seed,
        effects=_of(annotators.EFFECTS, job.scales),
        dirt=True,
    )
    tick()
    return [
        {
            "file": path.relative_to(job.folder).as_posix(),
            "corpus": job.corpus,
            "dyad": job.number,
            "annotator": path.parent.name,
        }
        for path in paths
    ]
