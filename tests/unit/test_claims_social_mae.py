import numpy as np
import pandas as pd
import pytest

from thesislib.evaluation.claims_social_mae import (
    MARGIN,
    claim_f,
    claim_f_regions,
    claim_g,
    claim_h,
    contrasts_table,
)

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
