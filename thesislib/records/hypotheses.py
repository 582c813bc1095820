"""Claims A to J in words: hypothesis, test, what the thesis's tables say, what would overturn it.

They are stated as the thesis's own tables support them, not stronger.

Source: claims A to J of the notes; Tables 5.5 to 8.4, Figures 6.2 and 6.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from thesislib.records.reported import reported, reported_cells


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim.

    Attributes:
        hypothesis: What should hold.
        test: How it is judged; every part is a difference that should be above zero.
        unit: Of the differences.
        null: What the null twin lacks, and which parts have one; empty where there is none.
        overturn: What would overturn it.
        printed: What the thesis says, each with its place.
        no_null: Why there is no null twin, where there is none.
        every: Whether it holds only where every part does.
        about: Beginning of the names of the data that count for its verdict; empty for any.

    Raises:
        ValueError: it has both a null twin and a reason for none, or neither.
    """

    hypothesis: str
    test: str
    unit: str
    null: str
    overturn: str
    printed: Callable[[], list[tuple[str, str]]]
    no_null: str = ""
    every: bool = False
    about: str = ""

    def __post_init__(self) -> None:
        if bool(self.null) == bool(self.no_null):
            raise ValueError("a claim has a null twin, or a reason why it has none")


SPEAKERS = "Bootstrap over people, the same draws for both sides; p-values corrected after Holm."
NO_TRACE = "Laughs and smiles are annotated and leave no trace in face or voice."
NOTHING_HEARD = (
    "Emotions leave no trace in the voice; in conversations, laughs and smiles leave none."
)
CLAIMS = {
    "A": Claim(
        "Pre-training improves generalisation to a corpus that was not trained on.",
        f"F1 on IFADV of a pretrained model less that of one from scratch. {SPEAKERS}",
        "F1",
        NO_TRACE,
        "Pretrained models that do worse on IFADV, or no better with ten times the people.",
        lambda: [
            (f"Table {table}, F1 on IFADV, fine-tuned less scratch", f"{_generalises(table):+.3f}")
            for table in ("6.1", "6.2", "6.3")
        ],
    ),
    "B": Claim(
        "The face tells smiles better than the voice does, and laughs need the voice.",
        f"F1 of a class by one model less that by another, or less another class. {SPEAKERS}",
        "F1 of a class",
        NO_TRACE,
        "A voice that tells smiles as well as the face, or a face that needs no voice for laughs.",
        lambda: [
            ("F1 of all classes, Table 6.2 (face) less 6.1 (voice)", f"{_face_less_voice():+.3f}"),
            (
                "Figure 6.2, high laughs found less high smiles found, voice, points",
                f"{_found('6.2', 'Laughs', 'high') - _found('6.2', 'Smiles', 'high'):+.1f}",
            ),
        ],
    ),
    "C1": Claim(
        "Laughs are found more often the more intense they are, though nobody taught intensities.",
        f"Slope of the share of laughs found over the three levels. {SPEAKERS}",
        "share a level",
        NO_TRACE,
        "Low laughs that are found as often as high ones, in the voice above all.",
        lambda: [
            (
                f"Figure {figure}, laughs found, low, medium, high, per cent",
                ", ".join(f"{_found(figure, 'Laughs', v):.0f}" for v in ("low", "medium", "high")),
            )
            for figure in ("6.2", "6.4")
        ],
    ),
    "C2": Claim(
        "The extremes are confused most: low laughs with smiles, high smiles with laughs, subtle "
        "smiles with none.",
        f"Share of an extreme level taken for that class less the share of the others. {SPEAKERS}",
        "share",
        NO_TRACE,
        "Confusions that are as frequent in the middle levels.",
        lambda: [
            (
                f"Figure 6.4, {level} {expression.lower()} taken for {other.lower()}, per cent",
                f"{_found('6.4', expression, level, other):.0f}",
            )
            for level, expression, other in (
                ("low", "Laughs", "Smiles"),
                ("high", "Smiles", "Laughs"),
                ("subtle", "Smiles", "None"),
            )
        ],
    ),
    "D": Claim(
        "Fusion beats the best single modality.",
        f"F1 of the fusion less each modality; it has to beat both. {SPEAKERS}",
        "F1",
        NO_TRACE,
        "A single modality that is as good, as in the thesis's own Tables 6.2 and 6.3.",
        lambda: [
            (f"F1 on NDC-ME from scratch, Table 6.3 less {table}", f"{_fusion_less(table):+.3f}")
            for table in ("6.1", "6.2")
        ],
        every=True,
    ),
    "E": Claim(
        "From the face, counting strong smiles as laughs and weak ones as none raises the share of "
        "laughs found, and steadies it over the levels.",
        f"Share found, and its spread over levels, before and after regrouping. {SPEAKERS}",
        "share",
        NO_TRACE,
        "A share that is lower or more uneven after regrouping.",
        lambda: [
            (
                "In the text of chapter 6, in no table: mean share of laughs found and its "
                "standard deviation, per cent",
                "69.15 ± 5.58 regrouped against 66.46 ± 10.06 as annotated",
            ),
        ],
    ),
    "F": Claim(
        "Eight frames reconstruct hidden parts of the face better than one frame does, and the "
        "errors sit where the face moves.",
        f"Binary logarithm of the ratio of two squared errors. {SPEAKERS}",
        "log2 of a ratio of errors",
        "",
        "One frame, or copying the visible neighbours, that reconstructs as well.",
        lambda: [
            (f"Table 7.1, {corpus}, error of one frame by that of eight", f"{_ratio(corpus):.1f}")
            for corpus in ("CREMA-D", "FI", "NDC-ME")
        ],
        no_null="a face without emotion still moves from frame to frame, which is what this is "
        "about; copying is its control",
    ),
    "G": Claim(
        "Several frames help most tasks, and so does pre-training on faces and voices.",
        "Macro F1, or accuracy for traits, with eight frames less one, and with in-domain "
        "pre-training less none or less out-of-domain; on the real voices of EmoDB, pre-training "
        f"on the speech of a synthetic twin less none. {SPEAKERS}",
        "macro F1 or accuracy",
        "Emotions leave no trace in face or voice. Only parts on CREMA-D have this null twin.",
        "Out-of-domain pre-training that does as well: the thesis has no such control.",
        lambda: [
            (
                f"Table {table}, cells in which Social-MAE is above CAV-MAE",
                "{} of {}".format(*_better(table)),
            )
            for table in ("7.2", "7.3", "7.4")
        ],
    ),
    "H": Claim(
        "Micro and macro F1 stay close, so no class is favoured.",
        "By how much their distance stays below the margin that chapter 7 sets beforehand. "
        f"{SPEAKERS}",
        "F1",
        "",
        "A distance above the margin.",
        lambda: [
            (f"Table 7.2, {row}, largest distance of the two", f"{_distance(row):.3f}")
            for row in ("CAV-MAE", "Social-MAE")
        ],
        no_null="no effect has to be there for the two to be close; who guesses can be even-handed "
        "as well",
    ),
    "I1": Claim(
        "The frozen main branch knows more of affect than the auxiliary branch.",
        "Macro F1 of a probe on the main branch less one on the auxiliary branch. Bootstrap over "
        "people and seeds, sign flips over people, corrected after Holm.",
        "macro F1",
        NOTHING_HEARD,
        "An auxiliary branch that is probed as well.",
        lambda: [
            (
                f"Table {table}, {model}, main less auxiliary, all losses",
                _less(table, f"{model}-main-only", f"{model}-all-losses / {tail}"),
            )
            for table, tail in (("8.2", "auxiliary-only"), ("8.4", "VoxCeleb2"))
            for model in ("whisper", "ast")
        ],
    ),
    "I2": Claim(
        "On the auxiliary branch all three losses beat reconstruction alone.",
        "Macro F1 of a probe on the auxiliary branch, all losses less reconstruction alone. "
        "Bootstrap and test as for I1.",
        "macro F1",
        NOTHING_HEARD,
        "Reconstruction alone that does as well; it does in the concatenated rows of Table 8.2.",
        lambda: [
            (
                f"Table {table}, {model}, all losses less reconstruction",
                _less(
                    table, f"{model}-all-losses / {tail}", f"{model}-reconstruction-only / {tail}"
                ),
            )
            for table, tail in (("8.2", "auxiliary-only"), ("8.4", "VoxCeleb2"))
            for model in ("whisper", "ast")
        ],
    ),
    "I3": Claim(
        "Training in the wild beats training on clean speech, for laughs and smiles.",
        "Macro F1 of a probe on the auxiliary branch trained in the wild less one trained on clean "
        "speech. Bootstrap and test as for I1. Parts on emotion are shown and not counted.",
        "macro F1",
        NOTHING_HEARD,
        "Clean speech that does as well on laughs and smiles.",
        lambda: [
            (
                f"Table 8.4, ast, {losses.replace('-', ' ')}, VoxCeleb2 less Librispeech",
                _less("8.4", f"ast-{losses} / VoxCeleb2", f"ast-{losses} / Librispeech"),
            )
            for losses in ("reconstruction-only", "all-losses")
        ],
        about="NDC-ME",
    ),
    "J": Claim(
        "Annotators agree on roles more than on intensities, and on those of laughs more than on "
        "those of smiles.",
        "Difference of two categories, mean over pairs of annotators. Judged by intervals, from a "
        "bootstrap over files, without a p-value; those of all seeds have to lie on the same side "
        "of zero.",
        "share or kappa",
        "The simulated annotators all mark what there is, so that there is nothing to disagree on. "
        "Only the conversations of one corpus have this null twin.",
        "A measure that allows for the number of values and then shows no difference: kappa of the "
        "values alone is one.",
        lambda: [
            (
                "Tables 5.7 less 5.8, shared values, mean over pairs, points",
                f"{_shared('5.7') - _shared('5.8'):+.0f}",
            ),
            (
                "Tables 5.9 less 5.8, shared values, mean over pairs, points",
                f"{_shared('5.9') - _shared('5.8'):+.0f}",
            ),
        ],
    ),
}


