"""Reading and writing of ELAN files: the dirt of real ones, errors, ELAN's schema, pairing."""

import re
import time
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import pytest
from pympi import Elan

from thesislib.corpora.elan import (
    TIERS,
    IBAnnotation,
    Segment,
    pair_participants,
    read_eaf,
    write_eaf,
)
from thesislib.errors import InputError

XSI = (
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv2.8.xsd"'
)


def document(tiers, *, slots=None, extra="", header='<HEADER TIME_UNITS="milliseconds"/>'):
    """An .eaf as plain text: tier name to rows (start, end, value); a time of None has no value."""
    order, body, n = [], [], 0
    for name, rows in tiers:
        cells = []
        for start, end, value in rows:
            refs = []
            for t in (start, end):
                n += 1
                time_value = "" if t is None else f" TIME_VALUE={quoteattr(str(t))}"
                order.append(f'<TIME_SLOT TIME_SLOT_ID="ts{n}"{time_value}/>')
                refs.append(f"ts{n}")
            cells.append(
                f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{n}" '
                f'TIME_SLOT_REF1="{refs[0]}" TIME_SLOT_REF2="{refs[1]}">'
                f"<ANNOTATION_VALUE>{escape(value)}</ANNOTATION_VALUE>"
                "</ALIGNABLE_ANNOTATION></ANNOTATION>"
            )
        body.append(
            f"<TIER TIER_ID={quoteattr(name)} LINGUISTIC_TYPE_REF='x'>{''.join(cells)}</TIER>"
        )
    order = order if slots is None else slots
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><ANNOTATION_DOCUMENT AUTHOR="" '
        f'DATE="2020-01-01T00:00:00Z" VERSION="2.8" FORMAT="2.8" {XSI}>{header}'
        f"<TIME_ORDER>{''.join(order)}</TIME_ORDER>{''.join(body)}{extra}"
        '<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="x" TIME_ALIGNABLE="true"/></ANNOTATION_DOCUMENT>'
    )


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        path = tmp_path / "13_1_A_M.eaf"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_eaf(path)

    return read_text


def rows(segments):
    return [(s.start_ms, s.end_ms, s.value) for s in segments]


def kinds(annotation):
    return [r.kind for r in annotation.repairs]


ALL = [("Role", [(0, 900, "spk"), (900, 2000, "lsn")]), ("Smiles", []), ("Laughs", [])]


def test_reads_a_clean_file_without_repairs(read):
    x = read(document([*ALL[:2], ("Laughs", [(100, 250, "high")])]))
    assert rows(x.roles) == [(0, 900, "spk"), (900, 2000, "lsn")]
    assert rows(x.laughs) == [(100, 250, "high")]
    assert x.smiles == ()
    assert x.repairs == ()
    assert x.span_ms == (0, 2000)
    assert x.name == "13_1_A_M.eaf"


def test_trailing_blanks_case_and_variants_are_normalised_and_reported(read):
    x = read(document([("Role", [(0, 10, "spk "), (10, 20, "LSN\n"), (20, 30, "speaker")])]))
    assert [s.value for s in x.roles] == ["spk", "lsn", "spk"]
    found = [r for r in x.repairs if r.kind == "value-spelling"]
    assert [(r.tier, r.start_ms, r.lost) for r in found] == [("Role", t, 0) for t in (0, 10, 20)]
    assert str(found[1]) == r"Role: 0.010 s: 'LSN\n' read as 'lsn'"


def test_empty_values_and_segments_without_length_are_dropped_and_reported(read):
    x = read(
        document([("Smiles", [(0, 10, ""), (20, 30, "  "), (40, 40, "low"), (50, 60, "low")])])
    )
    assert rows(x.smiles) == [(50, 60, "low")]
    lost = [(r.kind, r.start_ms) for r in x.repairs if r.lost]
    assert lost == [("empty-value", 0), ("empty-value", 20), ("zero-length", 40)]


