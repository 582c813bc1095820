"""What chapters say in words: of the thesis's tables, of the records, and of the sizes they had.

A single cell of a table is printed by a role and needs no test; here is what follows from several.
Each test quotes the words that it holds to the numbers, so that neither changes without the other.
"""

import json
import re
from html import unescape
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from thesislib.config import LaughConfig, SocialMaeConfig, for_profile
from thesislib.learning.scale import THESIS_HOURS, dry_run
from thesislib.learning.social_mae_pretraining import model_config
from thesislib.models.masked_autoencoder import SOCIAL_MAE
from thesislib.records import conclusion, ledger
from thesislib.records.hypotheses import CLAIMS
from thesislib.records.record import read_records
from thesislib.records.reported import reported, reported_cells, reported_pairs
from thesislib.records.tables import best_record, show_p

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
TABLES_6 = ("6.1", "6.2", "6.3")
GRID_07 = (
    "corpus", "model", "scope", "n_frames", "pretraining", "effects", "labelled_speakers", "modes",
)  # fmt: skip


def cells(chapter):
    (path,) = (ROOT / "notebooks").glob(f"{chapter}_*.ipynb")
    return json.loads(path.read_text())["cells"]


def says(chapter, words):
    """Do these words stand in the text of a chapter? Lines may break elsewhere."""
    texts = ["".join(c["source"]) for c in cells(chapter) if c["cell_type"] == "markdown"]
    return words in " ".join(" ".join(texts).split())


def printed_by(chapter, name):
    """What a code cell printed, in one line."""
    (cell,) = (c for c in cells(chapter) if c.get("id") == name)
    return " ".join("".join("".join(o.get("text", "")) for o in cell["outputs"]).split())


# The thesis's tables


def test_how_much_better_eight_frames_reconstruct():
    ratios = [
        reported("7.1", "CAV-MAE", f"{corpus} V.") / reported("7.1", "Social-MAE", f"{corpus} V.")
        for corpus in ("CREMA-D", "FI", "NDC-ME")
    ]
    times = "{:.1f}, {:.1f} and {:.1f}".format(*ratios)
    assert says("07", f"errors of pictures {times} times lower with eight frames than with one")


def harmonic_mean(precision, recall):
    return 2 * precision * recall / (precision + recall)


def test_eleven_of_twelve_f1_values_are_the_harmonic_mean():
    assert says("06", "twelve F1 values that the thesis prints, eleven are the harmonic mean of ")
    assert says(
        "06", "`6.3|NDC-ME / From scratch|F1-score` for the fusion from scratch on NDC-ME, "
    )
    assert says("06", "is a thousandth too high")
    names, rounding = ("Precision", "Recall", "F1-score"), 0.0005
    too_high = []
    places = sorted({(table, row) for table in TABLES_6 for row, _, _ in reported_cells(table)})
    for table, row in places:
        precision, recall, f1 = (reported(table, row, name) for name in names)
        least = harmonic_mean(precision - rounding, recall - rounding) - rounding
        most = harmonic_mean(precision + rounding, recall + rounding) + rounding
        assert f1 >= least
        if f1 > most:
            too_high.append((table, row))
            assert f1 - harmonic_mean(precision, recall) == pytest.approx(0.001, abs=rounding)
    assert len(places) == 12
    assert too_high == [("6.3", "NDC-ME / From scratch")]


def best_of_chapter_6():
    """The better start of each modality on NDC-ME."""
    starts = ("NDC-ME / Finetuned", "NDC-ME / From scratch")
    return {
        table: max(starts, key=lambda row: reported(table, row, "F1-score")) for table in TABLES_6
    }


def test_on_ndc_me_the_face_is_ahead_of_the_fusion():
    _, face, both = best_of_chapter_6().items()
    assert reported(*face, "F1-score") > reported(*both, "F1-score")
    for table, row in (face, both):
        assert says("06", f"{{reported}}`{table}|{row}|F1-score`")


