"""IB annotations in memory: segments of roles, smiles and laughs, and how their files pair up.

Source: thesis section 5.2.1 (tiers and levels); notes item 31 (file names).
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from thesislib.errors import InputError

if TYPE_CHECKING:
    from pyannote.core import Annotation

TIERS: Mapping[str, tuple[str, ...]] = {
    "Role": ("spk", "lsn"),
    "Smiles": ("subtle", "low", "medium", "high"),
    "Laughs": ("low", "medium", "high"),
}
"""The tiers that are read, each with its values in rising order of intensity."""
MAX_MS = 2**31 - 1  # ELAN's own limit, 24 days


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A labelled stretch of time, from `start_ms` up to, but without, `end_ms`.

    >>> Segment(1000, 2500, "low").duration_s
    1.5
    """

    start_ms: int
    end_ms: int
    value: str

    def __post_init__(self) -> None:
        if not 0 <= self.start_ms < self.end_ms <= MAX_MS:
            raise ValueError(f"no segment runs from {self.start_ms} to {self.end_ms} ms")

    @property
    def start_s(self) -> float:
        """Start in seconds."""
        return self.start_ms / 1000

    @property
    def end_s(self) -> float:
        """End in seconds."""
        return self.end_ms / 1000

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return (self.end_ms - self.start_ms) / 1000


