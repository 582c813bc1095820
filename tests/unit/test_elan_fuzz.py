"""Damaged .eaf files: an error, or a result that accounts for every segment of the source."""

import re
import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from thesislib.corpora.elan import TIERS, IBAnnotation, Segment, read_eaf, write_eaf
from thesislib.errors import InputError

ROUNDS = 24  # of each kind of damage, on either base: 22 kinds make 528 files
SILENT = {"missing-tier", "smile-laugh-overlap", "unused-slots", "span"}


def base_clean(folder):
    tiers = {
        "Role": tuple(
            Segment(i * 1000, i * 1000 + 900, "spk" if i % 2 else "lsn") for i in range(9)
        ),
        "Smiles": tuple(Segment(i * 700, i * 700 + 300, TIERS["Smiles"][i % 4]) for i in range(6)),
        "Laughs": (Segment(320, 600, "low"), Segment(1100, 1300, "high")),
    }
    annotation = IBAnnotation(name="x.eaf", tiers=tiers, span_ms=(0, 10_000), media=("x.mp4",))
    write_eaf(annotation, folder / "base.eaf")
    return (folder / "base.eaf").read_bytes()


def base_dirty(folder):
    text = base_clean(folder).decode()
    text = text.replace(">low<", ">low <", 1).replace(">spk<", "><", 1)
    text = text.replace(' TIME_VALUE="700"', "", 1).replace(
        'TIER_ID="Laughs"', 'TIER_ID="laughs_0"'
    )
    return text.replace('"2100"', '"2200"', 1).encode()


def some(rng, items):
    return items[int(rng.integers(len(items)))]


def flip(data, rng):
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        out[int(rng.integers(len(out)))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def drop_bytes(data, rng):
    at = int(rng.integers(len(data)))
    return data[:at] + data[at + int(rng.integers(1, 40)) :]


def insert_bytes(data, rng):
    at = int(rng.integers(len(data)))
    return data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at:]


def truncate(data, rng):
    return data[: int(rng.integers(len(data)))]


def lines(change):
    def damage(data, rng):
        rows = data.split(b"\n")
        i, j = sorted(int(k) for k in rng.integers(1, len(rows), 2))
        return b"\n".join(change(rows, i, j))

    damage.__name__ = change.__name__
    return damage


@lines
def drop_line(rows, i, j):
    return rows[:i] + rows[i + 1 :]


@lines
def double_line(rows, i, j):
    return rows[: i + 1] + rows[i:]


@lines
def swap_lines(rows, i, j):
    rows[i], rows[j] = rows[j], rows[i]
    return rows


def element(tag, change):
    pattern = re.compile(rf"<{tag}\b.*?</{tag}>|<{tag}\b[^>]*/>".encode(), re.DOTALL)

    def damage(data, rng):
        found = some(rng, list(pattern.finditer(data)))
        return data[: found.start()] + change(found[0]) + data[found.end() :]

    damage.__name__ = f"{change.__name__}_{tag.lower()}"
    return damage


def drop(text):
    return b""


def double(text):
    return text + text


def values(pattern, choices, name):
    regex = re.compile(pattern)

    def damage(data, rng):
        found = some(rng, list(regex.finditer(data)))
        return data[: found.start(1)] + some(rng, choices) + data[found.end(1) :]

    damage.__name__ = name
    return damage


def rename_tag(data, rng):
    tags = sorted(set(re.findall(rb"<([A-Z_]+)", data)))
    one, two = some(rng, tags), some(rng, [*tags, b"X"])
    return re.sub(rb"(</?)" + one + rb"\b", rb"\1" + two, data)


def swap_references(data, rng):
    found = some(rng, list(re.finditer(rb'REF1="(ts\d+)" TIME_SLOT_REF2="(ts\d+)"', data)))
    new = b'REF1="' + found[2] + b'" TIME_SLOT_REF2="' + found[1] + b'"'
    return data[: found.start()] + new + data[found.end() :]


def recode(data, rng):
    text = data.decode()
    name = some(rng, ["utf-16", "utf-16-le", "utf-32", "utf-7"])
    return text.replace("UTF-8", some(rng, [name, "UTF-8"])).encode(name)