def test_the_row_of_lsn_tcn_differs_from_the_best_of_chapter_6():
    cited = [f"{{reported}}`{table}|{row}|F1-score`" for table, row in best_of_chapter_6().items()]
    assert says("07", f"differs from the best of its own chapter 6 ({', '.join(cited)})")
    modes = ("Audio", "Visual", "Audiovisual")
    for mode, (table, row) in zip(modes, best_of_chapter_6().items(), strict=True):
        assert reported("7.4", "LSN-TCN", mode) < reported(table, row, "F1-score")


def test_the_exceptions_to_claim_g_are_cited_by_role():
    for table, column in (("7.2", "Audio Mi"), ("7.3", "Ext.")):
        rows = ("Social-MAE", "CAV-MAE")
        assert reported(table, rows[0], column) < reported(table, rows[1], column)
        assert all(says("07", f"{{reported}}`{table}|{row}|{column}`") for row in rows)


def mean_of_pairs(table, statistic):
    return reported_pairs(table, statistic).stack().mean()


def test_agreement_is_highest_on_roles_and_higher_on_laughs_than_on_smiles():
    assert says("05", "in the overlap of levels of Table 5.7 of the thesis against its Tables 5.8")
    role, smiles, laughs = (mean_of_pairs(t, "Overlap_levels") for t in ("5.7", "5.8", "5.9"))
    assert role > laughs > smiles
    assert says("09", "roles are agreed on best and the intensity of smiles least")


def test_smiles_are_agreed_on_by_when_how_long_how_strong():
    assert says("05", "In the thesis's tables smiles are agreed on in that order.")
    sides = ("Overlap_perc", "IoU", "Overlap_levels")
    assert all(a > b for a, b in pairwise(mean_of_pairs("5.8", side) for side in sides))


def test_where_fusion_wins_in_the_tables():
    assert says("09", "Fusion wins with the transformers of chapter 7, and with LSN-TCN only where")
    assert says("09", "a fine-tuned model meets the unseen corpus")
    gain = conclusion.fusion_in_the_tables()["gain over the better one"]
    lsn_tcn = {row for row in gain[gain > 0].index if row.startswith("LSN-TCN")}
    assert {row for row in lsn_tcn if "finetuned" in row.lower().replace("-", "")} == lsn_tcn
    assert [("IFADV" in row) for row in lsn_tcn] == [True]
    others = gain[~gain.index.str.startswith("LSN-TCN")]
    assert len(others) > 0
    assert (others > 0).all()


# The records


@pytest.fixture(scope="module")
def probes():
    """Linear probes of the frozen speech encoder on EmoDB: task and features to a record."""
    records = read_records(RESULTS, experiment="main-only", synthetic=False, profile="small")
    return {(r.configuration["task"], r.configuration["features"]): r for r in records}


def test_the_lowest_levels_are_agreed_on_least():
    assert says("05", "the lowest levels fare worst: a subtle smile is the one")
    records = read_records(RESULTS, experiment="agreement", profile="small")
    plain = [record for record in records if not record.config["effects"]]
    for names in (("smiles_subtle", "smiles_low", "smiles_medium", "smiles_high"),
                  ("laughs_low", "laughs_medium", "laughs_high")):  # fmt: skip
        kappa = [sum(r.metrics[f"kappa_{name}"].value for r in plain) for name in names]
        assert kappa[0] == min(kappa)


def test_speakers_and_emotions_part_with_depth(probes):
    assert says("08", "What tells **speakers** apart is strongest near the input and fades with")
    assert says("08", "peaks in the middle, and then fades as well, though less, and stays above")

    def uar(task):
        value = {name: probes[task, name].metrics["uar"].value for name in ("mfcc", *layers)}
        return value.pop("mfcc"), list(value.values())

    layers = [f"layer_{number}" for number in range(5)]
    floor, speaker = uar("speaker")
    assert speaker.index(max(speaker)) in (0, 1)
    assert all(a > b for a, b in pairwise(speaker[1:]))
    assert max(speaker[-2:]) < floor
    floor, emotion = uar("emotion")
    assert emotion[0] < emotion[1] < emotion[2] > emotion[3] > emotion[4]
    assert min(emotion) > floor > 1 / 7
    assert max(emotion) - emotion[-1] < max(speaker) - speaker[-1]


