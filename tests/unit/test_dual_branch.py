"""The two branches: patches, what each branch sees, controls, and what they cannot use."""

import copy

import pytest
import torch

from thesislib.errors import InputError
from thesislib.learning.branch_features import (
    branch_features,
    describe_recordings,
    mean_of_tokens,
    spectrograms,
    window_samples,
)
from thesislib.learning.losses import reconstruction_loss
from thesislib.models.ast import ASTConfig, build_ast
from thesislib.models.dual_branch import (
    DualBranch,
    DualBranchConfig,
    blank,
    embed,
    encode,
    fill,
    patch_grid,
)
from thesislib.models.encoders import EncoderConfig, WhisperEncoder
from thesislib.models.transformer import random_masking, take

KINDS = ("whisper", "ast")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def encoder(kind="whisper"):
    if kind == "ast":
        sizes = ASTConfig(
            n_mels=32, n_frames=64, width=16, heads=2, layers=2, ffn_width=32, norm_eps=1e-5
        )
        return build_ast(sizes, generator())
    sizes = EncoderConfig(n_mels=32, n_positions=48, width=16, heads=2, layers=2, ffn_width=32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whisper = WhisperEncoder(sizes)
        with torch.no_grad():  # torch draws positions that would drown the spectrogram
            whisper.embed_positions.weight.mul_(0.1)
        return whisper


def model(kind="whisper", **choices):
    frames = {"n_frames": 64} if kind == "whisper" else {}
    choices = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2, **frames, **choices}
    return DualBranch(encoder(kind), DualBranchConfig(**choices), generator())


def windows(kind="whisper", n=3, seed=1):
    shape = (n, 64, 32) if kind == "ast" else (n, 32, 96)
    return torch.randn(*shape, generator=generator(seed))


def test_whisper_patches_are_as_many_as_tokens_five_to_a_block():
    sizes = EncoderConfig(n_mels=80, n_positions=1500, width=8, heads=2, layers=1, ffn_width=8)
    grid = patch_grid(WhisperEncoder(sizes))
    assert (grid.blocks, grid.bands, grid.frames, grid.mels) == (300, 5, 10, 16)
    assert grid.n_tokens == sizes.n_positions
    assert grid.values == 160
    log_mel = torch.arange(80 * 3000.0).view(1, 80, 3000)
    patches = grid.cut(log_mel)
    for token in (0, 1, 7, 1499):
        block, band = divmod(token, 5)
        piece = log_mel[0, 16 * band : 16 * band + 16, 10 * block : 10 * block + 10]
        assert torch.equal(patches[0, token], piece.T.flatten())


def test_the_large_whisper_with_128_mels_has_patches_too():
    sizes = EncoderConfig(n_mels=128, n_positions=1500, width=8, heads=2, layers=1, ffn_width=8)
    grid = patch_grid(WhisperEncoder(sizes))
    assert (grid.blocks, grid.bands, grid.frames) == (187, 8, 16)
    # One token is 2 frames; a block of 16 frames holds 8 tokens and 8 patches.
    assert grid.n_tokens == grid.blocks * grid.frames // 2


def test_ast_patches_are_what_its_tokens_are_made_of():
    body, log_mel = encoder("ast"), windows("ast")
    grid = patch_grid(body)
    patches = grid.cut(log_mel)
    kernel = body.embeddings.patch_embeddings.projection
    # The kernel runs over (bins, frames), the patch over (frames, bins).
    weight = kernel.weight.transpose(2, 3).flatten(1)
    ours = patches @ weight.T + kernel.bias + body.embeddings.position_embeddings
    torch.testing.assert_close(ours, body.embed(log_mel), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_joining_patches_is_the_inverse_of_cutting(kind):
    grid = patch_grid(encoder(kind), 64 if kind == "whisper" else 0)
    window = windows(kind)[..., :64] if kind == "whisper" else windows(kind)
    assert torch.equal(grid.join(grid.cut(window)), window)


@pytest.mark.parametrize("kind", KINDS)
def test_without_masking_the_auxiliary_branch_starts_as_the_main_branch(kind):
    both, inputs = model(kind), windows(kind)
    torch.testing.assert_close(both.auxiliary_features(inputs), both.main_features(inputs))


@pytest.mark.parametrize("kind", KINDS)
def test_initial_weights_come_from_the_generator_alone(kind):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        one = model(kind)
        torch.manual_seed(2)
        other = model(kind)
    for (name, first), second in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second), name
    assert not one.predict.bias.any()


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_auxiliary_branch_and_the_decoder_learn(kind):
    main = encoder(kind)
    before = copy.deepcopy(main.state_dict())
    choices = {"n_frames": 64} if kind == "whisper" else {}
    both = DualBranch(main, DualBranchConfig(decoder_heads=2, **choices), generator())
    optimiser = torch.optim.Adam(both.parameters(), lr=0.01)
    start = copy.deepcopy(both.state_dict())
    output = both(windows(kind), both.mask(3, generator(2)))
    reconstruction_loss(output.prediction, output.target, output.hidden).backward()
    optimiser.step()
    assert all(torch.equal(main.state_dict()[name], before[name]) for name in before)
    assert all(parameter.grad is not None for parameter in both.parameters())
    assert not any(torch.equal(both.state_dict()[name], start[name]) for name in start)
    assert not any(name.startswith("main") for name in start), "the frozen branch is not saved"


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_patches_do_not_reach_the_auxiliary_branch(kind):
    both, inputs = model(kind, blank_hidden=kind == "whisper"), windows(kind)
    masking = both.mask(3, generator(2))
    expected = both(inputs, masking)
    grid = both.grid
    noise = torch.randn(3, grid.n_tokens, grid.values, generator=generator(3))
    cells = grid.cut(inputs)
    changed = grid.join(torch.where(masking.hidden.unsqueeze(-1), noise, cells))
    if kind == "whisper":
        changed = torch.cat([changed, inputs[..., changed.shape[-1] :]], dim=-1)
    output = both(changed, masking, main=both.main_features(inputs))
    assert torch.equal(output.auxiliary, expected.auxiliary)
    assert torch.equal(output.prediction, expected.prediction)
    assert not torch.equal(output.target, expected.target)
    if kind == "whisper":  # whose tokens span all bands, unless hidden ones are blanked
        leaky = model(kind)
        seen = leaky(changed, masking), leaky(inputs, masking)
        assert not torch.equal(seen[0].auxiliary, seen[1].auxiliary)


