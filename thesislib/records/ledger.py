"""The claims ledger: claims A to J, each with its parts as the records have them.

Chapters judge their claims from stored predictions; here their answers are brought into one form,
by strength of what was planted, with the runs that they rest on. To judge all of them takes a
minute, so the parts are kept in ``results/claims.json`` beside a digest of the records and of the
code; whoever reads them gets what is kept where the digest still fits, and else judges again. What
parts say of a claim is put into words in `thesislib.records.verdicts`.

Source: claims A to J of the notes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from thesislib.code import code_sha256
from thesislib.files import atomic_write
from thesislib.records.record import RunRecord

if TYPE_CHECKING:
    from thesislib.records.traced import Traced

KEPT = "claims.json"
FORM = 3
"""Counted up whenever this module makes other parts of the same records."""
REPLICATES = 10_000
JUDGES = (
    "thesislib.evaluation.claims",
    "thesislib.evaluation.claims_laughs",
    "thesislib.evaluation.claims_social_mae",
    "thesislib.evaluation.claims_branches",
)
"""Where the code begins that judges."""
HOLDS, REVERSED, UNDECIDED = "holds", "reversed", "undecided"
MEASURES = {
    "overlap_levels": "shared values of overlapping segments",
    "kappa": "kappa of a tier",
    "kappa_levels": "kappa of the values alone",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One comparison of a claim, at one strength of what was planted.

    Attributes:
        claim: ``A`` to ``J``, with a number where a claim has several.
        part: What is compared; the claim says that the difference is above zero.
        data: Corpus, real or twin.
        synthetic: Whether it is a twin.
        strength: Of the planted effects: 1 as documented, 0 for a null twin, NaN for real ones.
        planted: Whether that is the strength that the chapter's own tables are made of, which is
            not 1 everywhere; False for real ones.
        difference: The effect size, in the unit of the claim.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p_value: Corrected after Holm; NaN where the chapter has no p-value.
        seeds: Runs of each side.
        people: Speakers, or files of annotators, that were resampled.
        verdict: ``holds``, ``reversed``, ``undecided``, or why there is none.
        runs: Ids of the runs of both sides.
    """

    claim: str
    part: str
    data: str
    synthetic: bool
    strength: float
    planted: bool
    difference: float
    low: float
    high: float
    p_value: float
    seeds: int
    people: int
    verdict: str
    runs: tuple[str, ...]

    @property
    def decided(self) -> bool:
        """Whether it came out either way."""
        return self.verdict in (HOLDS, REVERSED)

    @property
    def tested(self) -> bool:
        """Whether it could be tested at all: a level may not occur, or people may be too few."""
        return self.decided or self.verdict == UNDECIDED


Judge = Callable[[Sequence[RunRecord], Path, int], list[Part]]


def parts(
    records: Sequence[RunRecord], results: Path, *, replicates: int = REPLICATES
) -> list[Part]:
    """Every part of every claim that the records allow, kept or judged now.

    Args:
        records: Of all chapters.
        results: Folder that holds their predictions and what is kept.
        replicates: Of the bootstraps.
    """
    kept = _read(results)
    found: list[Part] = []
    for chapter, judge in judges().items():
        own = used(records, chapter)
        entry = kept.get(chapter, {})
        if entry.get("digest") == digest(own, replicates):
            found += [_part(row, entry["runs"]) for row in entry["parts"]]
        else:
            found += judge(own, results, replicates)
    return found


def keep(
    records: Sequence[RunRecord], results: Path, *, replicates: int = REPLICATES
) -> list[Part]:
    """Judge what is not kept, and keep all of it in the results folder."""
    found = parts(records, results, replicates=replicates)
    document = {}
    for chapter in judges():
        own = [part for part in found if CHAPTERS[part.claim[0]] == chapter]
        runs = sorted({run for part in own for run in part.runs})
        places = {run: place for place, run in enumerate(runs)}
        document[chapter] = {
            "digest": digest(used(records, chapter), replicates),
            "runs": runs,  # named once: a part has their places
            "parts": [
                {k: None if v != v else v for k, v in asdict(part).items()}
                | {"runs": [places[run] for run in part.runs]}
                for part in own
            ],
        }
    with atomic_write(results / KEPT) as temporary:
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return found


