"""MS-TCN against numbers of the public code, against torchvision, and against plain formulas.

The first needs the reference folder: ``$THESISLIB_REFERENCE_ROOT``, else ``reference`` beside the
first folder of ``$THESISLIB_DATA_ROOT``.
"""

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from thesislib.files import data_roots
from thesislib.models.fusion import Branch, Concatenation
from thesislib.models.lipreading_checkpoints import build_ms_tcn, convert_lipreading_state
from thesislib.models.ms_tcn import MsTcnConfig, TemporalConv, resnet18

CASES = [f"{m}.{a}" for m in ("video", "audio") for a in ("swish", "prelu", "relu")]


def relative(ours, theirs):
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@pytest.fixture(scope="module")
def folder():
    root = os.environ.get("THESISLIB_REFERENCE_ROOT")
    root = Path(root) if root else data_roots()[0].parent / "reference"
    if not (root / "ms_tcn.pt").is_file():
        pytest.skip("no reference numbers: set THESISLIB_REFERENCE_ROOT to their folder")
    return root


@pytest.fixture(scope="module")
def golden(folder):
    return torch.load(folder / "ms_tcn.pt", weights_only=True)


@pytest.fixture(scope="module")
def weights_of(folder):
    """Published weights by name from their shapes, as the reference folder's script draws them."""
    spec = importlib.util.spec_from_file_location("reference_weights", folder / "weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.det_state


def embed(golden, model):
    letter = model.config.modality[0]
    inputs = golden["inputs"]
    with torch.no_grad():
        features = model.embed(inputs[letter], inputs[f"lengths_{letter}"])
        return features, model.head(features.embedding)


@pytest.mark.parametrize("case", CASES)
def test_lipreading_models_agree_with_the_public_code(case, golden, weights_of):
    entry = golden[case]
    checkpoint = convert_lipreading_state(weights_of(entry["shapes"]), case)
    assert (checkpoint.family, checkpoint.classes) == ("lipreading", 500)
    assert checkpoint.keys == (343 if "prelu" in case else 298)
    model = build_ms_tcn(checkpoint, activation=case.split(".")[1]).eval()
    assert sum(p.numel() for p in model.parameters()) == round(entry["params_m"] * 1e6)
    features, logits = embed(golden, model)
    assert relative(features.frames, entry["feats"]) < 1e-4
    assert relative(logits, entry["logits"]) < 1e-4


def test_three_class_models_and_their_fusion_agree(golden, weights_of):
    branches = {}
    for case, modality in (("fork.raw_audio", "audio"), ("fork.video", "video")):
        entry = golden[case]
        checkpoint = convert_lipreading_state(weights_of(entry["shapes"]), case)
        assert (checkpoint.family, checkpoint.keys) == ("three-class", 345)
        assert checkpoint.dropped == ("tcn.tcn_output.weight", "tcn.tcn_output.bias")
        features, logits = embed(golden, build_ms_tcn(checkpoint).eval())
        assert relative(features.embedding, entry["emb768"]) < 1e-4
        assert relative(logits, entry["logits3"]) < 1e-4
        branches[modality] = Branch(features.embedding, logits)
    entry = golden["fork.fusion"]
    published = weights_of(entry["shapes"])
    fusion = Concatenation(768, 768, 3).eval()
    fusion.load_state_dict(
        {
            name.replace("fc1", "hidden").replace("fc4", "head"): value
            for name, value in published.items()
        }
    )
    with torch.no_grad():
        assert relative(fusion(branches["audio"], branches["video"]), entry["logits3"]) < 1e-4


def test_backbone_is_torchvisions_resnet18():
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    theirs = torchvision.models.resnet18()
    ours = resnet18(64, "relu", dimensions=2)
    names = {f"trunk.{k}": v for k, v in theirs.state_dict().items() if k.startswith("layer")}
    names |= {"tcn_output.weight": torch.zeros(3, 768)}
    state = convert_lipreading_state(names).tensors
    prefix = "encoder.resnet."
    ours.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if prefix in k})
    x = torch.randn(3, 64, 12, 10, generator=torch.Generator().manual_seed(0))
    for training in (True, False):  # training first, so that the running statistics differ
        ours.train(training)
        theirs.train(training)
        y = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(x))))
        assert relative(ours(x), y) < 1e-5


@pytest.mark.parametrize(("kernel", "dilation", "steps"), [(3, 1, 9), (5, 4, 9), (7, 8, 11)])
@pytest.mark.parametrize("training", [True, False])
def test_temporal_convolution_is_pad_normalise_chop(kernel, dilation, steps, training):
    """The published order, literally: pad all around, batch norm, then chop both ends."""
    generator = torch.Generator().manual_seed(kernel)
    layer = TemporalConv(4, 6, kernel, dilation, "prelu").double().train(training)
    x = torch.randn(3, 4, steps, generator=generator, dtype=torch.float64, requires_grad=True)
    mean, variance = torch.zeros(6).double(), torch.ones(6).double()

    padding = (kernel - 1) * dilation
    wide = functional.conv1d(
        functional.pad(x, (padding, padding)), layer.conv.weight, layer.conv.bias, dilation=dilation
    )
    wide = functional.batch_norm(
        wide, mean, variance, layer.norm.weight, layer.norm.bias, training=training
    )
    expected = functional.prelu(
        wide[:, :, padding // 2 : padding // 2 + steps], layer.activation.weight
    )
    parameters = [x, *layer.parameters()]
    weight = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    theirs = torch.autograd.grad((weight * expected).sum(), parameters)
    actual = layer(x, None)
    ours = torch.autograd.grad((weight * actual).sum(), parameters)

    torch.testing.assert_close(actual, expected)
    for mine, plain in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(layer.norm.running_var, variance)
    torch.testing.assert_close(layer.norm.running_mean, mean)
    if training:  # padding "same" would be another model
        same = functional.batch_norm(
            layer.conv(x), None, None, layer.norm.weight, layer.norm.bias, training=True
        )
        assert not torch.allclose(functional.prelu(same, layer.activation.weight), actual)


def test_defaults_are_the_published_sizes():
    config = MsTcnConfig("video")
    assert (config.kernels, config.blocks, config.tcn_width) == ((3, 5, 7), 4, 768)
    assert config.frame_width == 512