def _generalises(table: str) -> float:
    cells = [reported(table, f"IFADV / {row}", "F1-score") for row in ("Finetuned", "From scratch")]
    return cells[0] - cells[1]


def _face_less_voice() -> float:
    face, voice = (reported(t, "NDC-ME / From scratch", "F1-score") for t in ("6.2", "6.1"))
    return face - voice


def _fusion_less(table: str) -> float:
    fusion, other = (reported(t, "NDC-ME / From scratch", "F1-score") for t in ("6.3", table))
    return fusion - other


def _found(figure: str, expression: str, level: str, predicted: str = "") -> float:
    """Share of a level, trained from scratch and tested on NDC-ME, that is taken for a class."""
    name = f"Figure {figure}, scratch, NDC-ME"
    return reported(name, f"{expression} / {level}", predicted or expression)


def _ratio(corpus: str) -> float:
    one, eight = (reported("7.1", row, f"{corpus} V.") for row in ("CAV-MAE", "Social-MAE"))
    return one / eight


def _better(table: str) -> tuple[int, int]:
    cells = {(row, column): value for row, column, value in reported_cells(table)}
    columns = [column for row, column in cells if row == "CAV-MAE"]
    better = [cells["Social-MAE", c] > cells["CAV-MAE", c] for c in columns]
    return sum(better), len(better)


def _distance(row: str) -> float:
    modes = ("Audio", "Visual", "AV")
    return max(
        abs(reported("7.2", row, f"{m} Mi") - reported("7.2", row, f"{m} Ma")) for m in modes
    )


def _less(table: str, first: str, second: str) -> str:
    a, b = (reported(table, row, "macro f1-score") for row in (first, second))
    return f"{a - b:+.3f}"


def _shared(table: str) -> float:
    values = [value for row, _, value in reported_cells(table) if row.endswith("Overlap_levels")]
    return sum(values) / len(values)
