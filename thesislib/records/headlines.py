"""Headlines: the parts of claims A to J that stand for them in the picture of chapter 9.

The parts come from the claims ledger. Which of them are headlines was chosen before any value was
looked at: the setting that the thesis itself reports on, or the nearest one that there is. One was
added later: the only part of claim G on real recordings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from thesislib.records.ledger import Part
from thesislib.records.reported import reported, reported_pairs
from thesislib.records.social_mae_claims import REAL_VOICES

Cell = tuple[str, str, str]
"""Table, row and column of a printed value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One part of a claim that stands for it in the picture.

    Attributes:
        claim: As the ledger has it, such as ``C1``.
        label: What is compared, in a few words.
        part: As the ledger has it.
        data: Beginning of the ledger's name of the corpus; empty for any.
        cells: The two printed cells whose difference is the reported effect; none where the thesis
            prints no number.
    """

    claim: str
    label: str
    part: str
    data: str = ""
    cells: tuple[Cell, Cell] | None = None

    def chosen(self, parts: Iterable[Part]) -> list[Part]:
        """The parts that it is about: real, twin and null twin."""
        return [
            part
            for part in parts
            if (part.claim, part.part) == (self.claim, self.part)
            and part.data.startswith(self.data)
        ]

    def reported_effect(self) -> float:
        """The same difference in the thesis's own tables; NaN where it prints none."""
        if self.claim == "J":
            return _reported_agreement(self.label)
        if self.cells is None:
            return math.nan
        first, second = (reported(*cell) for cell in self.cells)
        if self.claim == "F":
            return math.log2(second / first)
        if self.claim == "C1":
            return (first - second) / 200  # two levels apart, printed in per cent
        if self.claim == "H":
            from thesislib.evaluation.claims_social_mae import MARGIN

            return MARGIN - abs(first - second)
        return first - second


def _generalisation(model: str, table: str) -> Headline:
    rows = ("IFADV / Finetuned", "IFADV / From scratch")
    return Headline(
        claim="A", label=f"unseen corpus, {model}: pretrained less scratch",
        part=f"{model}: F1 pretrained less scratch, zero-shot",
        cells=((table, rows[0], "F1-score"), (table, rows[1], "F1-score")),
    )  # fmt: skip


def _slope(model: str, figure: str) -> Headline:
    table = f"Figure {figure}, scratch, NDC-ME"
    return Headline(
        claim="C1", label=f"{model}: laughs found, a level up",
        part=f"{model}: laughs found, a level up",
        cells=((table, "Laughs / high", "Laughs"), (table, "Laughs / low", "Laughs")),
    )  # fmt: skip


def _frames(corpus: str) -> Headline:
    column = f"{corpus} V."
    return Headline(
        claim="F", label=f"{corpus}: error, one frame over eight",
        part=f"{corpus}: pictures, eight frames less one",
        cells=(("7.1", "Social-MAE", column), ("7.1", "CAV-MAE", column)),
    )  # fmt: skip


def _task(corpus: str, table: str, column: str) -> Headline:
    return Headline(
        claim="G", label=f"{corpus}: eight frames less one",
        part=f"{corpus}, AV: eight frames less one",
        cells=((table, "Social-MAE", column), (table, "CAV-MAE", column)),
    )  # fmt: skip


def _main_branch(data: str, table: str = "", rows: tuple[str, str] = ("", "")) -> Headline:
    own, other = ((table, row, "macro f1-score") for row in rows)
    return Headline(
        claim="I1", label=f"{data}: frozen less auxiliary branch",
        part="whisper: voxceleb2-twin all, main less voxceleb2-twin all, auxiliary", data=data,
        cells=(own, other) if table else None,
    )  # fmt: skip


def _losses(data: str, table: str = "", rows: tuple[str, str] = ("", "")) -> Headline:
    own, other = ((table, row, "macro f1-score") for row in rows)
    return Headline(
        claim="I2", label=f"{data}: three losses less reconstruction",
        part="whisper: voxceleb2-twin all less voxceleb2-twin reconstruction", data=data,
        cells=(own, other) if table else None,
    )  # fmt: skip