def test_the_main_branch_reads_whole_windows_as_the_encoder_does():
    both, inputs = model(n_frames=96), windows()
    torch.testing.assert_close(both.main_features(inputs), both.main(inputs))
    ast, log_mel = model("ast"), windows("ast")
    torch.testing.assert_close(ast.main_features(log_mel), ast.main(log_mel))


def test_blanking_keeps_visible_patches():
    grid = patch_grid(encoder(), 64)
    inputs = windows()
    masking = random_masking(torch.rand(3, grid.n_tokens, generator=generator()), 0.75)
    seen = grid.cut(blank(inputs, masking.hidden, grid))
    whole = grid.cut(inputs)
    assert torch.equal(seen[~masking.hidden], whole[~masking.hidden])
    assert float(seen[masking.hidden].abs().max()) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_quarter_of_the_tokens_is_encoded_and_put_back_in_place(kind):
    both, inputs = model(kind), windows(kind)
    masking = both.mask(3, generator(2))
    n = both.grid.n_tokens
    output = both(inputs, masking)
    assert output.auxiliary.shape == (3, n // 4, 16)
    assert output.main.shape == output.auxiliary.shape
    filled = fill(output.auxiliary, both.mask_token, masking)
    assert torch.equal(take(filled, masking.visible), output.auxiliary)
    assert torch.equal(filled[masking.hidden], both.mask_token[0].expand(3 * (n - n // 4), -1))
    torch.testing.assert_close(output.main, take(both.main_features(inputs), masking.visible))


@pytest.mark.parametrize("kind", KINDS)
def test_cached_main_features_change_nothing(kind):
    both, inputs = model(kind), windows(kind)
    masking = both.mask(3, generator(2))
    cached = both.main_features(inputs)
    direct, fed = both(inputs, masking), both(inputs, masking, main=cached)
    assert torch.equal(direct.prediction, fed.prediction)
    half = both(inputs, masking, main=cached.half())
    torch.testing.assert_close(half.prediction, direct.prediction, atol=0.01, rtol=0.01)


def test_controls_decode_from_what_they_name():
    inputs = windows()
    other = windows(seed=5)
    for control, main_counts, auxiliary_counts in (
        ("both", True, True),
        ("main", True, False),
        ("auxiliary", False, True),
    ):
        both = model(inputs=control)
        main, auxiliary = both.main_features(inputs), both.auxiliary_features(inputs)
        drawn = both.decode(main, auxiliary)
        assert torch.equal(both.decode(both.main_features(other), auxiliary), drawn) != main_counts
        changed = both.decode(main, both.auxiliary_features(other))
        assert torch.equal(changed, drawn) != auxiliary_counts


def test_shuffled_auxiliary_outputs_are_never_ones_own():
    both = model(inputs="shuffled")
    plain = model()
    plain.load_state_dict(both.state_dict())
    main = both.main_features(windows())
    auxiliary = both.auxiliary_features(windows())
    torch.testing.assert_close(
        both.decode(main, auxiliary), plain.decode(main, auxiliary[[2, 0, 1]])
    )
    with pytest.raises(InputError, match="nothing to shuffle"):
        both.decode(main[:1], auxiliary[:1])


def test_masking_both_branches_hides_the_same_from_both():
    both, inputs = model(mask_main=True), windows()
    masking = both.mask(3, generator(2))
    tokens = take(embed(both.main, inputs, both.grid), masking.visible)
    output = both(inputs, masking)
    torch.testing.assert_close(output.main, encode(both.main, tokens))
    torch.testing.assert_close(output.main, output.auxiliary)  # before any training
    assert both.main_mask_token.requires_grad


def test_an_asymmetric_auxiliary_branch_has_fewer_layers():
    small = model(auxiliary_layers=1)
    assert len(small.auxiliary_layers) == 1
    output = small(windows(), small.mask(3, generator()))
    assert output.prediction.shape == output.target.shape
    with pytest.raises(InputError, match="exceed the main branch"):
        model(auxiliary_layers=3)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_to_draw_hidden_patches_from_visible_ones(kind):
    # Every patch of a window has the window's own level, which a quarter of them tells.
    both = model(kind, inputs="auxiliary")
    shape = windows(kind, n=16).shape
    level = torch.randn(16, 1, 1, generator=generator(4))
    inputs = level.expand(shape).contiguous()
    optimiser = torch.optim.Adam(both.parameters(), lr=0.003)
    masks, losses = generator(9), []
    for _ in range(80):
        output = both(inputs, both.mask(16, masks))
        loss = reconstruction_loss(output.prediction, output.target, output.hidden)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * float(level.var())


def test_a_sum_over_all_windows_does_not_depend_on_the_batch():
    both, inputs = model(), windows(n=5)
    lengths = torch.full((5,), 64 * 160)
    whole = branch_features(both, inputs, lengths)
    single = [branch_features(both, inputs[i : i + 1], lengths[i : i + 1]) for i in range(5)]
    for name, values in whole.items():
        torch.testing.assert_close(
            values, torch.cat([part[name] for part in single]), atol=1e-5, rtol=1e-5
        )
    assert whole["concatenated"].shape == (5, 32)


@pytest.mark.parametrize("kind", KINDS)
def test_means_count_the_tokens_of_the_recording_alone(kind):
    grid = patch_grid(encoder(kind), 64 if kind == "whisper" else 0)
    states = torch.zeros(1, grid.n_tokens, 1)
    if kind == "whisper":
        states[0, :8] = 1.0  # 16 frames
    else:
        states.view(1, grid.bands, grid.blocks, 1)[:, :, :1] = 1.0  # one block of 16 frames
    assert float(mean_of_tokens(states, torch.tensor([16 * 160]), grid)) == 1.0
    assert float(mean_of_tokens(states, torch.tensor([32 * 160]), grid)) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_long_recordings_are_cut_and_averaged_and_this_is_said(kind):
    both = model(kind)
    longest = min(window_samples(both.main, both.grid), 64 * 160)
    clip = 0.1 * torch.randn(longest, generator=generator(3))
    said = []
    alone = describe_recordings(both, [clip], ["short"], say=said.append)
    assert not said
    twice = describe_recordings(
        both, [torch.cat([clip, clip]), clip], ["long", "b"], say=said.append
    )
    assert len(said) == 1
    assert said[0].startswith("long: ")
    assert said[0].endswith("mean of 2 windows")
    for name in alone:
        torch.testing.assert_close(twice[name][0], alone[name][0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(twice[name][1], alone[name][0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_recordings_shorter_than_a_patch_are_refused(kind):
    with pytest.raises(InputError, match=r"click\.wav: lasts .* less than one patch"):
        describe_recordings(model(kind), [torch.zeros(500)], ["click.wav"])


def test_front_ends_refuse_what_does_not_fit_the_window():
    with pytest.raises(InputError, match="cut them into windows"):
        spectrograms(encoder(), patch_grid(encoder(), 64), torch.zeros(1, 64 * 160 + 1))
    with pytest.raises(InputError, match="cut them into windows"):
        spectrograms(encoder("ast"), patch_grid(encoder("ast")), torch.zeros(1, 300))


@pytest.mark.parametrize(
    ("kind", "choices", "problem"),
    [
        ("whisper", {"n_frames": 97}, "are not in"),
        ("whisper", {"n_frames": 3}, "are not in"),
        ("ast", {"n_frames": 32}, "is not the encoder's"),
        ("whisper", {"mask_ratio": 1.0}, "does not leave some"),
        ("whisper", {"inputs": "neither"}, "is unknown"),
        ("whisper", {"decoder_depth": 0}, "use 1 or more"),
    ],
)
def test_choices_that_cannot_be_are_refused(kind, choices, problem):
    with pytest.raises(InputError, match=problem):
        model(kind, **choices)


def test_features_of_other_windows_are_refused():
    both = model()
    with pytest.raises(InputError, match="give the features of these windows"):
        both(windows(), both.mask(3, generator()), main=torch.zeros(3, 5, 16))


def test_an_ast_with_overlapping_patches_is_refused():
    sizes = ASTConfig(n_mels=32, n_frames=64, stride=10, width=16, heads=2, layers=1, ffn_width=8)
    with pytest.raises(InputError, match="overlapping patches"):
        DualBranch(build_ast(sizes, generator()), DualBranchConfig())


def test_the_same_seed_gives_the_same_model_and_leaves_global_chance_alone():
    state = torch.get_rng_state()
    one, two = model("ast"), model("ast")
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in one.state_dict().items():
        assert torch.equal(two.state_dict()[name], tensor)
