import re

import pytest

from thesislib.corpora.annotation import IFADV, NAMES, TIERS
from thesislib.corpora.catalogue import (
    INTERACTION,
    LABELLED,
    UNLABELLED,
    interaction_corpora,
    labelled_corpora,
    reported_facts,
    unlabelled_corpora,
)
from thesislib.corpora.manifest import list_manifests, load_manifest
from thesislib.errors import InputError
from thesislib.records.reported import reported_table

# Typed from the thesis, column by column as it prints them; fields are parted by tabs there.
TABLE_5_1 = """\
Librispeech|audio|2400+|1000|En|51 %|49 %
PodcastFillers|audio|350|145|Eng|n.a.|n.a.*
VoxPopuli|audio|4300+|1791|En, De, Fr + 13 others|66 %|34 %
VGGFace2|visual|9131|n.a.|-|59 %|41 %
EdAcc|audiovisual|120|40|En|49 %|51 %
VoxCeleb2|audiovisual|6000+|2442|En|61 %|39 %"""
TABLE_5_2 = """\
EmoV-DB|audio|5|7590 sentences|discrete|En: 2M/2F, Fr: 1M
EMOVOME|audio|100|999 messages|cont. + discr.|50% M / 50% F
MSP-Podcast|audio|>1800|237 hours|cont. + discr.|n.a.
AffectNet|visual|1000+|450,000 images|cont. + discr.|49% M / 51% F
Aff-Wild2|av|458|558 videos|continuous|61% M / 39% F
First Impression|av|n.a.|~10,000 clips|personality traits|n.a.
MSP-Improv|av|12|~9 hours|cont. + discr.|50% M / 50% F
CREMA-D|av|91|7442 clips|discrete|n.a."""


@pytest.mark.parametrize(
    ("table", "printed", "columns"),
    [
        (
            unlabelled_corpora,
            TABLE_5_1,
            ["Name", "Modality", "# speakers", "Duration (h)", "Languages", "Male", "Female"],
        ),
        (
            labelled_corpora,
            TABLE_5_2,
            [
                "Name",
                "Modality",
                "# speakers",
                "# samples/ duration",
                "Annotation type",
                "Demographics",
            ],
        ),
    ],
)
def test_generated_tables_equal_the_printed_ones_cell_by_cell(table, printed, columns):
    expected = [line.split("|") for line in printed.splitlines()]
    frame = table()
    assert frame.columns.tolist() == columns
    assert frame.to_numpy().tolist() == expected


def test_interaction_corpora_say_what_sections_5_2_and_6_2_say():
    table = interaction_corpora()
    assert table["Name"].tolist() == ["CCDB", "IFADV", "NDC-ME"]
    assert table["Languages"].tolist() == ["English", "Dutch", "English"]
    assert table["Dyads"].tolist() == ["n.a.", "23", "17"]
    assert table["Annotated"].str.extract(r"(\d+) minutes")[0].tolist()[1:] == ["46", "90"]
    for pairs, dyads in zip(table["Pairs"][1:], table["Dyads"][1:], strict=True):
        assert sum(map(int, re.findall(r"\d+", pairs))) == int(dyads)


def test_facts_keep_both_sides_where_table_and_text_disagree():
    facts = reported_facts().set_index(["corpus", "fact", "place"])["value"].sort_index()
    assert facts["crema-d", "Demographics", "Table 5.2"] == "n.a."
    assert "48 male and 43 female" in facts["crema-d", "speakers", "section 5.1.2"]
    assert facts["ndc-me", "Spelt out"].nunique() == 2
    assert facts.index.is_unique
    assert (facts.str.strip().str.len() > 0).all()


def test_every_corpus_of_the_chapter_has_a_manifest_and_facts():
    of_chapter = {*UNLABELLED, *LABELLED, *INTERACTION, "ib"}
    assert len(of_chapter) == 18
    assert of_chapter | {"emodb"} == {m.name for m in list_manifests("corpus")}
    assert set(reported_facts()["corpus"]) == of_chapter


