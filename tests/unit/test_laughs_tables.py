"""Tables and figures of chapter 6, on records made of invented predictions."""

import base64
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose

from thesislib import figures
from thesislib.config import LaughConfig, for_profile
from thesislib.evaluation.intensity import CLASSES, LEVELS
from thesislib.evaluation.metrics import measure
from thesislib.records import laugh_claims, laughs
from thesislib.records.record import RunRecord
from thesislib.records.reported import reported

USUAL = "turn_end=3 mimicry=2"
NULL = f"{USUAL} laugh_face=0 laugh_voice=0 smile_face=0 smile_voice=0"
HALF = NULL.replace("=0", "=0.5")


def frame_of(share, *, seed, n=16, speakers=8):
    """Each level `n` times; `share` of the windows of each level are told right."""
    generator = np.random.default_rng(seed)
    rows = []
    for level in LEVELS:
        for i in range(n):
            wrong = [name for name in CLASSES if name != level[0]]
            right = generator.random() < share
            prediction = level[0] if right else str(generator.choice(wrong))
            person = i % speakers
            clip = "-".join([*level, str(i)])
            rows.append((clip, f"p{person}", ("female", "male")[person % 2], *level, prediction))
    columns = ["clip_id", "speaker", "sex", "target", "intensity", "prediction"]
    frame = pd.DataFrame(rows, columns=columns)
    for name in CLASSES:
        frame[f"p_{name}"] = np.where(frame["prediction"] == name, 0.8, 0.1)
    return frame


@pytest.fixture
def add(tmp_path):
    """Writes a record of one model, start, split and twin, and returns it."""

    def make(model, share, *, seed=0, tested="ndc-me", keep=None, **given):
        config = for_profile(LaughConfig, "small", seed=seed, **given)
        frame = frame_of(share, seed=[seed, len(model), len(tested), *map(ord, config.effects)])
        frame = frame if keep is None else frame[keep(frame)]
        scope = config.scope if config.start == "pretrained" else "full"
        told = [model, config.start, scope, config.split, tested]
        record = RunRecord(
            run_id="-".join([*told, config.effects.replace(" ", "_"), str(seed)]),
            kind="classification",
            chapter="06",
            experiment="laughs",
            configuration=dict(
                zip(("model", "start", "scope", "split", "tested"), told, strict=True)
            ),
            profile="small",
            corpus="ndc-me",
            variant="twin",
            synthetic=True,
            seed=seed,
            config=config.as_dict(),
            metrics=measure("classification", frame, replicates=20, seed=seed),
        )
        return record.save(tmp_path, frame)

    return make


@pytest.fixture
def every_model(add):
    def make(voice, face, both, **given):
        shares = {"audio": voice, "video": face, "mlp": both}
        return [
            add(model, share, seed=seed, **given)
            for model, share in shares.items()
            for seed in (0, 1)
        ]

    return make


@pytest.mark.parametrize(
    ("effects", "expected"),
    [
        (USUAL, 1.0),
        ("mimicry=2 turn_end=3", 1.0),
        (NULL, 0.0),
        (HALF, 0.5),
        (f"{USUAL} leakage=0", None),
        (f"{USUAL} laugh_face=0", None),
        ("turn_end=3", None),
    ],
)
def test_strength_is_that_of_laughs_and_smiles_alone(add, effects, expected):
    assert laughs.strength(add("audio", 0.5, effects=effects)) == expected


def test_what_is_chosen_differs_in_nothing_else(add):
    wanted = add("mlp", 0.6)
    others = [
        add("mlp", 0.6, split="random"),
        add("mlp", 0.6, effects=NULL),
        add("mlp", 0.6, start="pretrained"),
        add("mlp", 0.6, tested="ifadv"),
    ]
    place = {"model": "mlp", "tested": "ndc-me", "start": "scratch"}
    assert laughs.chosen([wanted, *others], **place) == [wanted]
    head = add("mlp", 0.6, start="pretrained", scope="head")
    place["start"] = "pretrained"
    assert laughs.chosen([wanted, *others, head], **place) == [others[2]]
    assert laughs.chosen([wanted, *others, head], scope="head", **place) == [head]


def test_the_thesis_stands_beside_the_mean_over_seeds(add):
    records = [add("mlp", share, seed=n) for n, share in enumerate((0.5, 0.7))]
    table = laughs.beside_the_thesis(records, "mlp")
    row = "NDC-ME / From scratch"
    values = [r.metrics["f1_harmonic"].value for r in records]
    assert table.loc[row, "F1-score, reported"] == f"{reported('6.3', row, 'F1-score'):.3f}"
    shown = f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f}; 2)"
    assert table.loc[row, "F1-score, twin"] == shown
    assert table.loc["IFADV / Finetuned", "Recall, twin"] == "–"
    models = laughs.models_table(records, "ndc-me")
    assert models.loc["mlp", "f1_harmonic, scratch"] == shown
    assert list(models.columns) == ["f1_harmonic, scratch", "macro_f1, scratch"]


