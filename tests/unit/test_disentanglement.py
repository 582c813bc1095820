"""The experiment of the two branches: losses, splits, factors, records, all on tiny encoders."""

import json
import shutil
from dataclasses import replace
from unittest.mock import MagicMock

import numpy as np
import pytest
import soundfile
import torch

from thesislib.caching import cache_folder
from thesislib.config import EXPRESSIONS, DisentanglementConfig, for_profile
from thesislib.corpora.clip import Clip
from thesislib.corpora.loading import Corpus
from thesislib.corpora.manifest import load_manifest
from thesislib.errors import InputError
from thesislib.learning import disentanglement, event_tagging, feature_cache
from thesislib.learning.auxiliary_training import (
    Objective,
    ObjectiveConfig,
    measure,
    reconstruct,
    reconstruction_errors,
    step_of,
    train_auxiliary,
)
from thesislib.learning.branch_data import (
    branch_data,
    folds_of,
    known_factors,
    read_windows,
    split_by_speaker,
    targets_of,
)
from thesislib.learning.training import TensorData, TrainingConfig
from thesislib.models.ast import ASTConfig
from thesislib.models.dual_branch import DualBranch, DualBranchConfig
from thesislib.models.encoders import EncoderConfig, WhisperEncoder

RATE = 16_000
MANIFEST = load_manifest("emodb")  # read here, before a test moves the project elsewhere


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def encoder():
    sizes = EncoderConfig(n_mels=16, n_positions=32, width=8, heads=2, layers=2, ffn_width=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whisper = WhisperEncoder(sizes)
        with torch.no_grad():
            whisper.embed_positions.weight.mul_(0.1)
        return whisper


def branches(**choices):
    choices = {"decoder_depth": 1, "decoder_heads": 2, "n_frames": 40, **choices}
    return DualBranch(encoder(), DualBranchConfig(**choices), generator())


def windows(n=12):
    return torch.randn(n, 16, 40, generator=generator(1)) + torch.randn(
        n, 1, 1, generator=generator(2)
    )


def training(**choices):
    return TrainingConfig(
        **{
            "epochs": 3,
            "batch_size": 6,
            "learning_rate": 3e-3,
            "schedule": "constant",
            "monitor": "total",
            **choices,
        }
    )


def losses(choice, **more):
    objective = Objective(
        branches(), ObjectiveConfig(losses=choice, weight=0.5, **more), generator()
    )
    noise = torch.rand(6, objective.branches.grid.n_tokens, generator=generator(3))
    return objective, objective(windows(6), noise)


@pytest.mark.parametrize(
    ("choice", "shares"),
    [
        ("all", (1, 0.5, 0.5)),
        ("reconstruction", (1, 0, 0)),
        ("no-reconstruction", (0, 0.5, 0.5)),
        ("no-contrast", (1, 0, 0.5)),
        ("no-information", (1, 0.5, 0)),
    ],
)
def test_the_total_is_the_weighted_sum_of_what_counts(choice, shares):
    objective, found = losses(choice)
    terms = [float(found[name]) for name in ("reconstruction", "contrast", "information")]
    assert min(terms) > 0, "terms are measured whether they count or not"
    assert float(found["total"]) == pytest.approx(np.dot(shares, terms), rel=1e-5)
    assert float(found["loss"].detach()) == pytest.approx(float(found["total"]))
    found["loss"].backward()
    drawn = objective.branches.predict.weight.grad
    assert (drawn is None or not drawn.any()) == (shares[0] == 0)
    assert objective.branches.auxiliary_norm.weight.grad.any()


def test_club_teaches_its_own_network_beside_the_penalty():
    objective, found = losses("all", information="club")
    assert float(found["loss"].detach()) != pytest.approx(float(found["total"]))
    found["loss"].backward()
    assert objective.club.network[0].weight.grad.any()
    unused, _ = losses("reconstruction", information="club")
    assert unused.club is None


def test_only_the_main_branch_to_draw_from_leaves_the_auxiliary_branch_as_it_was():
    model = branches(inputs="main")
    objective = Objective(model, ObjectiveConfig(losses="reconstruction"))
    data = TensorData(spectrogram=windows())
    train_auxiliary(objective, data, data, training(epochs=1))
    assert torch.equal(model.auxiliary_layers[0].fc1.weight, model.main.layers[0].fc1.weight), (
        "the loss gives it no gradient"
    )


def test_training_lowers_the_loss_on_held_out_windows_and_keeps_the_best_epoch():
    objective = Objective(branches(), ObjectiveConfig())
    data, held_out = TensorData(spectrogram=windows(12)), TensorData(spectrogram=windows(7)[1:])
    before = measure(objective, step_of(objective.branches), held_out, 6)
    trained = train_auxiliary(objective, data, held_out, training(epochs=12))
    assert trained.validation["total"] < 0.9 * before["total"]
    history = trained.fitted.history
    assert trained.validation["total"] == pytest.approx(history["total"].min(), rel=1e-4)


def test_training_on_cached_features_equals_training_without(project):
    results = []
    for cached in (False, True):
        model = branches()
        inputs = windows()
        data = branch_data(model, inputs) if cached else TensorData(spectrogram=inputs)
        assert ("main" in data.tensors) == cached
        trained = train_auxiliary(Objective(model, ObjectiveConfig()), data, data, training())
        results.append(trained.validation["total"])
    # The cache holds half precision, 11 bits.
    assert results[0] == pytest.approx(results[1], rel=2e-3)


def test_the_same_seed_gives_the_same_branch():
    weights = []
    for seed in (0, 0, 1):
        model = branches()
        data = TensorData(spectrogram=windows())
        train_auxiliary(Objective(model, ObjectiveConfig()), data, data, training(seed=seed))
        weights.append(model.auxiliary_layers[0].fc1.weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_masked_main_branch_is_not_cached(project):
    assert "main" not in branch_data(branches(mask_main=True), windows()).tensors


def test_errors_count_hidden_values_alone_whatever_the_batches():
    model, data = branches(), TensorData(spectrogram=windows(7))
    errors, counts = reconstruction_errors(model, data, 7)
    n_tokens = model.grid.n_tokens
    assert counts.tolist() == [(n_tokens - n_tokens // 4) * model.grid.values] * 7
    objective = Objective(model, ObjectiveConfig(losses="reconstruction"))
    mean = measure(objective, step_of(model), data, 7)["reconstruction"]
    assert float(errors.sum() / counts.sum()) == pytest.approx(mean, rel=1e-5)


def test_pictures_show_what_was_seen_and_what_was_drawn():
    model, inputs = branches(), windows(2)
    whole, seen, drawn = reconstruct(model, inputs, seed=1)
    assert torch.equal(whole, inputs.transpose(1, 2))
    hidden = seen.isnan()
    assert float(hidden.float().mean()) == pytest.approx(0.75)
    assert torch.equal(drawn[~hidden], whole[~hidden])
    assert not torch.equal(drawn[hidden], whole[hidden])


# ---------------------------------------------------------------------------------------- corpora


def write_corpus(root, *, speakers=4, takes=6, duration_s=0.5):
    """Speakers who differ in level and emotions that differ in pitch, in EmoDB's manner."""
    chance = np.random.default_rng(0)
    clips, records = [], []
    for s in range(speakers):
        for t in range(takes):
            emotion = ("anger", "sadness")[t % 2]
            sentence = f"a0{1 + t // 2 % 3}"
            times = np.arange(round(duration_s * RATE)) / RATE
            tone = np.sin(2 * np.pi * (900, 300)[t % 2] * times) + 0.1 * chance.normal(
                size=len(times)
            )
            name = f"s{s}-{t}"
            path = root / "wav" / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * tone, RATE)
            labels = {"emotion": emotion, "sentence": sentence, "event": emotion}
            labels["partition"] = "eval" if t == takes - 1 else "train"
            clips.append(
                Clip(
                    clip_id=name,
                    corpus="emodb",
                    speaker=f"s{s}",
                    sex=("female", "male")[s % 2],
                    audio_path=path,
                    labels=labels,
                )
            )
            records.append({"file": f"wav/{name}.wav", "intensity": t / takes, "emotion": emotion})
    (root / "twin.json").write_text(json.dumps({"clips": records}))
    return Corpus(
        name="emodb",
        root=root,
        variant="twin",
        synthetic=True,
        clips=clips,
        manifest=MANIFEST,
    )


def config(**choices):
    return for_profile(
        DisentanglementConfig,
        "tiny",
        **{"window_s": 0.4, "epochs": 1, "batch_size": 6, "replicates": 20, "folds": 3, **choices},
    )


@pytest.fixture
def corpus(project, monkeypatch):
    corpus = write_corpus(project / "corpus")
    monkeypatch.setattr(disentanglement, "load", lambda config, name: corpus)
    monkeypatch.setattr(disentanglement, "main_branch", lambda config, say: encoder())
    return corpus


def test_a_job_leaves_records_that_can_be_measured_again(corpus, project):
    said = []
    chosen = config(out=str(project / "results"), windows=24)
    records = disentanglement.run(chosen, say=said.append)
    assert [record.kind for record in records] == ["reconstruction", "classification"]
    for record in records:
        again = record.measure_again(project / "results")
        assert again.keys() == record.metrics.keys()
        for name, estimate in again.items():
            assert estimate.value == pytest.approx(record.metrics[name].value, nan_ok=True)
        assert record.synthetic
    frame = records[1].load_predictions(project / "results")
    assert set(frame["branch"]) == {"main", "auxiliary", "concatenated"}
    assert set(frame["factor"]) == {"emotion", "speaker", "sentence", "sex", "intensity"}
    metrics = records[1].metrics
    assert metrics["emotion/main/uar"].value > 0.9, "a tone's pitch is easy to tell"
    assert {"mig", "emotion/gap", "main/disentanglement"} <= metrics.keys()
    assert any(line.startswith("best epoch") for line in said)


def test_jobs_that_differ_have_records_of_their_own(corpus, project):
    out = str(project / "results")
    names = [
        disentanglement.run(config(out=out, windows=24, **choices), say=lambda line: None)[0].run_id
        for choices in ({}, {"losses": "reconstruction"}, {"inputs": "shuffled"}, {"seed": 1})
    ]
    assert len(set(names)) == 4
    assert "decode-shuffled" in names[2]


def test_a_full_disk_leaves_the_whole_job_uncached(corpus, project, monkeypatch):
    quiet = {"windows": 24, "seed": 3}
    plain = disentanglement.run(config(out=str(project / "a"), **quiet), say=lambda line: None)
    folder = cache_folder("main-features", "0" * 64).parent
    assert list(folder.rglob("*.safetensors"))
    shutil.rmtree(folder)

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_cache, "atomic_write", full)
    with pytest.warns(UserWarning, match="not cached") as caught:
        again = disentanglement.run(config(out=str(project / "b"), **quiet), say=lambda line: None)
    assert len({str(warning.message) for warning in caught}) == 1, "which Python shows once"
    assert not list(folder.rglob("*.safetensors"))
    for first, second in zip(plain, again, strict=True):
        for name, estimate in first.metrics.items():
            found = second.metrics[name].value
            # What is kept is kept in half precision, which may tip one of the few clips.
            assert found == pytest.approx(estimate.value, rel=5e-3, abs=0.1, nan_ok=True), name


def test_a_null_twin_is_loaded_with_emotions_off(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        disentanglement, "load_corpus", lambda name, **size: asked.update(size, name=name)
    )
    disentanglement.load(config(), "emodb-twin@0")
    assert asked["name"] == "emodb-twin"
    assert set(asked["effects"].values()) == {0.0}
    assert "emotion_f0" in asked["effects"]
    assert not any(effect.startswith("speaker") for effect in asked["effects"])
    asked.clear()
    disentanglement.load(config(), "emodb-twin")
    assert "effects" not in asked


def test_a_null_twin_of_conversations_has_laughs_and_smiles_off(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        disentanglement, "load_corpus", lambda name, **size: asked.update(size, name=name)
    )
    disentanglement.load(config(), "ndc-me-twin")
    planted = dict(asked["effects"])
    assert not set(EXPRESSIONS) & set(planted)
    disentanglement.load(config(), "ndc-me-twin@0")
    assert asked["name"] == "ndc-me-twin"
    assert asked["effects"] == planted | dict.fromkeys(EXPRESSIONS, 0.0)


def test_a_record_says_what_was_planted_and_how_strongly(monkeypatch):
    named = []
    monkeypatch.setattr(disentanglement, "train", MagicMock())
    monkeypatch.setattr(disentanglement, "load", MagicMock())
    monkeypatch.setattr(disentanglement, "reconstruction_frame", MagicMock())
    monkeypatch.setattr(disentanglement, "probe_corpus", MagicMock())
    monkeypatch.setattr(disentanglement, "_record", lambda *args: named.append(args[-1]))
    probed = "emodb emodb-twin@0.5 ndc-me-twin@0"
    disentanglement.run(config(evaluate=probed), say=lambda line: None)
    assert named[1:] == ["emodb", "emodb-twin-emotion-0.5", "ndc-me-twin-expression-0"]


def test_probed_speakers_are_never_trained_on(corpus):
    rows = known_factors(corpus, corpus.clips)
    folds = np.array(folds_of(corpus.clips, rows, "emotion", most=3))
    speakers = np.array([clip.speaker for clip in corpus.clips])
    assert len(set(folds)) == 3
    assert all(len(set(folds[speakers == name])) == 1 for name in set(speakers))
    by_sentence = np.array(folds_of(corpus.clips, rows, "speaker", most=10))
    sentences = np.array([clip.labels["sentence"] for clip in corpus.clips])
    assert (by_sentence == sentences).all()


def test_the_two_people_of_a_conversation_share_a_fold():
    clips = [
        Clip(clip_id=f"{a}{b}", corpus="ndc-me", speaker=a, labels={"partner": b})
        for a, b in (("p1", "p2"), ("p2", "p1"), ("p3", "p4"), ("p4", "p3"))
    ]
    folds = folds_of(clips, [{} for _ in clips], "expression", most=5)
    assert folds[0] == folds[1] != folds[2] == folds[3]


def test_validation_hears_other_speakers(corpus):
    training_rows, held_out = split_by_speaker(corpus.clips)
    speakers = [{corpus.clips[p].speaker for p in rows} for rows in (training_rows, held_out)]
    assert not speakers[0] & speakers[1]
    assert sorted(training_rows + held_out) == list(range(len(corpus.clips)))
    with pytest.raises(InputError, match="has one speaker"):
        split_by_speaker(corpus.clips[:6])


def test_planted_factors_are_known_of_a_twin_alone(corpus):
    rows = known_factors(corpus, corpus.clips)
    assert rows[3]["intensity"] == pytest.approx(0.5)
    real = known_factors(replace(corpus, synthetic=False), corpus.clips)
    assert "intensity" not in real[3]
    assert real[3]["emotion"] == "sadness"


def test_an_intensity_that_cannot_be_heard_has_no_class():
    rows = [{"emotion": "neutral", "intensity": 0.9}] + [
        {"emotion": "anger", "intensity": i / 10} for i in range(9)
    ]
    classes = targets_of(rows, "intensity")
    assert classes[0] is None
    assert [classes[1:].count(name) for name in ("low", "medium", "high")] == [3, 3, 3]
    assert targets_of([{"sex": "male"}, {}], "sex") == ["male", None]


def test_windows_cover_clips_and_broken_ones_are_named(corpus, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    clips = [*corpus.clips[:2], Clip(clip_id="b", corpus="emodb", speaker="x", audio_path=broken)]
    said = []
    every = read_windows(clips, 0.2, every=True, say=said.append)
    # 0.5 s are two windows of 0.2 s and one that is just half full.
    assert [clip.clip_id for clip in every.clips] == ["s0-0", "s0-1"] * 3
    assert every.lengths.tolist() == [3200] * 4 + [1600] * 2
    assert len(said) == 1
    assert "broken.wav" in said[0]
    assert read_windows(clips, 0.2, every=True, most=3).lengths.tolist() == [3200] * 3
    first = read_windows(corpus.clips[:2], 0.2)
    assert torch.equal(first.waveforms, every.waveforms[:2])
    with pytest.raises(InputError, match="none of 1 can be used"):
        read_windows(clips[2:], 0.2)


def test_a_window_longer_than_the_clip_is_padded_and_counted(corpus):
    found = read_windows(corpus.clips[:1], 0.8)
    assert found.waveforms.shape == (1, 12_800)
    assert found.lengths.tolist() == [8000]
    assert not found.waveforms[0, 8000:].any()


def test_the_ast_is_trained_once_and_then_loaded(corpus, monkeypatch):
    sizes = ASTConfig(n_mels=128, n_frames=48, width=16, heads=2, layers=1, ffn_width=16)
    monkeypatch.setattr(event_tagging, "load_corpus", lambda *args, **kwargs: corpus)
    monkeypatch.setattr(event_tagging, "ast_sizes", lambda window_s: sizes)
    monkeypatch.setattr(event_tagging, "EPOCHS", 4)
    said = []
    first = event_tagging.event_ast(clips=24, window_s=0.4, say=said.append)
    monkeypatch.setattr(event_tagging, "_loss", None)  # would fail if anything were trained
    second = event_tagging.event_ast(clips=24, window_s=0.4, say=said.append)
    for name, tensor in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor)
    assert not any(parameter.requires_grad for parameter in second.parameters())
    assert said[0] == said[1]
    assert said[0].startswith("AST: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("losses", "some"),
        ("inputs", "none"),
        ("evaluate", "emodb nowhere"),
        ("evaluate", ""),
        ("evaluate", "emodb@0"),
        ("evaluate", "emodb@1"),
        ("evaluate", "ccdb-twin@0"),
        ("evaluate", "emodb-twin@1"),
        ("evaluate", "emodb-twin@0.50"),
        ("evaluate", "emodb-twin@none"),
        ("weight", -1.0),
        ("windows", 4),
        ("folds", 1),
        ("window_s", 0.1),
    ],
)
def test_parameters_that_cannot_be_are_refused(name, value):
    with pytest.raises(InputError, match=f"parameter {name}"):
        config(**{name: value})
