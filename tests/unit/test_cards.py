"""Data sheets from manifests, sheets of twins, and measured values from records."""

import re
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import yaml

from thesislib.config import EXPRESSIONS, LaughConfig, SocialMaeConfig, for_profile
from thesislib.corpora.manifest import list_manifests, load_manifest
from thesislib.errors import InputError
from thesislib.evaluation.significance import Estimate
from thesislib.records import cards, forbidden, laughs, social_mae
from thesislib.records.citing import cite_records
from thesislib.records.record import RunRecord, read_records

ROOT = Path(__file__).resolve().parents[2]
CORPORA = [m.name for kind in ("corpus", "twin") for m in list_manifests(kind)]
WEIGHTS = [m.name for m in list_manifests("weights")]


def record(**changed):
    values = {
        "run_id": "x", "kind": "classification", "chapter": "08", "experiment": "disentanglement",
        "configuration": {"losses": "all"}, "profile": "small", "corpus": "emodb",
        "variant": "twin", "synthetic": True, "seed": 0, "config": {"corpus": "voxceleb2-twin"},
    }  # fmt: skip
    return RunRecord(**(values | changed))


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_says_on_what_terms_it_may_be_used(name):
    sheet = cards.data_sheet(name)
    asked = {"Licence", "How to get it", "Consent of those in it", "Personal data in it",
             "Intended use", "Forbidden use", "Split", "Manifest"}  # fmt: skip
    assert asked <= sheet.keys()
    assert all(sheet.values())
    assert load_manifest(name).sha256[:12] in sheet["Manifest"]


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_with_people_in_it_must_not_be_used_against_them(name):
    told = cards.data_sheet(name)["Forbidden use"]
    assert told.startswith("By its terms: ")
    assert told.count("Here, whatever the terms allow: ") == 1
    if load_manifest(name).document["thesis:personalData"]:
        for words in ("who somebody is", "at work or in education", "Article 5(1)(f)"):
            assert words in told


def test_what_is_forbidden_is_true_to_the_licence():
    """The words of a manifest's licence or access that have to come back, by corpus."""
    sheets = {name: cards.data_sheet(name) for name in CORPORA}
    for name, sheet in sheets.items():
        given = " ".join(sheet[key] for key in ("Licence", "How to get it", "Intended use"))
        terms = forbidden.BY_TERMS[name]
        if re.search("[Nn]on-commercial", given):
            assert "commercial use" in terms, name
        if re.search("signs the owners' agreement", given):
            assert forbidden.AGREEMENT in terms, name
        if "no public terms" in given:
            assert "granted in writing" in terms, name
        if "opyright of the" in given:
            assert re.search("passing on (the )?(videos|photographs)|any use", terms), name
        if re.search("shares? .*alike|names the source", given):
            assert re.search("naming the source|other terms", terms), name
    public = {name for name in CORPORA if forbidden.BY_TERMS[name].startswith("nothing")}
    assert public == {"emodb", "sound-events"}


def test_forbidden_uses_are_of_corpora_that_there_are():
    assert set(forbidden.BY_TERMS) == set(forbidden.BY_JUDGEMENT) == set(CORPORA)
    assert forbidden.forbidden_use("nothing") == ""


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_say_what_they_must_not_be_used_for(name):
    assert {"Licence", "Intended use", "Forbidden use", "Known limits"} <= cards.data_sheet(
        name
    ).keys()


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="no manifest"):
        cards.data_sheet("nothing")


def test_every_manifest_and_every_twin_has_its_place_on_a_page():
    corpora = (ROOT / "book/cards/corpora.md").read_text()
    models = (ROOT / "book/cards/models.md").read_text()
    for name in CORPORA:
        assert f"```{{data-sheet}} {name}\n" in corpora, name
    for name in WEIGHTS:
        assert f"```{{data-sheet}} {name}\n" in models, name
    for name in cards.TWIN_PAGES:
        assert f"```{{twin-sheet}} {name}\n" in corpora, name
        assert (ROOT / f"book/{cards.TWIN_PAGES[name]}.md").is_file()


def test_a_twin_says_what_is_planted_and_how_often_it_was_used():
    runs = [record(), record(), record(synthetic=False), record(corpus="ifadv")]
    sheet = cards.twin_sheet("emodb", runs)
    assert sheet["Recorded runs"] == "chapter 8, disentanglement: 2"
    assert "`emotion_f0`" in sheet["Planted"]
    assert cards.twin_sheet("ccdb", runs)["Recorded runs"] == "not recorded yet"


