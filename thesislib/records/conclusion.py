"""What the thesis reports and what was found here, claim by claim, for the last chapter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from thesislib.records import hypotheses, verdicts
from thesislib.records.headlines import HEADLINES, Headline
from thesislib.records.ledger import Part
from thesislib.records.record import RunRecord
from thesislib.records.reported import reported
from thesislib.records.verdicts import MISSING

RESULTS = {
    "Fusion outperforms single modalities consistently": "D",
    "Intensities of smiles and laughs show patterns that can be interpreted": "CE",
    "Pre-training and transfer generalise across corpora": "AG",
    "Disentanglement opens a way to interpret networks afterwards": "I",
}
"""The results that section 9.1 lists, each with the claims that it rests on."""
ADDED = "EmoDB"
"""The real corpus of this edition, which the thesis does not use."""
DONE, TRIED, OPEN = "done", "tried", "open"


@dataclass(frozen=True, slots=True)
class Perspective:
    """What a chapter of the thesis leaves to the future, and how far this edition went.

    Attributes:
        chapter: Of the thesis.
        text: In our words.
        status: `DONE`, `TRIED` or `OPEN`.
        where: What was done, or why not.
        needs: Key and value of a record's configuration without which nothing was tried yet.
    """

    chapter: int
    text: str
    status: str
    where: str
    needs: tuple[str, str] | None = None


PERSPECTIVES = (
    Perspective(2, "The energy that large models take", OPEN,
                "records keep seconds, not energy"),
    Perspective(2, "Privacy of the people in the data", TRIED,
                "twins for licensed corpora; consent and licence in each manifest"),
    Perspective(2, "Decisions that can be explained", TRIED,
                "probes, occlusion, controls; no explanation of a single decision"),
    Perspective(3, "Which representation to choose", TRIED,
                "MFCC statistics beside every layer of an encoder (chapter 8)",
                ("features", "mfcc")),
    Perspective(3, "Fusion that adapts to task, data and computing", TRIED,
                "gates, bottlenecks, attention, a modality left out (chapters 3 and 6)",
                ("model", "gating")),
    Perspective(4, "Systems that adapt to the single user", OPEN,
                "people are unseen in every test, and nothing adapts to them"),
    Perspective(5, "Further corpora and modalities", OPEN,
                "manifests for all that are described; no motion capture, EEG or ECG"),
    Perspective(5, "Better and more diverse annotation", OPEN,
                "nobody annotated anything anew; the annotators that were added are simulated"),
    Perspective(5, "Deeper analyses of the annotation", DONE,
                "kappa by category and level, alpha, intervals, annotators with known errors"),
    Perspective(6, "Other ways of fusing", DONE,
                "ten, and one trained end to end", ("model", "bottleneck")),
    Perspective(6, "Larger regions of interest, other networks", TRIED,
                "the whole face in chapter 7", ("frames", "8")),
    Perspective(7, "The encoder on other social tasks", TRIED,
                "voices of EmoDB, and few labelled people", ("pretraining", "librispeech-twin")),
    Perspective(7, "Modalities kept independent and complementary", OPEN,
                "the information loss of chapter 8 is between branches of one modality"),
    Perspective(8, "What the branches share, with one of them masked", TRIED,
                "both masked, and controls that take one away", ("branches", "mask-both")),
    Perspective(8, "Other content, such as accent", TRIED,
                "planted in twins; not on real voices", ("evaluated", "crema-d-twin")),
    Perspective(8, "Encoders that differ between the branches", TRIED,
                "fewer auxiliary layers; no other architecture", ("branches", "layers-2")),
    Perspective(9, "Models of affect across cultures", OPEN,
                "no corpus at hand would allow it; a twin has no culture"),
    Perspective(9, "Systems that follow a user's own affective traits", OPEN,
                "needs people over time"),
    Perspective(9, "Closer integration of words and other signals", OPEN,
                "words are left out throughout"),
)  # fmt: skip
TWIN, NULL, REAL, REPORTED = "twin", "null twin", "real", "reported"


def effects(parts: Sequence[Part], headlines: Sequence[Headline] = HEADLINES) -> pd.DataFrame:
    """Effects of the headlines, a row for each kind of data that has one.

    Of twins, these are the effects at the strength that the chapter's own tables are made of, and
    at none, where the claim has a null twin.

    Args:
        parts: Of the ledger.
        headlines: Which to show.

    Returns:
        Columns ``claim``, ``label``, ``kind`` (`REPORTED`, `REAL`, `TWIN`, `NULL`, or `MISSING`
        where nothing is recorded), ``value``, ``low``, ``high``, ``seeds``, ``verdict``,
        ``strength`` (in words; empty where effects were planted as documented).
    """
    rows: list[Mapping[str, object]] = []
    for headline in headlines:
        place = {"claim": headline.claim, "label": headline.label, "strength": ""}
        printed = headline.reported_effect()
        if not math.isnan(printed):
            rows.append(place | {"kind": REPORTED, "value": printed})
        found = {
            kind: {
                "kind": kind, "value": part.difference, "low": part.low, "high": part.high,
                "seeds": part.seeds, "verdict": part.verdict,
                "strength": verdicts.strength_words(part) if kind == TWIN else "",
            }
            for part in headline.chosen(parts)
            if (kind := _kind(part))
        }  # fmt: skip
        rows += [place | row for row in found.values()]
        if not found.keys() & {TWIN, REAL}:
            rows.append(place | {"kind": MISSING})
    columns = ["claim", "label", "kind", "value", "low", "high", "seeds", "verdict", "strength"]
    return pd.DataFrame(rows, columns=columns)


def claims_table(parts: Sequence[Part], letters: str) -> pd.DataFrame:
    """Some claims in rows: what they say, their verdict, and how their parts came out.

    Args:
        parts: Of the ledger.
        letters: Such as ``ABCDE``.
    """
    rows = {}
    for name, claim in hypotheses.CLAIMS.items():
        if name[0] in letters:
            own = [part for part in parts if part.claim == name]
            rows[name] = {
                "the claim": claim.hypothesis,
                "verdict": verdicts.verdict_words(name, own),
                "twin, as planted": verdicts.planted_words(name, own),
                "null twin": verdicts.null_words(name, own),
                "real recordings": verdicts.real_words(name, own),
            }
    return pd.DataFrame(rows).T.rename_axis("claim")


def results_table(parts: Sequence[Part]) -> pd.DataFrame:
    """The results of section 9.1, with what twins say and what real recordings say.

    A verdict is about the thesis's own corpora, all of which are under licence; EmoDB stands apart.

    Args:
        parts: Of the ledger.
    """
    rows = {}
    for result, letters in RESULTS.items():
        own = [part for part in parts if part.claim[0] in letters]
        real = [part for part in own if not part.synthetic]
        added = [part for part in real if part.data.startswith(ADDED)]
        theirs = [part for part in real if part not in added]
        rows[result] = {
            "claims": ", ".join(letters),
            "twin, as planted": verdicts.in_words(verdicts.as_planted(own)),
            "EmoDB, real": verdicts.in_words(added) if added else "–",
            "verdict": verdicts.in_words(theirs) if theirs else "not attempted: licence",
        }
    return pd.DataFrame(rows).T.rename_axis("result of section 9.1")


def perspectives_table(records: Iterable[RunRecord]) -> pd.DataFrame:
    """Perspectives of the thesis with their status here; what was tried needs a record of it.

    Args:
        records: All that are kept.
    """
    known = {item for record in records for item in record.configuration.items()}
    rows = [
        {
            "chapter": entry.chapter,
            "perspective": entry.text,
            "status": entry.status if entry.needs is None or entry.needs in known else MISSING,
            "where": entry.where,
        }
        for entry in PERSPECTIVES
    ]
    return pd.DataFrame(rows).set_index("chapter")


def fusion_in_the_tables() -> pd.DataFrame:
    """What fusing gains over the better modality in each table of the thesis that allows it.

    Section 9.1 says that fusion outperformed single modalities consistently.

    Source: Tables 6.1 to 6.3, 7.2 and 7.4; notes item 23.
    """
    found = {}
    for corpus in ("NDC-ME", "IFADV"):
        for start in ("From scratch", "Finetuned"):
            row = f"{corpus} / {start}"
            values = [reported(table, row, "F1-score") for table in ("6.1", "6.2", "6.3")]
            found[f"LSN-TCN, {corpus}, {start.lower()}"] = values
    for row in ("CAV-MAE", "Social-MAE"):
        columns = ("Audio Ma", "Visual Ma", "AV Ma")
        found[f"{row}, CREMA-D"] = [reported("7.2", row, column) for column in columns]
        columns = ("Audio", "Visual", "Audiovisual")
        found[f"{row}, NDC-ME"] = [reported("7.4", row, column) for column in columns]
    table = pd.DataFrame.from_dict(found, orient="index", columns=["voice", "face", "both"])
    table["gain over the better one"] = table["both"] - table[["voice", "face"]].max(axis=1)
    return table.rename_axis("reported F1")


def runs_table(records: Iterable[RunRecord]) -> pd.DataFrame:
    """How many runs are kept: chapters and experiments in rows, real and twin across."""
    counts: dict[tuple[int, str], dict[str, int]] = {}
    for record in records:
        row = counts.setdefault((int(record.chapter), record.experiment), {TWIN: 0, REAL: 0})
        row[TWIN if record.synthetic else REAL] += 1
    for chapter in (5, 6, 7, 8):
        if not any(key[0] == chapter for key in counts):
            counts[chapter, MISSING] = {TWIN: 0, REAL: 0}
    index = pd.MultiIndex.from_tuples(sorted(counts), names=["chapter", "experiment"])
    return pd.DataFrame([counts[key] for key in sorted(counts)], index=index)


def in_words(table: pd.DataFrame) -> list[str]:
    """What the headlines of `effects` say, in sentences: counts by kind of data."""
    told = []
    shown = (
        (TWIN, "On twins as planted"),
        (NULL, "On null twins, where nothing should hold"),
        (REAL, "On real recordings"),
    )
    for kind, name in shown:
        own = table.loc[table["kind"] == kind, "verdict"]
        words = [f"{verdict} {(own == verdict).sum()}" for verdict in sorted(set(own))]
        told.append(f"{name}: {', '.join(words) or MISSING}.")
    others = table.loc[table["strength"] != "", "strength"]
    told += [
        f"{str(how).capitalize()}: {n} of the twins." for how, n in others.value_counts().items()
    ]
    missing = (table["kind"] == MISSING).sum()
    return [*told, f"Not recorded yet: {missing}."]


def _kind(part: Part) -> str | None:
    """Kind of data; none for strengths that the picture leaves out."""
    if not part.synthetic:
        return REAL
    if part.planted:
        return TWIN
    return NULL if part.strength == 0 and hypotheses.CLAIMS[part.claim].null else None
