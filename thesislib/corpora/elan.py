"""ELAN files of the Interaction Behaviour (IB) annotations: roles, smiles and laughs.

Reading has three steps: the XML is checked and rewritten with fresh identifiers (pympi would
crash on some damage, and silently drop a segment on other), pympi parses the result, and its
segments are given times, vocabulary and order. Whatever is mended is reported as a `Repair`;
whatever cannot be is an `InputError` that names the file, the tier and the time.

Source: thesis section 5.2.1 (tiers and levels); notes item 31 (layout and dirt of real files).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from pympi import Elan

from thesislib.corpora.annotation import (
    MAX_MS,
    TIERS,
    IBAnnotation,
    Repair,
    Segment,
    disjoint,
    pair_participants,
    smiles_in_laughs,
)
from thesislib.corpora.eaf_check import MEND, SCHEMA, SPAN, checked, parse
from thesislib.errors import InputError
from thesislib.files import atomic_write

__all__ = [
    "TIERS",
    "IBAnnotation",
    "Repair",
    "Segment",
    "pair_participants",
    "read_eaf",
    "write_eaf",
]

PARENT = "S&L"  # holds one stretch around each run of smiles and laughs
SPELLINGS = {"speaker": "spk", "listener": "lsn", "med": "medium"}
TIER_SPELLINGS = {"roles": "Role", "smile": "Smiles", "laugh": "Laughs", "laughter": "Laughs"}


def read_eaf(path: str | Path) -> IBAnnotation:
    """Read an ELAN file of the IB scheme, mending what can be mended.

    Trailing blanks, case and known variants of values and tier names are normalised. Empty and
    zero-length segments are dropped. A time slot without a value is placed evenly between its
    neighbours, as ELAN does. Where segments of one tier overlap, the one that starts later
    holds, and equal values are joined. Smiles that overlap laughs are reported and kept.

    Raises:
        InputError: the file is missing, empty, not XML, carries a document type (entity bombs
            need one), is not an ELAN file in milliseconds, has none of the three tiers or one
            of them twice, or has a segment outside any tier, without times, with negative or
            reversed times, or with a value that is not in the vocabulary.

    Source: notes items 31 and 32.
    """
    path = Path(path)
    repairs: list[Repair] = []
    clean, names = checked(path, parse(path), repairs)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checked.eaf"
        ElementTree.ElementTree(clean).write(copy, encoding="UTF-8", xml_declaration=True)
        eaf = Elan.Eaf(str(copy))
    chosen = _choose_tiers(path, eaf, names, repairs)
    tiers = {
        tier: _segments(path, eaf, number, names[number], tier, repairs)
        for tier, number in chosen.items()
    }
    repairs += smiles_in_laughs(tiers.get("Smiles", ()), tiers.get("Laughs", ()))
    unread: dict[str, int] = {}
    for number, name in enumerate(names):
        count = len(eaf.tiers[str(number)][0]) + len(eaf.tiers[str(number)][1])
        if number not in chosen.values() and count:
            unread[name] = unread.get(name, 0) + count
    annotators = (eaf.tiers[str(number)][2].get("ANNOTATOR") for number in chosen.values())
    return IBAnnotation(
        name=path.name,
        tiers=tiers,
        span_ms=_span(eaf, tiers, repairs),
        annotator=next((a for a in annotators if a), None),
        media=tuple(
            unquote((m.get("RELATIVE_MEDIA_URL") or m.get("MEDIA_URL", "")).rsplit("/", 1)[-1])
            for m in eaf.media_descriptors
        ),
        repairs=tuple(repairs),
        unread=unread,
    )


def _choose_tiers(
    path: Path, eaf: Elan.Eaf, names: Sequence[str], repairs: list[Repair]
) -> dict[str, int]:
    """Tier of the scheme to its place in the file, by exact name, case or known variant."""
    known = {tier.casefold(): tier for tier in TIERS} | TIER_SPELLINGS
    found: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        if tier := known.get(re.sub(r"[^a-z]", "", name.casefold())):
            found.setdefault(tier, []).append(number)
    chosen = {}
    for tier, numbers in found.items():
        filled = [n for n in numbers if eaf.tiers[str(n)][0] or eaf.tiers[str(n)][1]]
        if len(filled) > 1:
            twice = " and ".join(repr(names[n]) for n in filled)
            raise InputError(path, f"has the tier {tier} twice, as {twice}", "keep one of them")
        if len(numbers) > 1:
            what = f"one of {len(numbers)} tiers for {tier} is read, the others are empty"
            repairs.append(Repair("duplicate-tier", names[numbers[0]], None, what))
        chosen[tier] = (filled or numbers)[0]
        if names[chosen[tier]] != tier:
            repairs.append(Repair("tier-name", names[chosen[tier]], None, f"read as {tier}"))
    if not chosen:
        listed = ", ".join(repr(name[:40]) for name in names[:10]) or "none"
        raise InputError(
            path, f"has none of the tiers {', '.join(TIERS)}; its tiers: {listed}", "rename them"
        )
    for tier in TIERS:
        if tier not in chosen:
            repairs.append(Repair("missing-tier", tier, None, "the file has no such tier"))
    return {tier: chosen[tier] for tier in TIERS if tier in chosen}


def _slot_times(eaf: Elan.Eaf) -> dict[str, tuple[int | None, bool]]:
    """Slot to its time in ms and whether that was inferred, evenly between valued neighbours."""
    values: list[int | None] = list(eaf.timeslots.values())
    times = [(value, False) for value in values]
    left, low = -1, 0
    for right, high in enumerate(values):
        if high is None:
            continue
        for i in range(left + 1, right):
            times[i] = (low + (high - low) * (i - left) // (right - left), True)
        left, low = right, high
    return dict(zip(eaf.timeslots, times, strict=True))


def _annotation_slots(path: Path, eaf: Elan.Eaf) -> dict[str, tuple[str, str]]:
    """Annotation to its two time slots; a child without any has those of its parent."""
    slots = {a: (row[0], row[1]) for tier in eaf.tiers.values() for a, row in tier[0].items()}
    parents = {a: row[0] for tier in eaf.tiers.values() for a, row in tier[1].items()}
    for annotation in parents:
        chain = []
        while annotation not in slots:
            chain.append(annotation)
            if len(chain) > len(parents):
                raise InputError(path, "has segments that refer to each other in a circle", MEND)
            annotation = parents[annotation]
        slots |= dict.fromkeys(chain, slots[annotation])
    return slots


def _segments(
    path: Path, eaf: Elan.Eaf, number: int, name: str, tier: str, repairs: list[Repair]
) -> tuple[Segment, ...]:
    """The segments of one of pympi's tiers, checked, in order and disjoint."""
    times, slots = _slot_times(eaf), _annotation_slots(path, eaf)
    aligned, referring = eaf.tiers[str(number)][:2]
    rows = [(a, row[2]) for a, row in aligned.items()] + [
        (a, row[1]) for a, row in referring.items()
    ]
    segments = []
    for annotation, raw in rows:
        (start, inferred), (end, inferred_too) = (times[slot] for slot in slots[annotation])
        where = f"tier {name!r}, " + ("no time" if start is None else f"{start / 1000:.3f} s")
        if start is None or end is None:
            what = f"a segment ({raw[:40]!r}) has a slot after the last one with a time"
            raise InputError(path, what, MEND, where=where)
        if start < 0 or end < 0:
            raise InputError(path, f"has a negative time (ends {end} ms)", MEND, where=where)
        if end < start:
            raise InputError(path, f"ends before it starts, at {end} ms", MEND, where=where)
        if end > MAX_MS:
            raise InputError(path, f"ends at {end} ms, beyond any recording", MEND, where=where)
        if inferred or inferred_too:
            what = f"a time slot has no value; placed evenly, the segment ends at {end} ms"
            repairs.append(Repair("slot-time", name, start, what))
        value = raw.strip().casefold()
        value = SPELLINGS.get(value, value)
        if value and value not in TIERS[tier]:
            mend = f"use one of {', '.join(TIERS[tier])}"
            raise InputError(path, f"has the value {raw[:40]!r}", mend, where=where)
        if not value:
            what = f"a segment to {end} ms has no value; dropped"
            repairs.append(Repair("empty-value", name, start, what, lost=1))
        elif start == end:
            what = f"a segment ({value}) has no length; dropped"
            repairs.append(Repair("zero-length", name, start, what, lost=1))
        else:
            if value != raw:
                what = f"{raw[:40]!r} read as {value!r}"
                repairs.append(Repair("value-spelling", name, start, what))
            segments.append(Segment(start, end, value))
    return tuple(disjoint(name, segments, repairs))


