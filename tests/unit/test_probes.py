import math

import numpy as np
import pytest
import soundfile
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from thesislib.corpora.clip import Clip
from thesislib.errors import InputError
from thesislib.evaluation.classification import class_names
from thesislib.learning.features import extract_features, pool_mean_std
from thesislib.learning.main_branch import BANDS, describe_voices
from thesislib.learning.probes import cross_validate, cross_validate_nested
from thesislib.models.encoders import EncoderConfig, WhisperEncoder, freeze


def clip_of(number, path=None):
    return Clip(
        clip_id=f"c{number}",
        corpus="emodb",
        speaker=("03", "08", "09", "10")[number % 4],
        sex=("male", "female", "female", "male")[number % 4],
        audio_path=path,
        labels={
            "emotion": ("anger", "fear", "neutral")[number % 3],
            "sentence": ("a01", "a02", "b01", "b02", "b03")[number % 5],
        },
    )


CLIPS = [clip_of(number) for number in range(60)]


def features_for(label, noise=0.8, seed=0):
    generator = np.random.default_rng(seed)
    names = sorted({clip.labels[label] for clip in CLIPS})
    shift = np.array([names.index(clip.labels[label]) for clip in CLIPS])
    return (np.eye(len(names), 8)[shift] * 2 + noise * generator.normal(size=(60, 8))).astype("f4")


def test_pooling_equals_numpy_over_the_valid_positions():
    states = torch.randn(3, 10, 4, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([10, 4, 1])
    pooled = pool_mean_std(states, lengths).numpy()
    for row, (values, length) in enumerate(zip(states.numpy(), lengths.tolist(), strict=True)):
        np.testing.assert_allclose(pooled[row, :4], values[:length].mean(0), atol=1e-6)
        np.testing.assert_allclose(pooled[row, 4:], values[:length].std(0), atol=1e-6)


def test_what_lies_beyond_a_recording_does_not_count():
    states = torch.randn(1, 10, 4, generator=torch.Generator().manual_seed(1))
    other = states.clone()
    other[:, 6:] = 99.0
    lengths = torch.tensor([6])
    torch.testing.assert_close(pool_mean_std(states, lengths), pool_mean_std(other, lengths))


def test_cross_validation_equals_scikit_learns():
    features = features_for("emotion")
    frame = cross_validate(features, CLIPS, "emotion", regularisation_c=0.01)
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000)
    )
    expected = cross_val_predict(
        probe,
        features,
        frame["target"],
        groups=[clip.speaker for clip in CLIPS],
        cv=LeaveOneGroupOut(),
        method="predict_proba",
    )
    found = frame[[f"p_{name}" for name in class_names(frame)]].to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (frame["fold"] == frame["speaker"]).all()
    assert (frame["target"] == frame["prediction"]).mean() > 0.8


def test_speakers_are_probed_on_unseen_sentences():
    frame = cross_validate(features_for("sentence"), CLIPS, "speaker", regularisation_c=0.01)
    assert frame["fold"].tolist() == [clip.labels["sentence"] for clip in CLIPS]
    assert frame["target"].tolist() == [clip.speaker for clip in CLIPS]


def test_standardisation_knows_nothing_of_the_held_out_speaker():
    features = features_for("emotion")
    plain = cross_validate(features, CLIPS, "emotion", regularisation_c=0.01)
    shifted = features.copy()
    held_out = np.array([clip.speaker == "08" for clip in CLIPS])
    shifted[held_out] += 50.0
    moved = cross_validate(shifted, CLIPS, "emotion", regularisation_c=0.01)
    columns = [f"p_{name}" for name in class_names(plain)]
    # Were the statistics pooled over all speakers, the shift would be averaged away in this fold.
    assert (
        moved.loc[held_out, columns] - plain.loc[held_out, columns]
    ).abs().to_numpy().max() > 0.3


