"""The claims ledger: claims A to J, each with its parts as the records have them.

Chapters judge their claims from stored predictions; here their answers are brought into one form,
by strength of what was planted. To judge all of them takes a minute, so the parts are kept in
``results/claims.json`` beside a digest of the records and of the code; whoever reads them gets
what is kept where the digest still fits, and else judges again.

Source: claims A to J of the notes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from thesislib.code import code_sha256
from thesislib.files import atomic_write
from thesislib.records.record import RunRecord

KEPT = "claims.json"
REPLICATES = 2000
JUDGES = (
    "thesislib.evaluation.claims",
    "thesislib.evaluation.claims_laughs",
    "thesislib.evaluation.claims_social_mae",
    "thesislib.evaluation.claims_branches",
)
"""Where the code begins that judges."""
HOLDS, REVERSED = "holds", "reversed"
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
        difference: The effect size, in the unit of the claim.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p_value: Corrected after Holm; NaN where the chapter has no p-value.
        seeds: Runs of each side.
        people: Speakers, or files of annotators, that were resampled.
        verdict: ``holds``, ``reversed``, ``undecided``, or why there is none.
    """

    claim: str
    part: str
    data: str
    synthetic: bool
    strength: float
    difference: float
    low: float
    high: float
    p_value: float
    seeds: int
    people: int
    verdict: str

    @property
    def decided(self) -> bool:
        """Whether it came out either way."""
        return self.verdict in (HOLDS, REVERSED)


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
            found += [_part(row) for row in entry["parts"]]
        else:
            found += judge(own, results, replicates)
    return found


def keep(
    records: Sequence[RunRecord], results: Path, *, replicates: int = REPLICATES
) -> list[Part]:
    """Judge what is not kept, and keep all of it in the results folder."""
    found = parts(records, results, replicates=replicates)
    document = {
        chapter: {
            "digest": digest(used(records, chapter), replicates),
            "parts": [
                {k: None if v != v else v for k, v in asdict(part).items()}
                for part in found
                if CHAPTERS[part.claim[0]] == chapter
            ],
        }
        for chapter in judges()
    }
    with atomic_write(results / KEPT) as temporary:
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return found


CHAPTERS = dict.fromkeys("ABCDE", "06") | dict.fromkeys("FGH", "07") | {"I": "08", "J": "05"}
"""Letter of a claim to the chapter whose records it is judged on."""


def used(records: Iterable[RunRecord], chapter: str) -> list[RunRecord]:
    """The records that claims of a chapter are judged on: not those of tiny runs."""
    experiments = {
        "05": ("agreement",), "06": ("laughs",), "07": ("social-mae", "reconstruction"),
        "08": ("disentanglement",),
    }  # fmt: skip
    return [
        record
        for record in records
        if record.chapter == chapter
        and record.experiment in experiments[chapter]
        and record.profile != "tiny"
    ]


def digest(records: Iterable[RunRecord], replicates: int) -> str:
    """Hash of what parts follow from: which runs, what trained them, and the code that judges."""
    runs = sorted(
        (r.run_id, r.training_sha256, r.manifest_sha256, r.commit, r.started) for r in records
    )
    text = json.dumps([runs, replicates, code_sha256(JUDGES)])
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
            rows.append(table.assign(corpus=f"{record.corpus}, {real}", strength=strength))
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
                else "undecided",
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
            found += _contrasts(contrasts, f"NDC-ME, {name}", strength, synthetic, data)
    return found


def _social_mae(records: Sequence[RunRecord], results: Path, replicates: int) -> list[Part]:
    from thesislib.records.social_mae import strength
    from thesislib.records.social_mae_claims import contrasts

    found = []
    for synthetic, name in ((True, "twin"), (False, "real")):
        own = [r for r in records if r.synthetic == synthetic]
        for at in sorted({s for r in own if (s := strength(r)) is not None}):
            parts = contrasts(own, results, at=at, replicates=replicates)
            found += _contrasts(parts, name, at, synthetic, {})
    return found


def _contrasts(
    contrasts: Sequence[object],
    data: str,
    strength: float,
    synthetic: bool,
    by_claim: Mapping[str, str],
) -> list[Part]:
    """What `contrasts_table` makes of contrasts, as parts."""
    from thesislib.evaluation.claims_laughs import Contrast, contrasts_table

    table = contrasts_table(c for c in contrasts if isinstance(c, Contrast))
    return [
        Part(
            claim=row["claim"],
            part=row["part"],
            data=by_claim.get(row["claim"], data),
            synthetic=synthetic,
            strength=strength if synthetic else math.nan,
            difference=float(row["difference"]),
            low=float(row["low"]),
            high=float(row["high"]),
            p_value=float(row["p_holm"]),
            seeds=int(row["seeds"]),
            people=int(row["speakers"]),
            verdict=str(row["verdict"]),
        )
        for row in table.to_dict("records")
        if row["claim"][0] in CHAPTERS  # a chapter may compare more than its claims
    ]


def _branches(records: Sequence[RunRecord], results: Path, replicates: int) -> list[Part]:
    from thesislib.records.branch_claims import claim_rows
    from thesislib.records.disentanglement import EVALUATED

    found = []
    for row in claim_rows(records, results, replicates=replicates).to_dict("records"):
        evaluated = str(row["evaluated"])
        head, _, scale = evaluated.partition("-emotion-")
        synthetic = head.endswith("-twin")
        found.append(
            Part(
                claim=str(row["part"]),
                part=f"{row['encoder']}: {row['first']} less {row['second']}",
                data=EVALUATED[head],
                synthetic=synthetic,
                strength=math.nan if not synthetic else float(scale or 1),
                difference=float(row["difference"]),
                low=float(row["low"]),
                high=float(row["high"]),
                p_value=float(row["p_holm"]),
                seeds=int(row["seeds"]),
                people=int(row["speakers"]),
                verdict=str(row["verdict"]),
            )
        )
    return found


# ----------------------------------------------------------------------------------- in words


def real_verdict(parts: Iterable[Part]) -> str:
    """What real recordings say of a claim, in a few words.

    >>> real_verdict([])
    'not tested on real recordings'
    """
    real = [part for part in parts if not part.synthetic]
    return in_words(real) if real else "not tested on real recordings"


def in_words(parts: Sequence[Part]) -> str:
    """How several parts came out, counted.

    >>> in_words([])
    'not recorded yet'
    """
    if not parts:
        return "not recorded yet"
    counts = {
        name: sum(part.verdict == name for part in parts)
        for name in dict.fromkeys([HOLDS, REVERSED, *(part.verdict for part in parts)])
    }
    told = [f"{name} in {number}" for name, number in counts.items() if number]
    return f"{', '.join(told)} of {len(parts)}"


def null_words(parts: Iterable[Part]) -> str:
    """What the null twin gave: a part that comes out there is an effect that is not there."""
    null = [part for part in parts if part.strength == 0]
    if not null:
        return "not recorded yet"
    wrong = sum(part.decided for part in null)
    if not wrong:
        return f"finds nothing in {len(null)} of {len(null)}, as it should"
    return f"finds in {wrong} of {len(null)} what was not planted"


def _read(results: Path) -> dict[str, dict]:
    try:
        document = json.loads((results / KEPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _part(row: Mapping[str, Any]) -> Part:
    told: dict[str, Any] = {k: math.nan if v is None else v for k, v in row.items()}
    return Part(**told)
