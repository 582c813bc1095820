"""What must hold for masks, patches, positions and sizes of any kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thesislib.errors import InputError
from thesislib.learning.losses import contrastive_loss
from thesislib.models.masked_autoencoder import (
    MaskedAutoencoderConfig,
    patchify_audio,
    patchify_video,
    time_first,
    time_last,
    unpatchify_audio,
    unpatchify_video,
)
from thesislib.models.transformer import (
    random_masking,
    sine_cosine_positions,
    take,
    visible_tokens,
)

few = settings(deadline=None, max_examples=40)
ratios = st.floats(0.05, 0.95)
seeds = st.integers(0, 2**31)


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@few
@given(n_clips=st.integers(1, 4), n_tokens=st.integers(2, 60), ratio=ratios, seed=seeds)
def test_masks_hide_what_they_say_and_can_be_undone(n_clips, n_tokens, ratio, seed):
    noise = draw(n_clips, n_tokens, seed=seed)
    n_visible = int(n_tokens * (1 - ratio))
    if n_visible == 0:
        with pytest.raises(InputError, match="mask_ratio"):
            visible_tokens(n_tokens, ratio)
        return
    assert visible_tokens(n_tokens, ratio) == n_visible
    mask = random_masking(noise, ratio)
    assert mask.visible.shape == (n_clips, n_visible)
    assert (mask.hidden.sum(dim=1) == n_tokens - n_visible).all()
    assert not mask.hidden.gather(1, mask.visible).any()
    # Every visible patch has lower noise than every hidden one.
    for row, hidden in zip(noise.numpy(), mask.hidden.numpy(), strict=True):
        assert row[~hidden].max() <= row[hidden].min()
    # Visible tokens, then fillers, restored: each token is back in its place.
    tokens = draw(n_clips, n_tokens, 3, seed=seed + 1)
    padded = torch.cat(
        [take(tokens, mask.visible), torch.full((n_clips, n_tokens - n_visible, 3), -1.0)], dim=1
    )
    expected = tokens.masked_fill(mask.hidden.unsqueeze(-1), -1.0)
    assert torch.equal(take(padded, mask.restore), expected)


@few
@given(n_tokens=st.integers(4, 60), seed=seeds)
def test_masks_follow_their_noise(n_tokens, seed):
    noise = draw(2, n_tokens, seed=seed)
    order = np.random.default_rng(seed).permutation(n_tokens)
    hidden = random_masking(noise, 0.5).hidden
    assert torch.equal(random_masking(noise[:, order], 0.5).hidden, hidden[:, order])
    assert torch.equal(random_masking(7 * noise - 3, 0.5).hidden, hidden)


@few
@given(
    f=st.integers(1, 4), t=st.integers(1, 4), side=st.integers(1, 3), steps=st.integers(1, 3),
    p=st.integers(1, 5), s=st.integers(1, 3), seed=seeds,
)  # fmt: skip
def test_patches_put_together_again_are_the_input(f, t, side, steps, p, s, seed):
    config = MaskedAutoencoderConfig(
        image_size=2 * side * p, n_frames=steps * s, tubelet_frames=s, n_mels=2 * f * p,
        audio_frames=2 * t * p, patch_size=p, mask_ratio=0.5,
    )  # fmt: skip
    audio = draw(2, config.audio_frames, config.n_mels, seed=seed)
    patches = patchify_audio(audio, p)
    assert patches.shape == (2, config.n_audio_tokens, config.audio_patch_values)
    assert torch.equal(unpatchify_audio(patches, config), audio)
    video = draw(2, 3, config.n_frames, config.image_size, config.image_size, seed=seed)
    patches = patchify_video(video, p, s)
    assert patches.shape == (2, config.n_video_tokens, config.video_patch_values)
    assert torch.equal(unpatchify_video(patches, config), video)
    reordered = time_last(patches, config.video_grid)
    assert torch.equal(time_first(reordered, config.video_grid), patches)
    grid, values = config.video_grid, config.video_patch_values
    oracle = patches.view(2, *grid, values).permute(0, 2, 3, 1, 4).reshape(patches.shape)
    assert torch.equal(reordered, oracle)


@few
@given(
    grid=st.lists(st.integers(1, 14), min_size=1, max_size=3),
    width=st.sampled_from([6, 16, 32, 64, 96, 768]),
)
def test_no_two_positions_are_alike(grid, width):
    table = sine_cosine_positions(width, grid)
    assert table.shape == (int(np.prod(grid)), width)
    assert table.abs().max() <= 1
    gaps = torch.cdist(table.double(), table.double()) + torch.eye(len(table)) * 9
    assert gaps.min() > 1e-3


@given(
    image=st.sampled_from([8, 16, 24, 32, 33]), frames=st.integers(1, 8),
    tubelet=st.integers(1, 3), audio=st.sampled_from([8, 16, 20, 64]),
    patch=st.sampled_from([8, 16]),
)  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_sizes_are_taken_or_refused_by_name(image, frames, tubelet, audio, patch):
    fits = not (image % patch or frames % tubelet or audio % patch)
    sizes = {"image_size": image, "n_frames": frames, "tubelet_frames": tubelet}
    sizes |= {"audio_frames": audio, "patch_size": patch, "n_mels": 64}
    if fits:
        if frames == tubelet and image == patch:  # a single patch cannot be seen and hidden
            with pytest.raises(InputError, match="mask_ratio"):
                MaskedAutoencoderConfig(**sizes, mask_ratio=0.5)
            return
        config = MaskedAutoencoderConfig(**sizes, mask_ratio=0.5)
        assert config.n_video_tokens == frames // tubelet * (image // patch) ** 2
        assert config.n_audio_tokens == 64 // patch * (audio // patch)
        return
    with pytest.raises(InputError) as raised:
        MaskedAutoencoderConfig(**sizes, mask_ratio=0.5)
    first, second = raised.value.path.split(", ")
    assert sizes[first] % sizes[second]
    assert str(sizes[first]) in raised.value.problem


@few
@given(n_clips=st.integers(2, 6), seed=seeds)
def test_contrastive_directions_mirror_each_other(n_clips, seed):
    audio, video = draw(n_clips, 8, seed=seed) - 0.5, draw(n_clips, 8, seed=seed + 1) - 0.5
    forth, back = contrastive_loss(audio, video), contrastive_loss(video, audio, direction="a2v")
    assert forth.loss.item() == pytest.approx(back.loss.item(), rel=1e-4, abs=1e-6)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n_clips))
    shuffled = contrastive_loss(audio[order], video[order])
    assert shuffled.loss.item() == pytest.approx(forth.loss.item(), rel=1e-4, abs=1e-6)
    assert forth.loss >= 0
