"""Losses of the masked autoencoder against numpy, scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.metrics import log_loss, mean_absolute_error

from thesislib.errors import InputError
from thesislib.learning.losses import (
    classification_loss,
    contrastive_loss,
    denormalise_patches,
    normalise_patches,
    reconstruction_loss,
    regression_loss,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def info_nce(anchors: np.ndarray, partners: np.ndarray, temperature: float) -> float:
    anchors = anchors / np.linalg.norm(anchors, axis=1, keepdims=True)
    partners = partners / np.linalg.norm(partners, axis=1, keepdims=True)
    terms = [
        logsumexp(partners @ anchor / temperature) - partners[i] @ anchor / temperature
        for i, anchor in enumerate(anchors)
    ]
    return float(np.mean(terms))


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_contrastive_loss_of_each_direction(temperature):
    audio, video = noise(7, 5), noise(7, 5, seed=1)
    a, v = audio.numpy(), video.numpy()
    expected = {"v2a": info_nce(v, a, temperature), "a2v": info_nce(a, v, temperature)}
    expected["both"] = (expected["v2a"] + expected["a2v"]) / 2
    assert abs(expected["v2a"] - expected["a2v"]) > 1e-3  # or the test could not tell them apart
    for direction, value in expected.items():
        got = contrastive_loss(audio, video, temperature=temperature, direction=direction).loss
        assert got.item() == pytest.approx(value, rel=1e-5)
    assert torch.equal(
        contrastive_loss(audio, video).loss, contrastive_loss(audio, video, direction="v2a").loss
    )


def test_contrastive_accuracy_counts_anchors_that_find_their_partner():
    audio = torch.eye(4)
    video = torch.eye(4)[[0, 1, 2, 2]]  # the fourth video sounds like the third clip
    assert contrastive_loss(audio, video).accuracy.item() == pytest.approx(0.75)
    assert contrastive_loss(audio, audio).accuracy.item() == 1.0


def test_contrastive_loss_keeps_its_precision_under_autocast():
    audio, video = noise(8, 64), noise(8, 64, seed=1)
    exact = contrastive_loss(audio, video).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(contrastive_loss(audio, video).loss, exact)


@pytest.mark.parametrize(
    ("audio", "video", "options", "field"),
    [
        (noise(1, 4), noise(1, 4), {}, "batch_size"),
        (noise(0, 4), noise(0, 4), {}, "batch_size"),
        (noise(3, 4), noise(2, 4), {}, "audio, video"),
        (noise(3, 2, 4), noise(3, 2, 4), {}, "audio, video"),
        (noise(3, 4), noise(3, 4), {"direction": "av"}, "direction"),
        (noise(3, 4), noise(3, 4), {"temperature": 0.0}, "temperature"),
    ],
)
def test_contrastive_loss_names_what_is_wrong(audio, video, options, field):
    with pytest.raises(InputError, match=f"^{field}: "):
        contrastive_loss(audio, video, **options)


@pytest.mark.parametrize("norm_pix_loss", [False, True])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_reconstruction_loss_is_the_mean_over_hidden_patches(norm_pix_loss, dtype):
    prediction, target = noise(3, 6, 8), 5 + 2 * noise(3, 6, 8, seed=1)
    hidden = np.random.default_rng(2).random((3, 6)) < 0.5
    truth = target.numpy().astype(np.float64)
    if norm_pix_loss:
        spread = np.sqrt(truth.var(axis=-1, ddof=1, keepdims=True) + 1e-6)
        truth = (truth - truth.mean(axis=-1, keepdims=True)) / spread
    expected = ((prediction.numpy() - truth)[hidden] ** 2).mean()
    got = reconstruction_loss(
        prediction, target, torch.from_numpy(hidden).to(dtype), norm_pix_loss=norm_pix_loss
    )
    assert got.item() == pytest.approx(expected, rel=1e-5)


def test_reconstruction_loss_has_no_gradient_at_visible_patches():
    prediction = noise(2, 4, 3).requires_grad_()
    hidden = torch.tensor([[True, False, False, True], [False, True, True, False]])
    reconstruction_loss(prediction, noise(2, 4, 3, seed=1), hidden).backward()
    assert torch.equal(prediction.grad.abs().sum(dim=-1) > 0, hidden)


def test_denormalising_is_the_inverse_and_flat_patches_stay_finite():
    patches = 3 + 2 * noise(2, 5, 16)
    patches[0, 0] = 7.0
    normal = normalise_patches(patches)
    assert torch.isfinite(normal).all()
    assert normal[0, 0].abs().max() == 0
    np.testing.assert_allclose(denormalise_patches(normal, patches), patches, rtol=1e-5, atol=1e-5)


def test_reconstruction_loss_refuses_shapes_that_do_not_fit():
    with pytest.raises(InputError, match="prediction, target, hidden"):
        reconstruction_loss(noise(2, 4, 3), noise(2, 4, 3), torch.ones(2, 3))
    with pytest.raises(InputError, match="prediction, target, hidden"):
        reconstruction_loss(noise(2, 4, 3), noise(2, 4, 2), torch.ones(2, 4))


def test_classification_loss_is_the_log_loss():
    logits, labels = noise(20, 4), torch.arange(20) % 4
    expected = log_loss(labels.numpy(), logits.double().softmax(dim=1).numpy())
    assert classification_loss(logits, labels).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 4, 1], "^labels: row 1: 4 is outside 0 to 3; .*n_outputs"),
        ([0, 1, -1], "^labels: row 2: -1 is outside 0 to 3"),
        ([0, 1], "^labels: "),
        ([0.0, 1.0, 2.0], "^labels: .*float32"),
    ],
)
def test_classification_loss_names_the_label_at_fault(labels, message):
    with pytest.raises(InputError, match=message):
        classification_loss(noise(3, 4), torch.tensor(labels))


def test_regression_loss_is_the_mean_absolute_error():
    prediction, target = noise(9, 5), noise(9, 5, seed=1).sigmoid()
    expected = mean_absolute_error(target.numpy(), prediction.numpy())
    assert regression_loss(prediction, target).item() == pytest.approx(expected, rel=1e-5)
    on_their_scale = regression_loss(7 * prediction, 7 * target, low=1e-9, high=7.0)
    assert on_their_scale.item() == pytest.approx(7 * expected, rel=1e-5)


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), float("inf")])
def test_regression_loss_names_the_target_at_fault(value):
    target = torch.full((3, 5), 0.5)
    target[2, 4] = value
    with pytest.raises(InputError, match=r"^target: row 2, trait 4: "):
        regression_loss(noise(3, 5), target)
    with pytest.raises(InputError, match=r"^target: "):
        regression_loss(noise(3, 5), target[:2])
