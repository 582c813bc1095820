import sys

import numpy as np
import pytest
import scipy.fft
import torch
from torch import nn

from thesislib.baselines import (
    AuxFormer,
    DeepAverage,
    FunctionalsLinear,
    ResNetLogMel,
    SequenceLstm,
    Uavm,
    Vavl,
    auxformer,
    egemaps,
    loss_of,
    mfcc_statistics,
    uavm,
    vavl,
)
from thesislib.baselines.inputs import cepstra
from thesislib.baselines.vavl import ConformerBlock
from thesislib.errors import InputError
from thesislib.learning.checkpointing import contained_randomness
from thesislib.learning.training import TensorData, TrainingConfig, fit

B, T, F, SIDE, CLASSES = 4, 64, 4, 32, 3
SMALL = {"width": 32, "channels": 4}
DEEP = {**SMALL, "n_heads": 2, "depth": 1}
MODELS = {
    "functionals": lambda: FunctionalsLinear(CLASSES),
    "resnet_logmel": lambda: ResNetLogMel(CLASSES, channels=4),
    "lstm": lambda: SequenceLstm(CLASSES, **SMALL, parts=F),
    "deep_average": lambda: DeepAverage(CLASSES, channels=4),
    "auxformer": lambda: AuxFormer(CLASSES, **DEEP),
    "uavm": lambda: Uavm(CLASSES, **DEEP, shared_depth=1),
    "vavl": lambda: Vavl(CLASSES, **DEEP, shared_depth=1),
}
HEADS = {"auxformer": auxformer, "uavm": uavm, "vavl": vavl}
EVERY = pytest.mark.parametrize("name", MODELS)
AUDIO_VISUAL = pytest.mark.parametrize("name", [name for name in MODELS if name != "functionals"])


def make(name):
    with contained_randomness(0):
        return MODELS[name]()


def inputs(batch=B, seed=0):
    generator = torch.Generator().manual_seed(seed)
    audio = torch.randn(batch, T, 128, generator=generator)
    return audio, torch.randn(batch, F, 3, SIDE, SIDE, generator=generator)


def weights_of(name):
    return HEADS[name].HEAD_WEIGHTS if name in HEADS else None


@EVERY
def test_shapes_with_audio_and_with_both(name):
    audio, video = inputs()
    model = make(name).eval()
    assert model(audio, video).shape == (B, CLASSES)
    assert model(audio, None).shape == (B, CLASSES)


@AUDIO_VISUAL
def test_each_modality_is_used_and_can_be_missing(name):
    audio, video = inputs()
    other_audio, other_video = inputs(seed=1)
    model = make(name).eval()
    both = model(audio, video)
    assert model(None, video).shape == (B, CLASSES)
    assert (model(other_audio, video) - both).abs().max() > 1e-6
    assert (model(audio, other_video) - both).abs().max() > 1e-6


def test_functionals_do_without_frames_but_not_without_sound():
    audio, video = inputs()
    model = make("functionals")
    torch.testing.assert_close(model(audio, video), model(audio, None))
    with pytest.raises(InputError, match="functionals are of the sound"):
        model(None, video)


@EVERY
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_gradients_reach_every_parameter(name, task):
    audio, video = inputs()
    model = make(name)
    target = torch.arange(B) % CLASSES if task == "classification" else torch.rand(B, CLASSES)
    batch = {"audio": audio, "video": video, "target": target}
    found = loss_of(task, head_weights=weights_of(name))(model, batch, torch.Generator())
    found["loss"].backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


@EVERY
def test_it_learns_by_heart(name):
    audio, video = inputs(batch=6)
    target = torch.arange(6) % CLASSES
    data = TensorData(audio=audio, video=video, target=target)
    rate = 0.03 if name == "functionals" else 3e-3
    config = TrainingConfig(epochs=25, batch_size=6, learning_rate=rate, schedule="constant")
    fitted = fit(
        make(name),
        loss_of("classification", head_weights=weights_of(name)),
        data,
        config=config,
        progress=False,
    )
    losses = fitted.history.train_loss
    assert losses.min() < 0.35 * losses[0]


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_weighted_where_both_modalities_are_given(name):
    audio, video = inputs()
    model = make(name).eval()
    batch = {"audio": audio, "video": video, "target": torch.zeros(B, dtype=torch.long)}
    weights = weights_of(name)
    found = loss_of("classification", head_weights=weights)(model, batch, torch.Generator())
    total = sum(weight * found[f"{head}_loss"] for head, weight in weights.items())
    torch.testing.assert_close(found["loss"], total)
    heads = model(audio, video, heads=True)
    assert set(heads) == set(weights)
    alone = loss_of("classification", mode="missing_video", head_weights=weights)
    batch.pop("video")
    expected = nn.functional.cross_entropy(heads["audio"], batch["target"])
    torch.testing.assert_close(alone(model, batch, torch.Generator())["loss"], expected)
    torch.testing.assert_close(model(audio, None), heads["audio"])


def test_a_unified_model_answers_with_the_mean_of_both():
    audio, video = inputs()
    model = make("uavm").eval()
    mean = (model(audio, None) + model(None, video)) / 2
    torch.testing.assert_close(model(audio, video), mean)


def test_late_fusion_averages_the_scores_of_sound_and_frames():
    audio, video = inputs()
    model = make("deep_average").eval()
    mean = (model(audio, None) + model(None, video)) / 2
    torch.testing.assert_close(model(audio, video), mean)
    frames = torch.stack([model(None, video[:, [i]]) for i in range(F)]).mean(dim=0)
    torch.testing.assert_close(model(None, video), frames)