def test_missing_tiers_are_absent_and_not_empty(read):
    x = read(document([("Smiles", [(0, 10, "low")])]))
    assert set(x.tiers) == {"Smiles"}
    assert [r.tier for r in x.repairs if r.kind == "missing-tier"] == ["Role", "Laughs"]


@pytest.mark.parametrize("name", ["smiles", "SMILES ", "Smile", "Smiles_0", " smiles"])
def test_variants_of_a_tier_name_are_read_and_reported(read, name):
    x = read(document([(name, [(0, 10, "low")])]))
    assert rows(x.smiles) == [(0, 10, "low")]
    assert [r.tier for r in x.repairs if r.kind == "tier-name"] == [name]


def test_one_tier_under_two_names(read):
    filled = ("Smiles", [(0, 10, "low")])
    x = read(document([("smiles", []), filled]))
    assert rows(x.smiles) == [(0, 10, "low")]
    assert "duplicate-tier" in kinds(x)
    with pytest.raises(InputError, match="'smiles' and 'Smiles'"):
        read(document([("smiles", [(5, 6, "high")]), filled]))


def test_touching_segments_are_left_alone(read):
    x = read(document([("Smiles", [(0, 10, "low"), (10, 20, "low"), (20, 30, "high")]), *ALL[:1]]))
    assert len(x.smiles) == 3
    assert "overlap" not in kinds(x)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ([(0, 10, "low"), (5, 15, "high")], [(0, 5, "low"), (5, 15, "high")]),
        ([(0, 10, "low"), (5, 15, "low")], [(0, 15, "low")]),
        ([(0, 30, "low"), (10, 20, "high")], [(0, 10, "low"), (10, 20, "high"), (20, 30, "low")]),
        ([(0, 10, "low"), (0, 10, "low")], [(0, 10, "low")]),
        ([(0, 10, "low"), (0, 4, "high")], [(0, 4, "high"), (4, 10, "low")]),
    ],
    ids=["overlapping", "equal value", "nested", "twice", "same start"],
)
def test_overlapping_and_nested_segments(read, source, expected):
    x = read(document([("Smiles", source)]))
    assert rows(x.smiles) == expected
    (repair,) = (r for r in x.repairs if r.kind == "overlap")
    assert (repair.tier, repair.start_ms) == ("Smiles", source[0][0])
    assert repair.lost == len(source) - len(expected)


def test_a_slot_without_value_lies_evenly_between_its_neighbours(read):
    x = read(document([("Role", [(100, None, "spk"), (None, 400, "lsn")])]))
    assert rows(x.roles) == [(100, 200, "spk"), (300, 400, "lsn")]
    assert [r.start_ms for r in x.repairs if r.kind == "slot-time"] == [100, 300]
    with pytest.raises(InputError, match=r"tier 'Role', 0.100 s.*slot after the last"):
        read(document([("Role", [(100, None, "spk")])]))


def test_slots_that_nothing_refers_to_are_reported_once(read):
    text = document(ALL).replace("</TIME_ORDER>", '<TIME_SLOT TIME_SLOT_ID="ts99"/></TIME_ORDER>')
    assert kinds(read(text)) == ["unused-slots"]


def test_smiles_that_overlap_laughs_are_reported_and_kept(read):
    x = read(document([("Smiles", [(0, 50, "low")]), ("Laughs", [(50, 60, "low")]), *ALL[:1]]))
    assert x.repairs == ()
    x = read(document([("Smiles", [(0, 51, "low")]), ("Laughs", [(50, 60, "low")]), *ALL[:1]]))
    assert [(r.kind, r.start_ms) for r in x.repairs] == [("smile-laugh-overlap", 50)]
    assert len(x.smiles) == len(x.laughs) == 1


