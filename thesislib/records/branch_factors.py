"""What else chapter 8's records say: controls, the weight of the losses, and factors by branch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from thesislib.evaluation.claims_branches import Side, compare
from thesislib.evaluation.factors import factor_matrix
from thesislib.evaluation.significance import holm
from thesislib.records.branch_claims import verdict
from thesislib.records.disentanglement import (
    ABSENT,
    BRANCHES,
    ENCODERS,
    EVALUATED,
    RECONSTRUCTION,
    WILD,
    chosen,
    f1_cell,
    hidden_mse,
    mean,
    three,
)
from thesislib.records.laughs import spread
from thesislib.records.record import RunRecord

SETTINGS = {
    "controls": {
        "both branches": ("all", "plain"),
        "main branch alone": ("all", "decode-main"),
        "auxiliary branch alone": ("all", "decode-auxiliary"),
        "auxiliary output of another clip": ("all", "decode-shuffled"),
        "hidden bands blanked": ("all", "blank"),
    },
    "losses": {
        "all three": ("all", "plain"),
        "without reconstruction": ("no-reconstruction", "plain"),
        "without contrast": ("no-contrast", "plain"),
        "without information": ("no-information", "plain"),
        "reconstruction alone": ("reconstruction", "plain"),
    },
    "weights": {
        "λ = 0.01": ("all", "plain"),
        "λ = 0, reconstruction alone": ("reconstruction", "plain"),
        "λ = 0.1": ("all", "lambda-0.1"),
        "λ = 10": ("all", "lambda-10"),
    },
    "perspectives": {
        "as in the thesis": ("all", "plain"),
        "both branches masked": ("all", "mask-both"),
        "two auxiliary layers": ("all", "layers-2"),
    },
}
"""Groups of runs that are compared with the first of them: losses and branches, by name."""
PROBED = [
    (corpus, factor) for corpus in ("emodb-twin", "emodb") for factor in ("emotion", "speaker")
]
WORDS = {"holds": "more", "reversed": "less", "undecided": "undecided"}

# ------------------------------------------------------------------------------- controls, lambda


def settings_table(
    records: Sequence[RunRecord], results: Path, group: str, *, replicates: int = 2000
) -> pd.DataFrame:
    """One group of `SETTINGS`: losses on held-out windows, and what the auxiliary branch knows.

    All with the speech encoder, trained in the wild; macro F1, see `f1_cell`.
    """
    cells = {}
    for row, (losses, branches) in SETTINGS[group].items():
        drawn = _of(records, losses, branches, experiment=RECONSTRUCTION)
        cells[row, "runs"] = str(len(drawn))
        cells[row, "hidden patches, MSE"] = three(hidden_mse(r) for r in drawn)
        for term in ("contrast", "information"):
            cells[row, f"{term}, nats"] = three(r.metrics[term].value for r in drawn)
        for evaluated, factor in PROBED:
            runs = _of(records, losses, branches, evaluated=evaluated)
            cells[row, f"{factor}, {EVALUATED[evaluated]}"] = f1_cell(
                runs, results, factor, "auxiliary", replicates=replicates
            )
    return pd.Series(cells).unstack(sort=False).rename_axis(group)


def settings_differences(
    records: Sequence[RunRecord], results: Path, group: str, *, replicates: int = 2000
) -> pd.DataFrame:
    """What each setting changes against the first of its group, over the seeds that both have.

    Returns:
        A row a setting: the ratio of the errors of hidden patches, then the difference of macro
        F1 on the auxiliary branch with its interval over speakers and seeds and a verdict, *more*,
        *less* or *undecided*, corrected after Holm over all cells of the table.
    """
    (base, *others), found = SETTINGS[group].items(), {}
    cells: dict[tuple[str, str], str] = {}
    for row, told in others:
        ratios = _ratios(records, base[1], told)
        shown = f"{mean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ABSENT
        cells[row, "error, times"] = shown
        for evaluated, factor in PROBED:
            place = row, f"{factor}, {EVALUATED[evaluated]}"
            cells[place] = ABSENT
            first, second = (
                {r.seed: r for r in _of(records, *pair, evaluated=evaluated)}
                for pair in (told, base[1])
            )
            if shared := sorted(first.keys() & second.keys()):
                one, other = (
                    Side([runs[seed].load_predictions(results) for seed in shared], "auxiliary")
                    for runs in (first, second)
                )
                if all((f["factor"] == factor).any() for f in (*one.frames, *other.frames)):
                    found[place] = compare(one, other, factor, replicates=replicates)
    corrected = holm([float(test["p_value"] or 0) for test in found.values()]) if found else []
    for (place, test), p in zip(found.items(), corrected, strict=True):
        cells[place] = _difference(test, p)
    return pd.Series(cells).unstack(sort=False).rename_axis(f"less {base[0]}")


def control_words(records: Sequence[RunRecord]) -> list[str]:
    """What taking away either branch does to the reconstruction, in sentences, seed by seed."""
    (base, *others), told = SETTINGS["controls"].items(), []
    for name, pair in others:
        if ratios := _ratios(records, base[1], pair):
            each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            told.append(f"{name}: error {mean(ratios):.2f} times that of both branches ({each})")
        else:
            told.append(f"{name}: not recorded")
    return told


def front_points(records: Sequence[RunRecord]) -> pd.DataFrame:
    """What the opposing losses come to, a row a setting: means over seeds, on held-out windows.

    The weights of the sweep, and the runs without one or both of the terms.

    Returns:
        Columns ``contrast``, ``information``, ``reconstruction``, ``runs`` and ``front``: True
        where no other setting has both of the opposing losses lower.
    """
    wanted = SETTINGS["weights"] | {
        name: SETTINGS["losses"][name] for name in ("without contrast", "without information")
    }
    rows = {}
    for name, pair in wanted.items():
        if runs := _of(records, *pair, experiment=RECONSTRUCTION):
            rows[name] = {
                "contrast": mean(r.metrics["contrast"].value for r in runs),
                "information": mean(r.metrics["information"].value for r in runs),
                "reconstruction": mean(hidden_mse(r) for r in runs),
                "runs": len(runs),
            }
    table = pd.DataFrame(rows).T
    if not table.empty:
        both = table[["contrast", "information"]].to_numpy(dtype=float)
        better = (both[:, None] <= both[None]).all(-1) & (both[:, None] < both[None]).any(-1)
        table["front"] = np.logical_not(better.any(axis=0)).tolist()
    return table.rename_axis("setting")


# ---------------------------------------------------------------------------------------- factors


def mean_matrix(
    records: Sequence[RunRecord], evaluated: str, metric: str = "skill", **wanted: str
) -> pd.DataFrame:
    """The factor-by-branch matrix of a probed corpus, averaged over seeds; empty without records.

    Args:
        records: Of chapter 8.
        evaluated: What was probed.
        metric: Such as ``skill`` or ``information``.
        **wanted: As for `thesislib.records.disentanglement.chosen`.
    """
    found = [
        factor_matrix(r.metrics, metric) for r in chosen(records, evaluated=evaluated, **wanted)
    ]
    if not found:
        return pd.DataFrame()
    matrix: pd.DataFrame = sum(found[1:], start=found[0]) / len(found)
    branches = [branch for branch in BRANCHES if branch in matrix]
    return matrix.loc[list(found[0].index), branches].rename_axis("factor")


def scores_table(records: Sequence[RunRecord], evaluated: str, **wanted: str) -> pd.DataFrame:
    """Disentanglement, completeness and gaps of a probed corpus: spread over seeds.

    Args:
        records: Of chapter 8.
        evaluated: What was probed.
        **wanted: As for `thesislib.records.disentanglement.chosen`.
    """
    runs = chosen(records, evaluated=evaluated, **wanted)
    names = [n for n in runs[0].metrics if len(n.split("/")) < 3] if runs else []
    cells: dict[str, dict[str, str]] = {}
    for name in names:
        subject, _, score = name.partition("/")
        row, column = (subject, score) if score else ("all factors", "mean size of the gaps")
        # A branch that is about nothing, or a factor that no branch knows, has no score.
        estimates = [r.metrics[name] for r in runs if np.isfinite(r.metrics[name].value)]
        cells.setdefault(row, {})[column] = spread(estimates)
    return pd.DataFrame(cells).T.fillna(ABSENT).rename_axis("of")


def compared_factors(
    records: Sequence[RunRecord],
    results: Path,
    evaluated: str,
    *,
    replicates: int = 2000,
    **wanted: str,
) -> pd.DataFrame:
    """What either branch, and both, know of each factor of a probed corpus; macro F1.

    Returns:
        A row a factor: ``main``, ``auxiliary`` and ``concatenated`` (means over seeds), and two
        comparisons, ``auxiliary less main`` and ``both less main``, each a text with its verdict:
        *more*, *less* or *undecided*, corrected after Holm over the factors. Empty without records.
    """
    frames = [r.load_predictions(results) for r in chosen(records, evaluated=evaluated, **wanted)]
    if not frames:
        return pd.DataFrame()
    factors = list(dict.fromkeys(frames[0]["factor"]))
    pairs = {"auxiliary less main": "auxiliary", "both less main": "concatenated"}
    table = pd.DataFrame(index=pd.Index(factors, name="factor"))
    for column, branch in pairs.items():
        found = [
            compare(Side(frames, branch), Side(frames, "main"), factor, replicates=replicates)
            for factor in factors
        ]
        table["main"] = [f"{row['value_second']:.2f}" for row in found]
        table[branch] = [f"{row['value_first']:.2f}" for row in found]
        p_values = holm([float(row["p_value"] or 0.0) for row in found])
        table[column] = [_difference(row, p) for row, p in zip(found, p_values, strict=True)]
    return table


def in_words(table: pd.DataFrame, name: str) -> str:
    """What `compared_factors` found, as sentences.

    Args:
        table: From `compared_factors`.
        name: Of the probed corpus.

    >>> table = pd.DataFrame(
    ...     {"auxiliary less main": ["-0.2 less", "+0.1 undecided"],
    ...      "both less main": ["+0.1 more", "+0.0 undecided"]}, index=["emotion", "sex"])
    >>> in_words(table, "A twin")
    'A twin: the auxiliary branch knows less than the main branch of emotion; undecided: sex. \
Both branches together know more than the main branch of emotion; undecided: sex.'
    """
    if table.empty:
        return f"{name}: not recorded."
    told = {}
    for column in ("auxiliary less main", "both less main"):
        words = table[column].str.split().str[-1]
        told[column] = {word: _listed(words.index[words == word]) for word in set(words)}
    first, second = told["auxiliary less main"], told["both less main"]
    return (
        f"{name}: the auxiliary branch knows {_than_main(first)}. "
        f"Both branches together know {_than_main(second)}."
    )


def tally(tables: Mapping[tuple[str, str, str], pd.DataFrame], column: str) -> pd.DataFrame:
    """How often each factor came out how, over the probed corpora: settings in rows.

    Args:
        tables: From `compared_factors`, by encoder, losses and probed corpus.
        column: ``auxiliary less main`` or ``both less main``.

    >>> table = pd.DataFrame({"both less main": ["+0.1 more"]}, index=["emotion"])
    >>> tally({("ast", "all", "a"): table, ("ast", "all", "b"): table}, "both less main").to_dict()
    {'emotion': {'ast, all': 'more in 2 of 2'}}
    """
    found: dict[tuple[str, str], list[str]] = {}
    for (encoder, losses, _), table in tables.items():
        for factor in table.index:
            word = str(table.loc[factor, column]).split()[-1]
            found.setdefault((f"{encoder}, {losses}", str(factor)), []).append(word)
    cells = {}
    for place, words in found.items():
        clear = [f"{w} in {words.count(w)}" for w in ("less", "more") if w in words]
        cells[place] = f"{', '.join(clear) or 'undecided'} of {len(words)}"
    if not cells:
        return pd.DataFrame()
    return pd.Series(cells).unstack(sort=False, fill_value=ABSENT).rename_axis(column)


# --------------------------------------------------------------------------------------- helpers


def _of(records: Sequence[RunRecord], losses: str, branches: str, **wanted: str) -> list[RunRecord]:
    """Runs of a setting: speech encoder, trained in the wild."""
    return chosen(
        records, encoder=ENCODERS["whisper"], trained_on=WILD, losses=losses, branches=branches,
        **wanted,
    )  # fmt: skip


def _ratios(
    records: Sequence[RunRecord], base: tuple[str, str], other: tuple[str, str]
) -> list[float]:
    """Errors of hidden patches in one setting over those in another, of the seeds of both."""
    plain = {r.seed: hidden_mse(r) for r in _of(records, *base, experiment=RECONSTRUCTION)}
    runs = _of(records, *other, experiment=RECONSTRUCTION)
    return [hidden_mse(r) / plain[r.seed] for r in runs if r.seed in plain]


def _difference(row: dict[str, float | int | bool | None], p_holm: float) -> str:
    """A difference from `compare` with its interval and verdict."""
    difference, low, high = (float(row[name] or 0) for name in ("difference", "low", "high"))
    return f"{difference:+.2f} [{low:+.2f}, {high:+.2f}] {WORDS[verdict(low, high, p_holm)]}"


def _than_main(told: dict[str, str]) -> str:
    """Less and more of what than the main branch, and what is undecided, where there is any."""
    clear = [
        f"{word} than the main branch of {told[word]}" for word in ("less", "more") if word in told
    ]
    text = ", ".join(clear) or "neither less nor more of anything, as far as the runs tell"
    return f"{text}; undecided: {told['undecided']}" if "undecided" in told else text


def _listed(names: Iterable[object]) -> str:
    *rest, last = [str(name) for name in names]
    return f"{', '.join(rest)} and {last}" if rest else last
