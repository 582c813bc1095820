import numpy as np
import pandas as pd
import pytest

from thesislib.evaluation.claims_laughs import (
    claim_a,
    claim_b,
    claim_c1,
    claim_c2,
    claim_d,
    claim_e,
    contrast,
    contrasts_table,
    f1,
)
from thesislib.evaluation.intensity import CLASSES, LEVELS

OPTIONS = {"replicates": 400, "seed": 0}


def frame_of(right, *, seed=0, wrong=None, n=40, speakers=8):
    """Every level `n` times; `right` gives a level's share of hits, `wrong` where misses go."""
    generator = np.random.default_rng(seed)
    rows = []
    for level in LEVELS:
        for i in range(n):
            prediction = level[0]
            if generator.random() >= right(level):
                others = [name for name in CLASSES if name != level[0]]
                prediction = (wrong or {}).get(level) or generator.choice(others)
            rows.append((f"{level}{i}", str(i % speakers), *level, prediction))
    columns = ["clip_id", "speaker", "target", "intensity", "prediction"]
    return pd.DataFrame(rows, columns=columns)


def by_chance(level):
    return 1 / 3


def seeds(right, *, first=0, **options):
    return [frame_of(right, seed=first + n, **options) for n in range(3)]


def verdicts(found):
    return dict(zip(contrasts_table(found)["part"], contrasts_table(found)["verdict"], strict=True))


def test_a_planted_gain_of_pretraining_is_found_and_its_reverse_is_told():
    low, high = {"audio": seeds(lambda level: 0.5)}, {"audio": seeds(lambda level: 0.8, first=9)}
    assert set(verdicts(claim_a(low, high, **OPTIONS)).values()) == {"holds"}
    assert set(verdicts(claim_a(high, low, **OPTIONS)).values()) == {"reversed"}


def test_chance_supports_no_claim():
    voice, face, both = (seeds(by_chance, first=n) for n in (0, 10, 20))
    found = [
        *claim_a({"face": voice}, {"face": face}, **OPTIONS),
        *claim_b(voice, face, both, **OPTIONS),
        *claim_c1({"voice": voice}, **OPTIONS),
        *claim_c2("face", face, **OPTIONS),
        *claim_d(voice, face, both, **OPTIONS),
    ]
    assert "holds" not in verdicts(found).values()


def test_faces_tell_smiles_and_voices_laughs():
    voice = seeds(lambda level: {"Laughs": 0.8, "Smiles": 0.3, "None": 0.5}[level[0]])
    face = seeds(lambda level: {"Laughs": 0.5, "Smiles": 0.8, "None": 0.7}[level[0]], first=5)
    both = seeds(lambda level: 0.9, first=10)
    assert set(verdicts(claim_b(voice, face, both, **OPTIONS)).values()) == {"holds"}
    assert set(verdicts(claim_d(voice, face, both, **OPTIONS)).values()) == {"holds"}
    assert "reversed" in verdicts(claim_d(both, face, voice, **OPTIONS)).values()


def test_a_slope_over_levels_is_found_and_read_as_a_share_a_level():
    rising = {"low": 0.3, "medium": 0.6, "high": 0.9}
    frames = seeds(lambda level: rising.get(level[1], 0.5) if level[0] == "Laughs" else 0.5)
    (found,) = claim_c1({"voice": frames}, **OPTIONS)
    assert found.difference == pytest.approx(0.3, abs=0.06)
    assert found.low > 0
    assert found.speakers == 8


def test_extremes_that_are_confused_are_found():
    weak = {("Laughs", "low"), ("Smiles", "high"), ("Smiles", "subtle")}
    wrong = {
        ("Laughs", "low"): "Smiles",
        ("Smiles", "high"): "Laughs",
        ("Smiles", "subtle"): "None",
    }
    frames = seeds(lambda level: 0.4 if level in weak else 0.8, wrong=wrong)
    assert set(verdicts(claim_c2("face", frames, **OPTIONS)).values()) == {"holds"}


def test_regrouping_raises_and_steadies_where_strong_smiles_are_found():
    rates = {
        ("Laughs", "low"): 0.2, ("Laughs", "medium"): 0.6, ("Laughs", "high"): 0.95,
        ("Smiles", "high"): 0.7, ("Smiles", "medium"): 0.7,
    }  # fmt: skip
    wrong = {("Smiles", "high"): "None", ("Smiles", "medium"): "None"}
    frames = seeds(lambda level: rates.get(level, 0.5), wrong=wrong)
    raised, steadied = claim_e("face", frames, **OPTIONS)
    assert raised.difference == pytest.approx(0.07, abs=0.05)
    assert steadied.low > 0


def test_other_clips_cannot_be_compared():
    frames = seeds(by_chance)
    with pytest.raises(ValueError, match="same clips"):
        contrast("A", "x", frames, [f.iloc[1:] for f in frames], f1, **OPTIONS)
    with pytest.raises(ValueError, match="same clips"):
        contrast("A", "x", [], [], f1, **OPTIONS)


def test_p_values_are_corrected_for_all_parts_together():
    table = contrasts_table(claim_c2("face", seeds(lambda level: 0.6), **OPTIONS))
    assert (table["p_holm"] >= table["p_value"] - 1e-12).all()
    assert contrasts_table([]).empty


def test_few_people_get_no_verdict_however_clear_the_difference():
    voice, both = (seeds(lambda level, s=s: s, speakers=5) for s in (0.1, 0.9))
    assert set(verdicts(claim_d(voice, voice, both, **OPTIONS)).values()) == {"too few people"}
    voice, both = (seeds(lambda level, s=s: s, speakers=6) for s in (0.1, 0.9))
    assert set(verdicts(claim_d(voice, voice, both, **OPTIONS)).values()) == {"holds"}


def test_a_level_that_does_not_occur_is_told():
    frames = [f[f["intensity"] != "subtle"] for f in seeds(by_chance)]
    table = contrasts_table(claim_c2("face", frames, **OPTIONS)).set_index("part")
    (row,) = [row for part, row in table.iterrows() if "subtle" in part]
    assert row["verdict"] == "no such windows"
    assert np.isnan(row["p_holm"])
    assert table["seeds"].tolist() == [3, 3, 3]