def test_other_tiers_are_counted(read):
    x = read(document([*ALL, ("S&L", [(0, 9, "")]), ("Nods", [(0, 9, "x"), (5, 9, "y")])]))
    assert x.unread == {"S&L": 1, "Nods": 2}


def test_children_without_times_have_those_of_their_parent(read):
    child = (
        '<TIER TIER_ID="Laughs" PARENT_REF="S&amp;L" LINGUISTIC_TYPE_REF="x"><ANNOTATION>'
        '<REF_ANNOTATION ANNOTATION_ID="a90" ANNOTATION_REF="a2">'
        "<ANNOTATION_VALUE>high</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>"
    )
    assert rows(read(document([("S&L", [(30, 70, "")])], extra=child)).laughs) == [(30, 70, "high")]
    circle = child.replace('REF="a2"', 'REF="a90"')
    with pytest.raises(InputError, match="circle"):
        read(document(ALL[:1], extra=circle))


def test_an_identifier_that_stands_twice_loses_no_segment(read):
    x = read(document([("Role", [(0, 10, "spk"), (10, 20, "lsn")])]).replace('"a4"', '"a2"'))
    assert len(x.roles) == 2  # pympi alone keeps the last
    assert "duplicate-id" in kinds(x)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (document([("Smiles", [(1500, 1200, "low")])]), "tier 'Smiles', 1.500 s: ends before"),
        (document([("Smiles", [(-20, 30, "low")])]), "tier 'Smiles', -0.020 s: has a negative"),
        (document([("Laughs", [(0, 9, "subtle")])]), "'Laughs', 0.000 s: has the value 'subtle'"),
        (document([("Role", [(2000, 2100, "spk lsn")])]), "'Role', 2.000 s: has the value"),
        (document([("Role", [(0, "12.5", "spk")])]), "'a2': refers to .* 'ts2', whose time '12.5'"),
        (document([("Role", [(0, "٣", "spk")])]), "whose time"),
        (document([("Role", [(0, 9999999999, "spk")])]), "tier 'Role', 0.000 s: .* beyond any"),
        (document([("Role", [(0, 9, "spk")])], slots=[]), "'a2': refers to time slot 'ts1'"),
        (document([("Rolle", []), ("Lachen", [])]), "none of the tiers.*'Rolle', 'Lachen'"),
        (document([("", [(0, 9, "spk")])]), "tier without a name"),
        (document(ALL).replace("TIER>", "TEAR>").replace("<TIER", "<TEAR"), "outside any tier"),
        (document(ALL, header='<HEADER TIME_UNITS="PAL-frames"/>'), "'PAL-frames'"),
        (document(ALL).replace("TIME_VALUE='0'", "")[:200], "is not XML"),
        ("<html><body>Not found</body></html>", "root is <html>"),
        ("", "is empty"),
        (b"\x00\x01\x02 video", "is not XML"),
        ('<?xml version="1.0" encoding="klingon"?><ANNOTATION_DOCUMENT/>', "is not XML"),
        ("RIFF....WAVEfmt ", "is not XML"),
    ],
    ids=lambda value: None if len(value) > 60 else value,
)  # fmt: skip
def test_what_cannot_be_mended_is_an_error_with_its_place(read, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(text)
    assert str(caught.value).split(":")[0].endswith("13_1_A_M.eaf")
    assert "\n" not in str(caught.value)


def test_two_times_for_one_slot(read):
    text = document(ALL).replace('"ts2" ', '"ts1" ', 1)
    with pytest.raises(InputError, match="'ts1' has two times, '0' and '900'"):
        read(text)


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {b} "{"&" + a + ";" * 1}{("&" + a + ";") * 9}">'
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]><ANNOTATION_DOCUMENT>&i;</ANNOTATION_DOCUMENT>"
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        f'<!DOCTYPE x [<!ENTITY a "{"ha" * 10000}">]><ANNOTATION_DOCUMENT>{"&a;" * 10000}'
        "</ANNOTATION_DOCUMENT>",
        '<!DOCTYPE x SYSTEM "http://localhost/x.dtd"><ANNOTATION_DOCUMENT/>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><ANNOTATION_DOCUMENT>&a;'
        "</ANNOTATION_DOCUMENT>",
    ],
    ids=["billion laughs", "quadratic", "external type", "external entity"],
)
def test_bombs_are_refused_before_anything_expands(read, text):
    began = time.process_time()
    with pytest.raises(InputError, match="document type"):
        read(text)
    assert time.process_time() - began < 1