def test_a_missing_cell_is_named(project):
    from thesislib.corpora import catalogue

    (project / "data_manifests").mkdir()
    (project / "data_manifests" / "x.json").write_text('{"name": "x", "thesis:facts": []}')
    with pytest.raises(InputError, match=r"x\.json: thesis:facts: does not quote 'Name' of Tab"):
        catalogue._table("Table 5.1", ["x"], ["Name"])


# What the manifests list, against an independent account of it


def test_label_sets_are_those_that_the_thesis_names():
    facts = reported_facts().set_index(["corpus", "fact", "place"])["value"]
    for corpus, fact in (
        ("emov-db", "emotions"),
        ("emovome", "discrete"),
        ("msp-podcast", "discrete"),
        ("affectnet", "discrete"),
    ):
        named = set(facts[corpus, fact, "section 5.1.2"].split(", "))
        assert {row["emotion"] for row in load_manifest(corpus).records("emotions")} == named
    traits = re.split(r", | and ", facts["first-impressions", "traits", "section 7.5.2"].lower())
    rows = load_manifest("first-impressions").records("traits")
    assert {row["trait"] for row in rows if row["big_five"] == "yes"} == set(traits)


def test_ib_lists_the_values_that_the_elan_reader_takes():
    ib = load_manifest("ib")
    assert tuple(row["role"] for row in ib.records("roles")) == TIERS["Role"]
    for name, tier in (("smile_levels", "Smiles"), ("laugh_levels", "Laughs")):
        rows = ib.records(name)
        assert tuple(row["level"] for row in rows) == TIERS[tier]
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))


def test_ib_annotators_are_those_of_the_reported_tables():
    ib = load_manifest("ib")
    annotators = [f"Annotator {row['annotator']}" for row in ib.records("annotators")]
    assert annotators == reported_table("5.3").index.tolist()
    facts = reported_facts().set_index(["place", "fact"])["value"]
    for place, column, fact in (
        ("5.3", "Roles", "minutes of roles"),
        ("5.3", "Smiles", "minutes of smiles"),
        ("5.3", "Laughs", "minutes of laughs"),
        ("5.4", "Roles", "minutes per minute of roles"),
        ("5.4", "S&L", "minutes per minute of smiles and laughs"),
    ):
        said = re.findall(r"\d+", facts[f"Table {place}", fact])
        assert list(map(int, said)) == reported_table(place)[column].tolist()


def test_file_names_have_the_parts_that_the_pairing_reads():
    ccdb, ndc_me = NAMES
    assert ccdb.fullmatch("P12_P2_1402_dizzy")
    assert len(["P12", "P2", "1402", "dizzy"]) == len(load_manifest("ccdb").records("name_parts"))
    cameras = {row["camera"] for row in load_manifest("ccdb").records("cameras")}
    assert all(ccdb.fullmatch(f"P1_P2_0001_{camera}") for camera in cameras)
    assert ndc_me.fullmatch("13_1_A_M")
    assert len(["13", "1", "A", "M"]) == len(load_manifest("ndc-me").records("name_parts"))
    assert IFADV.fullmatch("DVA1A")


def test_crema_d_lists_every_part_of_its_file_names():
    manifest = load_manifest("crema-d")
    assert len({row["code"] for row in manifest.records("emotions")}) == 6
    assert {row["vote"] for row in manifest.records("emotions")} == set("ADFHNS")
    assert len({row["sentence"] for row in manifest.records("sentences")}) == 12
    assert {row["code"] for row in manifest.records("levels")} == {"LO", "MD", "HI", "XX"}
    # one sentence at three levels, eleven at none, in five emotions; neutral has no level
    clips = 91 * (5 * (3 + 11) + 12)
    assert clips == 7442 + 20  # twenty recordings of the plan are missing


def test_counts_of_partitions_add_up_to_the_reported_sizes():
    def total(corpus, field):
        return sum(row[field] for row in load_manifest(corpus).records("partitions"))

    assert total("vggface2", "identities") == 9131
    assert total("voxceleb2", "speakers") == 6112
    assert total("voxceleb2", "utterances") > 1_000_000
    assert total("first-impressions", "clips") == 10_000
    assert total("librispeech", "hours") == pytest.approx(1000, rel=0.02)
    assert len(load_manifest("voxpopuli").records("languages")) == 16