def test_splits_are_compared_on_the_seeds_that_both_have(add):
    records = [add("audio", 0.4, seed=n) for n in (0, 1)]
    records.append(add("audio", 0.9, seed=1, split="random"))
    row = laughs.by_split(records).loc["audio"]
    speaker, random = (records[n].metrics["f1_harmonic"].value for n in (1, 2))
    assert row["people unseen"] == f"{speaker:.2f} (1)"
    assert row["optimism"] == f"{random - speaker:+.2f}"
    assert laughs.by_split(records).loc["mlp", "optimism"] == "–"


def test_a_sex_that_was_not_held_out_has_a_dash(add):
    record = add("audio", 0.6, keep=lambda frame: frame["sex"] == "male")
    row = laughs.by_sex([record]).loc["audio"]
    assert row["female"] == "–"
    assert row["male"].startswith(f"{record.metrics['uar_male'].value:.2f}")


def test_scopes_and_recalls_are_means_of_their_own_runs(add):
    head = add("video", 0.7, start="pretrained", scope="head", tested="ifadv")
    table = laughs.by_scope([head])
    assert table.loc["head", "video, ifadv"] == f"{head.metrics['f1_harmonic'].value:.2f} (1)"
    assert (table.to_numpy() == "–").sum() == table.size - 1
    null, full = add("video", 0.3, effects=NULL), add("video", 0.9)
    recalls = laughs.recalls_by_strength([full, null])
    assert list(recalls.columns) == ["strength 0", "strength 1"]
    shown = f"{null.metrics['recall_Smiles'].value:.2f} (1)"
    assert recalls.loc[("video", "Smiles"), "strength 0"] == shown


def test_coverage_counts_planned_runs_that_are_recorded(add):
    planned = [
        for_profile(LaughConfig, "small", seed=seed, **given).as_dict()
        for given in ({}, {"effects": NULL}, {"effects": f"{USUAL} leakage=0"})
        for seed in range(3)
    ]
    records = [add("audio", 0.5), add("mlp", 0.5), add("mlp", 0.5, seed=2, effects=NULL)]
    records.append(add("mlp", 0.5, seed=7))  # recorded, and not of the grid
    table = laughs.coverage(records, planned)
    assert table["seeds planned"].tolist() == [3, 3, 3]
    twins = table["recorded"].droplevel(["start", "scope", "split"])
    assert twins.to_dict() == {"strength 1": 1, "strength 0": 1, "leakage x 0": 0}


def test_confusions_and_heat_maps_pool_the_seeds(add, tmp_path):
    records = [add("mlp", 0.6, seed=n) for n in (0, 1)]
    both = pd.concat([r.load_predictions(tmp_path) for r in records])
    table = laughs.balanced_confusions(records, tmp_path)
    own = both[both["target"] == "Smiles"]["prediction"]
    expected = [100 * (own == name).mean() for name in CLASSES]
    assert_allclose(table.loc[("mlp", "Smiles"), list(CLASSES)], expected, atol=0.06)
    maps = laughs.beside_heat_maps(records, tmp_path, "mlp", "scratch")
    assert list(maps) == ["reported, NDC-ME", "twin of NDC-ME, 2 seeds", "reported, IFADV"]
    high = both[(both["target"] == "Laughs") & (both["intensity"] == "high")]
    share = 100 * (high["prediction"] == "Laughs").mean()
    shown = maps["twin of NDC-ME, 2 seeds"].loc[("Laughs", "high"), "Laughs"]
    assert shown == pytest.approx(share)
    assert laughs.beside_heat_maps(records, tmp_path, "video", "scratch") == {}


def test_claims_find_what_was_planted_and_not_its_null(every_model, tmp_path):
    records = [
        *every_model(0.4, 0.6, 0.95),
        *every_model(0.34, 0.34, 0.34, effects=NULL),
        *every_model(0.3, 0.3, 0.3, tested="ifadv"),
    ]
    table = laugh_claims.claims_table(records, tmp_path, replicates=2000)
    fusion = table[table["claim"] == "D"]
    assert fusion["verdict"].tolist() == ["holds", "holds"]
    assert set(table["seeds"]) == {2}
    assert "A" not in set(table["claim"]), "nothing is pretrained"
    shown = laugh_claims.claims_by_strength(records, tmp_path, replicates=2000)
    assert list(shown.columns) == ["strength 0", "strength 1"]
    assert shown.loc["D", "strength 1"].str.endswith("holds (2)").all()
    assert not shown.loc["D", "strength 0"].str.contains("holds|reversed").any()
    records += every_model(0.8, 0.8, 0.8, tested="ifadv", start="pretrained")
    table = laugh_claims.claims_table(records, tmp_path, replicates=2000)
    assert table[table["claim"] == "A"]["verdict"].tolist() == ["holds"] * 3
    shown = laugh_claims.claims_by_strength(records, tmp_path, replicates=2000)
    assert shown.index.get_level_values("claim").is_monotonic_increasing
    assert (shown.loc["A", "strength 0"] == "–").all()
    parts = shown.index.get_level_values("part").tolist()
    assert parts == table.index.tolist(), "in the order of the claims' own table"