def test_what_is_confused_lies_close_in_arousal(probes):
    assert says("08", "happiness is taken for anger more often than any emotion for any other")
    assert says("08", "boredom is taken for neutral")
    best = best_record(list(probes.values()), "emotion", "layer_")
    rows = best.load_predictions(RESULTS)
    share = pd.crosstab(rows["target"], rows["prediction"], normalize="index").stack()
    wrong = share[[target != said for target, said in share.index]]
    assert wrong.idxmax() == ("happiness", "anger")
    assert wrong["boredom"].idxmax() == "neutral"


def test_speakers_differ_by_more_than_neighbouring_layers(probes):
    assert says("08", "speakers differ from one another ({numref}`fig-speakers`) by more than")
    rows = best_record(list(probes.values()), "emotion", "layer_").load_predictions(RESULTS)
    right = (rows["target"].astype(str) == rows["prediction"].astype(str)).groupby(
        [rows["speaker"].astype(str), rows["target"].astype(str)]
    )
    uar = right.mean().groupby(level=0).mean()
    layers = [probes["emotion", f"layer_{n}"].metrics["uar"].value for n in range(5)]
    assert uar.max() - uar.min() > max(abs(a - b) for a, b in pairwise(layers))


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ("gives up words and accent", "CREMA-D twin: the auxiliary branch knows less than the "
         "main branch of sentence and accent"),
        ("takes up some of the speaker and of the sex", "EmoDB twin: the auxiliary branch knows "
         "less than the main branch of sentence, more than the main branch of speaker and sex"),
        ("On the real voices of EmoDB both together know more of emotions and of speakers",
         "Both branches together know more than the main branch of emotion and speaker."),
    ],
)  # fmt: skip
def test_the_plain_statement_of_chapter_8_is_what_the_page_prints(words, printed):
    assert says("08", words)
    assert printed in printed_by("08", "cell-68")


def parts():
    chapters = json.loads((RESULTS / "claims.json").read_text()).values()
    return pd.DataFrame([part for chapter in chapters for part in chapter["parts"]])


def test_all_losses_beat_one_nowhere_and_lose_once_on_emotion():
    assert says("08", "part I2 of the claim holds in no comparison, and is reversed in one of")
    verdicts = parts().query("claim == 'I2'")
    assert "holds" not in set(verdicts["verdict"])
    reversed_ones = verdicts.query("verdict == 'reversed'")
    assert len(reversed_ones) == 1
    assert reversed_ones["data"].str.contains("EmoDB|CREMA-D").all()


def test_no_test_tells_the_branches_apart_by_emotion():
    assert says("08", "No test tells its knowledge of emotion from that of the frozen branch")
    table = parts().query("claim == 'I1'")
    of_the_encoder = table[table["part"].str.startswith("whisper")]
    assert set(of_the_encoder["verdict"]) == {"undecided"}


def test_the_limits_of_the_last_chapter_are_those_of_the_ledger():
    table = parts()
    assert says("09", "fewer than ten in some twins and around a hundred in none but the largest")
    people = table["people"]
    assert people.min() < 10
    assert 80 < people.max() < 120
    assert set(people[people > 60]) == {people.max()}
    assert says("09", "most parts have two to five seeds, some a single one")
    several = table["seeds"].between(2, 5)
    assert several.mean() > 0.5
    assert set(table.loc[~several, "seeds"]) == {1}


def test_what_real_recordings_could_be_asked():
    assert says("09", "only claims I1 and I2 and one part of claim G could be asked about")
    assert says("09", "I3 is about laughs and smiles, which EmoDB lacks")
    real = parts().query("not synthetic")["claim"].value_counts()
    assert set(real.index) == {"I1", "I2", "I3", "G"}
    assert real["G"] == 1


