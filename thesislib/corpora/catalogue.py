"""The corpora of chapter 5 side by side, out of their manifests.

A manifest quotes the thesis as ``thesis:facts``: where it says something (a table or a section),
about what, and in which words. Tables and text disagree in places, so both are kept, each with its
place (notes item 34), and the tables here show the cells of the printed ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from thesislib.corpora.manifest import Manifest, list_manifests, load_manifest
from thesislib.errors import InputError

UNLABELLED = ("librispeech", "podcast-fillers", "voxpopuli", "vggface2", "edacc", "voxceleb2")
LABELLED = (
    "emov-db",
    "emovome",
    "msp-podcast",
    "affectnet",
    "aff-wild2",
    "first-impressions",
    "msp-improv",
    "crema-d",
)
INTERACTION = ("ccdb", "ifadv", "ndc-me")
"""Manifests of section 5.2 and of Tables 5.1 and 5.2, in the thesis's order."""
NOT_SAID = "n.a."


def reported_facts() -> pd.DataFrame:
    """Everything that the thesis says about a corpus, with the place where it says so.

    Returns:
        Columns ``corpus, place, fact, value``, all text, in order of corpus; the value is as
        printed. EmoDB is not among them: the thesis does not use it.

    >>> facts = reported_facts().set_index(["corpus", "place", "fact"]).value
    >>> facts["librispeech", "Table 5.1", "Male"], facts["librispeech", "section 5.1.1", "male"]
    ('51 %', '51.5 %')
    """
    rows = [
        {"corpus": manifest.name, **fact}
        for manifest in list_manifests("corpus")
        for fact in manifest.document.get("thesis:facts", [])
    ]
    return pd.DataFrame(rows, columns=["corpus", "place", "fact", "value"])


def unlabelled_corpora() -> pd.DataFrame:
    """Table 5.1, as printed: corpora without labels of affect.

    Returns:
        Six rows, indexed by manifest; the columns ``Male`` and ``Female`` are the two halves of
        the printed column of gender. All cells are text.

    Raises:
        InputError: a manifest lacks a cell.

    Source: thesis Table 5.1.

    >>> unlabelled_corpora().loc["voxceleb2", "Duration (h)"]
    '2442'
    """
    columns = ("Name", "Modality", "# speakers", "Duration (h)", "Languages", "Male", "Female")
    return _table("Table 5.1", UNLABELLED, columns)


def labelled_corpora() -> pd.DataFrame:
    """Table 5.2, as printed: corpora with labels of affect.

    Returns:
        Eight rows, indexed by manifest. All cells are text.

    Raises:
        InputError: a manifest lacks a cell.

    Source: thesis Table 5.2.

    >>> labelled_corpora().loc["crema-d", "# samples/ duration"]
    '7442 clips'
    """
    columns = (
        "Name",
        "Modality",
        "# speakers",
        "# samples/ duration",
        "Annotation type",
        "Demographics",
    )
    return _table("Table 5.2", LABELLED, columns)


def interaction_corpora() -> pd.DataFrame:
    """The three corpora of dyads that carry the IB annotations.

    The thesis has no table of them; this one gathers what two sections say. The last four columns
    describe the subset that chapter 6 uses.

    Returns:
        Three rows, indexed by manifest. All cells are text, ``n.a.`` where the thesis says
        nothing.

    Raises:
        InputError: a manifest lacks a cell of section 5.2.

    Source: thesis sections 5.2 and 6.2.

    >>> interaction_corpora()["Languages"].tolist()
    ['English', 'Dutch', 'English']
    """
    described = ("Name", "Modality", "Languages", "Participants", "Conversation")
    table = _table("section 5.2", INTERACTION, described)
    for column in ("Dyads", "Individuals", "Pairs", "Annotated"):
        table[column] = [
            _facts(load_manifest(name), "section 6.2").get(column, NOT_SAID) for name in INTERACTION
        ]
    return table


def _table(place: str, names: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    rows = []
    for manifest in map(load_manifest, names):
        facts = _facts(manifest, place)
        for column in columns:
            if column not in facts:
                raise InputError(
                    manifest.path,
                    f"does not quote {column!r} of {place}",
                    "add it to thesis:facts",
                    where="thesis:facts",
                )
        rows.append([facts[column] for column in columns])
    return pd.DataFrame(rows, index=pd.Index(names, name="manifest"), columns=list(columns))


def _facts(manifest: Manifest, place: str) -> dict[str, str]:
    return {
        fact["fact"]: fact["value"] for fact in manifest.about("facts") if fact["place"] == place
    }
