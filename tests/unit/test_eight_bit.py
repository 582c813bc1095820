"""Inference in eight bits: what is rounded, how far off it is, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from thesislib.errors import InputError
from thesislib.models.eight_bit import TOKENS_AT_ONCE, EightBitLinear, rounded, to_eight_bits
from thesislib.models.masked_autoencoder import FineTunedModel, MaskedAutoencoderConfig
from thesislib.models.transformer import MLP, SelfAttention

SIZES = MaskedAutoencoderConfig(
    image_size=32, n_frames=4, n_mels=32, audio_frames=64, width=32, n_heads=2, modality_depth=2,
    decoder_width=16, decoder_depth=1, decoder_heads=2,
)  # fmt: skip
FINITE = st.floats(-1e6, 1e6, width=32)


def clips(n=5):
    generator = torch.Generator().manual_seed(3)
    audio = torch.randn(n, SIZES.audio_frames, SIZES.n_mels, generator=generator)
    side = SIZES.image_size
    return audio, torch.randn(n, 3, SIZES.n_frames, side, side, generator=generator)


def tuned():
    return FineTunedModel(SIZES, 6, generator=torch.Generator().manual_seed(1)).eval()


@given(arrays(np.float32, (3, 7), elements=FINITE))
def test_a_row_is_rounded_by_at_most_half_a_step_of_its_own(values):
    rows = torch.from_numpy(values)
    whole, scale = rounded(rows)
    assert whole.dtype == torch.int8
    assert whole.abs().max() <= 127
    off = (whole.double() * scale.double() - rows.double()).abs()
    assert (off <= 0.5001 * scale.double()).all()
    largest = rows.abs().amax(dim=1)
    seen = largest > 1e-30
    assert (whole.abs().amax(dim=1)[seen] == 127).all()
    assert not whole[largest == 0].any()


def test_rows_in_bfloat16_are_rounded_in_float32():
    rows = torch.randn(200, 16).bfloat16()
    for found, expected in zip(rounded(rows), rounded(rows.float()), strict=True):
        assert torch.equal(found, expected)
    assert (rounded(rows)[0].sign() * rows.float().sign() >= 0).all()


def test_nothing_comes_out_of_no_tokens():
    layer = EightBitLinear(nn.Linear(8, 4))
    assert layer(torch.randn(0, 3, 8)).shape == (0, 3, 4)


@pytest.mark.parametrize("n_tokens", [1, TOKENS_AT_ONCE, 2 * TOKENS_AT_ONCE + 3])
def test_a_layer_is_a_product_of_whole_numbers_with_two_scales(n_tokens):
    generator = np.random.default_rng(0)
    linear = nn.Linear(40, 24)
    tokens = generator.normal(size=(n_tokens, 40)).astype(np.float32)
    weight, bias = (p.detach().numpy().astype(np.float64) for p in linear.parameters())
    steps = [np.abs(values).max(axis=1, keepdims=True) / 127 for values in (tokens, weight)]
    a, b = np.rint(tokens / steps[0]), np.rint(weight / steps[1])
    expected = (a @ b.T) * steps[0] * steps[1].T + bias
    found = EightBitLinear(linear)(torch.from_numpy(tokens)).numpy()
    # A value that lies between two whole numbers may fall to either in float32.
    slack = 1.01 * np.abs(weight).max() * steps[0]
    assert (np.abs(found - expected) <= slack).all()
    assert np.median(np.abs(found - expected)) < 1e-6


def test_any_number_of_axes_goes_in_and_none_is_lost():
    layer, tokens = EightBitLinear(nn.Linear(8, 16)), torch.randn(3, 50, 8)
    assert layer(tokens).shape == (3, 50, 16)
    torch.testing.assert_close(layer(tokens)[1, 7], layer(tokens[1, 7:8])[0])


@pytest.mark.parametrize("mode", ["both", "audio", "video", "missing_audio", "missing_video"])
@pytest.mark.parametrize("low", [False, True])
def test_a_model_says_nearly_the_same(mode, low):
    audio, video = clips()
    if mode == "missing_audio":
        audio = None
    if mode == "missing_video":
        video = None
    model = tuned()
    with torch.inference_mode():
        expected = model(audio, video, mode)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            found = to_eight_bits(model)(audio, video, mode).float()
    assert not torch.equal(found, expected)
    assert (found - expected).norm() / expected.norm() < 0.03


def test_every_layer_of_the_transformer_is_rounded_and_nothing_else():
    model = tuned()
    head, embed = model.head[-1], model.encoder.audio.embed
    assert to_eight_bits(model) is model
    assert not any(isinstance(part, MLP) for part in model.modules())
    for part in model.modules():
        if isinstance(part, SelfAttention):
            assert isinstance(part.qkv, EightBitLinear)
            assert isinstance(part.proj, EightBitLinear)
    assert (model.head[-1], model.encoder.audio.embed) == (head, embed)
    layers = [part for part in model.modules() if isinstance(part, EightBitLinear)]
    assert len(layers) == 4 * (2 * SIZES.modality_depth + SIZES.joint_depth)
    assert {layer.weight.dtype for layer in layers} == {torch.int8}


def test_weights_take_a_quarter_of_the_memory_and_are_stored_with_the_model():
    model = tuned()

    def size():
        parts = (p for p in model.modules() if isinstance(p, SelfAttention | MLP | EightBitLinear))
        tensors = {t.data_ptr(): t for part in parts for t in part.state_dict().values()}
        return sum(t.numel() * t.element_size() for t in tensors.values())

    before = size()
    state = to_eight_bits(model).state_dict()
    assert before / 4 < size() < before / 3
    other = to_eight_bits(FineTunedModel(SIZES, 6))
    other.load_state_dict(state)
    audio, video = clips(2)
    torch.testing.assert_close(other(audio, video), model(audio, video), rtol=0, atol=0)


def test_what_is_rounded_already_stays_as_it_is():
    model = to_eight_bits(tuned())
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    again = to_eight_bits(model).state_dict()
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())


def test_nothing_is_trained_through_it():
    layer = EightBitLinear(nn.Linear(8, 8))
    assert not list(layer.parameters())
    assert not layer(torch.randn(2, 8, requires_grad=True)).requires_grad


def test_what_cannot_be_rounded_is_refused():
    with pytest.raises(InputError, match="model: is not on the CPU"):
        to_eight_bits(tuned().to("meta"))
    with pytest.raises(InputError, match="model: has no transformer layer"):
        to_eight_bits(nn.Sequential(nn.Linear(8, 8)))