def test_measured_runs_are_grouped_and_small_ones_only():
    runs = [
        record(seed=0),
        record(seed=1),
        record(profile="tiny"),
        record(configuration={"losses": "reconstruction"}),
        record(synthetic=False),
        record(experiment="other"),
    ]
    found = cards.measured(
        runs,
        chapter="08",
        experiment="disentanglement",
        by=("kind of data", "corpus"),
        where={"losses": "all no-contrast"},
    )
    assert {key: len(own) for key, own in found.items()} == {
        ("real", "voxceleb2-twin"): 1,
        ("twin", "voxceleb2-twin"): 2,
    }


# Numbers of a card and of its chapter ----------------------------------------------------------

MODELS_PAGE = (ROOT / "book/cards/models.md").read_text()
TWICE = "emotion_f0=2 emotion_face=2"
NULL = "emotion_f0=0 emotion_face=0"


def printed_tables(chapter):
    """What the page's directives ask for of one chapter, with their rows' and columns' names."""
    found = re.findall(r"^```\{measured\} (\d\d) (\S+)\n(.*?)^```", MODELS_PAGE, re.S | re.M)
    for number, experiment, options in found:
        told = dict(re.findall(r"^:(\w+): (.*)$", options, re.M))
        pairs = [part.split("=") for part in told.get("where", "").split(";") if part]
        where = {key.strip(): wanted.strip() for key, wanted in pairs}
        if number == chapter:
            yield experiment, ["kind of data", *told["by"].split()], where, told["metrics"].split()


def numbers_of_cards(records, chapter):
    """Every number that the cards print of a chapter: place, metric, mean and range, and runs."""
    for experiment, by, where, metrics in printed_tables(chapter):
        found = cards.measured(records, chapter=chapter, experiment=experiment, by=by, where=where)
        for key, runs in found.items():
            for metric in metrics:
                having = [run for run in runs if metric in run.metrics]
                if having:
                    text = cite_records(having, metric, spread="seeds").text
                    yield {**where, **dict(zip(by, key, strict=True))}, metric, text, runs


def card(records, chapter, metric, **place):
    """The one number that the cards print at a place, as its chapter's tables print it."""
    wanted = place.items()
    (found,) = (
        (text, len(runs))
        for told, name, text, runs in numbers_of_cards(records, chapter)
        if name == metric and wanted <= told.items()
    )
    text, n = found
    if n == 1:
        return f"{text.split()[0]} (1)"
    return text.replace(")", f"; {n})")


@pytest.fixture
def add():
    """A record of a task of chapter 7; each has other values, so that no two can be mixed up."""
    number = count(1)

    def make(corpus="crema-d", mode="both", profile="small", **given):
        config = for_profile(SocialMaeConfig, profile, corpus=f"{corpus}-twin", modes=mode, **given)
        names = ["macro_f1", "micro_f1", "uar", "f1_harmonic"]
        if corpus == "first-impressions":
            names = ["accuracy", "ccc", "pearson", *(f"accuracy_{t}" for t in social_mae.TRAITS)]
        at = next(number) / 100
        return record(
            run_id=f"07-{at}", chapter="07", experiment=social_mae.TASK, profile=profile,
            kind="regression" if corpus == "first-impressions" else "classification",
            configuration={
                "model": config.model, "mode": mode, "frames": str(config.n_frames),
                "pretraining": config.pretraining, "scope": config.scope,
            },
            corpus=corpus, seed=config.seed, config=config.as_dict(),
            metrics={name: Estimate(at, 0, 1, 9, "share") for name in names},
        )  # fmt: skip

    return make


@pytest.fixture
def social_mae_records(add):
    """What chapter 7 has in its tables, and beside it all that it has not."""
    main = {"crema-d": TWICE, "ndc-me": "", "first-impressions": ""}
    records = []
    for corpus, effects in main.items():
        for scope in ("full", "probe"):
            for seed in (0, 1, 2):
                for pretraining in ("none", social_mae.OUT_OF_DOMAIN, social_mae.IN_DOMAIN):
                    records.append(add(corpus, effects=effects, scope=scope, seed=seed,
                                       pretraining=pretraining))  # fmt: skip
        for mode in ("audio", "video"):
            records.append(add(corpus, mode, effects=effects))
            records.append(add(corpus, mode, effects=effects, n_frames=1))
        records.append(add(corpus, effects=effects, scope="probe", kept_drawings=2, epochs=1))
        records.append(add(corpus, effects=effects, kept_drawings=2, epochs=1))
    for model in ("auxformer", "uavm", "vavl", "functionals", "egemaps"):
        records += [add("crema-d", "audio", effects=TWICE, model=model, pretraining="none")]
    for model in ("resnet", "lstm", "average"):
        records += [add("first-impressions", model=model, pretraining="none")]
    others = [
        add(effects=""), add(effects=NULL), add(effects=TWICE, labelled_speakers=8),
        add(effects="", model="auxformer", pretraining="none"), add("crema-d", profile="tiny"),
    ]  # fmt: skip
    for seed, jobs in ((0, 3), (1, 1)):  # every job records the mean of the training part
        one = add("first-impressions", seed=seed)
        told = {**one.configuration, "model": "constant", "mode": "none"}
        config = {**one.config, "model": "constant"}
        others += [
            replace(one, run_id=f"{one.run_id}-{n}", configuration=told, config=config)
            for n in range(jobs)
        ]
    return records + others


