import json
from datetime import UTC, datetime, timedelta

import pytest

from thesislib import files
from thesislib.corpora.acceptance import (
    accept,
    acceptances_path,
    read_acceptances,
    require_acceptance,
    terms,
)
from thesislib.corpora.manifest import list_manifests, load_manifest
from thesislib.errors import InputError

MANIFEST = {
    "name": "films",
    "alternateName": "Films of people",
    "license": "https://example.org/licence-1",
    "thesis:kind": "corpus",
    "thesis:licence": "For research.",
    "thesis:accessRoute": "On request.",
    "thesis:permittedUse": "Research.",
    "thesis:consentBasis": "They were asked.",
    "thesis:acceptanceNeeded": True,
}


@pytest.fixture
def write_manifest(project):
    folder = project / "data_manifests"
    folder.mkdir()

    def write(**changes):
        document = MANIFEST | {key.replace("__", ":"): value for key, value in changes.items()}
        (folder / f"{document['name']}.json").write_text(json.dumps(document))

    write()
    return write


def test_nothing_licensed_loads_before_somebody_accepts(write_manifest):
    with pytest.raises(InputError, match=r"films: .*nobody.*`thesis data accept films`"):
        require_acceptance("films")
    with pytest.raises(InputError, match="nobody"):
        require_acceptance(load_manifest("films"))
    accept("films", name="Ada Lovelace")
    require_acceptance("films")
    require_acceptance(load_manifest("films"))


def test_the_record_says_who_when_and_to_what(write_manifest):
    before = datetime.now(UTC) - timedelta(seconds=1)
    made = accept("films", name="  Ada \n Lovelace ")
    found = read_acceptances()["films"]
    assert found == made
    assert found.accepted_by == "Ada Lovelace"
    assert before <= datetime.fromisoformat(found.accepted_at) <= datetime.now(UTC)
    assert found.licence_url == "https://example.org/licence-1"
    assert found.manifest_sha256 == files.sha256_file(load_manifest("films").path)


def test_one_acceptance_leaves_the_others(write_manifest):
    write_manifest(name="sounds")
    accept("sounds", name="Ada")
    accept("films", name="Grace")
    assert {key: a.accepted_by for key, a in read_acceptances().items()} == {
        "films": "Grace",
        "sounds": "Ada",
    }
    accept("films", name="Mary")
    assert read_acceptances()["films"].accepted_by == "Mary"
    assert list(acceptances_path().parent.iterdir()) == [acceptances_path()]


@pytest.mark.parametrize(
    "change",
    [
        {"license": "https://example.org/licence-2"},
        {"thesis__licence": "For nobody."},
        {"thesis__permittedUse": "Teaching."},
    ],
)
def test_another_licence_must_be_accepted_anew(write_manifest, change):
    accept("films", name="Ada")
    write_manifest(**change)
    with pytest.raises(InputError, match=r"another licence.*by Ada.*thesis data accept films"):
        require_acceptance("films")
    accept("films", name="Ada")
    require_acceptance("films")


def test_a_corrected_description_does_not_void_an_acceptance(write_manifest):
    accept("films", name="Ada")
    write_manifest(alternateName="Films of persons", thesis__accessRoute="On a written request.")
    require_acceptance("films")


def test_twins_and_free_corpora_pass_and_cannot_be_accepted(write_manifest):
    write_manifest(name="free", thesis__acceptanceNeeded=False)
    for name in ("films-twin", "free"):
        require_acceptance(name)
        with pytest.raises(InputError, match=f"{name}: needs no acceptance"):
            accept(name, name="Ada")
        with pytest.raises(InputError, match=f"{name}: needs no acceptance"):
            terms(name)
    assert not acceptances_path().exists()


def test_what_is_shown_is_what_the_manifest_says(write_manifest):
    assert terms("films") == {
        "corpus": "Films of people",
        "licence": "For research.",
        "licence text": "https://example.org/licence-1",
        "access": "On request.",
        "permitted use": "Research.",
        "consent basis": "They were asked.",
    }


def test_an_empty_name_is_refused(write_manifest):
    with pytest.raises(InputError, match="--name: is empty"):
        accept("films", name="  ")
    assert not acceptances_path().exists()


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"films": 3}',
        b'{"films": {"corpus": "films"}}',
        b'{"films": {"corpus": "films", "surprise": 1}}',
    ],
)
def test_a_damaged_file_is_named_and_never_taken_for_an_acceptance(write_manifest, content):
    acceptances_path().parent.mkdir()
    acceptances_path().write_bytes(content)
    for call in (lambda: require_acceptance("films"), lambda: accept("films", name="Ada")):
        with pytest.raises(InputError, match=r"acceptances\.json: cannot be read .*remove it"):
            call()
    assert acceptances_path().read_bytes() == content  # nothing of it is lost


@pytest.mark.parametrize("change", [{"corpus": "sounds"}, {"accepted_by": ""}, {"accepted_at": 3}])
def test_an_entry_that_is_no_acceptance_of_its_corpus_is_named(write_manifest, change):
    accept("films", name="Ada")
    document = json.loads(acceptances_path().read_text())
    document["films"] |= change
    acceptances_path().write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"acceptances\.json: films: is not an acceptance"):
        require_acceptance("films")


def test_an_unknown_corpus_lists_the_known_ones(write_manifest):
    with pytest.raises(InputError, match="choose one of: films"):
        accept("movies", name="Ada")


def test_only_corpora_without_conditions_need_no_acceptance():
    free = {m.name for m in list_manifests("corpus") if not m.about("acceptanceNeeded")}
    assert free == {"emodb", "librispeech", "voxpopuli"}


@pytest.mark.parametrize("manifest", list_manifests("corpus"), ids=lambda m: m.name)
def test_every_licensed_corpus_shows_complete_terms(manifest):
    if manifest.about("acceptanceNeeded"):
        assert all(text.strip() for text in terms(manifest.name).values())
        status = manifest.about("licenceStatus")
        assert status in ("stated by the owner", "to be checked with the owner")
        if status == "to be checked with the owner":
            assert status in terms(manifest.name)["licence"]
