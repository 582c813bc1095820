"""NDC-ME, IFADV and CCDB: two people filmed in conversation, with ELAN files of the IB scheme.

Layout, for all three: one ``.eaf`` a participant, named as notes item 31 says, with the recordings
under the same name (``13_1_A_M.eaf``, ``13_1_A_M.mp4`` and perhaps ``13_1_A_M.wav``), anywhere
below the corpus's folder. Where several people annotated one participant, each annotator's files
lie in a folder of their own, inside or outside that of the corpus; `annotations` names it.

File names of NDC-ME give a seat, not a person, and 14 people sat in its 34 seats (section 6.2).
An optional table ``participants.csv`` (``file,participant,sex``; file without a suffix) says who
is who. Without it a pair's two seats count as people of their own, and a speaker-disjoint split of
NDC-ME keeps pairs apart but cannot keep apart a person who sat in several.

Source: thesis sections 5.2 and 6.2; notes items 31 and 36.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from thesislib.corpora import layout
from thesislib.corpora.annotation import IFADV, NAMES, IBAnnotation, pair_participants
from thesislib.corpora.clip import Clip
from thesislib.corpora.elan import read_eaf
from thesislib.corpora.layout import detect_variant
from thesislib.corpora.windows import WINDOW_S, label_windows
from thesislib.errors import InputError

__all__ = ["CORPORA", "Recording", "check", "detect_variant", "load_clips", "load_recordings"]

CORPORA = {"ccdb": NAMES[0], "ndc-me": NAMES[1], "ifadv": IFADV}
"""Corpus to the scheme of its file names."""
ANNOTATED_S = {"ifadv": 120.0}
"""What section 6.2 says is annotated of every file, counted from its start, in seconds."""
VIDEO = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".flv")
AUDIO = (".wav", ".flac", ".mp3", ".m4a", ".ogg")
PARTICIPANTS = "participants.csv"
_COLUMNS = ("start_ms", "expression", "intensity", "role", "share")
_SEXES = {"F": "female", "M": "male"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One participant of a dyad: recordings and annotation.

    Attributes:
        name: File name without suffix, such as ``13_1_A_M``.
        corpus: Name of the manifest.
        dyad: Name of the conversation, shared by the two; unique within the corpus.
        speaker: Who this is.
        partner: Who the other one is, where that is known.
        sex: ``female``, ``male`` or ``unknown``.
        annotation: Roles, smiles and laughs.
        annotation_path: Its file.
        audio_path: Recording with sound: one of sound alone, else the video; None where neither
            is there.
        video_path: Recording with frames, if it is there.
    """

    name: str
    corpus: str
    dyad: str
    speaker: str
    partner: str | None
    sex: str
    annotation: IBAnnotation
    annotation_path: Path
    audio_path: Path | None
    video_path: Path | None


def load_recordings(root: Path, corpus: str, *, annotations: Path | None = None) -> list[Recording]:
    """All annotated participants under `root`, the two of a dyad after each other.

    The recordings may be absent: annotations are studied without them (chapter 5).

    Args:
        root: Folder of the corpus or of its twin.
        corpus: ``ndc-me``, ``ifadv`` or ``ccdb``.
        annotations: Folder whose ``.eaf`` files are read; default `root`.

    Raises:
        InputError: the licence is not accepted, there is no ``.eaf``, one cannot be read, a name
            breaks the scheme, or two files are there for one participant.
    """
    layout.require_licence(root, corpus)
    pairs, single = _paired(annotations or root, corpus)
    people = _participants(root)
    media = _media(root)
    recordings = []
    for paths in [*pairs, *((path,) for path in single)]:
        dyad = _dyad([path.stem for path in paths], corpus)
        known = [_person(path, corpus, people) for path in paths]
        for number, path in enumerate(paths):
            speaker, sex, other = known[number]
            if len(paths) == 2:
                other = known[1 - number][0]
            video, audio = (_one(media.get(path.stem, []), suffixes) for suffixes in (VIDEO, AUDIO))
            recordings.append(
                Recording(
                    name=path.stem,
                    corpus=corpus,
                    dyad=dyad,
                    speaker=speaker,
                    partner=other,
                    sex=sex,
                    annotation=read_eaf(path),
                    annotation_path=path,
                    audio_path=audio or video,
                    video_path=video,
                )
            )
    if not recordings:
        mend = "copy the annotations there, beside the recordings"
        raise InputError(annotations or root, "holds no .eaf file", mend)
    return recordings


