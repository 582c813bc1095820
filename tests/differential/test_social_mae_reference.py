"""Our masked autoencoder against the authors' results, and against a plain second writing of it.

The authors' results are the golden file of a small Social-MAE, found in $THESISLIB_REFERENCE_ROOT
or in the folder `reference` beside the first folder of $THESISLIB_DATA_ROOT. The second writing,
below, follows the structure of the official code from its state dict on: convolutions, softmax
spelt out, every token embedded before it is masked. It is itself held to the golden file.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from thesislib.models.eight_bit import to_eight_bits
from thesislib.models.masked_autoencoder import (
    FineTunedModel,
    MaskedAutoencoder,
    MaskedAutoencoderConfig,
)
from thesislib.models.masked_autoencoder_checkpoints import (
    load_official,
    official_name,
    official_state,
)

TOLERANCE = 1e-5  # ten times stricter than what is asked for
FINE_TUNING_MODES = {"both": "multimodal", "audio": "audioonly", "video": "videoonly"}


def reference_root() -> Path | None:
    if named := os.environ.get("THESISLIB_REFERENCE_ROOT"):
        return Path(named)
    if roots := os.environ.get("THESISLIB_DATA_ROOT"):
        return Path(roots.split(os.pathsep)[0]).parent / "reference"
    return None


@pytest.fixture(scope="module")
def golden():
    root = reference_root()
    if root is None or not (root / "social_mae_small.pt").is_file():
        pytest.skip("no social_mae_small.pt: set THESISLIB_REFERENCE_ROOT to its folder")
    return torch.load(root / "social_mae_small.pt", weights_only=True)


@pytest.fixture(scope="module")
def weights(golden) -> ModuleType:
    spec = importlib.util.spec_from_file_location("weights", reference_root() / "weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def golden_config(golden, **changes) -> MaskedAutoencoderConfig:
    sizes = golden["cfg"]
    return MaskedAutoencoderConfig(
        image_size=sizes["img_size"],
        audio_frames=sizes["audio_length"],
        n_frames=sizes["n_frame"],
        tubelet_frames=sizes["stride"],
        width=sizes["embed_dim"],
        n_heads=sizes["num_heads"],
        modality_depth=sizes["modality_specific_depth"],
        decoder_width=sizes["decoder_embed_dim"],
        decoder_depth=sizes["decoder_depth"],
        decoder_heads=sizes["decoder_num_heads"],
        **({"layout": "official"} | changes),
    )


def golden_inputs(golden):
    audio, video = golden["inputs"]["audio"], golden["inputs"]["video"]
    return audio, video.movedim(-1, 2), (golden["noise"]["a"], golden["noise"]["v"])


def agree(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    assert ours.shape == theirs.shape
    error = (ours.detach() - theirs).abs().max() / theirs.abs().max()
    assert error.item() < tolerance


@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_pretraining_agrees_with_the_authors(golden, weights, norm_pix_loss):
    expected = golden[f"norm_pix_{norm_pix_loss}"]
    model = MaskedAutoencoder(golden_config(golden, norm_pix_loss=norm_pix_loss))
    load_official(model, weights.det_state(golden["shapes"]))
    audio, video, noise = golden_inputs(golden)

    masks = model.mask(len(audio), noise=noise)
    encoder = model.encoder
    latents = model.encode(encoder.audio_patches(audio), encoder.video_patches(video), masks)
    for ours, name in zip(latents, ("latent", "ca", "cv"), strict=True):
        agree(ours, expected[name])
    for mask, modality in zip(masks, "av", strict=True):
        assert torch.equal(mask.hidden.float(), expected[f"mask_{modality}"])
        assert torch.equal(mask.restore, expected[f"ids_restore_{modality}"])

    output = model(audio, video, noise=noise)
    agree(output.predicted_audio, expected["pred_a"])
    agree(output.predicted_video, expected["pred_v"])
    agree(output.loss, expected["loss"])
    agree(output.audio_loss, expected["loss_mae_a"])
    agree(output.video_loss, expected["loss_mae_v"])
    agree(output.audio_loss + output.video_loss, expected["loss_mae"])
    agree(output.contrastive_loss, expected["loss_c_unweighted"])
    agree(model.config.contrastive_weight * output.contrastive_loss, expected["loss_c"])
    agree(output.retrieval_accuracy, expected["c_acc"])

    output.loss.backward()
    theirs = {name: gradient for name, gradient in expected["grads"].items() if gradient}
    ours = {official_name(n): p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert set(ours) == set(theirs)
    for name, (norm, _) in theirs.items():
        assert ours[name].double().norm().item() == pytest.approx(norm, rel=TOLERANCE), name


def test_the_golden_file_can_tell_the_layouts_apart(golden, weights):
    audio, video, noise = golden_inputs(golden)
    model = MaskedAutoencoder(golden_config(golden, layout="consistent"))
    load_official(model, weights.det_state(golden["shapes"]))
    output = model(audio, video, noise=noise)
    expected = golden["norm_pix_False"]
    agree(output.audio_hidden.float(), expected["mask_a"])
    assert abs(output.video_loss / expected["loss_mae_v"] - 1) > 1e-3


@pytest.mark.parametrize("layout", ["official", "consistent"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_fine_tuning_agrees_with_the_authors(golden, weights, layout, prefix):
    model = FineTunedModel(golden_config(golden, layout=layout), n_outputs=6)
    state = weights.det_state(golden["ft"]["shapes"])
    load_official(model, {prefix + name: tensor for name, tensor in state.items()})
    audio, video, _ = golden_inputs(golden)
    with torch.no_grad():
        for mode, theirs in FINE_TUNING_MODES.items():
            agree(model(audio, video, mode), golden["ft"]["outputs"][theirs])


def test_eight_bits_say_nearly_what_the_authors_do(golden, weights):
    model = FineTunedModel(golden_config(golden), n_outputs=6)
    load_official(model, weights.det_state(golden["ft"]["shapes"]))
    to_eight_bits(model)
    audio, video, _ = golden_inputs(golden)
    with torch.inference_mode():
        for mode, theirs in FINE_TUNING_MODES.items():
            expected = golden["ft"]["outputs"][theirs]
            assert (model(audio, video, mode) - expected).norm() / expected.norm() < 0.03


@pytest.mark.parametrize("layout", ["official", "consistent"])
def test_state_dicts_of_the_authors_come_back_as_they_were(golden, weights, layout):
    config = golden_config(golden, layout=layout)
    pairs = [
        (MaskedAutoencoder(config), weights.det_state(golden["shapes"])),
        (FineTunedModel(config, n_outputs=6), weights.det_state(golden["ft"]["shapes"])),
    ]
    for model, state in pairs:
        unused = load_official(model, state)
        back = official_state(model, unused)
        assert back.keys() == state.keys()
        assert all(torch.equal(back[name], state[name]) for name in state)
        assert unused
        assert len(state) == len(model.state_dict()) + len(unused)


def test_a_new_official_model_has_the_authors_positions(golden):
    state = official_state(MaskedAutoencoder(golden_config(golden)))
    for name, table in golden["init_pos_embed"].items():
        agree(state[name], table)


# ------------------------------------------------------------------------------ the second writing


def plain_block(state, name, tokens, heads, suffix=""):
    def norm(which, x):
        weight, bias = (state[f"{name}.{which}{suffix}.{leaf}"] for leaf in ("weight", "bias"))
        return F.layer_norm(x, weight.shape, weight, bias)

    def linear(which, x):
        return F.linear(x, state[f"{name}.{which}.weight"], state[f"{name}.{which}.bias"])

    mixed = []
    for query, key, value in zip(
        *(x.chunk(heads, -1) for x in linear("attn.qkv", norm("norm1", tokens)).chunk(3, -1)),
        strict=True,
    ):
        scores = torch.einsum("bnd,bmd->bnm", query, key) / query.shape[-1] ** 0.5
        mixed.append(torch.einsum("bnm,bmd->bnd", scores.softmax(-1), value))
    tokens = tokens + linear("attn.proj", torch.cat(mixed, -1))
    return tokens + linear("mlp.fc2", F.gelu(linear("mlp.fc1", norm("norm2", tokens))))


def plain_norm(state, name, tokens):
    return F.layer_norm(tokens, tokens.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def plain_tokens(state, config, audio, video):
    """All tokens of both modalities by convolution; video in the order (height, width, time)."""
    p, s = config.patch_size, config.tubelet_frames
    kernel, bias = state["patch_embed_a.proj.weight"], state["patch_embed_a.proj.bias"]
    a = F.conv2d(audio.transpose(1, 2).unsqueeze(1), kernel, bias, stride=p)
    kernel, bias = state["patch_embed_v.proj.weight"], state["patch_embed_v.proj.bias"]
    if config.n_frames == 1:
        v = F.conv2d(video[:, :, 0], kernel, bias, stride=p)
    else:
        v = F.conv3d(video.movedim(2, -1), kernel, bias, stride=(p, p, s))
    a, v = (x.flatten(2).transpose(1, 2) for x in (a, v))
    return (
        a + state["pos_embed_a"] + state["modality_a"],
        v + state["pos_embed_v"] + state["modality_v"],
    )


def plain_pretraining(state, config, audio, video, noise):
    a, v = plain_tokens(state, config, audio, video)
    kept, shown = [], []
    for tokens, values in zip((a, v), noise, strict=True):
        n = int(tokens.shape[1] * (1 - config.mask_ratio))
        kept.append(values.argsort(dim=1)[:, :n])
        shown.append(torch.stack([x[i] for x, i in zip(tokens, kept[-1], strict=True)]))
    a, v = shown
    for layer in range(config.modality_depth):
        a = plain_block(state, f"blocks_a.{layer}", a, config.n_heads)
        v = plain_block(state, f"blocks_v.{layer}", v, config.n_heads)
    latent = torch.cat([a, v], dim=1)
    for layer in range(config.joint_depth):
        latent = plain_block(state, f"blocks_u.{layer}", latent, config.n_heads)
    latent = plain_norm(state, "norm", latent)
    last = f"blocks_u.{config.joint_depth - 1}"
    c_a = plain_norm(state, "norm_a", plain_block(state, last, a, config.n_heads, "_a"))
    c_v = plain_norm(state, "norm_v", plain_block(state, last, v, config.n_heads, "_v"))

    x = F.linear(latent, state["decoder_embed.weight"], state["decoder_embed.bias"])
    hidden, rows = [], []
    for part, ids, m in zip((x[:, : a.shape[1]], x[:, a.shape[1] :]), kept, "av", strict=True):
        n = state[f"decoder_pos_embed_{m}"].shape[1]
        full = state["mask_token"].repeat(len(x), n, 1)
        mask = torch.ones(len(x), n)
        for clip, index in enumerate(ids):
            full[clip, index] = part[clip]
            mask[clip, index] = 0
        hidden.append(mask)
        rows.append(full + state[f"decoder_pos_embed_{m}"] + state[f"decoder_modality_{m}"])
    x = torch.cat(rows, dim=1)
    for layer in range(config.decoder_depth):
        x = plain_block(state, f"decoder_blocks.{layer}", x, config.decoder_heads)
    x = plain_norm(state, "decoder_norm", x)
    losses = []
    p, s = config.patch_size, config.tubelet_frames
    image = audio.transpose(1, 2)
    targets = [
        image.unfold(1, p, p).unfold(2, p, p).flatten(3).flatten(1, 2),
        video.unfold(2, s, s).unfold(3, p, p).unfold(4, p, p).permute(0, 2, 3, 4, 5, 6, 7, 1)
        .flatten(4).flatten(1, 3),
    ]  # fmt: skip
    parts = x.split([rows[0].shape[1], rows[1].shape[1]], dim=1)
    for part, target, mask, m in zip(parts, targets, hidden, "av", strict=True):
        predicted = F.linear(
            part, state[f"decoder_pred_{m}.weight"], state[f"decoder_pred_{m}.bias"]
        )
        if config.norm_pix_loss:
            target = (target - target.mean(-1, keepdim=True)) / (
                target.var(-1, keepdim=True) + 1e-6
            ) ** 0.5
        losses.append(((predicted - target) ** 2).mean(-1)[mask == 1].mean())
    pooled = [F.normalize(c.mean(1), dim=-1) for c in (c_a, c_v)]
    similarity = pooled[0] @ pooled[1].T / config.temperature
    losses.append(-similarity.log_softmax(dim=0).diag().mean())
    return losses, hidden


def plain_logits(state, config, audio, video, mode):
    a, v = plain_tokens(state, config, audio, video)
    for layer in range(config.modality_depth):
        a = plain_block(state, f"blocks_a.{layer}", a, config.n_heads)
        v = plain_block(state, f"blocks_v.{layer}", v, config.n_heads)

    def joint(tokens, suffix):
        for layer in range(config.joint_depth):
            tokens = plain_block(state, f"blocks_u.{layer}", tokens, config.n_heads, suffix)
        return plain_norm(state, f"norm{suffix}", tokens).mean(1)

    pooled = {
        "both": lambda: joint(torch.cat([a, v], dim=1), ""),
        "audio": lambda: joint(a, "_a"),
        "video": lambda: joint(v, "_v"),
        "missing_video": lambda: (joint(a, "") + joint(a, "_a")) / 2,
        "missing_audio": lambda: (joint(v, "") + joint(v, "_v")) / 2,
    }[mode]()
    return F.linear(
        plain_norm(state, "mlp_head.0", pooled),
        state["mlp_head.1.weight"],
        state["mlp_head.1.bias"],
    )


SMALL = MaskedAutoencoderConfig(
    image_size=48, audio_frames=64, n_mels=64, width=48, n_heads=4, modality_depth=2,
    decoder_width=32, decoder_depth=1, decoder_heads=2, layout="official",
)  # fmt: skip
SIZES = {
    "eight frames": SMALL,
    "one frame": replace(SMALL, n_frames=1, tubelet_frames=1, norm_pix_loss=True),
    "one frame, deeper": replace(
        SMALL, n_frames=1, tubelet_frames=1, joint_depth=2, modality_depth=1, n_mels=32
    ),
    "long tubelets": replace(SMALL, n_frames=12, tubelet_frames=4, mask_ratio=0.5, image_size=32),
    "single frames": replace(SMALL, n_frames=4, tubelet_frames=1, joint_depth=3, width=32),
    "small patches": replace(SMALL, patch_size=8, norm_pix_loss=True, mlp_ratio=2),
}


def example(config, n_clips=3):
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    side, frames = config.image_size, config.n_frames
    audio, video = (
        draw(n_clips, config.audio_frames, config.n_mels),
        draw(n_clips, 3, frames, side, side),
    )
    return (
        audio,
        video,
        (draw(n_clips, config.n_audio_tokens), draw(n_clips, config.n_video_tokens)),
    )


def perturbed_state(model):
    """Random everywhere: at their initial values the norms of the three passes are all alike."""
    generator = torch.Generator().manual_seed(2)
    return {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in official_state(model).items()
    }


@pytest.mark.parametrize("config", SIZES.values(), ids=SIZES)
def test_pretraining_of_any_size_agrees_with_the_plain_writing(config):
    model = MaskedAutoencoder(config, torch.Generator().manual_seed(0))
    state = perturbed_state(model)
    load_official(model, state)
    audio, video, noise = example(config)
    losses, hidden = plain_pretraining(state, config, audio, video, noise)
    output = model(audio, video, noise=noise)
    for ours, theirs in zip(output[1:4], losses, strict=True):
        agree(ours, theirs)
    agree(output.audio_hidden.float(), hidden[0])
    agree(output.video_hidden.float(), hidden[1])


@pytest.mark.parametrize("layout", ["official", "consistent"])
@pytest.mark.parametrize("config", SIZES.values(), ids=SIZES)
def test_fine_tuning_of_any_size_agrees_with_the_plain_writing(config, layout):
    model = FineTunedModel(replace(config, layout=layout), 4)
    state = perturbed_state(model)
    load_official(model, state)
    audio, video, _ = example(config)
    with torch.no_grad():
        for mode in ("both", "audio", "video", "missing_audio", "missing_video"):
            agree(model(audio, video, mode), plain_logits(state, config, audio, video, mode))


@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_the_plain_writing_agrees_with_the_authors(golden, weights, norm_pix_loss):
    config = golden_config(golden, norm_pix_loss=norm_pix_loss)
    audio, video, noise = golden_inputs(golden)
    expected = golden[f"norm_pix_{norm_pix_loss}"]
    state = weights.det_state(golden["shapes"])
    losses, hidden = plain_pretraining(state, config, audio, video, noise)
    for ours, name in zip(losses, ("loss_mae_a", "loss_mae_v", "loss_c_unweighted"), strict=True):
        agree(ours, expected[name])
    agree(hidden[1], expected["mask_v"])
    state = weights.det_state(golden["ft"]["shapes"])
    for mode, theirs in FINE_TUNING_MODES.items():
        agree(plain_logits(state, config, audio, video, mode), golden["ft"]["outputs"][theirs])