CHAPTERS = dict.fromkeys("ABCDE", "06") | dict.fromkeys("FGH", "07") | {"I": "08", "J": "05"}
"""Letter of a claim to the chapter whose records it is judged on."""


def used(records: Iterable[RunRecord], chapter: str) -> list[RunRecord]:
    """The records that claims of a chapter are judged on: not those of tiny runs.

    Chapter 7 corrects for its comparisons with LSN-TCN, too, which is chapter 6's.
    """
    experiments = {
        "05": ("agreement",), "06": ("laughs",), "07": ("social-mae", "reconstruction", "laughs"),
        "08": ("disentanglement",),
    }  # fmt: skip
    return [
        record
        for record in records
        if record.experiment in experiments[chapter] and record.profile != "tiny"
    ]


def digest(records: Iterable[RunRecord], replicates: int) -> str:
    """Hash of what parts follow from: which runs, what trained them, and the code that judges."""
    runs = sorted(
        (r.run_id, r.training_sha256, r.manifest_sha256, r.commit, r.started) for r in records
    )
    text = json.dumps([runs, replicates, code_sha256(JUDGES), FORM])
    return hashlib.sha256(text.encode()).hexdigest()


def judges() -> dict[str, Judge]:
    """Chapter to what judges its claims."""
    return {"05": _annotations, "06": _laughs, "07": _social_mae, "08": _branches}


# --------------------------------------------------------------------------- one form for all


def _annotations(records: Sequence[RunRecord], results: Path, replicates: int) -> list[Part]:
    """Claim J; several seeds agree where the interval of each is on the same side of zero."""
    from thesislib.evaluation.claims import claim_j
    from thesislib.records.claims import QUANTITIES

    rows = []
    for record in records:
        strength = _annotator_strength(record)
        if strength is not None:
            table = claim_j(
                record.load_predictions(results), n_bootstrap=replicates, seed=record.seed
            )
            table = table[table["quantity"].isin(QUANTITIES)]
            real = "real" if not record.synthetic else "twin"
            corpus = f"{record.corpus}, {real}"
            rows.append(table.assign(corpus=corpus, strength=strength, run=record.run_id))
    found = []
    groups = ["statistic", "quantity", "corpus", "strength"]
    for key, part in pd.concat(rows).groupby(groups, sort=False) if rows else ():
        statistic, quantity, corpus = (str(word) for word in key[:3])
        synthetic, at = corpus.endswith("twin"), float(part["strength"].iloc[0])
        verdicts = set(part["holds"])
        first, _, second = quantity.partition(" - ")
        found.append(
            Part(
                claim="J",
                part=f"{first.lower()} less {second.lower()}: {MEASURES[statistic]}",
                data=corpus,
                synthetic=synthetic,
                strength=at if synthetic else math.nan,
                planted=synthetic and at == 1,
                difference=float(part["value"].mean()),
                low=float(part["low"].mean()),
                high=float(part["high"].mean()),
                p_value=math.nan,
                seeds=len(part),
                people=int(part["n"].min()),
                verdict=HOLDS
                if verdicts == {True}
                else REVERSED
                if verdicts == {False}
                else UNDECIDED,
                runs=tuple(sorted(part["run"])),
            )
        )
    return found


def _annotator_strength(record: RunRecord) -> float | None:
    """1 for annotators as documented, 0 for those who agree wholly, None for other effects."""
    effects = str(record.config["effects"])
    scales = dict(part.split("=") for part in effects.split())
    if not scales:
        return 1.0
    return 0.0 if "bias" in scales and {float(v) for v in scales.values()} == {0.0} else None