def load_clips(
    root: Path,
    corpus: str,
    *,
    length_s: float = WINDOW_S,
    hop_s: float | None = None,
    annotations: Path | None = None,
) -> list[Clip]:
    """Windows of all participants with a clear label, by the rule of `label_windows`.

    Labels are ``expression``, ``intensity``, ``role``, ``dyad`` and, where known, ``partner`` (the
    speaker on the other side); the score ``share`` is the part of the window that the expression
    covers. Of IFADV the first two minutes count, as in the thesis. A participant whose file lacks
    the tier of smiles or laughs has no labelled time and yields no clip; `check` names the file.

    Raises:
        InputError: as `load_recordings`, or a recording is missing, or no window has a label.
    """
    clips = []
    for recording in load_recordings(root, corpus, annotations=annotations):
        if not {"Smiles", "Laughs"} <= recording.annotation.tiers.keys():
            continue
        if recording.audio_path is None:
            mend = f"copy {recording.name}.mp4 or .wav below {root}"
            raise InputError(recording.annotation_path, "has no recording of its name", mend)
        labels = {"dyad": recording.dyad}
        if recording.partner is not None:
            labels["partner"] = recording.partner
        windows = label_windows(
            recording.annotation, length_s=length_s, hop_s=hop_s, first_s=ANNOTATED_S.get(corpus)
        )
        for start_ms, expression, intensity, role, share in zip(
            *(windows[column].tolist() for column in _COLUMNS), strict=True
        ):
            clips.append(
                Clip(
                    clip_id=f"{recording.name}@{start_ms}",
                    corpus=corpus,
                    speaker=recording.speaker,
                    sex=recording.sex,
                    audio_path=recording.audio_path,
                    video_path=recording.video_path,
                    start_s=start_ms / 1000,
                    duration_s=round(1000 * length_s) / 1000,
                    labels={"expression": expression, "intensity": intensity, "role": role}
                    | labels,
                    scores={"share": share},
                )
            )
    if not clips:
        raise InputError(root, "holds no window with a label", "run `thesis data check`")
    return clips


def check(root: Path, corpus: str, *, annotations: Path | None = None) -> list[InputError]:
    """Every unreadable, unpaired or contradictory annotation and every missing recording.

    A smile and a laugh of one person that overlap are reported, for the protocol forbids it; the
    windows around them are dropped. Recordings without an annotation are no fault: the IB
    annotations cover a part of each corpus.
    """
    problems = [*layout.missing_of_twin(root)]
    try:
        pairs, single = _paired(annotations or root, corpus)
        people, media = _participants(root), _media(root)
    except InputError as error:
        return [*problems, error]
    if not pairs and not single:
        mend = "copy the annotations there, beside the recordings"
        problems.append(InputError(annotations or root, "holds no .eaf file", mend))
    for path in sorted([*(path for pair in pairs for path in pair), *single]):
        if path in single:
            mend = "restore the file of the other participant"
            problems.append(InputError(path, "has no counterpart", mend))
        try:
            _person(path, corpus, people)
            problems += _check_recordings(path, media.get(path.stem, []))
            problems += _check_annotation(path, read_eaf(path))
        except InputError as error:
            problems.append(error)
    return problems


def _check_recordings(path: Path, found: list[Path]) -> list[InputError]:
    video, audio = (_one(found, suffixes) for suffixes in (VIDEO, AUDIO))
    if video is None and audio is None:
        mend = f"copy {path.stem}.mp4 or .wav below the corpus's folder"
        return [InputError(path, "has no recording of its name", mend)]
    return [problem for media in (video, audio) if media for problem in layout.check_media(media)]


