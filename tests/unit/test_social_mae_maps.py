"""Roll-out against a product written out by hand, occlusion against the model itself."""

import pytest
import torch

from thesislib.errors import InputError
from thesislib.learning.social_mae_maps import _attention, attention_rollout, occlusion
from thesislib.models.masked_autoencoder import FineTunedModel, MaskedAutoencoderConfig

SIZES = {
    "image_size": 32, "n_frames": 4, "n_mels": 32, "audio_frames": 48, "width": 32, "n_heads": 2,
    "modality_depth": 2, "decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2,
}  # fmt: skip
SHAPES = {"audio": (2, 3), "video": (2, 2, 2)}


def model_of(task="classification", **given):
    config = MaskedAutoencoderConfig(**{**SIZES, **given})
    return FineTunedModel(config, 3, task, torch.Generator().manual_seed(0)).eval()


def clip():
    generator = torch.Generator().manual_seed(1)
    audio = torch.randn(1, 48, 32, generator=generator)
    return audio, torch.randn(1, 3, 4, 32, 32, generator=generator)


@torch.no_grad()
def test_the_attention_that_is_kept_is_the_one_that_was_used():
    encoder = model_of().encoder
    layer = encoder.audio.blocks[0].attn
    taken = []
    handle = layer.register_forward_hook(lambda _, given, out: taken.append((given[0], out)))
    with _attention(encoder) as found:
        encoder.pooled(*clip(), "audio")
    handle.remove()
    (tokens, output), n_heads = taken[0], layer.n_heads
    query, key, value = layer.qkv(tokens).view(6, 3, n_heads, -1).permute(1, 2, 0, 3)
    each = torch.stack([(q @ k.T / 4).softmax(dim=1) for q, k in zip(query, key, strict=True)])
    torch.testing.assert_close(found[layer], each.mean(dim=0))
    mixed = (each @ value).transpose(0, 1).reshape(6, -1)
    torch.testing.assert_close(layer.proj(mixed), output[0])
    assert not layer.qkv._forward_hooks


@torch.no_grad()
def test_rollout_is_the_product_of_the_layers():
    encoder = model_of().encoder
    with _attention(encoder) as found:
        encoder.pooled(*clip(), "both")

    def product(blocks):
        layers = [(found[block.attn].double() + torch.eye(len(found[block.attn]))) / 2
                  for block in blocks]  # fmt: skip
        return torch.linalg.multi_dot(layers[::-1]) if len(layers) > 1 else layers[0]

    below = torch.zeros(14, 14, dtype=torch.float64)
    below[:6, :6], below[6:, 6:] = product(encoder.audio.blocks), product(encoder.video.blocks)
    expected = (product(encoder.joint.blocks) @ below).mean(dim=0) * 14
    maps = attention_rollout(encoder, *clip())
    assert {"audio": maps.audio.shape, "video": maps.video.shape} == SHAPES
    joined = torch.cat([maps.audio.flatten(), maps.video.flatten()])
    torch.testing.assert_close(joined.double(), expected, rtol=1e-5, atol=1e-6)
    assert float(joined.mean()) == pytest.approx(1)


@torch.no_grad()
def test_rollout_of_even_attention_is_even_and_of_one_token_points_there():
    encoder = model_of().encoder
    for name, parameter in encoder.named_parameters():
        if ".attn.qkv." in name:
            parameter.zero_()  # every score is 0
    audio, video = clip()
    torch.testing.assert_close(
        attention_rollout(encoder, audio, None, "audio").audio, torch.ones(2, 3)
    )
    assert attention_rollout(encoder, None, video, "video").audio is None
    # A key that only the fourth patch has draws all queries of the first layer.
    encoder.audio.embed.weight.zero_()
    encoder.audio.positions.zero_()
    encoder.audio.positions[0, 3, 0] = 30.0
    layer = encoder.audio.blocks[0].attn
    layer.qkv.bias[0] = 50.0
    layer.qkv.weight[32] = encoder.audio.blocks[0].norm1(encoder.audio.positions[0, 3])
    (found,) = attention_rollout(encoder, audio, None, "audio").audio.view(1, 6)
    assert found.argmax() == 3
    assert found[3] > 2 * found[0]


@torch.no_grad()
@pytest.mark.parametrize("layout", ["consistent", "official"])
def test_a_cost_is_the_difference_to_the_model_without_the_part(layout):
    model = model_of(layout=layout)
    audio, video = clip()
    encoder = model.encoder
    maps = occlusion(model, audio, video, 1)
    before = model(audio, video).softmax(dim=1)[0, 1]

    def without(name, gone):
        patches = encoder.audio_patches(audio), encoder.video_patches(video)
        places = {"audio": torch.arange(6), "video": torch.arange(8)}
        tokens = []
        for (kind, numbers), values in zip(places.items(), patches, strict=True):
            order, part = numbers[None], values
            if kind == "video":
                order, part = encoder.in_token_order(order[..., None])[..., 0], None
                part = encoder.in_token_order(values)
            kept = [i for i, n in enumerate(order[0].tolist()) if kind != name or n not in gone]
            tokens.append(getattr(encoder, kind)(part, torch.tensor([kept])))
        joined = encoder.joint(torch.cat(tokens, dim=1), "both").mean(dim=1)
        return model.head(joined).softmax(dim=1)[0, 1]

    assert float(maps.audio[1, 2]) == pytest.approx(float(before - without("audio", [5])), abs=1e-6)
    cost = float(before - without("video", [1, 5]))  # the second place at both times
    assert maps.video[:, 0, 1].tolist() == pytest.approx([cost, cost], abs=1e-6)
    assert abs(cost) > 1e-6


@torch.no_grad()
def test_what_the_model_does_not_use_costs_nothing():
    model = model_of()
    for name in ("weight", "bias"):
        getattr(model.head[-1], name).zero_()
    maps = occlusion(model, *clip(), 0)
    assert not maps.audio.any()
    assert not maps.video.any()
    alone = occlusion(model, clip()[0], None, 0, "audio")
    assert alone.video is None
    assert alone.audio.shape == (2, 3)


def test_what_cannot_be_is_refused():
    model = model_of()
    audio, video = clip()
    with pytest.raises(InputError, match="audio: is 2 clips"):
        attention_rollout(model.encoder, audio.repeat(2, 1, 1), video)
    with pytest.raises(InputError, match="video: is None"):
        attention_rollout(model.encoder, audio, None)
    with pytest.raises(InputError, match="mode"):
        attention_rollout(model.encoder, audio, video, "missing_audio")
    for number, task in ((3, "classification"), (-1, "classification"), (0, "regression")):
        with pytest.raises(InputError, match="is no class"):
            occlusion(model_of(task), audio, video, number)