def _span(
    eaf: Elan.Eaf, tiers: Mapping[str, tuple[Segment, ...]], repairs: list[Repair]
) -> tuple[int, int]:
    """The annotated span that the file states, else from its first start to its last end."""
    ends = [(s[0].start_ms, s[-1].end_ms) for s in tiers.values() if s]
    start, end = min((e[0] for e in ends), default=0), max((e[1] for e in ends), default=0)
    stated = next((text or "" for key, text in eaf.properties if key == SPAN), None)
    if stated is None:
        return start, end
    match = re.fullmatch(r"(\d{1,10}) (\d{1,10})", stated.strip(), re.ASCII)
    if match and int(match[1]) <= int(match[2]) <= MAX_MS:
        low, high = int(match[1]), int(match[2])
        if not ends or (low <= start and end <= high):
            return low, high
    what = f"the stated span {stated[:40]!r} does not hold; from first start to last end instead"
    repairs.append(Repair("span", None, None, what))
    return start, end


def write_eaf(
    annotation: IBAnnotation, path: str | Path, media: Iterable[str | Path] | None = None
) -> None:
    """Write an annotation as a file of ELAN's format 3.0.

    Smiles and laughs become children (*Included In*) of ``S&L``, which gets one stretch around
    each run of them. Time slots are in order of time, values have controlled vocabularies, and
    no clock is read: equal annotations give equal bytes.

    Args:
        annotation: What to write; its repairs and unread tiers are not written.
        path: Where to; replaced as a whole or not at all.
        media: Recordings, referred to by file name beside the ``.eaf``; default those of the
            annotation.

    Raises:
        InputError: the folder cannot be written.
        ValueError: a name holds a character that XML does not allow.
    """
    eaf = Elan.Eaf(author=annotation.annotator or "")
    eaf.adocument.update(
        {
            "DATE": "1970-01-01T00:00:00+00:00",  # required; a real one would change the bytes
            "VERSION": "3.0",
            "FORMAT": "3.0",
            "xsi:noNamespaceSchemaLocation": SCHEMA,
        }
    )
    eaf.header = {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"}
    for name in annotation.media if media is None else media:
        url = quote(Path(name).name)
        eaf.add_linked_file(url, f"./{url}", _mime(url))
    eaf.remove_tier("default")
    eaf.remove_linguistic_type("default-lt")
    eaf.add_language("und", "http://cdb.iso.org/lg/CDB-00130975-001", "undetermined (und)")
    rows: dict[str, list[Segment]] = {}
    for tier, levels in TIERS.items():
        if tier not in annotation.tiers:
            continue
        child = tier != "Role"
        if child and PARENT not in rows:
            rows[PARENT] = _stretches([*annotation.smiles, *annotation.laughs])
            eaf.add_linguistic_type(PARENT)
            eaf.add_tier(PARENT, PARENT, ann=annotation.annotator)
        eaf.add_controlled_vocabulary(tier)
        for number, level in enumerate(levels):
            eaf.add_cv_entry(tier, f"{tier}_{number}", [(level, "und", None)])
        eaf.add_linguistic_type(
            tier,
            param_dict={
                "LINGUISTIC_TYPE_ID": tier,
                "TIME_ALIGNABLE": "true",
                "GRAPHIC_REFERENCES": "false",
                "CONSTRAINTS": "Included_In" if child else None,
                "CONTROLLED_VOCABULARY_REF": tier,
            },
        )
        eaf.add_tier(tier, tier, parent=PARENT if child else None, ann=annotation.annotator)
        rows[tier] = list(annotation.tiers[tier])
    _add_segments(eaf, rows)
    eaf.properties = [(SPAN, "{} {}".format(*annotation.span_ms))]
    eaf.properties.append(("lastUsedAnnotationId", sum(map(len, rows.values()))))
    data = b'<?xml version="1.0" encoding="UTF-8"?>\n' + Elan.to_string(eaf, encoding="UTF-8")
    if re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", data):
        raise ValueError("a media or annotator name holds a control character")
    with atomic_write(Path(path)) as temporary:
        temporary.write_bytes(data)


def _add_segments(eaf: Elan.Eaf, rows: Mapping[str, Sequence[Segment]]) -> None:
    """Give pympi's object slots in order of time, which its own `add_annotation` does not."""
    annotations = [(tier, segment) for tier, segments in rows.items() for segment in segments]
    slots = []
    for number, (tier, segment) in enumerate(annotations):
        depth = 1 if tier in ("Smiles", "Laughs") else 0
        slots.append((segment.start_ms, 1, depth, number))  # a parent opens first ...
        slots.append((segment.end_ms, 0, -depth, number))  # ... and closes last
    references: dict[tuple[int, int], str] = {}
    for place, (time, side, _, number) in enumerate(sorted(slots), start=1):
        references[number, side] = f"ts{place}"
        eaf.timeslots[f"ts{place}"] = time
    for number, (tier, segment) in enumerate(annotations):
        name = f"a{number + 1}"
        eaf.annotations[name] = tier
        row = (references[number, 1], references[number, 0], segment.value, None)
        eaf.tiers[tier][0][name] = row


def _stretches(segments: Iterable[Segment]) -> list[Segment]:
    """One stretch without a value around each run of segments that overlap or touch."""
    stretches: list[Segment] = []
    for s in sorted(segments):
        if stretches and s.start_ms <= stretches[-1].end_ms:
            last = stretches.pop()
            stretches.append(Segment(last.start_ms, max(last.end_ms, s.end_ms), ""))
        else:
            stretches.append(Segment(s.start_ms, s.end_ms, ""))
    return stretches


def _mime(name: str) -> str:
    suffix = name.rsplit(".", 1)[-1].lower()
    return str(Elan.Eaf.MIMES.get(suffix, "unknown"))
