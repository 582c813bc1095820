"""What model cards and data sheets say that is not judgement: from manifests and from records.

A sheet is a mapping from a question to its answer, in the order in which a reader asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from thesislib.corpora.manifest import load_manifest
from thesislib.records import laughs, social_mae
from thesislib.records.forbidden import forbidden_use
from thesislib.records.record import RunRecord

TWIN_PAGES = {
    "emodb": "twins",
    "ndc-me": "twins_dyads",
    "ifadv": "twins_dyads",
    "ccdb": "twins_dyads",
    "ib": "twins_dyads",
    "crema-d": "twins_recordings",
    "first-impressions": "twins_recordings",
    "voxceleb2": "twins_recordings",
    "librispeech": "twins_recordings",
    "sound-events": "twins_recordings",
}
"""Corpora that have a twin, each with the page of ``book/`` that lists what is planted in it."""
STRENGTHS: Mapping[str, Callable[[RunRecord], float | None]] = {
    "06": laughs.strength,
    "07": social_mae.strength,
}
"""Chapters whose records are of several strengths of the planted effects, to how one is told."""
TABLED: Mapping[str, Callable[[RunRecord], bool]] = {
    "06": lambda record: laughs.strength(record) == 1.0,
    "07": lambda record: social_mae.is_of(record) and not social_mae.for_pictures(record.config),
}
"""Chapters to whether their own main tables would have a record, whatever its scope."""


def data_sheet(name: str) -> dict[str, str]:
    """What the manifest of a corpus or of a set of weights says, by question.

    Args:
        name: Of a manifest.

    Raises:
        InputError: there is no such manifest.

    >>> sheet = data_sheet("emodb")
    >>> sheet["Personal data in it"], sheet["Terms to accept first"]
    ('voice, sex, age', 'no')
    """
    manifest = load_manifest(name)
    document = manifest.document

    def own(key: str) -> str:
        return str(document.get(f"thesis:{key}", ""))

    personal = document.get("thesis:personalData")
    used = document.get("thesis:usedIn")
    answers = {
        "Name": document["alternateName"],
        "What it is": document["description"],
        "Made by": document["creator"]["name"],
        "Modality": own("modality"),
        "Licence": own("licence") or document["license"],
        "Licence checked": own("licenceStatus"),
        "Terms": document["license"] if own("licence") else "",
        "Terms to accept first": "yes" if document.get("thesis:acceptanceNeeded") else "no",
        "How to get it": own("accessRoute"),
        "Consent of those in it": own("consentBasis"),
        "Personal data in it": "" if personal is None else ", ".join(personal) or "none",
        "Intended use": own("permittedUse"),
        "Forbidden use": own("forbiddenUse") or forbidden_use(name),
        "Input": own("input"),
        "How labels came about": own("protocol"),
        "Split": own("splitRule"),
        "Release": own("release"),
        "In the thesis": _chapters(used),
        "Known limits": " ".join([own("limits"), *document.get("thesis:remarks", [])]).strip(),
        "Manifest": f"`data_manifests/{manifest.path.name}`, SHA-256 `{manifest.sha256[:12]}`",
    }
    return {question: str(answer) for question, answer in answers.items() if answer}


def twin_effects(corpus: str) -> Mapping[str, str]:
    """Names of the effects that are planted in a corpus's twin, and what each is.

    Raises:
        KeyError: the corpus has no twin.

    >>> sorted(twin_effects("sound-events"))[:2]
    ['background', 'camera']
    """
    # Here, since a page of cards is read without writing a twin.
    from thesislib.corpora.twins import conversations, emodb, recordings

    page = TWIN_PAGES[corpus]
    if page == "twins_recordings":
        return recordings.TWINS[corpus].effects
    return emodb.EFFECTS if page == "twins" else conversations.EFFECTS


def twin_sheet(corpus: str, records: Iterable[RunRecord]) -> dict[str, str]:
    """What is known of a corpus's twin, by question.

    Args:
        corpus: With a twin, see `TWIN_PAGES`.
        records: All that are kept; those of this twin are counted.
    """
    runs = [r for r in records if r.synthetic and r.corpus == corpus]
    counts: dict[str, int] = {}
    for record in runs:
        key = f"chapter {int(record.chapter)}, {record.experiment}"
        counts[key] = counts.get(key, 0) + 1
    effects = twin_effects(corpus)
    return {
        "Made by": f"`thesis data twin {corpus} --out data/twins/{corpus}`",
        "Who is in it": "Nobody. People, faces, voices and events are drawn at random.",
        "Planted": "; ".join(f"`{name}` ({what})" for name, what in effects.items()) + ".",
        "Null twin": "Any of them switched off, as in `--effect NAME=0`.",
        "Intended use": "Testing the way from recordings to numbers, where the answer is known.",
        "Forbidden use": (
            "Any statement about people; any claim to have reproduced a result of the thesis; "
            "training a system that is used on people."
        ),
        "Recorded runs": "; ".join(f"{key}: {n}" for key, n in sorted(counts.items()))
        or "not recorded yet",
    }


def measured(
    records: Iterable[RunRecord],
    *,
    chapter: str,
    experiment: str,
    by: Sequence[str],
    where: Mapping[str, str],
) -> dict[tuple[str, ...], list[RunRecord]]:
    """Recorded runs of one kind, in groups that differ in nothing but the seed.

    Only the size `small` counts, planted effects at the strength that the chapter's tables are made
    of, and all speakers labelled. Jobs that are there for their pictures are left out. Whatever
    else runs differ in has to be among `by` or `where`: scopes, for one, are never averaged.

    Args:
        records: All that are kept.
        chapter: Two digits.
        experiment: Within the chapter.
        by: Names that `value_of` knows; one row each.
        where: The same, with the values that are wanted, separated by blanks.

    Returns:
        Values of `by` to runs, in order of the values.
    """
    found: dict[tuple[str, ...], list[RunRecord]] = {}
    for record in records:
        if (
            (record.chapter, record.experiment, record.profile) == (chapter, experiment, "small")
            and TABLED.get(chapter, lambda _: True)(record)
            and not record.config.get("labelled_speakers")
            and all(value_of(record, key) in wanted.split() for key, wanted in where.items())
        ):
            found.setdefault(tuple(value_of(record, key) for key in by), []).append(record)
    return {key: _one_constant(found[key]) for key in sorted(found)}


def value_of(record: RunRecord, name: str) -> str:
    """A field of a record, of its configuration or of its parameters, as a word; - without it.

    Of no field are *kind of data*, ``twin`` or ``real``, and *strength*, that of a twin's effects.
    """
    for place in (record.configuration, record.config):
        if name in place:
            return str(place[name])
    if name == "kind of data":
        return "twin" if record.synthetic else "real"
    if name == "strength":
        known = STRENGTHS.get(record.chapter) if record.synthetic else None
        at = known(record) if known else None
        return "–" if at is None else f"{at:g}"
    return str(getattr(record, name, "–"))


def _one_constant(runs: list[RunRecord]) -> list[RunRecord]:
    """One run a seed of the mean predictor, which every job of chapter 7 records alike."""
    if any(run.configuration.get("model") != "constant" for run in runs):
        return runs
    return list({run.seed: run for run in runs}.values())


def _chapters(used: Sequence[str] | None) -> str:
    if used is None:
        return ""
    numbers = ", ".join(used)
    return f"chapter{'s' * (len(used) > 1)} {numbers}" if used else "described, and not used"