def test_the_nested_choice_takes_the_layer_that_knows():
    layers = {"layer_0": features_for("emotion", noise=30.0), "layer_1": features_for("emotion")}
    frame = cross_validate_nested(layers, CLIPS, "emotion", regularisation_c=0.01)
    assert set(frame["layer"]) == {"layer_1"}
    plain = cross_validate(layers["layer_1"], CLIPS, "emotion", regularisation_c=0.01)
    assert frame["prediction"].tolist() == plain["prediction"].tolist()


def test_the_nested_choice_does_not_look_at_the_test_speaker():
    """A layer that is right for the held-out speaker alone must not be chosen for its fold."""
    speaker = np.array([clip.speaker == "08" for clip in CLIPS])
    informed = features_for("emotion", noise=0.1)
    lure = features_for("emotion", noise=30.0)
    lure[speaker] = informed[speaker]
    frame = cross_validate_nested(
        {"layer_0": lure, "layer_1": features_for("emotion", noise=2.0)},
        CLIPS,
        "emotion",
        regularisation_c=0.01,
    )
    assert set(frame.loc[speaker, "layer"]) == {"layer_1"}


@pytest.fixture(scope="module")
def encoder():
    config = EncoderConfig(n_mels=80, n_positions=150, width=16, heads=2, layers=2, ffn_width=32)
    torch.manual_seed(0)
    return freeze(WhisperEncoder(config))


@pytest.fixture
def recordings(tmp_path):
    generator = np.random.default_rng(0)
    paths = []
    for number, seconds in enumerate((1.0, 2.5, 0.6)):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, 0.1 * generator.normal(size=round(16000 * seconds)), 16000)
        paths.append(path)
    return paths


def test_features_of_a_clip_do_not_depend_on_its_batch(encoder, recordings):
    clips = [clip_of(number, path) for number, path in enumerate(recordings)]
    together, kept, failures = extract_features(clips, encoder, window_s=2.0)
    assert list(together) == ["mfcc", "layer_0", "layer_1", "layer_2"]
    assert together["mfcc"].shape == (3, 40)
    assert together["layer_1"].shape == (3, 32)
    assert (kept, failures) == ([0, 1, 2], [])
    for row, clip in enumerate(clips):
        alone, _, _ = extract_features([clip], encoder, window_s=2.0)
        for name, values in alone.items():
            np.testing.assert_allclose(together[name][row], values[0], atol=2e-4)


def test_a_broken_recording_is_named_and_the_run_goes_on(encoder, recordings):
    recordings[1].write_bytes(b"not a recording")
    clips = [clip_of(number, path) for number, path in enumerate(recordings)]
    features, kept, failures = extract_features(clips, encoder, window_s=2.0)
    assert kept == [0, 2]
    assert len(features["layer_2"]) == 2
    assert [failure.path for failure in failures] == [str(recordings[1])]


def test_nothing_but_broken_recordings_is_an_error(encoder, recordings):
    recordings[0].write_bytes(b"")
    with pytest.raises(InputError, match=r"no usable recording among 1; .*0\.wav"):
        extract_features([clip_of(0, recordings[0])], encoder, window_s=2.0)


def test_a_window_longer_than_the_encoders_is_refused(encoder, recordings):
    with pytest.raises(InputError, match=r"window_s: 4.0 s exceeds the encoder's 3.0 s"):
        extract_features([clip_of(0, recordings[0])], encoder, window_s=4.0)


def test_voices_are_described_by_what_they_are(tmp_path):
    times = np.arange(32000) / 16000
    for number, f0 in enumerate((120.0, 220.0)):
        wave = sum(np.sin(2 * math.pi * f0 * k * times) / k for k in range(1, 12))
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * wave, 16000)
    clips = [clip_of(number, tmp_path / f"{number}.wav") for number in range(2)]
    frame = describe_voices(clips, window_s=2.0)
    assert frame["z_0"].tolist() == pytest.approx([120, 220], rel=0.01)
    assert frame["z_1"].max() < 0.5  # a steady tone has no range
    assert frame["z_2"].min() > 0.9  # and is voiced throughout
    spectrum = frame[[f"z_{3 + band}" for band in range(BANDS)]]
    np.testing.assert_allclose(spectrum.mean(axis=1), 0, atol=1e-3)