def test_a_single_frame_is_the_middle_one():
    _, video = inputs()
    model = make("resnet_logmel").eval()
    torch.testing.assert_close(model(None, video), model(None, video[:, [F // 2]]))


def test_the_lstm_reads_parts_in_order():
    _, video = inputs()
    model = make("lstm").eval()
    assert (model(None, video.flip(1)) - model(None, video)).abs().max() > 1e-6


def test_a_conformer_block_mixes_over_time_and_keeps_its_shape():
    with contained_randomness(0):
        block = ConformerBlock(16, 2, kernel=3).eval()
    tokens = torch.randn(1, 9, 16, generator=torch.Generator().manual_seed(0))
    assert block(tokens).shape == tokens.shape
    # Without attention only the convolution mixes: one token either way.
    block.attn = nn.Identity()
    changed = tokens.clone()
    changed[0, 4] = changed[0, 4].flip(0)
    moved = (block(changed) - block(tokens)).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.tolist() == [index in (3, 4, 5) for index in range(9)]


SIZES = {
    "functionals": (FunctionalsLinear, 486),
    "resnet_logmel": (ResNetLogMel, 22_352_902),
    "lstm": (SequenceLstm, 11_445_830),
    "deep_average": (DeepAverage, 11_231_820),
    "auxformer": (AuxFormer, 15_525_970),
    "uavm": (Uavm, 18_942_278),
    "vavl": (Vavl, 20_950_098),
}
"""Parameters with six outputs, for the table that compares the models."""


@EVERY
def test_parameters_at_full_size(name):
    kind, parameters = SIZES[name]
    with torch.device("meta"):
        model = kind(6)
    assert sum(p.numel() for p in model.parameters()) == parameters


# ---------------------------------------------------------------------------------------- features


def test_cepstra_are_the_dct_of_the_log_mel():
    log_mel = inputs()[0]
    expected = scipy.fft.dct(log_mel.double().numpy(), norm="ortho", axis=-1)[..., :20]
    np.testing.assert_allclose(cepstra(log_mel).numpy(), expected, atol=1e-5)


def test_mfcc_statistics_against_numpy():
    log_mel = inputs()[0]
    mfcc = scipy.fft.dct(log_mel.double().numpy(), norm="ortho", axis=-1)[..., :5]
    slopes = np.gradient(mfcc, axis=1)[:, 1:-1]
    expected = np.concatenate([mfcc.mean(1), mfcc.std(1), slopes.mean(1), slopes.std(1)], axis=1)
    np.testing.assert_allclose(mfcc_statistics(log_mel, 5).numpy(), expected, atol=1e-5)
    with pytest.raises(InputError, match="T >= 3"):
        mfcc_statistics(log_mel[:, :2])


def test_functionals_are_standardised_on_the_training_part():
    audio = 5 + 3 * inputs(batch=32)[0]
    model = make("functionals").standardise(audio)
    seen = []
    model.linear.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(audio, None)
    torch.testing.assert_close(seen[0].mean(dim=0), torch.zeros(80), atol=2e-4, rtol=0)
    torch.testing.assert_close(seen[0].std(dim=0, correction=0), torch.ones(80), atol=1e-3, rtol=0)
    given = torch.rand(2, 88)
    assert FunctionalsLinear(3, 88)(given, None).shape == (2, 3)
    with pytest.raises(InputError, match="set n_features"):
        model(given, None)


def test_egemaps_come_from_opensmile():
    opensmile = pytest.importorskip("opensmile")
    time_s = torch.arange(16000) / 16000
    voices = torch.stack([
        0.3 * sum(torch.sin(2 * torch.pi * f0 * k * time_s) / k for k in range(1, 20))
        for f0 in (110, 220)
    ])  # fmt: skip
    features = egemaps(voices)
    assert features.shape == (2, 88)
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    pitch = features[:, smile.feature_names.index("F0semitoneFrom27.5Hz_sma3nz_amean")]
    assert pitch.tolist() == pytest.approx([24, 36], abs=0.3)  # two and three octaves above 27.5 Hz


def test_without_opensmile_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(InputError, match=r"opensmile: is not installed; run `pip install"):
        egemaps(torch.zeros(1, 16000))


# ----------------------------------------------------------------------------------------- errors


@AUDIO_VISUAL
@pytest.mark.parametrize(
    ("audio", "video", "field"),
    [
        (None, None, "audio, video: are both None"),
        ((2, 64, 80), None, r"audio: shape \(2, 64, 80\)"),
        (None, (2, 3, 4, 32, 32), r"video: shape \(2, 3, 4, 32, 32\)"),
        ((2, 64, 128), (3, 4, 3, 32, 32), "2 and 3 clips"),
        ((0, 64, 128), None, "audio: shape"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(name, audio, video, field):
    model = make(name).eval()
    with pytest.raises(InputError, match=field):
        model(*(None if shape is None else torch.zeros(shape) for shape in (audio, video)))


@pytest.mark.parametrize("name", ["lstm", "auxformer", "uavm", "vavl"])
def test_clips_that_are_too_short_are_refused(name):
    with pytest.raises(InputError, match="audio: has 7 columns"):
        make(name)(torch.zeros(2, 7, 128), None)


@EVERY
def test_outputs_are_one_or_more(name):
    with pytest.raises(InputError, match="n_outputs: 0"):
        SIZES[name][0](0)


def test_tasks_modes_and_labels_are_checked():
    with pytest.raises(InputError, match="task: 'ranking' is unknown"):
        loss_of("ranking")
    with pytest.raises(InputError, match="mode: 'smell' is unknown"):
        loss_of("regression", mode="smell")
    audio, video = inputs()
    batch = {"audio": audio, "video": video, "target": torch.full((B,), CLASSES)}
    with pytest.raises(InputError, match="labels: row 0: 3 is outside 0 to 2"):
        loss_of("classification")(make("lstm"), batch, torch.Generator())
