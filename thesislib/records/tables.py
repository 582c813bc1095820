"""Tables for pages: records in rows, metrics in columns, and comparisons of records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pandas as pd

from thesislib.evaluation.classification import uar_by_speaker
from thesislib.evaluation.significance import Estimate, holm, paired_test
from thesislib.records.record import RunRecord

LEVELS = ("all", "spk", "lsn", "subtle", "low", "medium", "high")


def show(estimate: Estimate) -> str:
    """A value with its 95 % interval, to two decimals, as tables print it.

    >>> show(Estimate(0.8671, 0.82449, 0.8993, 535, "share"))
    '0.87 [0.82, 0.90]'
    """
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def show_p(p_value: float) -> str:
    """A p-value to three decimals; one that they cannot show as a bound.

    >>> show_p(0.0412), show_p(0.0002)
    ('0.041', '< 0.001')
    """
    return f"{p_value:.3f}" if p_value >= 0.0005 else "< 0.001"


def layer_number(name: str) -> int:
    """Place of a layer's name in the order of depth; other features come before the layers.

    >>> sorted(["layer_10", "mfcc", "layer_9"], key=layer_number)
    ['mfcc', 'layer_9', 'layer_10']
    """
    return int(name.removeprefix("layer_")) if name.startswith("layer_") else -1


def _by_depth(cells: pd.Series) -> pd.DataFrame:
    frame = cells.unstack(fill_value="–")
    return frame.loc[sorted(frame.index, key=layer_number)]


def metric_table(records: Sequence[RunRecord], metric: str = "uar") -> pd.DataFrame:
    """One metric of many records: features in rows, tasks in columns."""
    cells = pd.Series(
        {
            (record.configuration["features"], record.configuration["task"]): show(
                record.metrics[metric]
            )
            for record in records
        }
    )
    return cells.unstack(fill_value="–").rename_axis(
        index="features", columns=f"{metric}, probe for"
    )


def agreement_by_level(records: Sequence[RunRecord], statistic: str) -> pd.DataFrame:
    """A statistic of agreement for each category and level, averaged; empty without records."""
    if not records:
        return pd.DataFrame()
    values: dict[tuple[str, str], list[float]] = {}
    for record in records:
        for name, estimate in record.metrics.items():
            if estimate.unit == statistic:
                category, level = name.removeprefix(f"{statistic}_").split("_")
                values.setdefault((category, level), []).append(estimate.value)
    cells = {
        key: f"{sum(found) / len(found):.2f} [{min(found):.2f}, {max(found):.2f}]"
        for key, found in values.items()
    }
    order = [level for level in LEVELS if any(key[1] == level for key in cells)]
    return (
        pd.Series(cells)
        .unstack(fill_value="–")[order]
        .rename_axis(index="category", columns=statistic)
    )


def best_record(
    records: Sequence[RunRecord], task: str, prefix: str = "", metric: str = "uar"
) -> RunRecord:
    """The record of a task with the highest metric, among features that begin with `prefix`."""
    return max(
        (
            record
            for record in records
            if record.configuration["task"] == task
            and record.configuration["features"].startswith(prefix)
        ),
        key=lambda record: record.metrics[metric].value,
    )


def all_metrics(record: RunRecord) -> pd.DataFrame:
    """Every metric of one record with its interval and number of samples."""
    return pd.DataFrame(
        {
            name: {"value": show(estimate), "n": estimate.n, "unit": estimate.unit}
            for name, estimate in record.metrics.items()
        }
    ).T.rename_axis("metric")


def optimism(best: RunRecord, nested: RunRecord, results: Path) -> pd.Series:
    """What choosing a layer by its test speakers gains over choosing it inside each fold."""
    chosen = nested.load_predictions(results).groupby("fold")["layer"].first().value_counts()
    after, inside = best.metrics["uar"].value, nested.metrics["uar"].value
    return pd.Series(
        {
            "UAR, layer chosen after the fact": f"{after:.3f}",
            "UAR, layer chosen inside each fold": f"{inside:.3f}",
            "optimism": f"{after - inside:+.3f}",
            "layers chosen": ", ".join(f"{name} in {n} folds" for name, n in chosen.items()),
        },
        name="emotion",
    )


def compare_neighbours(records: Sequence[RunRecord], results: Path) -> pd.DataFrame:
    """Paired tests between each layer and the next, over speakers, corrected after Holm.

    Args:
        records: Records of one task on one corpus, the layers among them.
        results: Folder that holds their predictions.

    Returns:
        One row a pair: mean difference in UAR with its interval, Cohen's d_z, p-value of the
        sign-flip permutation test, and the p-value corrected for the number of pairs.
    """
    layers = sorted(
        (r for r in records if r.configuration["features"].startswith("layer_")),
        key=lambda record: layer_number(record.configuration["features"]),
    )
    scores = {
        record.configuration["features"]: uar_by_speaker(record.load_predictions(results)).tolist()
        for record in layers
    }
    tests = {
        f"{second} against {first}": paired_test(scores[second], scores[first])
        for first, second in pairwise(scores)
    }
    corrected = holm([test.p_value for test in tests.values()])
    return pd.DataFrame(
        {
            name: {
                "difference": f"{test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}]",
                "d_z": f"{test.effect_size:.2f}",
                "p": show_p(test.p_value),
                "p (Holm)": show_p(p_value),
            }
            for (name, test), p_value in zip(tests.items(), corrected, strict=True)
        }
    ).T.rename_axis("UAR of")