def test_deep_nesting_and_long_chains_end(read):
    deep = "<x>" * 200_000 + "</x>" * 200_000
    assert rows(read(document(ALL, extra=deep)).roles)
    chain = "".join(
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="b{i}" ANNOTATION_REF="b{i + 1}">'
        "<ANNOTATION_VALUE>low</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
        for i in range(20_000)
    )
    began = time.process_time()
    with pytest.raises(InputError, match="'b20000', which is not there"):
        read(document(ALL, extra=f'<TIER TIER_ID="L">{chain}</TIER>'))
    chain = chain.replace('"b20000"', '"a2"')
    assert len(read(document(ALL[:1], extra=f'<TIER TIER_ID="Laughs">{chain}</TIER>')).laughs) == 1
    assert time.process_time() - began < 10


def test_missing_files_folders_and_huge_files(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        read_eaf(tmp_path / "no.eaf")
    with pytest.raises(InputError, match="cannot be read"):
        read_eaf(tmp_path)
    big = tmp_path / "big.eaf"
    with big.open("wb") as stream:
        stream.truncate(2**31)
    with pytest.raises(InputError, match="larger than 64 MiB"):
        read_eaf(big)


SAMPLE = IBAnnotation(
    name="13_1_A_M.eaf",
    span_ms=(0, 120_000),
    annotator="Annotator 1 & <co>",
    media=("13_1_A_M.mp4", "a b%.wav"),
    tiers={
        "Role": (Segment(0, 5000, "spk"), Segment(5000, 9000, "lsn")),
        "Smiles": (Segment(100, 900, "low"), Segment(900, 1200, "high"), Segment(4000, 4500, "low")),  # noqa: E501
        "Laughs": (Segment(1200, 1900, "medium"),),
    },
)  # fmt: skip


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "13_1_A_M.eaf"
    write_eaf(SAMPLE, path)
    x = read_eaf(path)
    assert x.repairs == ()
    assert x.unread == {"S&L": 2}
    for name in ("name", "tiers", "span_ms", "annotator", "media"):
        assert getattr(x, name) == getattr(SAMPLE, name)
    first = path.read_bytes()
    write_eaf(x, path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # pympi's own writer leaves a .bak


def test_written_files_keep_to_the_schema(tmp_path):
    """The rules of EAFv3.0.xsd that matter here: order, required attributes, keys, references."""
    path = tmp_path / "x.eaf"
    write_eaf(SAMPLE, path)
    assert path.read_bytes().startswith(b'<?xml version="1.0" encoding="UTF-8"?>')
    root = ET.parse(path).getroot()
    assert root.tag == "ANNOTATION_DOCUMENT"
    assert {"DATE", "AUTHOR", "VERSION"} <= set(root.attrib)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+]\d\d:\d\d", root.get("DATE"))
    order = ["LICENSE", "HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LOCALE", "LANGUAGE"]
    order += ["CONSTRAINT"]
    order += ["CONTROLLED_VOCABULARY", "LEXICON_REF", "REF_LINK_SET", "EXTERNAL_REF"]
    places = [order.index(child.tag) for child in root]
    assert places == sorted(places)
    assert places.count(1) == places.count(2) == 1
    header = root.find("HEADER")
    assert set(header.attrib) <= {"MEDIA_FILE", "TIME_UNITS"}
    tags = [child.tag for child in header]
    assert tags == ["MEDIA_DESCRIPTOR"] * 2 + ["PROPERTY"] * 2
    assert all({"MEDIA_URL", "MIME_TYPE"} <= set(m.attrib) for m in header.iter("MEDIA_DESCRIPTOR"))
    assert all(m.get("MEDIA_URL").isascii() and " " not in m.get("MEDIA_URL") for m in header[:2])

    slots = {s.get("TIME_SLOT_ID"): int(s.get("TIME_VALUE")) for s in root.iter("TIME_SLOT")}
    assert list(slots.values()) == sorted(slots.values())
    types = {t.get("LINGUISTIC_TYPE_ID"): t for t in root.iter("LINGUISTIC_TYPE")}
    constraints = {c.get("STEREOTYPE") for c in root.iter("CONSTRAINT")}
    languages = {x.get("LANG_ID") for x in root.iter("LANGUAGE")}
    vocabularies = {
        c.get("CV_ID"): [v.text for v in c.iter("CVE_VALUE")]
        for c in root.iter("CONTROLLED_VOCABULARY")
    }
    assert vocabularies == {tier: list(levels) for tier, levels in TIERS.items()}
    assert {v.get("LANG_REF") for v in root.iter("CVE_VALUE")} <= languages
    ids = [a.get("ANNOTATION_ID") for a in root.iter("ALIGNABLE_ANNOTATION")] + list(slots)
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[A-Za-z_][\w.-]*", i) for i in ids)  # xsd:ID
    tiers = {t.get("TIER_ID"): t for t in root.iter("TIER")}
    assert list(tiers) == ["Role", "S&L", "Smiles", "Laughs"]

    def stretches(tier):
        return [
            (slots[a.get("TIME_SLOT_REF1")], slots[a.get("TIME_SLOT_REF2")])
            for a in tier.iter("ALIGNABLE_ANNOTATION")
        ]

    used = [a.get(f"TIME_SLOT_REF{i}") for a in root.iter("ALIGNABLE_ANNOTATION") for i in (1, 2)]
    assert sorted(used) == sorted(slots)
    for name, tier in tiers.items():
        kind = types[tier.get("LINGUISTIC_TYPE_REF")]
        assert kind.get("TIME_ALIGNABLE") == "true"
        assert kind.get("CONTROLLED_VOCABULARY_REF") in (set(vocabularies) | {None})
        assert all(start < end for start, end in stretches(tier))
        for annotation in tier:
            assert annotation.tag == "ANNOTATION"
            assert [v.tag for v in annotation[0]] == ["ANNOTATION_VALUE"]
            allowed = vocabularies.get(kind.get("CONTROLLED_VOCABULARY_REF"), [None])
            assert annotation[0][0].text in allowed
        if name in ("Smiles", "Laughs"):
            assert tier.get("PARENT_REF") == "S&L"
            assert kind.get("CONSTRAINTS") == "Included_In"
            assert kind.get("CONSTRAINTS") in constraints
            parents = stretches(tiers["S&L"])
            for start, end in stretches(tier):
                assert sum(p <= start and end <= q for p, q in parents) == 1


def test_pympi_reads_what_is_written(tmp_path):
    write_eaf(SAMPLE, tmp_path / "x.eaf", media=[tmp_path / "new.mp4"])
    eaf = Elan.Eaf(str(tmp_path / "x.eaf"))
    assert sorted(eaf.get_annotation_data_for_tier("Smiles")) == rows(SAMPLE.smiles)
    assert eaf.get_child_tiers_for("S&L") == ["Smiles", "Laughs"]
    assert eaf.get_linked_files()[0]["RELATIVE_MEDIA_URL"] == "./new.mp4"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.eaf"
    path.write_text("old")
    bad = IBAnnotation(name="x", tiers={"Role": ()}, span_ms=(0, 1), annotator="\x00")
    with pytest.raises(ValueError, match="control character"):
        write_eaf(bad, path)
    assert path.read_text() == "old"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_eaf(SAMPLE, tmp_path / "file" / "x.eaf")


def test_a_stated_span_that_does_not_hold_is_replaced_and_reported(tmp_path):
    path = tmp_path / "x.eaf"
    write_eaf(SAMPLE, path)
    good = path.read_text()
    for stated in ("0 8999", "nonsense", "9000 0", "1 9000", ""):
        path.write_text(good.replace(">0 120000<", f">{stated}<"))
        x = read_eaf(path)
        assert x.span_ms == (0, 9000)
        assert kinds(x) == ["span"]


@pytest.mark.parametrize(
    ("tiers", "span"),
    [
        ({"Role": (Segment(0, 10, "low"),)}, (0, 10)),
        ({"Nods": ()}, (0, 10)),
        ({"Role": (Segment(0, 10, "spk"), Segment(9, 12, "lsn"))}, (0, 12)),
        ({"Role": (Segment(5, 10, "spk"), Segment(0, 5, "lsn"))}, (0, 12)),
        ({"Role": (Segment(0, 10, "spk"),)}, (0, 9)),
        ({"Role": (Segment(0, 10, "spk"),)}, (1, 12)),
        ({"Role": ()}, (5, 4)),
    ],
)
def test_an_annotation_out_of_the_scheme_cannot_be_made(tiers, span):
    with pytest.raises(ValueError, match=r"scheme|overlap|span"):
        IBAnnotation(name="x", tiers=tiers, span_ms=span)


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 5), (6, 5), (0, 2**31)])
def test_a_segment_has_a_length_and_a_place(start, end):
    with pytest.raises(ValueError, match="no segment runs"):
        Segment(start, end, "spk")


