"""Figures of chapter 7 and what feeds them, on invented records and pictures."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose, assert_array_equal

from thesislib import figures
from thesislib.config import SocialMaeConfig, for_profile
from thesislib.corpora.clip import Clip
from thesislib.corpora.manifest import load_manifest
from thesislib.errors import InputError
from thesislib.evaluation.significance import Estimate
from thesislib.figures.social_mae import social_mae_boxes
from thesislib.files import project_root
from thesislib.learning import social_mae_drawings
from thesislib.learning.social_mae_data import Windows
from thesislib.learning.social_mae_drawings import clip_of, drawings, record_drawings
from thesislib.learning.social_mae_inputs import front_end
from thesislib.learning.social_mae_pretraining import model_config
from thesislib.models.masked_autoencoder import CAV_MAE, SOCIAL_MAE, MaskedAutoencoder
from thesislib.records import social_mae_pages as pages
from thesislib.records.conclusion import PERSPECTIVES
from thesislib.records.drawings import (
    Drawing,
    band_correlation,
    pack,
    region_correlation,
    unpack,
)
from thesislib.records.record import RunRecord
from thesislib.records.recording import Stopwatch
from thesislib.signals.audio import LogMelPreset, kaldi_log_mel

SMALLEST = {
    "image_size": 32, "audio_frames": 32, "candidates": 8, "width": 32, "depth": 1,
    "decoder_width": 32,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def drawing_of(shape, seed=0):
    generator = np.random.default_rng(seed)
    original, drawn, copied = generator.random((3, *shape), dtype=np.float32)
    return Drawing(original, generator.random(shape) < 0.75, drawn, copied)


# Drawings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 4, 5, 3), (7, 5)])
def test_a_drawing_comes_back_to_half_a_step(shape):
    drawing = drawing_of(shape)
    back = unpack(pack(drawing))
    low, high = drawing.original.min(), drawing.original.max()
    for name in ("original", "drawn", "copied"):
        expected = getattr(drawing, name).clip(low, high)
        assert_allclose(getattr(back, name), expected, atol=(high - low) / 255 / 2 + 1e-6)
    assert_array_equal(back.hidden, drawing.hidden)


def test_a_flat_drawing_and_a_damaged_one():
    flat = Drawing(*(np.full((2, 2), value) for value in (3.0, True, 5.0, 1.0)))
    assert (unpack(pack(flat)).drawn == 3).all()  # cut off at the range of the original
    with pytest.raises(ValueError, match="bytes"):
        unpack({**pack(flat), "drawn": None})
    with pytest.raises(ValueError, match="reshape"):
        unpack({**pack(flat), "drawn": b"x"})


def windows_of(n=3, *, video=True):
    generator = torch.Generator().manual_seed(0)
    return Windows(
        clips=[Clip(clip_id=f"c{i}", corpus="crema-d", speaker=f"p{i}") for i in range(n)],
        waveform=0.1 * torch.randn(n, 32 * 160, generator=generator),
        length=torch.full((n,), 32 * 160),
        frames=torch.randint(0, 255, (n, 8, 32, 32, 3), generator=generator, dtype=torch.uint8)
        if video
        else None,
        failures=[],
    )


@pytest.mark.parametrize("video", [True, False])
def test_drawings_are_in_the_units_of_the_recording(video):
    config = for_profile(SocialMaeConfig, "tiny", **SMALLEST)
    windows, front = windows_of(video=video), front_end(config)
    model = MaskedAutoencoder(model_config(config), torch.Generator().manual_seed(0))
    frame = drawings(model, windows, torch.tensor([0, 2]), front, seed=1)
    per_clip = ["audio", "video"] if video else ["audio"]
    assert sorted(frame["modality"]) == sorted(per_clip * 2)
    assert set(frame["clip_id"]) == {"c0", "c2"}
    for row in frame.to_dict("records"):
        found = unpack(row)
        assert found.hidden.mean() == pytest.approx(0.75)
        assert row["n"] == found.hidden.sum()
        if row["modality"] == "video":
            number = int(row["clip_id"][1:])
            stored = windows.frames[number].numpy() / 255
            assert_allclose(found.original, stored, atol=0.005)
        else:
            number = int(row["clip_id"][1:])
            plain = LogMelPreset(target_frames=32)  # nepers of power, not standardised
            expected = kaldi_log_mel(windows.waveform[number : number + 1], preset=plain)[0]
            assert_allclose(found.original, expected, atol=0.1)
            # Clipping can only lower an error, where the model draws beyond the original.
            std = front.preset.log_mel.std
            error = (((found.drawn - found.original) / std) ** 2)[found.hidden].sum()
            assert error <= row["squared_error"] * 1.02


def test_real_faces_are_not_kept():
    config = for_profile(SocialMaeConfig, "tiny", corpus="crema-d")
    with pytest.raises(InputError, match="is real"):
        record_drawings(config, None, None, Stopwatch())
    for given in ({"corpus": "crema-d"}, {"pretraining": "none"}):
        with pytest.raises(InputError, match="kept_drawings"):
            for_profile(SocialMaeConfig, "tiny", kept_drawings=1, **given)


def test_a_job_keeps_as_many_drawings_as_it_was_told_with_their_regions(tmp_path, monkeypatch):
    config = for_profile(
        SocialMaeConfig, "tiny", **SMALLEST, kept_drawings=2, out=str(tmp_path / "results")
    )
    regions = torch.arange(2 * 8 * 32 * 32).remainder(7).reshape(2, 8, 32, 32).byte()
    asked = []

    def known(config, corpus, windows, rows):
        asked.append(rows.tolist())
        return regions

    monkeypatch.setattr(social_mae_drawings, "window_regions", known)
    corpus = SimpleNamespace(manifest=load_manifest("crema-d"), variant="twin")
    data = SimpleNamespace(corpus=corpus, windows=windows_of())
    model = MaskedAutoencoder(model_config(config), torch.Generator().manual_seed(0))
    record = record_drawings(config, data, model, Stopwatch())
    assert asked == [[0, 1]]
    assert record.command.startswith("thesis train 07")
    found = pages.kept_drawings([record], tmp_path / "results", "video", "crema-d")
    assert_array_equal([drawing.regions for drawing in found], regions)
    (sound, _) = pages.kept_drawings([record], tmp_path / "results", "audio", "crema-d")
    assert sound.regions is None
    outlines = pages.outlines(found[0], [5, 6])
    assert outlines.shape == (2, 8, 32, 32)
    assert_array_equal(outlines[0], regions[0] == 5)
    assert pages.outlines(sound, [5]) is None


def test_one_clip_is_a_batch_of_one():
    config = for_profile(SocialMaeConfig, "tiny", **SMALLEST)
    audio, video = clip_of(windows_of(), 1, front_end(config))
    assert (tuple(audio.shape), tuple(video.shape)) == ((1, 32, 128), (1, 3, 8, 32, 32))
    assert clip_of(windows_of(video=False), 1, front_end(config))[1] is None


# Figures -----------------------------------------------------------------------------------------


def test_the_diagram_says_what_the_sizes_imply():
    words = "\n".join(text for *_, text, _ in social_mae_boxes(SOCIAL_MAE))
    for told in ("128 × 1024", "8 frames", "4 × 14 × 14", "2 × 16 × 16", "128 visible",
                 "196 visible", "11 layers", "8 layers", "weight 0.01", "384 + 588"):  # fmt: skip
        assert told in words
    assert "1 frame\n" in "\n".join(text for *_, text, _ in social_mae_boxes(CAV_MAE))
    figure = figures.social_mae_diagram(SOCIAL_MAE, "title")
    boxes = [text.get_text() for text in figure.axes[0].texts if text.get_text()]
    assert boxes == [text for *_, text, _ in social_mae_boxes(SOCIAL_MAE)]


def images(axis):
    return axis.get_images()[0].get_array()


def test_four_frames_are_masked_where_they_were_hidden_and_errors_are_nowhere_else():
    drawing = drawing_of((8, 16, 16, 3))
    hidden = np.zeros((8, 16, 16, 3), bool)
    hidden[:, :8] = True
    drawing = drawing._replace(hidden=hidden)
    outline = np.zeros((1, 8, 16, 16), bool)
    outline[0, :, 3:6, 4:8] = True
    figure = figures.face_reconstructions(drawing, outline)
    axes = np.array(figure.axes[:20]).reshape(5, 4)
    assert (images(axes[1, 2])[:8] == 0.5).all()
    assert_allclose(images(axes[2, 2])[:8], drawing.drawn[4, :8])
    assert_allclose(images(axes[3, 2])[:8], drawing.copied[4, :8])
    for row in (1, 2, 3):
        assert_allclose(images(axes[row, 2])[8:], drawing.original[4, 8:])
    error = images(axes[4, 2])
    assert_allclose(error[:8], ((drawing.drawn - drawing.original)[4, :8] ** 2).mean(axis=-1))
    assert np.ma.masked_invalid(error)[8:].mask.all()
    assert axes[4, 2].collections
    assert not figures.face_reconstructions(drawing).axes[16].collections


def test_spectrograms_keep_what_was_visible():
    drawing = drawing_of((40, 12))
    figure = figures.spectrogram_reconstruction(drawing)
    masked, reconstructed = (images(axis) for axis in figure.axes[1:3])
    assert_array_equal(np.ma.masked_invalid(masked).mask, drawing.hidden.T)
    expected = np.where(drawing.hidden, drawing.drawn, drawing.original).T
    assert_allclose(reconstructed, expected)


def test_errors_by_region_are_pooled_over_values():
    frame = pd.DataFrame(
        {
            "modality": ["video", "video", "video", "audio"],
            "region": ["eyes", "eyes", "skin", "all"],
            "squared_error": [2.0, 8.0, 3.0, 99.0],
            "n": [1, 4, 6, 1],
        }
    )
    assert figures.region_means(frame).to_dict() == {"eyes": 2.0, "skin": 0.5}
    figure = figures.region_errors({"a": frame, "b": frame}, ["skin", "eyes", "mouth"])
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert_allclose(heights, [0.5, 2.0, np.nan] * 2)


def test_maps_stand_under_their_frames_and_white_is_their_centre():
    audio, video = np.full((2, 3), 1.5), np.full((4, 2, 2), 0.75)
    video[3] = 0.0
    figure = figures.clip_maps(np.zeros((8, 6, 6, 3)), np.zeros((20, 10)), {"m": (audio, video, 1)})
    shown = [axis.get_images()[0] for axis in figure.axes[5:10]]
    assert_allclose(shown[0].get_array(), audio)
    assert [float(image.get_array()[0, 0]) for image in shown[1:]] == [0.75, 0.75, 0.75, 0.0]
    assert {image.get_clim() for image in shown} == {(0.0, 2.0)}


# Records -----------------------------------------------------------------------------------------


@pytest.fixture
def add(tmp_path):
    def make(experiment="social-mae", *, score=0.5, frame=None, **given):
        config = for_profile(SocialMaeConfig, "small", **given)
        record = RunRecord(
            run_id=f"{experiment}-{len(list(tmp_path.rglob('*.json')))}",
            kind="classification" if frame is None else "reconstruction",
            chapter="07",
            experiment=experiment,
            configuration={
                "model": config.model, "mode": "both" if frame is None else "masked",
                "frames": str(config.n_frames), "pretraining": config.pretraining,
                "scope": config.scope,
            },
            profile="small", corpus=config.corpus.removesuffix("-twin"), variant="twin",
            synthetic=True, seed=config.seed, config=config.as_dict(),
            metrics={"macro_f1": Estimate(score, 0, 1, 9, "share")},
        )  # fmt: skip
        return record.save(tmp_path, pd.DataFrame() if frame is None else frame)

    return make


def test_coverage_counts_jobs_and_names_what_is_missing(add):
    planned = [
        for_profile(SocialMaeConfig, "small", **given).as_dict()
        for given in (
            {"seed": 0}, {"seed": 1}, {"labelled_speakers": 8},
            {"effects": "emotion_f0=0 emotion_face=0"}, {"model": "vavl", "pretraining": "none"},
        )
    ]  # fmt: skip
    table = pages.coverage([add(seed=1), add("reconstruction", seed=0)], planned)
    place = ("crema-d-twin", "mae", "8", "voxceleb2-twin", "full")
    assert table.loc[(*place, "all")].tolist() == [2, 1]
    assert table.loc[(*place, "8 labelled people")].tolist() == [1, 0]
    assert table.loc[(*place, "emotion 0")].tolist() == [1, 0]
    assert table["planned"].sum() == 5
    assert pages.coverage([], planned)["recorded"].sum() == 0


def test_coverage_tells_probes_and_jobs_for_pictures_apart(add):
    given = ({}, {"scope": "probe"}, {"scope": "probe", "kept_drawings": 2})
    planned = [for_profile(SocialMaeConfig, "small", **one).as_dict() for one in given]
    table = pages.coverage([add(scope="probe")], planned)
    place = ("crema-d-twin", "mae", "8", "voxceleb2-twin")
    assert table.loc[(*place, "full", "all")].tolist() == [1, 0]
    assert table.loc[(*place, "probe", "all")].tolist() == [1, 1]
    assert table.loc[(*place, "probe", "for pictures")].tolist() == [1, 0]


def test_coverage_tells_the_null_twin_of_expressions_apart(add):
    null = "turn_end=3 mimicry=2 laugh_face=0 laugh_voice=0 smile_face=0 smile_voice=0"
    given = [{"corpus": "ndc-me-twin", "effects": e} for e in ("turn_end=3 mimicry=2", null)]
    planned = [for_profile(SocialMaeConfig, "small", **one).as_dict() for one in given]
    table = pages.coverage([add(**given[1])], planned)
    place = ("ndc-me-twin", "mae", "8", "voxceleb2-twin", "full")
    assert table.loc[(*place, "all")].tolist() == [1, 0]
    assert table.loc[(*place, "expressions 0")].tolist() == [1, 1]


def test_the_time_of_jobs_is_read_where_it_is_known(add, tmp_path):
    records = [replace(add(seed=seed), seconds=30.0) for seed in range(3)]

    def job(name, state, seconds, record):
        document = {"records": [record.run_id], "state": state, "seconds": seconds}
        path = tmp_path / "jobs" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))

    assert pages.job_seconds(records, tmp_path, ["ran"]) == []  # no folder
    job("ran", "to run", 34.5, records[0])
    job("found", "done", 0.01, records[1])  # its records were there already
    job("other", "to run", 50.0, replace(records[2], run_id="of another time"))
    (tmp_path / "jobs" / "damaged.json").write_text("{")
    names = ["ran", "found", "other", "damaged", "missing"]
    assert pages.job_seconds(records, tmp_path, names) == [34.5, 30.0]


def test_the_few_shot_curve_goes_from_few_people_to_all(add):
    main = {"effects": "emotion_f0=2 emotion_face=2"}
    records = [
        add(labelled_speakers=24, score=0.6, **main), add(labelled_speakers=8, score=0.4, **main),
        add(labelled_speakers=8, score=0.2, seed=1, **main), add(score=0.8, **main),
        add(pretraining="sound-events-twin", score=0.1, **main),
        add(n_frames=1, score=0.3, **main), add(labelled_speakers=8, score=0.0),
    ]  # fmt: skip
    points = pages.few_shot_points(records)
    assert points["people"].tolist() == ["8", "8", "24", "all"]
    assert points["macro_f1"].tolist() == [0.4, 0.2, 0.6, 0.8]
    figure = figures.few_shot_curve(points, {"voxceleb2-twin": "pre-trained"}, 1 / 6)
    line = figure.axes[0].lines[0]
    assert_allclose(line.get_ydata(), [0.3, 0.6, 0.8])
    assert len(pages.few_shot_points(records[3:4])) == 0


def test_single_runs_have_intervals_over_people(add):
    main = {"effects": " ".join(f"emotion_{what}=2" for what in ("f0", "rate", "face"))}
    records = [
        add(seed=1, score=0.4, **main), add(score=0.3, **main), add(n_frames=1, score=0.2, **main),
        add(pretraining="none", score=0.9, **main), add(scope="probe", score=0.9, **main),
    ]  # fmt: skip
    table = pages.intervals(records, "crema-d", ("macro_f1", "uar"))
    assert table["macro_f1"].to_dict() == {
        ("AV", "CAV-MAE", 0): "0.20 [0.00, 1.00]",
        ("AV", "Social-MAE", 0): "0.30 [0.00, 1.00]",
        ("AV", "Social-MAE", 1): "0.40 [0.00, 1.00]",
    }
    assert len(pages.intervals(records[3:], "crema-d", ("macro_f1",))) == 0


def test_kept_drawings_are_found_by_modality(add, tmp_path):
    drawing = drawing_of((5, 4))
    rows = [
        {"clip_id": "a", "modality": modality, "region": "all", "squared_error": 1.0, "n": 1}
        | pack(drawing)
        for modality in ("audio", "video", "audio")
    ]
    records = [add("drawings", frame=pd.DataFrame(rows))]
    assert len(pages.kept_drawings(records, tmp_path, "audio", "crema-d")) == 2
    (found,) = pages.kept_drawings(records, tmp_path, "video", "crema-d")
    assert_allclose(found.original, drawing.original, atol=0.003)
    assert pages.kept_drawings(records, tmp_path, "video", "ndc-me") == []
    other = rows[0] | {"modality": "video"} | pack(drawing_of((5, 4), seed=1))
    records.insert(0, add("drawings", frame=pd.DataFrame([other]), seed=1))
    (found,) = pages.kept_drawings(records, tmp_path, "video", "crema-d")
    assert_allclose(found.original, drawing.original, atol=0.003)


def test_speech_is_followed_within_each_band_and_not_by_the_mean_of_bands():
    generator = np.random.default_rng(0)
    speech = generator.normal(size=(60, 8)).astype(np.float32) + 10 * np.arange(8, dtype=np.float32)
    speech[40:] = 100  # after the end, as bright in every band
    hidden = generator.random(speech.shape) < 0.75
    means = np.broadcast_to(np.arange(8, dtype=np.float32) * 10, speech.shape)
    noise = generator.normal(size=speech.shape).astype(np.float32)
    wrong = np.where(hidden, noise, speech)  # right only where it was visible
    assert band_correlation(Drawing(speech, hidden, speech, means)) == 1
    assert band_correlation(Drawing(speech, hidden, speech, means), "copied") == 0
    assert abs(band_correlation(Drawing(speech, hidden, wrong, means))) < 0.2
    half = band_correlation(Drawing(speech, hidden, speech + noise, means))
    assert half == pytest.approx(2**-0.5, abs=0.1)
    assert np.isnan(band_correlation(Drawing(speech[40:], hidden[40:], speech[40:], means)))


def test_eyes_and_mouth_are_followed_apart_from_the_rest():
    drawing = drawing_of((4, 20, 20, 3))
    hidden = np.repeat(drawing.hidden[..., :1], 3, axis=-1)
    regions = np.zeros((4, 20, 20), np.uint8)
    regions[:, 4:8], regions[:, 12:16] = 5, 6
    drawn = np.where((regions == 5)[..., None], drawing.original, drawing.drawn)
    known = Drawing(drawing.original, hidden, drawn, drawing.copied, regions)
    assert region_correlation(known, [5]) == pytest.approx(1)
    assert abs(region_correlation(known, [6])) < 0.25
    assert 0.3 < region_correlation(known, [5, 6]) < 0.9
    assert abs(region_correlation(known, [5], "copied")) < 0.25
    flat = known._replace(drawn=np.broadcast_to(np.float32([0.9, 0.6, 0.5]), drawn.shape))
    assert (
        region_correlation(flat, [5]) == 0
    )  # one colour, however much it is skin's, follows nothing
    assert np.isnan(region_correlation(drawing, [5]))
    back = unpack(pack(known))
    assert_array_equal(back.regions, regions)
    table = pages.drawn_correlations({"ndc-me": [known, known]}, {}, {"eyes": 5, "mouth": 6})
    assert table.loc[("NDC-ME", "drawn"), "eyes"] == pytest.approx(1)
    assert np.isnan(table.loc[("NDC-ME", "drawn"), "mel bands"])
    assert pages.drawn_correlations({}, {}, {"eyes": 5}).empty


def test_claims_stand_beside_what_the_thesis_printed():
    claims = pd.DataFrame(
        {"claim": ["G", "G", "G"], "difference": ["+0.05 [x]", "-0.01 [x]", "+0.20 [x]"]},
        index=["CREMA-D, AV: eight frames less one", "NDC-ME, Visual: eight frames less one",
               "CREMA-D, AV: in-domain less no pre-training"],
    )  # fmt: skip
    found = pages.beside_the_thesis(claims)
    assert found["thesis"].tolist() == ["+0.08", "+0.10", "–"]
    assert found["direction"].tolist() == ["agrees", "disagrees", "–"]
    assert list(claims.columns) == ["claim", "difference"]
    assert pages.beside_the_thesis(pd.DataFrame()).empty
    for part, value in pages.reported_differences().items():
        expected = part != "CREMA-D, Audio: eight frames less one"
        assert (value > 0) == expected, part


# The page ----------------------------------------------------------------------------------------


def test_the_end_of_the_chapter_agrees_with_the_conclusion():
    page = json.loads((project_root() / "notebooks/07_social_mae.ipynb").read_text("utf-8"))
    end = "".join(page["cells"][-1]["source"])
    told = re.findall(r"^  - \*(done|tried|open)\*$", end, flags=re.MULTILINE)
    assert told == [entry.status for entry in PERSPECTIVES if entry.chapter == 7]
    for title in ("**Summary**", "**Perspectives**", "**Publication.**"):
        assert title in end
