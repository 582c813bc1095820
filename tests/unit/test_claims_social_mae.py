"""Claims F to H on invented predictions, and their tables on records made of these."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from thesislib.config import LaughConfig, SocialMaeConfig, for_profile
from thesislib.evaluation.claims_social_mae import (
    MARGIN,
    claim_f,
    claim_f_regions,
    claim_g,
    claim_h,
    contrasts_table,
    of_trait,
    p_over_clips,
)
from thesislib.evaluation.metrics import measure
from thesislib.records import ledger, social_mae, social_mae_claims
from thesislib.records.record import RunRecord

OPTIONS = {"replicates": 400, "seed": 0}
CLASSES = ("anger", "fear", "sadness")


def drawings(level, *, seed=0, regions=None, clips=40, speakers=10):
    """Errors around `level` by clip; `regions` gives factors on parts of the face."""
    generator = np.random.default_rng(seed)
    rows = []
    for i in range(clips):
        for region, factor in {"all": 1.0, **(regions or {})}.items():
            n = int(generator.integers(500, 900))
            error = level * factor * n * generator.uniform(0.8, 1.2)
            rows.append((f"c{i}", f"p{i % speakers}", "video", region, error, n))
        rows.append((f"c{i}", f"p{i % speakers}", "audio", "all", 1e6, 10))
    columns = ["clip_id", "speaker", "modality", "region", "squared_error", "n"]
    return pd.DataFrame(rows, columns=columns)


def answers(right, *, seed=0, n=90, speakers=15):
    generator = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        target = CLASSES[i % 3]
        share = right if isinstance(right, float) else right[target]
        hit = generator.random() < share
        other = [name for name in CLASSES if name != target]
        rows.append((f"c{i}", f"p{i % speakers}", target, target if hit else other[0]))
    frame = pd.DataFrame(rows, columns=["clip_id", "speaker", "target", "prediction"])
    for name in CLASSES:
        frame[f"p_{name}"] = (frame["prediction"] == name).astype(float)
    return frame


def seeds(make, *args, first=0, **options):
    return [make(*args, seed=first + n, **options) for n in range(3)]


def verdict(found):
    return contrasts_table([found])["verdict"].item()


def test_f_is_the_logarithm_of_the_ratio_of_pooled_errors():
    several, one = seeds(drawings, 0.03), seeds(drawings, 0.12, first=5)
    found = claim_f("eight less one", several, one, **OPTIONS)
    pooled = []
    for frames in (several, one):
        whole = pd.concat(frames)
        whole = whole[whole["modality"] == "video"]
        pooled.append(whole["squared_error"].sum() / whole["n"].sum())
    assert found.difference == pytest.approx(np.log2(pooled[1] / pooled[0]))
    assert found.difference == pytest.approx(2, abs=0.1)
    assert verdict(found) == "holds"
    assert verdict(claim_f("one less eight", one, several, **OPTIONS)) == "reversed"


def test_f_does_not_find_what_is_not_there():
    found = [
        claim_f("x", [drawings(0.1, seed=2 * n)], [drawings(0.1, seed=2 * n + 1)], **OPTIONS)
        for n in range(20)
    ]
    assert max(abs(one.difference) for one in found) < 0.2
    # One in twenty by chance, and a few more since ten people are few for a bootstrap.
    assert sum(verdict(one) != "undecided" for one in found) <= 5


def test_f_finds_the_region_that_carries_the_error():
    frames = seeds(drawings, 0.1, regions={"mouth": 2.0, "skin": 0.5, "hair": 0.5})
    found = claim_f_regions("mouth", frames, "mouth", ("skin", "hair"), **OPTIONS)
    assert found.difference == pytest.approx(2, abs=0.1)
    assert verdict(found) == "holds"
    assert verdict(claim_f_regions("skin", frames, "skin", ("mouth",), **OPTIONS)) == "reversed"


def test_g_finds_the_better_model_of_classes_and_of_traits():
    good, poor = seeds(answers, 0.9), seeds(answers, 0.5, first=7)
    assert verdict(claim_g("x", good, poor, **OPTIONS)) == "holds"
    assert verdict(claim_g("x", poor, good, **OPTIONS)) == "reversed"
    assert verdict(claim_g("x", poor, poor, **OPTIONS)) == "undecided"
    generator = np.random.default_rng(0)
    target = generator.uniform(size=60)
    near, far = (
        pd.DataFrame(
            {"clip_id": range(60), "speaker": [f"p{i % 12}" for i in range(60)],
             "target_openness": target, "prediction_openness": target + off}
        ).astype({"clip_id": str})
        for off in (0.05 * generator.standard_normal(60), 0.2 * generator.standard_normal(60))
    )  # fmt: skip
    found = claim_g("traits", [near], [far], **OPTIONS)
    errors = [abs(f["prediction_openness"] - f["target_openness"]).mean() for f in (far, near)]
    assert found.difference == pytest.approx(errors[0] - errors[1])
    assert verdict(found) == "holds"


def test_h_tells_close_scores_from_distant_ones():
    even = seeds(answers, 0.8, n=300)
    assert claim_h("even", even, **OPTIONS).difference > 0
    frame = pd.concat([answers(1.0, n=270), answers(dict.fromkeys(CLASSES, 0.0), n=30)])
    frame["clip_id"] = [f"d{i}" for i in range(len(frame))]
    rare = frame[(frame["target"] == "anger") | (frame.index % 9 == 1)]
    uneven = claim_h("uneven", [rare], **OPTIONS)
    assert uneven.difference < MARGIN
    frame.loc[frame["target"] != "anger", "prediction"] = "anger"
    assert claim_h("one class only", [frame], **OPTIONS).difference < 0


def test_other_clips_are_refused():
    with pytest.raises(ValueError, match="same clips"):
        claim_g("x", [answers(0.5)], [answers(0.5, n=60)], **OPTIONS)
    with pytest.raises(ValueError, match="same clips"):
        claim_g("x", [], [], **OPTIONS)


# p-values over clips -----------------------------------------------------------------------------


def traits(error, *, seed, n=60):
    generator = np.random.default_rng(seed)
    columns = {"clip_id": [f"c{i}" for i in range(n)], "speaker": [f"p{i % 12}" for i in range(n)]}
    for name in ("openness", "neuroticism"):
        truth = np.random.default_rng(5).uniform(size=n)
        columns[f"target_{name}"] = truth
        columns[f"prediction_{name}"] = truth + error * generator.standard_normal(n)
    return pd.DataFrame(columns)


def test_p_over_clips_is_mcnemars_of_classes():
    good, poor = answers(0.9, n=200), answers(0.6, n=200, seed=1)
    a, b = (frame["prediction"] == frame["target"] for frame in (good, poor))
    won, lost = (a & ~b).sum(), (~a & b).sum()
    # Exact: twice the tail of fair coins, one for each clip on which the two differ.
    expected = 2 * stats.binom.sf(max(won, lost) - 1, won + lost, 0.5)
    assert p_over_clips(good, poor) == pytest.approx(expected)
    shuffled = poor.sample(frac=1, random_state=0)
    assert p_over_clips(good, shuffled) == pytest.approx(expected)
    assert p_over_clips(good, good) == 1
    with pytest.raises(ValueError, match="same clips"):
        p_over_clips(good, poor.iloc[1:])


def test_p_over_clips_is_wilcoxons_of_traits():
    near, far = traits(0.05, seed=1), traits(0.2, seed=2)
    errors = [
        sum(abs(f[f"prediction_{t}"] - f[f"target_{t}"]) for t in ("openness", "neuroticism"))
        for f in (near, far)
    ]
    assert p_over_clips(near, far) == pytest.approx(stats.wilcoxon(*errors).pvalue)
    assert p_over_clips(near, near) == 1
    one = of_trait(near, "openness")
    assert list(one.columns) == ["clip_id", "speaker", "target_openness", "prediction_openness"]


# Tables of records -------------------------------------------------------------------------------


def effects(size):
    names = ("f0", "rate", "energy", "tilt", "jitter", "face")
    return " ".join(f"emotion_{name}={size}" for name in names)


@pytest.fixture
def add(tmp_path):
    """Writes a record of one model and mode on the twin that the tables are of; returns it."""

    def make(frame, *, corpus="crema-d", model="mae", mode="both", seed=0, frames="8", **given):
        pretraining = given.get("pretraining", "voxceleb2-twin" if model == "mae" else "none")
        given = {"corpus": f"{corpus}-twin", "model": model, "seed": seed, **given}
        if corpus == "crema-d":
            given = {"effects": effects(2), **given}
        if corpus == "first-impressions":
            given = {"scope": "probe", **given}
        config = for_profile(
            SocialMaeConfig, "small", **{**given, "pretraining": pretraining},
            n_frames=int(frames), modes=mode,
        )  # fmt: skip
        kind = "classification" if "target" in frame else "regression"
        configuration = {
            "model": model, "mode": mode, "frames": frames, "pretraining": pretraining,
            "scope": config.scope,
        }  # fmt: skip
        record = RunRecord(
            run_id="-".join([corpus, model, mode, frames, pretraining, str(seed)]),
            kind=kind, chapter="07", experiment=social_mae.TASK, configuration=configuration,
            profile="small", corpus=corpus, variant="twin", synthetic=True, seed=seed,
            config=config.as_dict(), metrics=measure(kind, frame, replicates=20, seed=0),
        )  # fmt: skip
        return record.save(tmp_path, frame)

    return make


def lsn_tcn(frame, folder, *, seed, effects=""):
    config = for_profile(LaughConfig, "small", seed=seed, start="pretrained", effects=effects)
    record = RunRecord(
        run_id=f"06-{seed}", kind="classification", chapter="06", experiment="laughs",
        configuration={
            "model": "mlp", "start": "pretrained", "scope": "chapter", "split": "speaker",
            "tested": "ndc-me",
        },
        profile="small", corpus="ndc-me", variant="twin", synthetic=True, seed=seed,
        config=config.as_dict(), metrics=measure("classification", frame, replicates=20, seed=0),
    )  # fmt: skip
    return record.save(folder, frame)


def test_lsn_tcn_is_compared_on_the_same_clips_only(add, tmp_path):
    records = [add(answers(0.95, seed=seed), corpus="ndc-me", seed=seed) for seed in (0, 1)]
    other = answers(0.4, seed=3)
    records.append(lsn_tcn(other, tmp_path, seed=0))
    records.append(lsn_tcn(other.assign(clip_id="d" + other["clip_id"]), tmp_path, seed=1))
    found = {c.part: c for c in social_mae_claims.contrasts(records, tmp_path, replicates=200)}
    contrast = found["NDC-ME, AV: Social-MAE less LSN-TCN"]
    assert contrast.claim == "7.4"
    assert contrast.seeds == 1
    assert contrast.runs == ("06-0", records[0].run_id)
    assert contrast.difference > 0.3


def test_lsn_tcn_stands_beside_at_the_planted_strength_only(tmp_path):
    documented = lsn_tcn(answers(0.4, seed=3), tmp_path, seed=0, effects="turn_end=3")
    doses = [
        lsn_tcn(answers(0.4, seed=3), tmp_path, seed=1, effects=f"laugh_face={x} smile_face={x}")
        for x in (0, 0.5, 1.5)
    ]
    assert social_mae.lsn_tcn_runs([documented, *doses], "both") == [documented]


def test_p_values_stand_beside_intervals_over_speakers(add, tmp_path):
    records = []
    for seed in (0, 1):
        for frames, share, error in (("8", 0.9, 0.05), ("1", 0.5, 0.2)):
            records.append(add(answers(share, seed=seed), frames=frames, seed=seed))
            told = traits(error, seed=seed + int(frames))
            records.append(add(told, corpus="first-impressions", frames=frames, seed=seed))
    table = social_mae_claims.p_values_table(records, tmp_path, replicates=200)
    assert list(table.index) == ["CREMA-D, AV", "FI, AV, Ope.", "FI, AV, Neu.", "FI, AV"]
    assert (table["p over clips, by seed"].str.count(",") == 1).all()
    assert float(table.loc["FI, AV", "p over speakers"]) < 0.05
    assert table.loc["CREMA-D, AV", "difference"].startswith("+0.")
    assert social_mae_claims.p_values_table([], tmp_path).empty


def test_functionals_stand_beside_the_models(add):
    records = [
        add(answers(0.8), mode="audio"),
        add(answers(0.5), mode="audio", model="egemaps"),
        add(answers(0.6), mode="both", model="uavm"),
    ]
    table = social_mae.baselines_table(records, "crema-d")
    assert set(table.index) == {"Social-MAE, voxceleb2-twin", "eGeMAPS, linear", "UAVM"}
    assert table.loc["UAVM", "audio"] == "–"
    assert table.loc["eGeMAPS, linear", "audio"].endswith("(1)")
    assert social_mae.baselines_table(records, "emodb").empty


def test_probes_are_compared_with_probes(add, tmp_path):
    full = add(answers(0.9), seed=0)
    probe = add(answers(0.4, seed=1), seed=1, scope="probe")
    frozen = add(answers(0.3, seed=2), seed=2, scope="probe", pretraining="none")
    baseline = add(answers(0.6, seed=3), seed=3, model="uavm")
    told = add(traits(0.1, seed=0), corpus="first-impressions", seed=4)
    other = add(traits(0.1, seed=0), corpus="first-impressions", scope="full", seed=5)
    every = [full, probe, frozen, baseline, told, other]
    assert social_mae.chosen(every) == [full, baseline, told]  # traits are told by probes
    assert social_mae.chosen(every, scope="probe") == [probe, frozen, told]
    assert social_mae.chosen(every, scope="full") == [full, baseline, other]
    main = social_mae.pretraining_table(every, "crema-d")
    frozen_only = social_mae.pretraining_table(every, "crema-d", scope="probe")
    assert list(main.index) == ["Social-MAE, voxceleb2-twin"]
    assert list(frozen_only.index) == ["Social-MAE, none", "Social-MAE, voxceleb2-twin"]
    for table, record in ((main, full), (frozen_only, probe)):
        cell = table.loc["Social-MAE, voxceleb2-twin", "both"]
        assert cell.startswith(f"{record.metrics['macro_f1'].value:.2f}")
        assert cell.endswith("(1)")
    found = social_mae_claims.contrasts(every, tmp_path, replicates=50)
    assert [c.part for c in found] == ["CREMA-D, AV: micro and macro F1"]
    assert social_mae.few_shot_table([add(answers(0.5), scope="probe", labelled_speakers=8)]).empty


def test_the_pretraining_for_pictures_is_in_no_table(add):
    usual, other = add(answers(0.9)), add(answers(0.9), seed=1, kept_drawings=2)
    assert social_mae.chosen([usual, other]) == [usual]


def test_the_mean_of_the_training_part_counts_once_a_seed(add):
    told = traits(0.1, seed=0)
    for name in social_mae.TRAITS:
        told[f"target_{name}"] = told["target_openness"]
        told[f"prediction_{name}"] = told["prediction_openness"]
    records = [
        add(told, corpus="first-impressions", seed=seed, frames=frames)
        for seed in (0, 1)
        for frames in ("8", "1")
    ]
    constants = [
        replace(r, configuration={**r.configuration, "model": "constant"}) for r in records
    ]
    table = social_mae.personality_table(constants)
    assert table.loc["mean of the training part", "CCC, twin"].endswith("2)")


def test_recall_stands_beside_the_f1_of_emotions(add):
    record = add(answers(0.8))
    row = social_mae.emotion_table([record]).loc["Social-MAE"]
    assert row["AV UAR, twin"].startswith(f"{record.metrics['uar'].value:.2f}")
    assert row["Audio UAR, twin"] == "–"


def test_the_main_strength_is_that_of_the_corpus(add, tmp_path):
    records = [add(answers(0.8, seed=seed), seed=seed, mode="audio") for seed in (0, 1)]
    null = add(answers(0.2), seed=2, mode="audio", effects=effects(0))
    documented = add(answers(0.3), seed=3, mode="audio", effects="")
    traits_told = add(traits(0.1, seed=0), corpus="first-impressions", seed=4)
    every = [*records, null, documented, traits_told]
    assert [social_mae.strength(r) for r in every] == [2, 2, 0, 1, 1]
    assert social_mae.chosen(every) == [*records, traits_told]
    assert social_mae.chosen(every, at=0) == [null]
    assert social_mae.chosen(every, at=1) == [documented, traits_told]
    found = social_mae_claims.contrasts(every, tmp_path, replicates=50)
    assert [(c.part, c.seeds) for c in found] == [("CREMA-D, Audio: micro and macro F1", 2)]
    assert found[0].runs == tuple(r.run_id for r in records)


def test_a_part_names_the_runs_of_the_seeds_that_both_sides_have(add, tmp_path):
    eight = [add(answers(0.9, seed=seed), seed=seed) for seed in (0, 1, 2)]
    one = [add(answers(0.5, seed=seed), seed=seed, frames="1") for seed in (0, 1)]
    found = {
        c.part: c for c in social_mae_claims.contrasts([*eight, *one], tmp_path, replicates=50)
    }
    compared = found["CREMA-D, AV: eight frames less one"]
    assert compared.seeds == 2
    assert compared.runs == tuple(sorted(r.run_id for r in [*eight[:2], *one]))
    alone = found["CREMA-D, AV: micro and macro F1"]
    assert alone.runs == tuple(r.run_id for r in eight)


def test_the_ledger_plants_emotions_of_crema_d_twice_and_tells_other_strengths_apart(add, tmp_path):
    main = [add(answers(0.8, seed=seed), seed=seed, mode="audio") for seed in (0, 1)]
    null = add(answers(0.2), seed=2, mode="audio", effects=effects(0))
    weak = add(answers(0.3), seed=3, mode="audio", effects="")
    found = ledger.parts([*main, null, weak], tmp_path, replicates=50)
    assert [(p.strength, p.planted, p.runs) for p in found] == [
        (2.0, True, tuple(r.run_id for r in main)),
        (0.0, False, (null.run_id,)),
        (1.0, False, (weak.run_id,)),
    ]


# Real voices -------------------------------------------------------------------------------------


@pytest.fixture
def voices(add, tmp_path):
    """Real recordings of EmoDB, sound alone: pre-trained on a twin's speech, and not at all."""

    def make(share, pretraining, seed, *, real=True, **given):
        config = for_profile(
            SocialMaeConfig, "small", corpus="emodb", modes="audio", n_frames=1, seed=seed,
            pretraining=pretraining, **given,
        )  # fmt: skip
        frame = answers(share, seed=seed)
        record = RunRecord(
            run_id=f"emodb-{pretraining}-{config.scope}-{real}-{seed}", kind="classification",
            chapter="07", experiment=social_mae.TASK, profile="small", corpus="emodb",
            variant="cut-2s" if real else "twin", synthetic=not real, seed=seed,
            configuration={
                "model": "mae", "mode": "audio", "frames": "1", "pretraining": pretraining,
                "scope": config.scope,
            },
            config=config.as_dict(),
            metrics=measure("classification", frame, replicates=20, seed=0),
        )  # fmt: skip
        return record.save(tmp_path, frame)

    return make