def _laughs(records: Sequence[RunRecord], results: Path, replicates: int) -> list[Part]:
    from thesislib.records.laugh_claims import laugh_contrasts
    from thesislib.records.laughs import strengths

    found = []
    for synthetic, name in ((True, "twins"), (False, "real")):
        own = [r for r in records if r.synthetic == synthetic]
        for strength in strengths(own):
            contrasts = laugh_contrasts(own, results, at=strength, replicates=replicates)
            data = {"A": f"NDC-ME to IFADV, {name}"}
            at = strength if synthetic else math.nan
            found += _contrasts(contrasts, f"NDC-ME, {name}", at, strength == 1, data)
    return found


def _social_mae(records: Sequence[RunRecord], results: Path, replicates: int) -> list[Part]:
    """Claims F to H: the strengths of the chapter's own tables, corrected together; then others."""
    from thesislib.records.social_mae import is_of, strength
    from thesislib.records.social_mae_claims import contrasts, real_voices

    twins, real = ([r for r in records if r.synthetic == kind] for kind in (True, False))
    of = {r.run_id: r for r in twins}
    main = _contrasts(contrasts(twins, results, replicates=replicates), "twin", 1, True)
    found = [replace(part, strength=strength(of[part.runs[0]]) or 0.0) for part in main]
    own = [r for r in twins if r.chapter == "07"]
    for at in sorted({s for r in own if (s := strength(r)) is not None}):
        parts = _contrasts(
            contrasts(twins, results, at=at, replicates=replicates), "twin", at, False
        )
        found += [part for part in parts if not is_of(of[part.runs[0]])]
    on_people = [
        *contrasts(real, results, at=1.0, replicates=replicates),
        *real_voices(real, results, replicates=replicates),
    ]
    for part in _contrasts(on_people, "real", math.nan, False):
        corpus = re.split("[,:]", part.part)[0]
        found.append(replace(part, data=f"{corpus}, real"))
    return found


def _contrasts(
    contrasts: Iterable[Traced],
    data: str,
    strength: float,
    planted: bool,
    by_claim: Mapping[str, str] | None = None,
) -> list[Part]:
    """What `contrasts_table` makes of contrasts, as parts; those of real ones have no strength."""
    from thesislib.evaluation.claims_laughs import contrasts_table

    table = contrasts_table(contrasts)
    synthetic = not math.isnan(strength)
    return [
        Part(
            claim=row["claim"],
            part=row["part"],
            data=(by_claim or {}).get(row["claim"], data),
            synthetic=synthetic,
            strength=strength,
            planted=synthetic and planted,
            difference=float(row["difference"]),
            low=float(row["low"]),
            high=float(row["high"]),
            p_value=float(row["p_holm"]),
            seeds=int(row["seeds"]),
            people=int(row["speakers"]),
            verdict=str(row["verdict"]),
            runs=tuple(row["runs"]),
        )
        for row in table.to_dict("records")
        if row["claim"][0] in CHAPTERS  # a chapter may compare more than its claims
    ]


def _branches(records: Sequence[RunRecord], results: Path, replicates: int) -> list[Part]:
    from thesislib.records.branch_claims import claim_rows
    from thesislib.records.disentanglement import EVALUATED, planted_in

    found = []
    for row in claim_rows(records, results, replicates=replicates).to_dict("records"):
        head, scale = planted_in(str(row["evaluated"]))
        found.append(
            Part(
                claim=str(row["part"]),
                part=f"{row['encoder']}: {row['first']} less {row['second']}",
                data=EVALUATED[head],
                synthetic=head.endswith("-twin"),
                strength=scale,
                planted=scale == 1,
                difference=float(row["difference"]),
                low=float(row["low"]),
                high=float(row["high"]),
                p_value=float(row["p_holm"]),
                seeds=int(row["seeds"]),
                people=int(row["speakers"]),
                verdict=str(row["verdict"]),
                runs=tuple(row["runs"]),
            )
        )
    return found


# --------------------------------------------------------------------------------------- kept


def _read(results: Path) -> dict[str, dict]:
    try:
        document = json.loads((results / KEPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _part(row: Mapping[str, Any], runs: Sequence[str]) -> Part:
    told: dict[str, Any] = {k: math.nan if v is None else v for k, v in row.items()}
    return Part(**told | {"runs": tuple(runs[place] for place in row["runs"])})
