"""The masked autoencoder: sizes, order of tokens, masking, passes, heads, weights, bad input."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from torch import nn

from thesislib.errors import InputError
from thesislib.learning.losses import reconstruction_loss
from thesislib.models import transformer
from thesislib.models.masked_autoencoder import (
    CAV_MAE,
    SOCIAL_MAE,
    FineTunedModel,
    MaskedAutoencoder,
    MaskedAutoencoderConfig,
    patchify_audio,
    patchify_video,
    position_tables,
    time_last,
    unpatchify_audio,
    unpatchify_video,
)
from thesislib.models.masked_autoencoder_checkpoints import (
    inflate_frames,
    load_official,
    official_state,
)
from thesislib.models.transformer import Block, attention, kernel_for, sine_cosine_positions

EIGHT = MaskedAutoencoderConfig(
    image_size=32, audio_frames=64, n_mels=32, width=48, n_heads=4, modality_depth=2,
    decoder_width=32, decoder_depth=1, decoder_heads=2,
)  # fmt: skip
ONE = replace(EIGHT, n_frames=1, tubelet_frames=1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(config: MaskedAutoencoderConfig, n: int = 3, seed: int = 1):
    generator = seeded(seed)
    audio = torch.randn(n, config.audio_frames, config.n_mels, generator=generator)
    side = config.image_size
    return audio, torch.randn(n, 3, config.n_frames, side, side, generator=generator)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# ---------------------------------------------------------------------------------------- sizes


def test_sizes_of_the_thesis():
    assert SOCIAL_MAE.audio_grid == (8, 64)
    assert SOCIAL_MAE.video_grid == (4, 14, 14)
    assert (SOCIAL_MAE.n_audio_tokens, SOCIAL_MAE.n_video_tokens) == (512, 784)
    assert CAV_MAE.n_video_tokens == 196
    assert transformer.visible_tokens(512, 0.75) == 128
    assert transformer.visible_tokens(784, 0.75) == 196


@pytest.mark.parametrize(
    ("config", "in_checkpoint", "in_model"),
    [(SOCIAL_MAE, 192_772_608, 192_604_672), (CAV_MAE, 191_036_160, 190_868_224)],
    ids=["Social-MAE", "CAV-MAE"],
)
def test_parameters_and_keys_at_full_size(config, in_checkpoint, in_model):
    with torch.device("meta"):
        model = MaskedAutoencoder(config)
        state = official_state(model)
        fine_tuned = FineTunedModel(config, n_outputs=6)
        fine_tuned_state = official_state(fine_tuned)
    assert parameters(model) == in_model
    assert sum(tensor.numel() for tensor in state.values()) == in_checkpoint
    assert len(state) == 647
    assert len(fine_tuned_state) == 478
    assert len(state) - len(model.state_dict()) == 240  # norms that no pass reaches
    assert len(fine_tuned_state) - len(fine_tuned.state_dict()) == 176
    kernel = (768, 3, 16, 16, 2) if config is SOCIAL_MAE else (768, 3, 16, 16)
    assert state["patch_embed_v.proj.weight"].shape == kernel


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"image_size": 225}, "image_size, patch_size"),
        ({"n_mels": 100}, "n_mels, patch_size"),
        ({"audio_frames": 1000}, "audio_frames, patch_size"),
        ({"n_frames": 7}, "n_frames, tubelet_frames"),
        ({"n_frames": 1}, "n_frames, tubelet_frames"),
        ({"width": 770}, "width, n_heads"),
        ({"decoder_heads": 7}, "decoder_width, decoder_heads"),
        ({"patch_size": 0}, "patch_size"),
        ({"n_frames": 8.0}, "n_frames"),
        ({"mask_ratio": 1.0}, "mask_ratio"),
        ({"mask_ratio": 0.0}, "mask_ratio"),
        ({"mask_ratio": float("nan")}, "mask_ratio"),
        ({"temperature": 0.0}, "temperature"),
        ({"contrastive_weight": -1.0}, "contrastive_weight"),
        ({"direction": "va"}, "direction"),
        ({"layout": "theirs"}, "layout"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(changes, fields):
    with pytest.raises(InputError) as raised:
        MaskedAutoencoderConfig(**changes)
    assert raised.value.path == fields


def test_a_config_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        SOCIAL_MAE.width = 512


# ------------------------------------------------------------------------------ patches, positions


def test_audio_patches_against_slicing():
    audio, _ = clips(EIGHT)
    patches = patchify_audio(audio)
    for f in range(2):
        for t in range(4):
            block = audio[:, 16 * t : 16 * t + 16, 16 * f : 16 * f + 16]
            assert torch.equal(patches[:, 4 * f + t], block.transpose(1, 2).flatten(1))


def test_video_patches_against_slicing():
    _, video = clips(EIGHT)
    patches = patchify_video(video)
    for index in range(EIGHT.n_video_tokens):
        t, h, w = np.unravel_index(index, EIGHT.video_grid)
        rows, columns = slice(16 * h, 16 * h + 16), slice(16 * w, 16 * w + 16)
        block = video[:, :, 2 * t : 2 * t + 2, rows, columns]
        assert torch.equal(patches[:, index], block.permute(0, 2, 3, 4, 1).flatten(1))


def test_positions_of_a_single_frame_are_the_table_of_masked_autoencoders():
    audio, video = position_tables(ONE, 48)
    for table, (rows, columns) in ((audio, ONE.audio_grid), (video, ONE.video_grid[1:])):
        rates = 1 / 10_000 ** (np.arange(12) / 12)
        for index, row in enumerate(table[0].numpy()):
            y, x = divmod(index, columns)
            assert y < rows
            code = [np.sin(x * rates), np.cos(x * rates), np.sin(y * rates), np.cos(y * rates)]
            np.testing.assert_allclose(row, np.concatenate(code), atol=1e-6)


def test_positions_of_several_frames_tell_every_token_apart():
    _, proper = position_tables(SOCIAL_MAE, 768)
    _, official = position_tables(replace(SOCIAL_MAE, layout="official"), 768)
    assert len(torch.unique(proper[0], dim=0)) == 784
    assert len(torch.unique(official[0], dim=0)) == 28  # note 3
    table = proper[0].view(4, 14, 14, 768)
    # Each axis has its third: width, height, time.
    assert torch.equal(table[0, 0, :, :256], table[3, 9, :, :256])
    assert torch.equal(table[0, :, 0, 256:512], table[3, :, 9, 256:512])
    assert torch.equal(table[:, 0, 0, 512:], table[:, 5, 9, 512:])
    torch.testing.assert_close(table[:, 0, 0, 512:], sine_cosine_positions(256, (4,)))


def test_the_official_order_agrees_at_four_places_only():
    order = torch.arange(784).view(1, 784)
    agree = time_last(order, SOCIAL_MAE.video_grid) == order
    assert agree.sum() == 4  # note 2


@pytest.mark.parametrize("layout", ["consistent", "official"])
def test_token_position_mask_and_target_share_an_order(layout):
    """Change one patch of the pixels: which token moves, and which target?"""
    config = replace(EIGHT, layout=layout)
    encoder = MaskedAutoencoder(config, seeded()).encoder
    _, video = clips(config, 1)
    moved_tokens = []
    for index in range(config.n_video_tokens):
        patches = encoder.video_patches(video)
        patches[:, index] += 1
        changed = encoder.video_patches(unpatchify_video(patches, config))
        targets = (changed != encoder.video_patches(video)).any(dim=-1)
        assert targets.nonzero()[:, 1].tolist() == [index]
        tokens = encoder.in_token_order(changed) != encoder.in_token_order(
            encoder.video_patches(video)
        )
        moved_tokens += tokens.any(dim=-1).nonzero()[:, 1].tolist()
    assert sorted(moved_tokens) == list(range(config.n_video_tokens))
    assert (moved_tokens == sorted(moved_tokens)) == (layout == "consistent")


# -------------------------------------------------------------------------------- the transformer


def test_a_block_is_torchs_own_pre_norm_layer():
    block = Block(48, 4, mlp_ratio=2)
    oracle = nn.TransformerEncoderLayer(
        48, 4, dim_feedforward=96, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    for ours, theirs in (
        (block.norm1, oracle.norm1),
        (block.norm2, oracle.norm2),
        (block.attn.proj, oracle.self_attn.out_proj),
        (block.mlp.fc1, oracle.linear1),
        (block.mlp.fc2, oracle.linear2),
    ):
        theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        oracle.self_attn.in_proj_weight.copy_(block.attn.qkv.weight)
        oracle.self_attn.in_proj_bias.copy_(block.attn.qkv.bias)
    tokens = torch.randn(2, 9, 48, generator=seeded())
    np.testing.assert_allclose(
        block(tokens).detach(), oracle(tokens).detach(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("dtype", "n_tokens", "kernel"),
    [
        (torch.float32, 64, "fused"),
        (torch.float32, 600, "fused"),
        (torch.bfloat16, 64, "explicit"),
        (torch.bfloat16, 600, "head by head"),
    ],
)
@pytest.mark.parametrize("autocast", [False, True])
def test_every_attention_kernel_agrees_with_the_formula(dtype, n_tokens, kernel, autocast):
    inputs = [
        torch.randn(1, 2, n, 16, generator=seeded(i)).to(dtype).requires_grad_()
        for i, n in enumerate((n_tokens - 7, n_tokens, n_tokens))
    ]
    grad = torch.randn(inputs[0].shape, generator=seeded(3)).to(dtype)
    assert kernel_for(inputs[1]) == kernel
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast and dtype == torch.bfloat16):
        got = attention(*inputs)
    got.backward(grad)
    q, k, v = (x.detach().double().requires_grad_() for x in inputs)
    exact = (q @ k.transpose(-2, -1) / 4).softmax(-1) @ v
    exact.backward(grad.double())
    assert got.dtype == dtype
    tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5
    pairs = [(got, exact), *zip((x.grad for x in inputs), (q.grad, k.grad, v.grad), strict=True)]
    for ours, wanted in pairs:
        assert (ours.double() - wanted).norm() < tolerance * wanted.norm()


def test_heads_must_divide_the_width():
    with pytest.raises(InputError, match="n_heads"):
        Block(48, 5)


# ------------------------------------------------------------------------------------ pre-training


@pytest.mark.parametrize("config", [EIGHT, ONE], ids=["eight", "one"])
def test_hidden_patches_reach_the_loss_but_not_the_encoder(config):
    model = MaskedAutoencoder(config, seeded())
    audio, video = clips(config)
    masks = model.mask(3, generator=seeded(4))
    noise = tuple(mask.restore.float() for mask in masks)
    audio_patches, video_patches = (
        patchify_audio(audio),
        patchify_video(video, 16, config.tubelet_frames),
    )
    audio_patches[masks[0].hidden] = 9.0
    video_patches[masks[1].hidden] = -9.0
    other = unpatchify_audio(audio_patches, config), unpatchify_video(video_patches, config)
    first, second = model(audio, video, noise=noise), model(*other, noise=noise)
    assert torch.equal(first.predicted_audio, second.predicted_audio)
    assert torch.equal(first.predicted_video, second.predicted_video)
    assert torch.equal(first.contrastive_loss, second.contrastive_loss)
    assert second.audio_loss > 10 * first.audio_loss
    assert second.video_loss > 10 * first.video_loss


def test_visible_patches_reach_the_encoder_but_not_the_loss():
    model = MaskedAutoencoder(EIGHT, seeded())
    audio, video = clips(EIGHT)
    output = model(audio, video, generator=seeded(4))
    prediction = output.predicted_video.clone()
    prediction[output.video_hidden] = patchify_video(video)[output.video_hidden]
    target = patchify_video(video)
    assert reconstruction_loss(prediction, target, output.video_hidden) == 0
    assert ((prediction - target) != 0).any()


def test_the_encoder_works_on_visible_tokens_only():
    model = MaskedAutoencoder(EIGHT, seeded())
    lengths: dict[str, list[int]] = {"embed": [], "block": []}
    for module in model.encoder.modules():
        if isinstance(module, Block):
            module.register_forward_hook(
                lambda _m, inputs, _o: lengths["block"].append(inputs[0].shape[1])
            )
    for branch in (model.encoder.audio, model.encoder.video):
        branch.embed.register_forward_hook(
            lambda _m, inputs, _o: lengths["embed"].append(inputs[0].shape[1])
        )
    model(*clips(EIGHT))
    assert lengths == {"embed": [2, 4], "block": [2, 2, 4, 4]}  # a quarter of 8 and of 16


def test_loss_is_the_weighted_sum_and_contrast_can_be_left_out():
    config = replace(EIGHT, contrastive_weight=0.5, reconstruction_weight=3.0)
    model = MaskedAutoencoder(config, seeded())
    audio, video = clips(config)
    output = model(audio, video, generator=seeded(1))
    expected = 3 * (output.audio_loss + output.video_loss) + 0.5 * output.contrastive_loss
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert output.contrastive_loss > 0
    alone = model(audio, video, generator=seeded(1), contrast=False)
    assert alone.contrastive_loss == 0
    assert alone.loss.item() == pytest.approx(3 * (alone.audio_loss + alone.video_loss).item())
    assert torch.equal(alone.predicted_video, output.predicted_video)


def test_norm_pix_loss_changes_the_target_only():
    audio, video = clips(EIGHT)
    video = 3 * video + 5
    losses = []
    for norm_pix_loss in (False, True):
        model = MaskedAutoencoder(replace(EIGHT, norm_pix_loss=norm_pix_loss), seeded())
        losses.append(model(audio, video, generator=seeded(1)))
    assert torch.equal(losses[0].predicted_video, losses[1].predicted_video)
    assert losses[0].video_loss > 5 * losses[1].video_loss


def test_three_passes_share_weights_and_have_norms_of_their_own():
    model = MaskedAutoencoder(EIGHT, seeded())
    audio, video = clips(EIGHT)
    model(audio, video, generator=seeded(1)).loss.backward()
    without = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not without
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        "encoder.audio.positions", "encoder.video.positions",
        "decoder.audio_positions", "decoder.video_positions",
    }  # fmt: skip
    tokens = torch.randn(2, 5, 48, generator=seeded(2))
    joint = model.encoder.joint
    before = joint(tokens, "both")
    with torch.no_grad():
        joint.blocks[0].norm1["audio"].weight += 1
        joint.norm["video"].bias += 1
    assert torch.equal(joint(tokens, "both"), before)
    assert not torch.allclose(joint(tokens, "audio"), before)
    np.testing.assert_allclose(joint(tokens, "video").detach(), before.detach() + 1, atol=1e-5)


def test_learned_positions_are_an_option():
    model = MaskedAutoencoder(replace(EIGHT, trainable_positions=True), seeded())
    model(*clips(EIGHT)).loss.backward()
    assert model.encoder.video.positions.grad is not None
    assert model.decoder.audio_positions.grad is not None


def test_gathered_means_feed_the_contrastive_loss():
    model = MaskedAutoencoder(EIGHT, seeded())
    audio, video = clips(EIGHT, 4)
    noise = (torch.rand(4, 8, generator=seeded(1)), torch.rand(4, 16, generator=seeded(2)))
    whole = model(audio, video, noise=noise)
    kept: list[torch.Tensor] = []
    model(audio[2:], video[2:], noise=(noise[0][2:], noise[1][2:]),
          gather=lambda mean: kept.append(mean) or mean)  # fmt: skip
    half = model(
        audio[:2],
        video[:2],
        noise=(noise[0][:2], noise[1][:2]),
        gather=lambda mean: torch.cat([mean, kept.pop(0)]),
    )
    assert half.contrastive_loss.item() == pytest.approx(whole.contrastive_loss.item(), rel=1e-5)


def test_a_batch_of_one_names_what_to_change():
    model = MaskedAutoencoder(EIGHT, seeded())
    audio, video = clips(EIGHT, 1)
    with pytest.raises(InputError, match=r"^batch_size: .*contrastive_weight"):
        model(audio, video)
    assert torch.isfinite(model(audio, video, contrast=False).loss)
    alone = MaskedAutoencoder(replace(EIGHT, contrastive_weight=0.0), seeded())
    assert torch.isfinite(alone(audio, video).loss)


def test_weights_and_masks_come_from_their_generators():
    state = torch.get_rng_state()
    audio, video = clips(EIGHT)
    with torch.random.fork_rng():
        models = [MaskedAutoencoder(EIGHT, seeded(i)) for i in (5, 5, 6)]
    states = [model.state_dict() for model in models]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    name = "decoder.embed.weight"
    assert not torch.equal(states[0][name], states[2][name])
    outputs = [models[0](audio, video, generator=seeded(i)) for i in (1, 1, 2)]
    assert torch.equal(outputs[0].loss, outputs[1].loss)
    assert not torch.equal(outputs[0].audio_hidden, outputs[2].audio_hidden)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("config", [EIGHT, ONE], ids=["eight", "one"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_learns(config, dtype):
    """A few steps on clips whose two halves show the same pattern: both losses must fall."""
    model = MaskedAutoencoder(replace(config, contrastive_weight=0.1), seeded())
    level = torch.linspace(-1, 1, 4).view(4, 1, 1)
    audio = level * torch.linspace(-1, 1, 32).expand(4, 64, 32)
    side = torch.linspace(-1, 1, 32).view(1, 1, 1, 32, 1)
    video = (level.view(4, 1, 1, 1, 1) * side).expand(4, 3, config.n_frames, 32, 32)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator, outputs = seeded(3), []
    for _ in range(60):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = model(audio, video, generator=generator)
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        outputs.append(output)
    for name in ("audio_loss", "video_loss"):
        assert getattr(outputs[-1], name) < 0.4 * getattr(outputs[0], name), name
    late = np.mean([output.contrastive_loss.item() for output in outputs[-5:]])
    assert late < 0.6 * outputs[0].contrastive_loss.item()


def test_inputs_of_another_size_are_refused_by_name():
    model = MaskedAutoencoder(EIGHT, seeded())
    audio, video = clips(EIGHT)
    wrong = {
        "audio": [(audio[:, :48], video), (audio[0], video), (audio.transpose(1, 2), video)],
        "video": [(audio, video[:, :, :6]), (audio, video[..., :16]), (audio, video[:, :, 0])],
        "audio, video": [(audio[:2], video)],
    }
    for field, inputs in wrong.items():
        for pair in inputs:
            with pytest.raises(InputError) as raised:
                model(*pair)
            assert raised.value.path == field
    with pytest.raises(InputError, match="noise"):
        model(audio, video, noise=(torch.rand(3, 8), torch.rand(3, 8)))


@pytest.mark.parametrize("layout", ["consistent", "official"])
@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_pictures_of_a_perfect_prediction_are_the_input(norm_pix_loss, layout):
    config = replace(EIGHT, norm_pix_loss=norm_pix_loss, layout=layout)
    model = MaskedAutoencoder(config, seeded())
    audio, video = clips(config)
    output = model(audio, video, generator=seeded(1))

    def perfect(patches):
        if not norm_pix_loss:
            return patches
        return (patches - patches.mean(-1, keepdim=True)) / (
            patches.var(-1, keepdim=True) + 1e-6
        ).sqrt()

    output = output._replace(
        predicted_audio=perfect(patchify_audio(audio)),
        predicted_video=perfect(patchify_video(video)),
    )
    pictures = model.pictures(output, audio, video)
    np.testing.assert_allclose(pictures.audio, audio, atol=1e-5)
    np.testing.assert_allclose(pictures.video, video, atol=1e-5)
    # Noise over the hidden pixels changes nothing that the encoder computes.
    noise = [mask.restore.float() for mask in model.mask(3, generator=seeded(1))]
    spoilt = model(
        audio.masked_fill(pictures.audio_hidden, 3.0),
        video.masked_fill(pictures.video_hidden, 3.0),
        noise=tuple(noise),
    )
    untouched = model(audio, video, noise=tuple(noise))
    assert torch.equal(spoilt.predicted_video, untouched.predicted_video)
    assert pictures.video_hidden.float().mean() == 0.75


# ------------------------------------------------------------------------------------- fine-tuning


@pytest.mark.parametrize("config", [EIGHT, ONE], ids=["eight", "one"])
def test_modes_use_what_they_name(config):
    model = FineTunedModel(config, 5, generator=seeded())
    (audio, video), (other_audio, other_video) = clips(config), clips(config, seed=7)
    for mode, uses_audio, uses_video in (
        ("both", True, True),
        ("audio", True, False),
        ("missing_video", True, False),
        ("video", False, True),
        ("missing_audio", False, True),
    ):
        logits = model(audio, video, mode)
        assert logits.shape == (3, 5)
        assert torch.equal(model(other_audio, video, mode), logits) != uses_audio
        assert torch.equal(model(audio, other_video, mode), logits) != uses_video
        if not uses_audio:
            assert torch.equal(model(None, video, mode), logits)
        if not uses_video:
            assert torch.equal(model(audio, None, mode), logits)


def test_a_missing_modality_is_never_guessed():
    model = FineTunedModel(EIGHT, 5, generator=seeded())
    audio, video = clips(EIGHT)
    with pytest.raises(InputError, match=r"^video: is None.*missing_video"):
        model(audio, None)
    with pytest.raises(InputError, match=r"^audio: is None"):
        model(None, video, "audio")
    with pytest.raises(InputError, match=r"^mode: "):
        model(audio, video, "audioonly")


def test_a_missing_half_is_the_mean_of_two_passes():
    encoder = FineTunedModel(EIGHT, 5, generator=seeded()).encoder
    with torch.no_grad():
        encoder.joint.norm["audio"].bias += 1
    audio, _ = clips(EIGHT)
    tokens = encoder.audio(encoder.audio_patches(audio))
    passes = [encoder.joint(tokens, which).mean(dim=1) for which in ("both", "audio")]
    expected = (passes[0] + passes[1]) / 2
    got = encoder.pooled(audio, None, "missing_video")
    np.testing.assert_allclose(got.detach(), expected.detach(), atol=1e-6)


@pytest.mark.parametrize("mode", ["both", "audio", "video"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_heads_learn_their_task(task, mode):
    config = replace(EIGHT, modality_depth=1)
    model = FineTunedModel(config, 3, task, generator=seeded())
    audio, video = clips(config, 6)
    labels = torch.arange(6) % 3
    target = labels if task == "classification" else nn.functional.one_hot(labels, 3).float()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = model.loss(model(audio, video, mode), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_heads_refuse_labels_outside_the_range():
    model = FineTunedModel(EIGHT, 3, generator=seeded())
    with pytest.raises(InputError, match=r"^labels: row 1: 3 is outside 0 to 2"):
        model.loss(torch.zeros(2, 3), torch.tensor([0, 3]))
    model = FineTunedModel(EIGHT, 5, "regression", generator=seeded())
    with pytest.raises(InputError, match=r"^target: row 0, trait 4"):
        model.loss(torch.zeros(1, 5), torch.tensor([[0.0, 0.1, 0.2, 1.0, 1.1]]))
    with pytest.raises(InputError, match="n_outputs"):
        FineTunedModel(EIGHT, 0)
    with pytest.raises(InputError, match="task"):
        FineTunedModel(EIGHT, 2, "ranking")


# ------------------------------------------------------------------------------- official weights


def random_state(model, seed=0):
    generator = seeded(seed)
    return {
        name: 0.2 * torch.randn(tensor.shape, generator=generator) + tensor
        for name, tensor in official_state(model).items()
    }


@pytest.mark.parametrize("layout", ["consistent", "official"])
@pytest.mark.parametrize("config", [EIGHT, ONE], ids=["eight", "one"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_weights_round_trip(config, layout, prefix):
    for model in (
        MaskedAutoencoder(replace(config, layout=layout)),
        FineTunedModel(replace(config, layout=layout), 6),
    ):
        state = {prefix + name: tensor for name, tensor in random_state(model).items()}
        unused = load_official(model, state)
        back = official_state(model, unused, prefix=prefix)
        assert back.keys() == state.keys()
        assert all(torch.equal(back[name], state[name]) for name in state)
        without = official_state(model)
        spare = "blocks_a.0.norm1_v."
        assert (without[spare + "weight"] == 1).all()
        assert (without[spare + "bias"] == 0).all()


def test_both_layouts_compute_the_same_from_the_same_weights():
    models = [FineTunedModel(replace(EIGHT, layout=x), 6) for x in ("consistent", "official")]
    state = random_state(models[0])
    audio, video = clips(EIGHT)
    logits = []
    for model in models:
        load_official(model, state)
        logits.append(model(audio, video, "video").detach())
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-4)


def test_pretrained_weights_go_into_a_fine_tuned_model():
    pretrained = MaskedAutoencoder(EIGHT)
    model = FineTunedModel(EIGHT, 6, generator=seeded())
    head = model.head[1].weight.clone()
    unused = load_official(model, random_state(pretrained))
    assert torch.equal(model.head[1].weight, head)
    assert set(official_state(model, unused)) == set(official_state(FineTunedModel(EIGHT, 6)))
    load_official(pretrained, random_state(pretrained))
    for name, tensor in pretrained.encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], tensor)


def test_weights_that_do_not_fit_are_refused_by_name():
    model = MaskedAutoencoder(EIGHT)
    state = official_state(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for broken, message in (
        ({k: v for k, v in state.items() if k != "blocks_u.0.norm1_a.bias"}, "lacks 1 .*norm1_a"),
        (state | {"cls_token": torch.zeros(1)}, "unknown.*cls_token"),
        (state | {"norm.bias": torch.zeros(7)}, r"norm.bias: shape \(7,\) is not \(48,\)"),
        (official_state(MaskedAutoencoder(ONE)), "pos_embed_v|patch_embed_v.*inflate_frames"),
        (official_state(FineTunedModel(EIGHT, 6)), "lacks .*decoder"),
        ({}, "lacks"),
    ):
        with pytest.raises(InputError, match=message):
            load_official(model, broken)
    assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
    with pytest.raises(InputError, match=r"mlp_head.1.weight"):
        load_official(FineTunedModel(EIGHT, 5), official_state(FineTunedModel(EIGHT, 6)))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_inflated_weights_see_a_still_clip_as_the_frame_it_is(prefix):
    one, eight = FineTunedModel(ONE, 6), FineTunedModel(EIGHT, 6)
    state = random_state(one)
    load_official(one, state)
    state = {prefix + name: tensor for name, tensor in state.items()}
    load_official(eight, inflate_frames(state, EIGHT, time_code=False))
    audio, frame = clips(ONE)
    still = frame.expand(-1, -1, 8, -1, -1)
    for mode in ("video", "audio"):
        expected = one(audio, frame, mode).detach()
        np.testing.assert_allclose(eight(audio, still, mode).detach(), expected, atol=1e-4)
    # By default, time steps are told apart: the first keeps its positions, later ones move.
    load_official(eight, inflate_frames(state, EIGHT))
    positions = eight.encoder.video.positions[0].unflatten(0, EIGHT.video_grid)
    single = one.encoder.video.positions[0].unflatten(0, (2, 2))
    np.testing.assert_allclose(positions[0].detach(), single.detach(), atol=1e-6)
    assert len(torch.unique(positions.flatten(0, 2), dim=0)) == 16


@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_an_inflated_decoder_draws_the_same_patch_in_every_frame(norm_pix_loss):
    one = MaskedAutoencoder(replace(ONE, norm_pix_loss=norm_pix_loss))
    eight = MaskedAutoencoder(replace(EIGHT, norm_pix_loss=norm_pix_loss))
    state = random_state(one)
    load_official(one, state)
    load_official(eight, inflate_frames(state, eight.config, time_code=False))
    tokens = torch.randn(2, 4, 32, generator=seeded())
    first, second = one.decoder.predict_video(tokens), eight.decoder.predict_video(tokens)
    assert torch.equal(second[..., :768], second[..., 768:])
    np.testing.assert_allclose(second[..., :768].detach(), first.detach(), atol=1e-5)


def test_only_one_frame_can_be_inflated():
    with pytest.raises(InputError, match="of one frame"):
        inflate_frames(official_state(FineTunedModel(EIGHT, 6)), EIGHT)
    with pytest.raises(InputError, match="pos_embed_v"):
        inflate_frames(official_state(FineTunedModel(ONE, 6)), replace(EIGHT, image_size=48))
    with pytest.raises(InputError, match=r"patch_embed_v.proj.weight"):
        inflate_frames({}, EIGHT)
