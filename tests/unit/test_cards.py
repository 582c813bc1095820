"""Data sheets from manifests, sheets of twins, and measured values from records."""

from pathlib import Path

import pytest

from thesislib.corpora.manifest import list_manifests, load_manifest
from thesislib.errors import InputError
from thesislib.records import cards
from thesislib.records.record import RunRecord

ROOT = Path(__file__).resolve().parents[2]
CORPORA = [m.name for kind in ("corpus", "twin") for m in list_manifests(kind)]
WEIGHTS = [m.name for m in list_manifests("weights")]


def record(**changed):
    values = {
        "run_id": "x", "kind": "classification", "chapter": "08", "experiment": "disentanglement",
        "configuration": {"losses": "all"}, "profile": "small", "corpus": "emodb",
        "variant": "twin", "synthetic": True, "seed": 0, "config": {"corpus": "voxceleb2-twin"},
    }  # fmt: skip
    return RunRecord(**(values | changed))


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_says_on_what_terms_it_may_be_used(name):
    sheet = cards.data_sheet(name)
    asked = {"Licence", "How to get it", "Consent of those in it", "Personal data in it",
             "Intended use", "Split", "Manifest"}  # fmt: skip
    assert asked <= sheet.keys()
    assert all(sheet.values())
    assert load_manifest(name).sha256[:12] in sheet["Manifest"]


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_say_what_they_must_not_be_used_for(name):
    assert {"Licence", "Intended use", "Forbidden use", "Known limits"} <= cards.data_sheet(
        name
    ).keys()


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="no manifest"):
        cards.data_sheet("nothing")


def test_every_manifest_and_every_twin_has_its_place_on_a_page():
    corpora = (ROOT / "book/cards/corpora.md").read_text()
    models = (ROOT / "book/cards/models.md").read_text()
    for name in CORPORA:
        assert f"```{{data-sheet}} {name}\n" in corpora, name
    for name in WEIGHTS:
        assert f"```{{data-sheet}} {name}\n" in models, name
    for name in cards.TWIN_PAGES:
        assert f"```{{twin-sheet}} {name}\n" in corpora, name
        assert (ROOT / f"book/{cards.TWIN_PAGES[name]}.md").is_file()


def test_a_twin_says_what_is_planted_and_how_often_it_was_used():
    runs = [record(), record(), record(synthetic=False), record(corpus="ifadv")]
    sheet = cards.twin_sheet("emodb", runs)
    assert sheet["Recorded runs"] == "chapter 8, disentanglement: 2"
    assert "`emotion_f0`" in sheet["Planted"]
    assert cards.twin_sheet("ccdb", runs)["Recorded runs"] == "not recorded yet"


def test_measured_runs_are_grouped_and_small_ones_only():
    runs = [
        record(seed=0),
        record(seed=1),
        record(profile="tiny"),
        record(configuration={"losses": "reconstruction"}),
        record(synthetic=False),
        record(experiment="other"),
    ]
    found = cards.measured(
        runs,
        chapter="08",
        experiment="disentanglement",
        by=("kind of data", "corpus"),
        where={"losses": "all no-contrast"},
    )
    assert {key: len(own) for key, own in found.items()} == {
        ("real", "voxceleb2-twin"): 1,
        ("twin", "voxceleb2-twin"): 2,
    }


def test_measured_runs_are_of_the_documented_strength():
    config = {"effects": "emotion_face=0", "labelled_speakers": 0}
    usual = {"effects": "", "labelled_speakers": 0}
    few = {"effects": "", "labelled_speakers": 8}
    runs = [record(chapter="07", experiment="social-mae", config=c) for c in (config, usual, few)]
    found = cards.measured(runs, chapter="07", experiment="social-mae", by=("corpus",), where={})
    assert found == {("emodb",): [runs[1]]}


def test_a_value_that_a_record_lacks_is_a_dash():
    assert cards.value_of(record(), "frames") == "–"
    assert cards.value_of(record(), "corpus") == "voxceleb2-twin"  # what it was trained on


def test_every_trained_kind_has_a_card_with_a_forbidden_use():
    text = (ROOT / "book/cards/models.md").read_text()
    trained = text.split("## Networks that are trained here")[1].split("(cards-official)=")[0]
    found = {card.splitlines()[0]: card for card in trained.split("\n### ")[1:]}
    assert set(found) == {
        "LSN-TCN", "Social-MAE and CAV-MAE", "Auxiliary branch and dual-branch network",
        "AST on sound events", "Linear probes", "Baselines", "The explorer's gate",
        "Networks of the teaching chapters",
    }  # fmt: skip
    for name, card in found.items():
        for line in ("Intended use", "Forbidden use", "Special limits", "Training data"):
            assert card.count(f"- **{line}.** ") == 1, (name, line)


def test_a_network_that_is_handed_out_is_said_to_be():
    assert '"weights":' in (ROOT / "book/assets/explorers.json").read_text()
    front = (ROOT / "book/cards/index.md").read_text()
    assert "explorers.json" in front
    assert "No trained network" not in front


def test_pictures_of_a_package_have_a_sheet():
    text = (ROOT / "book/cards/corpora.md").read_text()
    for name in ("load_digits", "load_sample_image"):
        assert f"sklearn.datasets.{name}" in text