@dataclass(frozen=True, slots=True)
class Repair:
    """Something in a file that was mended, or, for two of the kinds, only noticed.

    Attributes:
        kind: ``value-spelling``, ``tier-name``, ``duplicate-tier``, ``duplicate-id``,
            ``empty-value``, ``zero-length``, ``overlap``, ``slot-time``, ``unused-slots``,
            ``span``; noticed only: ``missing-tier`` and ``smile-laugh-overlap``.
        tier: The tier as the file spells it, or None for the file as a whole.
        start_ms: Where in time, or None.
        what: What was found and what was done.
        lost: Segments that the file has and the result has not (negative: it has more).
            The file's segments are those of the result, plus `IBAnnotation.unread`, plus these.
    """

    kind: str
    tier: str | None
    start_ms: int | None
    what: str
    lost: int = 0

    def __str__(self) -> str:
        """One line: place, then what."""
        at = None if self.start_ms is None else f"{self.start_ms / 1000:.3f} s"
        return ": ".join(part for part in (self.tier, at, self.what) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class IBAnnotation:
    """One annotator's roles, smiles and laughs of one participant.

    Attributes:
        name: File name, the key under which annotators are compared.
        tiers: Tier of `TIERS` to its segments, in order and disjoint. A tier that the file lacks
            is absent, which is not the same as empty.
        span_ms: First and last millisecond annotated; time outside is unlabelled, not *none*.
            Taken from the file where it says so, else from the first start to the last end.
        annotator: Who annotated, if the file says so.
        media: File names of the recordings.
        repairs: What was mended in reading.
        unread: Other tiers of the file, to their number of segments.

    Raises:
        ValueError: a tier or value is not in `TIERS`, segments overlap or are out of order, or
            lie outside the span.
    """

    name: str
    tiers: Mapping[str, tuple[Segment, ...]]
    span_ms: tuple[int, int]
    annotator: str | None = None
    media: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()
    unread: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        start, end = self.span_ms
        if not 0 <= start <= end <= MAX_MS:
            raise ValueError(f"no span runs from {start} to {end} ms")
        for tier, segments in self.tiers.items():
            if tier not in TIERS or not {s.value for s in segments} <= set(TIERS[tier]):
                raise ValueError(f"tier {tier} or one of its values is not in the scheme")
            if any(a.end_ms > b.start_ms for a, b in pairwise(segments)):
                raise ValueError(f"segments of {tier} overlap or are out of order")
            if segments and (segments[0].start_ms < start or segments[-1].end_ms > end):
                raise ValueError(f"segments of {tier} lie outside the annotated span")

    @property
    def roles(self) -> tuple[Segment, ...]:
        """Stretches as speaker or listener."""
        return self.tiers.get("Role", ())

    @property
    def smiles(self) -> tuple[Segment, ...]:
        """Smiles by intensity."""
        return self.tiers.get("Smiles", ())

    @property
    def laughs(self) -> tuple[Segment, ...]:
        """Laughs by intensity."""
        return self.tiers.get("Laughs", ())

    def to_pyannote(self, tier: str) -> Annotation:
        """The tier as a `pyannote.core.Annotation`, times in seconds, tracks numbered."""
        from pyannote.core import Annotation  # a second and more to import: only where asked for
        from pyannote.core import Segment as Stretch

        rows = (
            (Stretch(s.start_s, s.end_s), number, s.value)
            for number, s in enumerate(self.tiers[tier])
        )
        return Annotation.from_records(rows, uri=self.name, modality=tier)


def disjoint(name: str, segments: Iterable[Segment], repairs: list[Repair]) -> Iterator[Segment]:
    """Segments in order; in a run of overlapping ones the latest start holds at each moment."""
    runs: list[list[Segment]] = []
    last = 0
    for segment in sorted(segments, key=lambda s: (s.start_ms, s.end_ms)):
        if runs and segment.start_ms < last:
            runs[-1].append(segment)
        else:
            runs.append([segment])
        last = max(last, segment.end_ms)
    for run in runs:
        pieces = run if len(run) == 1 else _flatten(run)
        if len(run) > 1:
            what = (
                f"{len(run)} segments overlap up to {pieces[-1].end_ms} ms; the later start "
                f"holds, equal values are joined: now {len(pieces)}"
            )
            lost = len(run) - len(pieces)
            repairs.append(Repair("overlap", name, run[0].start_ms, what, lost))
        yield from pieces


def _flatten(run: Sequence[Segment]) -> list[Segment]:
    """One label at each moment of a run of overlapping segments, sorted by start.

    >>> [(s.start_ms, s.end_ms, s.value) for s in _flatten(
    ...     [Segment(0, 100, "low"), Segment(40, 60, "high"), Segment(90, 120, "low")])]
    [(0, 40, 'low'), (40, 60, 'high'), (60, 120, 'low')]
    """
    pieces: list[Segment] = []
    active: list[tuple[int, int, int]] = []  # latest start first, then the shorter, then the later
    upcoming = 0
    for start, end in pairwise(sorted({t for s in run for t in (s.start_ms, s.end_ms)})):
        while upcoming < len(run) and run[upcoming].start_ms == start:
            heapq.heappush(active, (-start, run[upcoming].end_ms, -upcoming))
            upcoming += 1
        while active[0][1] <= start:
            heapq.heappop(active)
        value = run[-active[0][2]].value
        if pieces and pieces[-1].value == value:
            start = pieces.pop().start_ms
        pieces.append(Segment(start, end, value))
    return pieces


def smiles_in_laughs(smiles: Sequence[Segment], laughs: Sequence[Segment]) -> Iterator[Repair]:
    """A report for each smile and laugh that overlap; the protocol forbids it (5.2.1)."""
    j = 0
    for smile in smiles:
        while j < len(laughs) and laughs[j].end_ms <= smile.start_ms:
            j += 1
        k = j
        while k < len(laughs) and laughs[k].start_ms < smile.end_ms:
            start = max(smile.start_ms, laughs[k].start_ms)
            end = min(smile.end_ms, laughs[k].end_ms)
            what = f"a smile and a laugh overlap up to {end} ms; left as it is"
            yield Repair("smile-laugh-overlap", "Smiles", start, what)
            k += 1


NAMES = (
    re.compile(r"(?P<dyad>P\d+_P\d+_\d+)_(?P<seat>dizzy|monk)"),  # CCDB: its two cameras
    re.compile(r"(?P<dyad>\d+_\d+)_(?P<seat>[AB])_[MF]"),  # NDC-ME: pair, session, seat, gender
)
IFADV = re.compile(r"DV(?P<camera>[AB])(?P<number>\d+)[A-Z]+")


def pair_participants(
    paths: Iterable[str | Path],
) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Pair the files of the two participants of each dyad by file name.

    CCDB ``P12_P2_1402_dizzy`` with ``P12_P2_1402_monk``; NDC-ME ``13_1_A_M`` with ``13_1_B_F``.
    IFADV: where both cameras are there, one number of ``DVA`` and ``DVB`` (as the authors' code
    pairs them); where there are only ``DVA`` files, 1 with 2, 3 with 4 and so on.

    Args:
        paths: Files of any of the three corpora; the suffix does not matter.

    Returns:
        Pairs in order of dyad, each in order of seat; and the files left over, in order.

    Raises:
        InputError: two files are there for one participant.

    Source: notes item 31.

    >>> pairs, rest = pair_participants(["13_1_B_F.eaf", "13_1_A_M.eaf", "DVA1A.eaf"])
    >>> [(a.stem, b.stem) for a, b in pairs], [p.stem for p in rest]
    ([('13_1_A_M', '13_1_B_F')], ['DVA1A'])
    """
    files = sorted(map(Path, paths))
    two_cameras = any(m["camera"] == "B" for p in files if (m := IFADV.fullmatch(p.stem)))
    seats: dict[tuple[str, str], Path] = {}
    dyads: dict[str, list[Path]] = {}
    rest = []
    for path in files:
        match = next((m for pattern in NAMES if (m := pattern.fullmatch(path.stem))), None)
        if match:
            dyad, seat = match["dyad"], match["seat"]
        elif match := IFADV.fullmatch(path.stem):
            number = int(match["number"])
            dyad = f"DV{number}" if two_cameras else f"DV{(number + 1) // 2}"
            seat = match["camera"] if two_cameras else str(number)
        else:
            rest.append(path)
            continue
        if other := seats.get((dyad, seat)):
            raise InputError(
                path, f"is a second file for one participant, beside {other}", "keep one of them"
            )
        seats[dyad, seat] = path
        dyads.setdefault(dyad, []).append(path)
    pairs = [(found[0], found[1]) for found in dyads.values() if len(found) == 2]
    rest += [found[0] for found in dyads.values() if len(found) == 1]
    return pairs, sorted(rest)
