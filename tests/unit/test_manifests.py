import json

import mlcroissant
import pytest

from thesislib.corpora.manifest import list_manifests, load_manifest, manifests_root
from thesislib.errors import InputError

NAMES = sorted(path.stem for path in manifests_root().glob("*.json"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of rdflib, which mlcroissant uses
@pytest.mark.parametrize("name", NAMES)
def test_every_manifest_is_valid_croissant(name):
    dataset = mlcroissant.Dataset(jsonld=manifests_root() / f"{name}.json")
    assert not dataset.metadata.issues.errors
    assert not dataset.metadata.issues.warnings


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_records_are_those_that_mlcroissant_reads(name):
    manifest = load_manifest(name)
    dataset = mlcroissant.Dataset(jsonld=manifest.path)
    for record_set in manifest.document.get("recordSet", []):
        ours = manifest.records(record_set["name"])
        theirs = [
            {
                key.split("/", 1)[1]: value.decode() if isinstance(value, bytes) else value
                for key, value in row.items()
            }
            for row in dataset.records(record_set["name"])
        ]
        assert ours == theirs


@pytest.mark.parametrize("manifest", list_manifests("corpus"), ids=lambda m: m.name)
def test_a_corpus_says_how_it_may_be_used(manifest):
    for key in ("accessRoute", "consentBasis", "permittedUse", "protocol", "splitRule"):
        assert len(manifest.about(key)) > 20, key
    assert manifest.about("personalData")
    assert manifest.document["license"].startswith("https://")
    assert manifest.document["citeAs"].startswith("@")


def test_emodb_is_described_as_its_publishers_do():
    manifest = load_manifest("emodb")
    speakers = manifest.records("speakers")
    assert len(speakers) == 10
    assert sum(row["sex"] == "female" for row in speakers) == 5
    assert len(manifest.records("sentences")) == 10
    assert len(manifest.records("emotions")) == 7
    assert len(manifest.records("utterances")) == 535
    assert "zero/1.0" in manifest.document["license"]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"emo-db: has no manifest; choose one of: .*emodb"):
        load_manifest("emo-db")


def test_a_broken_manifest_names_the_line(project):
    (project / "data_manifests").mkdir()
    (project / "data_manifests" / "x.json").write_text('{\n"name": }')
    with pytest.raises(InputError, match=r"x.json: line 2"):
        load_manifest("x")


def test_a_missing_statement_names_the_key(project):
    (project / "data_manifests").mkdir()
    (project / "data_manifests" / "x.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(InputError, match="says nothing about consentBasis"):
        load_manifest("x").about("consentBasis")
    with pytest.raises(InputError, match="no record set 'speakers'"):
        load_manifest("x").records("speakers")