def test_a_card_of_chapter_7_has_the_numbers_of_the_chapters_tables(social_mae_records):
    records = social_mae_records
    small = [r for r in records if r.profile == "small"]
    emotion, laugh = social_mae.emotion_table(small), social_mae.laughs_table(small)
    baselines = social_mae.baselines_table(small, "crema-d")
    seen = 0
    for corpus, table in (("crema-d", emotion), ("ndc-me", laugh)):
        for mode, label in social_mae.MODES.items():
            column = f"{label} Ma, twin"
            if corpus == "ndc-me":  # its table has the other F1, of the same made-up value
                column = (
                    f"{({'Audio': 'Audio', 'Visual': 'Visual', 'AV': 'Audiovisual'})[label]}, twin"
                )
            place = {"corpus": f"{corpus}-twin", "mode": mode, "frames": "8", "scope": "full"}
            found = card(records, "07", "macro_f1", pretraining=social_mae.IN_DOMAIN, **place)
            assert found == table.loc["Social-MAE", column]
            seen += 1
    for model in ("auxformer", "uavm", "vavl", "functionals", "egemaps"):
        name = {**social_mae.NAMES, **social_mae.FUNCTIONALS}[model]
        found = card(records, "07", "macro_f1", corpus="crema-d-twin", model=model, mode="audio")
        assert found == baselines.loc[name, "audio"]
    for corpus, metric in (
        ("crema-d", "macro_f1"), ("ndc-me", "macro_f1"), ("first-impressions", "accuracy"),
    ):  # fmt: skip
        for scope in ("full", "probe"):
            table = social_mae.pretraining_table(small, corpus, scope=scope)
            for pretraining in ("none", social_mae.OUT_OF_DOMAIN, social_mae.IN_DOMAIN):
                found = card(
                    records, "07", metric, corpus=f"{corpus}-twin", mode="both", frames="8",
                    pretraining=pretraining, scope=scope,
                )  # fmt: skip
                assert found == table.loc[f"Social-MAE, {pretraining}", "both"]
                seen += 1
    assert seen == 24


def test_the_mean_of_the_training_part_counts_once_a_seed(social_mae_records):
    records = social_mae_records
    table = social_mae.personality_table([r for r in records if r.profile == "small"])
    found = card(records, "07", "accuracy", corpus="first-impressions-twin", model="constant")
    assert found.endswith("; 2)")
    assert float(found.split()[0]) == pytest.approx(
        float(table.loc["mean of the training part", "Avg. twin"]), abs=0.006
    )


def test_a_card_of_chapter_6_has_the_numbers_of_the_chapters_tables():
    records, at = [], count(1)
    null = " ".join(f"{name}=0" for name in EXPRESSIONS)
    for model in laughs.TABLES:
        for start, scope, split, effects, seeds in (
            ("scratch", "full", "speaker", "", 3), ("scratch", "full", "random", "", 2),
            ("scratch", "full", "speaker", null, 2), ("pretrained", "chapter", "speaker", "", 3),
            ("pretrained", "full", "speaker", "", 2), ("pretrained", "head", "speaker", "", 2),
        ):  # fmt: skip
            for seed in range(seeds):
                usual = for_profile(LaughConfig, "small").effects
                config = for_profile(
                    LaughConfig, "small", start=start, split=split, seed=seed,
                    effects=f"{usual} {effects}".strip(),
                )  # fmt: skip
                value = Estimate(next(at) / 100, 0, 1, 9, "share")
                told = {"model": model, "start": start, "scope": scope, "split": split}
                records.append(record(
                    run_id=f"06-{value.value}", chapter="06", experiment="laughs", corpus="ndc-me",
                    configuration={**told, "tested": "ndc-me"}, seed=seed, config=config.as_dict(),
                    metrics=dict.fromkeys(("f1_harmonic", "precision", "recall"), value),
                ))  # fmt: skip
    by_scope = laughs.by_scope(records)
    for model in laughs.TABLES:
        table = laughs.beside_the_thesis(records, model)["F1-score, twin"]
        place = {"model": model, "tested": "ndc-me"}
        found = card(records, "06", "f1_harmonic", start="scratch", **place)
        assert found == table["NDC-ME / From scratch"]
        found = card(records, "06", "f1_harmonic", start="pretrained", scope="chapter", **place)
        assert found == table["NDC-ME / Finetuned"]
        for scope in ("chapter", "full", "head"):
            found = card(records, "06", "f1_harmonic", start="pretrained", scope=scope, **place)
            assert found == by_scope.loc[scope, f"{model}, ndc-me"]