def test_segments_as_pyannote_annotation():
    smiles = SAMPLE.to_pyannote("Smiles")
    assert smiles.label_duration("low") == pytest.approx(1.3)
    assert smiles.uri == "13_1_A_M.eaf"
    assert len(smiles) == 3
    assert Segment(100, 900, "low").end_s == 0.9
    assert Segment(100, 900, "low").start_s == 0.1


def stems(result):
    pairs, rest = result
    return [(a.stem, b.stem) for a, b in pairs], [p.stem for p in rest]


def test_participants_are_paired_by_file_name():
    names = ["P12_P2_1402_monk", "P12_P2_1402_dizzy", "13_1_B_F", "13_1_A_M", "13_2_A_M", "DVA1A"]
    names += ["DVA2C", "DVA3E", "notes", "P12_P2_1403_monk"]
    assert stems(pair_participants(f"{n}.eaf" for n in names)) == (
        [
            ("13_1_A_M", "13_1_B_F"),
            ("DVA1A", "DVA2C"),
            ("P12_P2_1402_dizzy", "P12_P2_1402_monk"),
        ],
        ["13_2_A_M", "DVA3E", "P12_P2_1403_monk", "notes"],
    )
    assert pair_participants([]) == ([], [])


def test_ifadv_with_both_cameras_pairs_by_number():
    names = ["DVA1A", "DVB1B", "DVA10O", "DVB10P", "DVA2C"]
    expected = [("DVA10O", "DVB10P"), ("DVA1A", "DVB1B")], ["DVA2C"]
    assert stems(pair_participants(f"{n}.eaf" for n in names)) == expected


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("13_1_A_M.eaf", "13_1_A_F.eaf"),
        ("a/DVA1A.eaf", "b/DVA1A.eaf"),
        ("a/P12_P2_1402_monk.eaf", "b/P12_P2_1402_monk.eaf"),
    ],
)
def test_two_files_for_one_participant_are_an_error_that_names_both(one, two):
    with pytest.raises(InputError) as caught:
        pair_participants([one, two])
    assert one in str(caught.value)
    assert two in str(caught.value)
