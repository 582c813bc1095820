"""Chapter 8's tables from made-up records whose answers are known beforehand."""

import re

import numpy as np
import pandas as pd
import pytest

from thesislib import figures
from thesislib.config import DisentanglementConfig, for_profile
from thesislib.evaluation.metrics import measure
from thesislib.figures import disentanglement as draw
from thesislib.models.dual_branch import PatchGrid
from thesislib.records import branch_claims as claims
from thesislib.records import branch_factors as factors
from thesislib.records import disentanglement as tables
from thesislib.records.record import RunRecord
from thesislib.records.reported import reported_table

CLASSES = {
    "emotion": ("anger", "fear", "joy"),
    "speaker": ("a", "b"),
    "expression": ("laugh", "smile", "none"),
}
SPEAKERS = [f"s{number}" for number in range(10)]


def probed(factor, hits, seed):
    """A frame in which each branch is right as often as `hits` says, alike for every speaker."""
    generator = np.random.default_rng(seed)
    classes = CLASSES[factor]
    rows = []
    for branch, share in hits.items():
        for number in range(300):
            target = number % len(classes)
            right = generator.random() < share
            predicted = target if right else (target + 1) % len(classes)
            rows.append(
                (
                    f"c{number}", SPEAKERS[number // 3 % 10], "f", factor, branch,
                    classes[target], classes[predicted],
                )
            )  # fmt: skip
    columns = ["clip_id", "speaker", "fold", "factor", "branch", "target", "prediction"]
    return pd.DataFrame(rows, columns=columns)


def drawn(mse, contrast, information):
    return pd.DataFrame(
        {
            "clip_id": ["a#0", "b#1"], "speaker": ["a", "b"], "modality": "audio",
            "region": "hidden", "squared_error": 100 * mse, "n": 100,
            "contrast": contrast, "information": information,
        }
    )  # fmt: skip


@pytest.fixture
def book(tmp_path):
    """A function that adds one record, and the list of what was added."""
    records = []

    def add(frame, evaluated, seed, **told):
        branches = told.pop("branches", "plain")
        given = {"corpus": tables.WILD, "seed": seed, "replicates": 20} | told
        config = for_profile(DisentanglementConfig, "small", **given).as_dict()
        kind = "reconstruction" if "region" in frame else "classification"
        experiment = tables.RECONSTRUCTION if "region" in frame else tables.PROBES
        record = RunRecord(
            run_id=f"r{len(records)}", kind=kind, chapter="08", experiment=experiment,
            configuration={
                "encoder": config["encoder"], "losses": config["losses"],
                "branches": branches, "evaluated": evaluated,
            },
            profile="small", corpus="x", variant="twin", synthetic=True, seed=seed,
            config=config,
            metrics=measure(kind, frame, replicates=20, seed=seed),
        )  # fmt: skip
        records.append(record.save(tmp_path, frame))

    add.records, add.results = records, tmp_path
    return add


def hits(main, auxiliary, both):
    return {"main": main, "auxiliary": auxiliary, "concatenated": both}


def test_without_records_every_table_is_there():
    nowhere = object()
    assert (tables.loss_table([])["runs"] == "0").all()
    for table in ("8.2", "8.3", "8.4"):
        found = tables.f1_table([], nowhere, table)
        assert list(found.index) == list(reported_table(table).index)
        assert (found["macro F1, twin"] == "–").all()
    assert (tables.confusion_table([], nowhere)["None, twin"] == "–").all()
    assert (tables.real_table([], nowhere).drop(columns="runs") == "–").all().all()
    rows = claims.claim_rows([], nowhere)
    assert rows.empty
    assert claims.claim_table(rows, "I1").empty
    verdicts = claims.verdict_table(rows)
    assert list(verdicts.columns) == ["I1", "I2", "I3"]
    assert (verdicts.loc[list(claims.GROUPS)] == "not recorded").all().all()
    assert claims.null_words(rows) == "No null twin is recorded."
    assert factors.mean_matrix([], "emodb-twin").empty
    assert factors.scores_table([], "emodb-twin").empty
    assert factors.front_points([]).empty
    assert tables.runs_table([]).empty
    assert all(line.endswith(": not recorded") for line in factors.control_words([]))
    found = factors.compared_factors([], nowhere, "emodb-twin")
    assert factors.in_words(found, "x") == "x: not recorded."
    for group, (first, *others) in factors.SETTINGS.items():
        found = factors.settings_table([], nowhere, group)
        assert list(found.index) == [first, *others]
        assert (found["runs"] == "0").all()
        found = factors.settings_differences([], nowhere, group)
        assert list(found.index) == others
        assert (found == "–").all().all()


def test_what_is_planned_and_not_recorded_is_named(book):
    for seed in range(2):
        book(drawn(0.2, 1.0, 3.0), tables.WILD, seed)
    book(drawn(0.2, 1.0, 3.0), tables.WILD, 0, branches="decode-main", inputs="main")
    planned = [
        for_profile(DisentanglementConfig, "small", **given).as_dict()
        for given in (
            *({"corpus": tables.WILD, "seed": seed, "evaluate": "emodb"} for seed in range(3)),
            {"corpus": tables.CLEAN, "mask_main": True},
        )
    ]
    table = tables.runs_table(book.records, [*planned, {"corpus": "emodb-twin", "seed": 0}])
    assert table.loc["speech-encoder, all", tables.WILD] == "2 of 3"
    assert table.loc["speech-encoder, all, inputs main", tables.WILD] == "1 of 1"
    assert table.loc["speech-encoder, all, mask main", tables.CLEAN] == "none of 1"
    assert table.loc["speech-encoder, all", tables.CLEAN] == "–"
    assert len(table) == 3


def test_a_twin_stands_beside_what_is_reported(book):
    for seed in range(2):
        frame = probed("emotion", hits(0.9, 0.5, 0.9), seed)
        book(frame, "crema-d-twin", seed)
    table = tables.f1_table(book.records, book.results, "8.2", replicates=100)
    assert table.loc["whisper-main-only", "macro F1, reported"] == "0.665"
    row = "whisper-all-losses / auxiliary-only"
    for metric in ("micro", "macro"):
        shown = table.loc[row, f"{metric} F1, twin"]
        value, low, high = (float(n) for n in re.findall(r"[\d.]+", shown))
        values = [r.metrics[f"emotion/auxiliary/{metric}_f1"].value for r in book.records]
        assert value == pytest.approx(np.mean(values), abs=0.006)
        assert low < value < high
    assert table.loc[row, "runs"] == "2"
    assert table["macro F1, twin"]["whisper-reconstruction-only / auxiliary-only"] == "–"
    assert table["macro F1, twin"]["ast-main-only"] == "–"


def test_rows_of_table_8_3_are_trained_on_clean_speech():
    for row in ("ast-reconstruction-only", "ast-all-losses"):
        assert tables.cell_of("8.3", row).trained_on == tables.CLEAN
        assert tables.cell_of("8.2", f"{row} / auxiliary-only").trained_on == tables.WILD


def test_the_confusion_is_in_percent_of_the_expected_class(book):
    frame = probed("expression", hits(1.0, 0.0, 0.5), 0)
    book(frame, "ndc-me-twin", 0)
    table = tables.confusion_table(book.records, book.results)
    assert table.loc["whisper-main-only / Laughs", "Laughs, twin"] == "100.0"
    assert table.loc["whisper-main-only / Laughs", "Smiles, twin"] == "0.0"
    assert table.loc["ast-main-only / None", "None, twin"] == "–"
    assert table.loc["ast-main-only / None", "None, reported"] == "38.2"


def test_the_loss_is_the_sum_of_the_terms_that_count(book):
    book(drawn(0.2, 1.0, 3.0), tables.WILD, 0)
    book(drawn(0.2, 1.0, 3.0), tables.WILD, 0, losses="reconstruction")
    book(drawn(0.2, 1.0, 3.0), tables.WILD, 0, losses="no-reconstruction", weight=0.1)
    book(drawn(0.2, 1.0, 3.0), tables.WILD, 0, losses="no-contrast")
    found = [tables.total_loss(record) for record in book.records]
    assert found == pytest.approx([0.24, 0.2, 0.4, 0.23])
    table = tables.loss_table(book.records)
    column = "twin, what is minimised"
    assert table.loc["recon-cont-mi, Whisper / VoxCeleb2", column].startswith("0.240")
    assert table.loc["reconstruction only, Whisper / VoxCeleb2", column].startswith("0.200")


def test_claim_i_holds_where_it_was_planted_and_nowhere_else(book):
    for seed in range(3):
        for losses, share in (("all", 0.6), ("reconstruction", 0.4)):
            frame = probed("emotion", hits(0.9, share, 0.9), seed)
            book(frame, "crema-d-twin", seed, losses=losses)
            frame = probed("emotion", hits(0.34, 0.34, 0.34), seed + 9)
            book(frame, "emodb-twin-emotion-0", seed, losses=losses)
            frame = probed("expression", hits(0.34, 0.34, 0.34), seed + 19)
            book(frame, "ndc-me-twin-expression-0", seed, losses=losses)
    rows = claims.claim_rows(book.records, book.results, replicates=200)
    planted = rows[rows["evaluated"] == "crema-d-twin"]
    assert set(planted["part"]) == {"I1", "I2"}
    assert set(planted["verdict"]) == {"holds"}
    null = rows[rows["evaluated"].isin(tables.NULLS)]
    assert set(null["evaluated"]) == {"emodb-twin-emotion-0", "ndc-me-twin-expression-0"}
    assert (null["verdict"] == "undecided").all()
    for row in rows.to_dict("records"):
        sides = {row[side].partition(",")[0].split()[1] for side in ("first", "second")}
        assert row["runs"] == tuple(
            sorted(
                run.run_id
                for run in book.records
                if run.configuration["evaluated"] == row["evaluated"]
                and run.configuration["losses"] in sides
            )
        )
    verdicts = claims.verdict_table(rows)
    assert verdicts.loc["emotion, twins", "I1"] == "holds (2 of 2)"
    assert verdicts.loc["twins without emotion", "I2"] == "undecided (1)"
    assert verdicts.loc["laughs and smiles, twin", "I3"] == "not recorded"
    assert claims.null_words(rows).endswith("none found a difference.")
    wrong = rows.assign(verdict="holds")
    assert "6 (I1, I1, I2, I1, I1, I2) found" in claims.null_words(wrong)
    assert verdicts.loc["twin without a trace of laughs and smiles", "I2"] == "undecided (1)"
    table = claims.claim_table(rows, "I1")
    # 0.665 - 0.447 in Table 8.2, 0.532 - 0.433 in Table 8.4
    (row,) = [name for name in table.index if "twin all, main" in name]
    assert table.loc[row, "reported, emotion"] == "+0.22"
    assert table.loc[row, "reported, laughs"] == "+0.10"
    assert table.loc[row, "CREMA-D twin"].endswith(", holds")
    assert claims.claim_table(rows, "I3").empty


def test_factors_are_told_in_words(book):
    for seed in range(3):
        frame = pd.concat(
            [
                probed("emotion", hits(0.9, 0.5, 0.9), seed),
                probed("speaker", hits(0.5, 0.95, 0.95), seed),
            ]
        )
        book(frame, "emodb-twin", seed)
    table = factors.compared_factors(book.records, book.results, "emodb-twin", replicates=200)
    words = factors.in_words(table, "Twin")
    assert (
        "knows less than the main branch of emotion, more than the main branch of speaker" in words
    )
    assert "together know more than the main branch of speaker; undecided: emotion." in words
    counts = factors.tally({("speech", "all", "emodb-twin"): table}, "auxiliary less main")
    assert counts.loc["speech, all"].to_dict() == {
        "emotion": "less in 1 of 1",
        "speaker": "more in 1 of 1",
    }
    assert factors.tally({}, "both less main").empty
    matrix = factors.mean_matrix(book.records, "emodb-twin")
    assert list(matrix.columns) == ["main", "auxiliary", "concatenated"]
    assert matrix.loc["emotion", "main"] > matrix.loc["emotion", "auxiliary"]
    assert matrix.loc["speaker", "main"] < matrix.loc["speaker", "auxiliary"]
    scores = factors.scores_table(book.records, "emodb-twin")
    assert {"emotion", "speaker", "main", "auxiliary", "all factors"} == set(scores.index)
    figure = draw.factor_heatmaps({"Twin": matrix})
    assert figure.axes[0].texts[0].get_text() == f"{matrix.iloc[0, 0]:.2f}"
    figures.plt.close(figure)


def test_controls_are_compared_seed_by_seed(book):
    for seed, mse in enumerate((0.1, 0.2)):
        book(drawn(mse, 1.0, 0.5), tables.WILD, seed)
        book(drawn(3 * mse, 1.0, 0.5), tables.WILD, seed, branches="decode-auxiliary")
        frame = probed("emotion", hits(0.9, 0.5, 0.9), seed)
        book(frame, "emodb-twin", seed)
        frame = probed("emotion", hits(0.9, 0.9, 0.9), seed)
        book(frame, "emodb-twin", seed, branches="decode-auxiliary")
    lines = factors.control_words(book.records)
    assert "main branch alone: not recorded" in lines
    assert any(line.startswith("auxiliary branch alone: error 3.00 times") for line in lines)
    table = factors.settings_table(book.records, book.results, "controls", replicates=100)
    assert table.loc["main branch alone", "runs"] == "0"
    shown = table.loc["both branches", "emotion, EmoDB twin"]
    assert float(shown.split()[0]) == pytest.approx(0.5, abs=0.06)
    table = factors.settings_differences(book.records, book.results, "controls", replicates=100)
    found = table.loc["auxiliary branch alone"]
    assert found["error, times"].startswith("3.00")
    assert float(found["emotion, EmoDB twin"].split()[0]) == pytest.approx(0.4, abs=0.08)
    assert found["emotion, EmoDB twin"].endswith("more")
    assert found["speaker, EmoDB twin"] == "–"
    assert (table.loc["main branch alone"] == "–").all()


def test_the_front_holds_what_no_setting_betters_in_both(book):
    book(drawn(0.1, 0.5, 0.5), tables.WILD, 0)
    book(drawn(0.1, 0.2, 0.9), tables.WILD, 0, branches="lambda-10", weight=10.0)
    book(drawn(0.1, 0.9, 0.9), tables.WILD, 0, losses="reconstruction")
    book(drawn(0.1, 0.9, 0.1), tables.WILD, 0, losses="no-contrast")
    book(drawn(0.1, 0.0, 0.0), tables.WILD, 0, branches="club")
    points = factors.front_points(book.records)
    assert dict(points["front"]) == {
        "λ = 0.01": True, "λ = 10": True,
        "λ = 0, reconstruction alone": False, "without contrast": True,
    }  # fmt: skip
    figure = draw.loss_front(points)
    (line,) = figure.axes[0].lines
    assert list(line.get_xdata()) == [0.2, 0.5, 0.9]
    figures.plt.close(figure)


def test_diagrams_carry_the_numbers_of_the_sizes():
    grid = PatchGrid(blocks=20, bands=5, frames=10, mels=16, whisper=True)
    boxes = draw.pretraining_boxes(
        grid, width=384, layers=(4, 2), decoder=(4, 64), mask_ratio=0.75, weight=0.01
    )
    texts = " ".join(text for _, _, text, _ in boxes).replace("\n", " ")
    for part in ("100 tokens of 384", "25 of 100", "75 mask tokens", "auxiliary branch 2 layers"):
        assert part in texts
    figure = draw.pipeline(boxes, draw.PRETRAINING_ARROWS)
    assert len(figure.axes[0].patches) >= len(boxes)
    figures.plt.close(figure)
    assert max(max(pair) for pair in draw.PRETRAINING_ARROWS) == len(boxes) - 1
    assert max(max(pair) for pair in draw.PROBING_ARROWS) < len(draw.probing_boxes(grid, width=4))


def test_a_reconstruction_has_three_pictures_a_clip():
    whole = np.random.default_rng(0).normal(size=(2, 20, 16))
    seen = whole.copy()
    seen[:, 5:] = np.nan
    figure = draw.reconstructions(["one", "two"], whole, seen, whole)
    assert len(figure.axes) == 6
    assert np.isnan(figure.axes[1].images[0].get_array().filled(np.nan)).any()
    figures.plt.close(figure)