def entity(data, rng):
    head, rest = data.split(b"\n", 1)
    return head + some(rng, [b'<!DOCTYPE x [<!ENTITY a "b">]>', b"<!DOCTYPE x>"]) + rest


TIMES = [
    b"-5",
    b"99999999999",
    b"1e3",
    b"12.5",
    b"",
    b" 7",
    b"0",
    b"650",
    b"x",
    b"5000",
    b"\xd9\xa3",
]
LABELS = [b"", b" ", b"lwo", b"HIGH", b"low\t", b"spk", b"&#10;low", b"<b>low</b>", b"\xff", b"med"]
TIER_NAMES = [b"Role", b"Smiles", b"smile", b"LAUGHS", b"", b"Rolle", b"S&amp;L", b"Nods"]
REFERENCES = [b"", b"ts1", b"ts9", b"ts99999", b"a1", b"0"]
DAMAGES = [
    flip, drop_bytes, insert_bytes, truncate, drop_line, double_line, swap_lines, rename_tag,
    swap_references, recode, entity,
    element("ANNOTATION", drop), element("ANNOTATION", double),
    element("TIER", drop), element("TIER", double),
    element("TIME_SLOT", drop), element("TIME_SLOT", double),
    values(rb'TIME_VALUE="(\d+)"', TIMES, "times"),
    values(rb"<ANNOTATION_VALUE>([^<]*)<", LABELS, "labels"),
    values(rb'TIER_ID="([^"]*)"', TIER_NAMES, "tier_names"),
    values(rb'TIME_SLOT_REF\d="(ts\d+)"', REFERENCES, "references"),
    values(rb'ANNOTATION_ID="(a\d+)"', [b"a1", b"a2", b"", b"x", b"a\xc2\xb2"], "identifiers"),
]  # fmt: skip


def plain_reading(root, tier):
    """Tier as (start, end, value), the obvious way; only for files that need no repair in it."""
    slots = {s.get("TIME_SLOT_ID"): s.get("TIME_VALUE") for s in root.iter("TIME_SLOT")}
    return sorted(
        (int(slots[a.get("TIME_SLOT_REF1")]), int(slots[a.get("TIME_SLOT_REF2")]), a[0].text)
        for t in root.iter("TIER")
        if t.get("TIER_ID") == tier
        for a in t.iter("ALIGNABLE_ANNOTATION")
    )


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return base_clean(folder), base_dirty(folder)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_damaged_files_are_errors_or_accounted_for(bases, damage, tmp_path):
    path = tmp_path / "x.eaf"
    outcomes = {"error": 0, "repaired": 0, "clean": 0}
    for round_ in range(ROUNDS):
        rng = np.random.default_rng([round_, *damage.__name__.encode()])
        data = damage(bases[round_ % 2], rng)
        path.write_bytes(data)
        try:
            root = ET.fromstring(data)
        except (ET.ParseError, ValueError, LookupError):
            root = None
        began = time.process_time()
        try:
            result = read_eaf(path)
        except InputError as error:
            result, message = None, str(error)
        assert time.process_time() - began < 2
        if result is None:
            assert "x.eaf: " in message
            outcomes["error"] += 1
            continue
        assert root is not None, "an XML parser refuses the file"
        source = sum(e.tag in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION") for e in root.iter())
        kept = sum(map(len, result.tiers.values())) + sum(result.unread.values())
        assert source == kept + sum(r.lost for r in result.repairs)
        changed = [r for r in result.repairs if r.kind not in SILENT]
        for tier, segments in result.tiers.items():
            if not any(tier.lower()[:5] in (r.tier or "").lower() for r in changed):
                assert [(s.start_ms, s.end_ms, s.value) for s in segments] == plain_reading(
                    root, tier
                )
        outcomes["repaired" if changed else "clean"] += 1
    assert sum(outcomes.values()) == ROUNDS


def test_the_undamaged_bases_are_read(bases, tmp_path):
    for data, repaired in zip(bases, (False, True), strict=True):
        (tmp_path / "x.eaf").write_bytes(data)
        assert bool(read_eaf(tmp_path / "x.eaf").repairs) == repaired
    assert ROUNDS * len(DAMAGES) >= 300