def test_every_part_names_the_runs_of_the_models_that_it_compares(every_model, tmp_path):
    records = [
        *every_model(0.4, 0.6, 0.95),
        *every_model(0.3, 0.3, 0.3, tested="ifadv"),
        *every_model(0.8, 0.8, 0.8, tested="ifadv", start="pretrained"),
    ]
    voice, face, both = ("audio",), ("video",), ("mlp",)
    expected = {
        "voice: F1 pretrained less scratch, zero-shot": ("ifadv", voice),
        "face: F1 pretrained less scratch, zero-shot": ("ifadv", face),
        "both: F1 pretrained less scratch, zero-shot": ("ifadv", both),
        "F1 of smiles, face less voice": ("ndc-me", face + voice),
        "F1 of laughs, with the voice less without": ("ndc-me", both + face),
        "voice: F1 of laughs less smiles": ("ndc-me", voice),
        "voice: laughs found, a level up": ("ndc-me", voice),
        "face: laughs found, a level up": ("ndc-me", face),
        "both: laughs found, a level up": ("ndc-me", both),
        "F1 of the fusion less the voice": ("ndc-me", both + voice),
        "F1 of the fusion less the face": ("ndc-me", both + face),
    }
    for contrast in laugh_claims.laugh_contrasts(records, tmp_path, replicates=50):
        # What is left, claims C2 and E, is about the face alone.
        tested, models = expected.pop(contrast.part, ("ndc-me", face))
        assert contrast.runs == tuple(
            sorted(
                r.run_id
                for r in records
                if r.configuration["tested"] == tested and r.configuration["model"] in models
            )
        ), contrast.part
    assert expected == {}


def test_a_fusion_is_held_against_either_branch_on_shared_seeds(every_model, add, tmp_path):
    records = [*every_model(0.3, 0.6, 0.6), add("gating", 0.95, seed=1)]
    table = laugh_claims.fusions_table(records, tmp_path, replicates=2000)
    assert list(table.index) == [
        "gating less face", "gating less voice", "mlp less face", "mlp less voice",
    ]  # fmt: skip
    assert table["seeds"].tolist() == [1, 1, 2, 2]
    assert table["verdict"].tolist() == ["holds", "holds", "undecided", "holds"]
    without_voice = [r for r in records if r.configuration["model"] != "audio"]
    assert laugh_claims.fusions_table(without_voice, tmp_path).empty


def test_the_pretext_task_stands_beside_guessing(add, tmp_path):
    told = add("video", 0.5, start="pretrained")
    frame = told.load_predictions(tmp_path)
    made = [
        replace(
            told,
            experiment="pretext",
            run_id=f"pretext-s{seed}",
            seed=seed,
            started=f"2026-01-0{day}",
            metrics={"uar": replace(told.metrics["uar"], low=seed / 10)},
        ).save(tmp_path, frame)
        for seed, day in ((2, 1), (1, 2), (3, 3))
    ]
    table = laughs.pretext_table([told, *made], tmp_path)
    assert list(table.index) == ["video"], "the voice has no record"
    uar = told.metrics["uar"]
    shown = f"{uar.value:.2f} [0.10, {uar.high:.2f}]"  # of the lowest seed, whichever ran last
    row = table.loc["video"]
    assert row["sentences told (UAR)"] == shown
    assert (row["guessing"], row["sentences"], row["clips"]) == ("0.33", 3, uar.n)


def test_leakage_is_compared_on_the_windows_of_both_twins(add, tmp_path):
    quiet = f"{USUAL} leakage=0"
    first_ones = lambda frame: ~frame["clip_id"].str.endswith("-0")  # noqa: E731
    records = [add("audio", 0.9, seed=n, effects=quiet, keep=first_ones) for n in (0, 1)]
    assert laugh_claims.leakage_table(records, tmp_path).empty
    records += [add("audio", 0.4, seed=n) for n in (0, 1, 2)]
    (row,) = laugh_claims.leakage_table(records, tmp_path, replicates=2000).itertuples()
    assert (row.seeds, row.verdict) == (2, "holds")
    table = laughs.by_leakage(records)
    assert table.index.tolist() == [0.0, 1.0]
    assert table.loc[1.0, "audio"].endswith("; 3)")