@pytest.mark.parametrize("chapter", ["06", "07", "08"])
def test_runs_behind_one_number_of_a_card_differ_in_nothing_but_the_seed(chapter):
    """Of the committed records: what else they differ in has to be a column."""
    records = read_records(ROOT / "results", chapter=chapter)
    for place, metric, _, runs in numbers_of_cards(records, chapter):
        seeds = [run.seed for run in runs]
        assert len(seeds) == len(set(seeds)), (place, metric)
        assert len({run.configuration.get("scope") for run in runs}) == 1


def grown_on(*experiments):
    """Corpora that the grids of some files train on with labels or without, as cards name them."""
    names = {name: load_manifest(name).document["alternateName"] for name in CORPORA}
    shorter = {
        "first-impressions": "First Impressions", "librispeech": "Librispeech", "emodb": "EmoDB",
        "crema-d": "CREMA-D", "ndc-me": "NDC-ME", "sound-events": "sound events",
    }  # fmt: skip
    for path in experiments:
        entries = yaml.safe_load((ROOT / "experiments" / path).read_text())["profiles"]["small"]
        for entry in entries:
            for key in ("corpus", "pretraining"):
                values = entry.get(key, [])
                for value in [values] if isinstance(values, str) else values:
                    if value != "none":
                        name = value.removesuffix("-twin")
                        yield entry.get("model", "mae"), shorter.get(name, names.get(name))


def test_cards_of_chapter_7_name_all_that_their_networks_are_trained_on():
    told = {
        name: re.search(rf"### {name}\n.*?- \*\*Training data\.\*\* (.*?)\n", MODELS_PAGE, re.S)[1]
        for name in ("Social-MAE and CAV-MAE", "Baselines")
    }
    for model, corpus in grown_on("07_social_mae.yaml"):
        assert corpus in told["Social-MAE and CAV-MAE" if model == "mae" else "Baselines"]


def test_measured_runs_are_of_the_strength_of_the_chapters_tables():
    """At twice the documented size for CREMA-D, and not of a job for pictures or of few labels."""
    usual = {"effects": "emotion_face=2", "labelled_speakers": 0, "kept_drawings": 0}
    others = [{"effects": ""}, {"effects": "emotion_face=0"}, {"labelled_speakers": 8},
              {"kept_drawings": 2}]  # fmt: skip
    runs = [
        record(chapter="07", experiment="social-mae", corpus="crema-d", config={**usual, **other})
        for other in ({}, *others)
    ]
    found = cards.measured(runs, chapter="07", experiment="social-mae", by=("strength",), where={})
    assert found == {("2",): [runs[0]]}


def test_a_value_that_a_record_lacks_is_a_dash():
    assert cards.value_of(record(), "frames") == "–"
    assert cards.value_of(record(), "strength") == "–"
    assert cards.value_of(record(), "corpus") == "voxceleb2-twin"  # what it was trained on


def test_every_trained_kind_has_a_card_with_a_forbidden_use():
    text = (ROOT / "book/cards/models.md").read_text()
    trained = text.split("## Networks that are trained here")[1].split("(cards-official)=")[0]
    found = {card.splitlines()[0]: card for card in trained.split("\n### ")[1:]}
    assert set(found) == {
        "LSN-TCN", "Social-MAE and CAV-MAE", "Auxiliary branch and dual-branch network",
        "AST on sound events", "Linear probes", "Baselines", "The explorer's gate",
        "Networks of the teaching chapters",
    }  # fmt: skip
    for name, card in found.items():
        for line in ("Intended use", "Forbidden use", "Special limits", "Training data"):
            assert card.count(f"- **{line}.** ") == 1, (name, line)


def test_a_network_that_is_handed_out_is_said_to_be():
    assert '"weights":' in (ROOT / "book/assets/explorers.json").read_text()
    front = (ROOT / "book/cards/index.md").read_text()
    assert "explorers.json" in front
    assert "No trained network" not in front


def test_pictures_of_a_package_have_a_sheet():
    text = (ROOT / "book/cards/corpora.md").read_text()
    for name in ("load_digits", "load_sample_image"):
        assert f"sklearn.datasets.{name}" in text