def test_which_claims_have_a_null_twin():
    table = parts()
    assert says("09", "every claim but F and H has one")
    tested = table.query("strength == 0")["claim"]
    assert {name for name, claim in CLAIMS.items() if not claim.null} == {"F", "H"}
    assert set(table["claim"]) - set(tested) <= {"F", "H"}
    assert says("09", "Each of its ten claims")
    assert {claim[0] for claim in table["claim"]} == set("ABCDEFGHIJ")


# Sizes


def test_the_sizes_that_chapter_6_names():
    small, paper = (for_profile(LaughConfig, profile) for profile in ("small", "paper"))
    assert says("06", f"its rate of {paper.learning_rate:.0e}".replace("e-0", "e-"))
    assert says("06", f"over {paper.epochs} epochs belongs to the profile `paper`")
    assert small.epochs < paper.epochs


def test_the_sizes_that_chapter_7_names():
    small = for_profile(SocialMaeConfig, "small")
    assert says("07", "more than a hundred times smaller than the thesis's")
    assert says("07", "recordings hundreds of times shorter")
    ratio = dry_run(SOCIAL_MAE).parameters / dry_run(model_config(small)).parameters
    assert 100 < ratio < 200
    seconds = small.pretraining_windows * small.audio_frames / 100
    assert 100 < THESIS_HOURS * 3600 / seconds < 1000
    assert says("07", "each twin of CREMA-D has 480 clips")
    train = read_records(RESULTS, chapter="07", corpus="crema-d", profile="small")
    assert {record.config["clips"] for record in train} == {small.clips} == {480}


def has_two_seeds(config):
    """By the words of chapter 7's limits, of a run of its grid."""
    if config["model"] != "mae" or config["labelled_speakers"] or "_f0=0" in config["effects"]:
        return False
    if config["corpus"] == "first-impressions-twin":
        return config["n_frames"] == 8 or config["pretraining"] == "voxceleb2-twin"
    return config["scope"] == "full" and config["corpus"] != "emodb"


def test_the_seeds_that_chapter_7_names():
    assert says(
        "07", "Two seeds for what is trained end to end and for traits, save for traits from"
    )
    assert says(
        "07",
        "for these, for other probes, baselines, few labels, the null twin of emotion and EmoDB",
    )
    records = read_records(RESULTS, experiment="social-mae", profile="small")
    configs = [record.config for record in records if not record.config["kept_drawings"]]
    seeds = {}
    for config in configs:
        place = (has_two_seeds(config), *(config[name] for name in GRID_07))
        seeds.setdefault(place, set()).add(config["seed"])
    assert {len(found) for place, found in seeds.items() if place[0]} == {2}
    assert {len(found) for place, found in seeds.items() if not place[0]} == {1}


def test_the_ledger_has_the_p_values_and_verdicts_of_chapter_7():
    """The page corrects for its comparisons with LSN-TCN, and so must the ledger."""
    (cell,) = (c for c in cells("07") if c.get("id") == "cell-57")
    (html,) = ("".join(o["data"]["text/html"]) for o in cell["outputs"] if "data" in o)
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in html.split("<tr")]
    rows = [[unescape(text).strip() for text in row] for row in rows if row]
    heads = next(row for row in rows if "p (Holm)" in row)
    table = {row[0]: dict(zip(heads, row, strict=True)) for row in rows if row[1][:1] in "FGH7"}
    table = {name: row for name, row in table.items() if row["claim"]}
    kept = json.loads((RESULTS / ledger.KEPT).read_text())["07"]["parts"]
    parts = {p["part"]: p for p in kept if p["planted"]}
    shown = {name: row for name, row in table.items() if row["claim"] != "7.4"}
    assert set(shown) == set(parts)
    assert len(table) > len(shown)
    for name, row in shown.items():
        assert row["p (Holm)"] == show_p(parts[name]["p_value"]), name
        assert row["verdict"] == parts[name]["verdict"], name
