"""What a corpus must not be used for: by its owners' terms, and by this book's judgement.

A manifest says what is permitted. What follows from it, and what is asked of users beyond any
licence, stands here, since a manifest is part of every record that was made from its corpus.
"""

from __future__ import annotations

from collections.abc import Mapping

PEOPLE = (
    "finding out who somebody is or linking recordings of a person; inferring what people feel at "
    "work or in education, which Article 5(1)(f) of the AI Act forbids; deciding about anybody"
)
"""Forbidden for every corpus with people in it."""
NOT_KNOWN = "whatever the owners have not granted in writing, passing the recordings on above all"
"""Where no public terms are known."""
AGREEMENT = (
    "whatever the signed agreement does not grant; passing recordings or labels on to anybody who "
    "has not signed it"
)

BY_TERMS: Mapping[str, str] = {
    "aff-wild2": f"{AGREEMENT}; as an academic, the uses for which industry has another agreement",
    "affectnet": f"{AGREEMENT}; printing or passing on photographs, which stay with their owners",
    "ccdb": "use outside of academic research; passing the recordings on",
    "crema-d": "passing on an adapted database under other terms, or without naming the source",
    "edacc": "passing on adaptations under other terms, or without naming the source, as far as "
    "the licence is known",
    "emodb": "nothing: it is in the public domain",
    "emov-db": "commercial use without the owners' leave; diagnosing people",
    "emovome": NOT_KNOWN,
    "first-impressions": "use that the owner's page does not grant; passing on the videos, whose "
    "copyright stays with those who made them",
    "ib": "whatever the authors have not granted in writing, passing the annotations on above all",
    "ifadv": "passing on changed versions under other terms, as far as the licence is known",
    "librispeech": "passing it on without naming the source",
    "msp-improv": AGREEMENT,
    "msp-podcast": AGREEMENT,
    "ndc-me": NOT_KNOWN,
    "podcast-fillers": "commercial use of labels and transcripts; passing on changed versions of "
    "episodes whose licence excludes that",
    "sound-events": "nothing: the twin is in the public domain. For segments of AudioSet in its "
    "place: passing on videos, which belong to whoever put them online",
    "vggface2": "any use: its owners have withdrawn it, and no grant is known",
    "voxceleb2": "use outside of research; passing on the videos, whose copyright stays with their "
    "owners; keeping recordings whose removal has been asked for",
    "voxpopuli": "using the recordings without naming the Parliament as their source",
}
"""Corpus to what its licence or its owners exclude, from what its manifest knows of them."""
BY_JUDGEMENT: Mapping[str, str] = {
    "aff-wild2": "taking annotated valence for what the people shown felt",
    "affectnet": "reading a face's category as a feeling; any recogniser that is put to use on "
    "people who were, like these, not asked",
    "ccdb": "judging by a smile or a laugh what those who talk think of each other",
    "crema-d": "taking the acted emotions for felt ones; comparing ethnic groups or sexes by them",
    "edacc": "inferring somebody's origin or ethnicity from an accent",
    "emodb": "taking the acted emotions for felt ones; imitating the actors' voices",
    "emov-db": "imitating a speaker's voice in order to deceive",
    "emovome": "reading or publishing what is said, which was said in private",
    "first-impressions": "scoring anybody's personality, in hiring above all: its labels are the "
    "prejudice of strangers",
    "ib": "judging the people filmed, or the annotators, by the labels",
    "ifadv": "judging by a smile or a laugh what those who talk think of each other",
    "librispeech": "imitating a reader's voice",
    "msp-improv": "taking the acted emotions for felt ones",
    "msp-podcast": "taking perceived emotions for felt ones; using the speakers' names",
    "ndc-me": "using or publishing what is said about moral emotions",
    "podcast-fillers": "judging somebody's fluency or health by filler words",
    "sound-events": "calling what is measured on it a result on AudioSet or on real sounds; "
    "building alarms or surveillance on it",
    "vggface2": "recognising faces",
    "voxceleb2": "recognising speakers, which it was gathered for, or using the names in it",
    "voxpopuli": "inferring political opinions, or anything else about a speaker",
}
"""Corpus to what this book excludes, whatever the terms allow."""
WITHOUT_PEOPLE = frozenset({"sound-events"})


def forbidden_use(corpus: str) -> str:
    """What a corpus must not be used for, in two or three sentences; empty for an unknown one.

    >>> forbidden_use("vggface2").split(". ")[0]
    'By its terms: any use: its owners have withdrawn it, and no grant is known'
    """
    if corpus not in BY_TERMS:
        return ""
    judged = BY_JUDGEMENT[corpus]
    if corpus not in WITHOUT_PEOPLE:
        judged = f"{judged}; {PEOPLE}"
    return f"By its terms: {BY_TERMS[corpus]}. Here, whatever the terms allow: {judged}."