_ALONE, _FUSED = ("NDC-ME / From scratch", "F1-score"), ("6.3", "NDC-ME / From scratch", "F1-score")
_ALL, _PLAIN = "whisper-all-losses", "whisper-reconstruction-only"
HEADLINES = (
    _generalisation("voice", "6.1"),
    _generalisation("face", "6.2"),
    _generalisation("both", "6.3"),
    Headline(claim="B", label="smiles: face less voice", part="F1 of smiles, face less voice"),
    Headline(claim="B", label="laughs: with the voice less without",
             part="F1 of laughs, with the voice less without"),
    _slope("voice", "6.2"),
    _slope("both", "6.4"),
    Headline(claim="C2", label="low laughs taken for smiles, less other laughs",
             part="face: low laughs taken for smiles, less the other levels"),
    Headline(claim="C2", label="subtle smiles taken for none, less other smiles",
             part="face: subtle smiles taken for none, less the other levels"),
    Headline(claim="D", label="fusion less voice", part="F1 of the fusion less the voice",
             cells=(_FUSED, ("6.1", *_ALONE))),
    Headline(claim="D", label="fusion less face", part="F1 of the fusion less the face",
             cells=(_FUSED, ("6.2", *_ALONE))),
    Headline(claim="E", label="laughs found, regrouped less as annotated",
             part="face: laughs found, regrouped less as annotated"),
    _frames("CREMA-D"), _frames("FI"), _frames("NDC-ME"),
    _task("CREMA-D", "7.2", "AV Ma"),
    _task("FI", "7.3", "Avg."),
    _task("NDC-ME", "7.4", "Audiovisual"),
    Headline(claim="G", label="CREMA-D: in-domain less no pre-training",
             part="CREMA-D, AV: in-domain less no pre-training"),
    Headline(claim="G", label="CREMA-D: in-domain less out-of-domain",
             part="CREMA-D, AV: in-domain less out-of-domain"),
    Headline(claim="G", label="EmoDB: a twin's speech less no pre-training", part=REAL_VOICES),
    Headline(claim="H", label="CREMA-D: distance below the margin",
             part="CREMA-D, AV: micro and macro F1",
             cells=(("7.2", "Social-MAE", "AV Mi"), ("7.2", "Social-MAE", "AV Ma"))),
    _main_branch("CREMA-D", "8.2", ("whisper-main-only", f"{_ALL} / auxiliary-only")),
    _main_branch("NDC-ME", "8.4", ("whisper-main-only", f"{_ALL} / VoxCeleb2")),
    _main_branch("EmoDB"),
    _losses("CREMA-D", "8.2", (f"{_ALL} / auxiliary-only", f"{_PLAIN} / auxiliary-only")),
    _losses("NDC-ME", "8.4", (f"{_ALL} / VoxCeleb2", f"{_PLAIN} / VoxCeleb2")),
    _losses("EmoDB"),
    Headline(claim="I3", label="NDC-ME, AST: in the wild less clean", data="NDC-ME",
             part="ast: voxceleb2-twin all less librispeech-twin all",
             cells=(("8.4", "ast-all-losses / VoxCeleb2", "macro f1-score"),
                    ("8.4", "ast-all-losses / Librispeech", "macro f1-score"))),
    *(Headline(claim="J", label=f"same value: {pair}", data="ndc-me",
               part=f"{pair}: shared values of overlapping segments")
      for pair in ("role less smiles", "role less laughs", "laughs less smiles")),
)  # fmt: skip
"""What the picture shows, in its order."""


def _reported_agreement(label: str) -> float:
    """Mean over pairs of the shared values of one category less another, as a share."""
    tables = {"role": "5.7", "smiles": "5.8", "laughs": "5.9"}
    first, second = label.removeprefix("same value: ").split(" less ")
    means = [
        np.nanmean(reported_pairs(tables[name], "Overlap_levels").to_numpy(float)) / 100
        for name in (first, second)
    ]
    return float(means[0] - means[1])