def test_one_part_of_g_is_on_real_voices(voices, tmp_path):
    speech = [voices(0.9, "librispeech-twin", seed) for seed in (0, 1)]
    none = [voices(0.4, "none", seed) for seed in (0, 1)]
    (part,) = ledger.parts([*speech, *none], tmp_path, replicates=200)
    assert (part.claim, part.part) == ("G", social_mae_claims.REAL_VOICES)
    assert (part.data, part.synthetic, part.planted) == ("EmoDB, real", False, False)
    assert np.isnan(part.strength)
    scores = [np.mean([r.metrics["macro_f1"].value for r in runs]) for runs in (speech, none)]
    assert part.difference == pytest.approx(scores[0] - scores[1], abs=0.02)
    assert part.verdict == "holds"
    assert part.runs == tuple(sorted(r.run_id for r in [*speech, *none]))


def test_real_voices_need_both_sides_end_to_end_and_no_twin(voices, tmp_path):
    speech, none = voices(0.9, "librispeech-twin", 0), voices(0.4, "none", 0)
    twin = voices(0.4, "none", 0, real=False)
    probe = voices(0.4, "none", 0, scope="probe")
    for other in ([], [twin], [probe]):
        assert social_mae_claims.real_voices([speech, *other], tmp_path, replicates=50) == []
    assert social_mae_claims.real_voices([none], tmp_path, replicates=50) == []
    (found,) = social_mae_claims.real_voices([speech, none, twin, probe], tmp_path, replicates=50)
    assert found.runs == tuple(sorted((speech.run_id, none.run_id)))