def _check_annotation(path: Path, annotation: IBAnnotation) -> list[InputError]:
    problems = [
        InputError(
            path,
            f"has no tier {tier}, so no window of it gets a label",
            "annotate it, or leave the file out",
        )
        for tier in ("Smiles", "Laughs")
        if tier not in annotation.tiers
    ]
    return problems + [
        InputError(path, repair.what, "shorten one of the two in ELAN", where=_place(repair))
        for repair in annotation.repairs
        if repair.kind == "smile-laugh-overlap"
    ]


def _place(repair: object) -> str:
    """Tier and time of a repair, without what was done."""
    return ": ".join(str(repair).split(": ")[:2])


def _paired(folder: Path, corpus: str) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """The annotations, paired; all of them named by the scheme of the corpus."""
    if corpus not in CORPORA:
        raise InputError(corpus, "is no corpus of dyads", f"choose one of: {', '.join(CORPORA)}")
    paths = sorted(folder.rglob("*.eaf"))
    for path in paths:
        if CORPORA[corpus].fullmatch(path.stem) is None:
            mend = "rename it as in notes item 31, or move it out of the folder"
            raise InputError(path, f"is not named like a recording of {corpus}", mend)
    return pair_participants(layout.unique_stems(paths).values())


def _dyad(names: list[str], corpus: str) -> str:
    """Name of a conversation: what the two names share, or both names for IFADV."""
    match = CORPORA[corpus].fullmatch(names[0])
    if match and "dyad" in match.groupdict():
        return str(match["dyad"])
    return "-".join(names)


def _person(
    path: Path, corpus: str, people: dict[str, tuple[str, str]] | None
) -> tuple[str, str, str | None]:
    """Speaker, sex, and who else took part as far as the name says it."""
    name = path.stem
    if people is not None:
        if name not in people:
            raise InputError(path, f"has no row in {PARTICIPANTS}", "add one")
        return *people[name], None
    match = CORPORA[corpus].fullmatch(name)
    if match is None:  # `_paired` lets no such name through
        raise ValueError(f"{name} is not named like a recording of {corpus}")
    if corpus == "ndc-me":
        pair, seat = match["dyad"].split("_")[0], match["seat"]
        return f"{pair}{seat}", _SEXES[name[-1]], f"{pair}{'AB'[seat == 'A']}"
    if corpus == "ccdb":
        # Which camera filmed whom is not documented; that *dizzy* filmed the first one is an
        # assumption, on which no split depends, for both people of a dyad stay on one side.
        first, second = match["dyad"].split("_")[:2]
        ours, theirs = (first, second) if match["seat"] == "dizzy" else (second, first)
        return ours, "unknown", theirs
    return re.sub(r"^DV[AB]\d+", "", name), "unknown", None


def _participants(root: Path) -> dict[str, tuple[str, str]] | None:
    """File name without suffix to participant and sex; None without the table."""
    path = root / PARTICIPANTS
    if not path.is_file():
        return None
    people = {}
    for number, row in enumerate(layout.read_table(path, ("file", "participant", "sex")), start=2):
        sex = row["sex"].lower() or "unknown"
        if sex not in ("female", "male", "unknown") or not row["participant"]:
            problem = f"cannot read participant {row['participant']!r} of sex {row['sex']!r}"
            mend = "give a name, and female, male or unknown"
            raise InputError(path, problem, mend, where=f"row {number}")
        people[row["file"]] = (row["participant"], sex)
    return people


def _media(root: Path) -> dict[str, list[Path]]:
    """Name without suffix to its recordings."""
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in (*VIDEO, *AUDIO) and path.is_file():
            found.setdefault(path.stem, []).append(path)
    return found


def _one(paths: Iterable[Path], suffixes: tuple[str, ...]) -> Path | None:
    """The only recording with one of the suffixes, or None."""
    found = [path for path in paths if path.suffix.lower() in suffixes]
    if len(found) > 1:
        mend = "keep one of them"
        raise InputError(found[1], f"is a second recording beside {found[0]}", mend)
    return found[0] if found else None