def test_without_records_nothing_breaks(tmp_path):
    assert laugh_claims.claims_table([], tmp_path).empty
    assert laugh_claims.claims_by_strength([], tmp_path).empty
    assert laugh_claims.leakage_table([], tmp_path).empty
    assert laugh_claims.fusions_table([], tmp_path).empty
    assert laughs.pretext_table([], tmp_path).empty
    assert laughs.balanced_confusions([], tmp_path).empty
    assert laughs.models_table([], "ndc-me").empty
    assert laughs.recalls_by_strength([]).empty
    assert laughs.by_leakage([]).empty
    for make in (laughs.by_scope, laughs.by_split, laughs.by_sex):
        assert not make([]).isin([float("nan")]).to_numpy().any()
    assert (laughs.by_sex([]) == "–").to_numpy().all()
    assert list(laughs.beside_heat_maps([], tmp_path, "audio", "pretrained")) == [
        "reported, NDC-ME",
        "reported, IFADV",
    ]


@pytest.fixture
def shown():
    """Draws a figure and closes it in the end."""
    yield lambda figure: figure
    plt.close("all")


def test_heat_maps_print_their_shares_two_side_by_side(shown):
    values = np.arange(24.0).reshape(8, 3)
    values[3] = np.nan
    frame = pd.DataFrame(values, columns=list(CLASSES))
    figure = shown(figures.intensity_heatmaps({"a": frame, "b": frame, "c": frame}))
    first, *_, last = figure.axes
    texts = [text.get_text() for text in first.texts]
    assert texts[:3] == ["0", "1", "2"]
    assert texts[9:12] == ["–"] * 3
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()] == ["a", "b", "c"]
    assert not last.get_visible()
    assert len({round(axis.get_position().x0, 2) for axis in figure.axes}) == 2


def test_drops_are_drawn_as_means_of_their_class(shown):
    frame = pd.DataFrame({"target": ["Laughs", "Laughs", "None"]})
    for n in range(4):
        frame[f"drop_{n}"] = [n, n + 2, -n]
    laugh, none = (
        axis for axis in shown(figures.occlusion_maps(frame)).axes if axis.get_title() in CLASSES
    )
    assert_allclose(laugh.images[0].get_array(), [[1, 2], [3, 4]])
    assert_allclose(none.images[0].get_array(), [[0, -1], [-2, -3]])
    assert laugh.images[0].get_clim() == (-4, 4)
    (axis,) = shown(
        figures.band_drops(frame, [(0, 300), (300, 800), (800, 1500), (1500, 3000)])
    ).axes
    heights = [patch.get_height() for patch in axis.patches]
    assert_allclose(heights, [1, 2, 3, 4, 0, -1, -2, -3])


def test_every_window_is_on_the_map_and_every_bin_on_the_curve(shown):
    frame = frame_of(0.7, seed=3)
    frame["map_0"], frame["map_1"] = np.arange(len(frame)), 0.0
    (axis,) = shown(figures.embedding_maps({"voice": frame})).axes
    assert sum(len(dots.get_offsets()) for dots in axis.collections) == len(frame)
    (axis,) = shown(figures.calibration({"voice": frame})).axes
    right = (frame["target"] == frame["prediction"]).mean()
    assert_allclose(axis.lines[1].get_xydata(), [[0.8, right]])


def test_scores_run_above_their_annotation(shown):
    frame = frame_of(0.7, seed=4).head(5).assign(time_s=np.arange(5) + 0.6)
    figure = shown(figures.score_over_time(frame, [(1.0, 2.5, "Laughs")]))
    (axis,) = figure.axes
    assert [line.get_label() for line in axis.lines] == list(CLASSES)
    assert_allclose(axis.lines[0].get_ydata(), frame["p_Laughs"])
    (bar,) = axis.patches
    assert (bar.get_x(), bar.get_width()) == (1.0, 1.5)
    (axis,) = shown(figures.score_over_time(frame, [], at_s=2.5)).axes
    assert axis.lines[-1].get_xdata() == [2.5, 2.5]


def test_a_described_figure_has_its_words_where_a_reader_looks_for_them():
    figure, axis = plt.subplots(figsize=(1, 1))
    axis.plot([0, 1])
    element = ElementTree.fromstring(figures.described(figure, 'told "Laughs" & none')[:-1] + "/>")
    assert element.attrib["alt"] == 'told "Laughs" & none'
    kind, _, encoded = element.attrib["src"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(encoded).startswith(b"\x89PNG")
    assert plt.get_fignums() == []
