import numpy as np
import pytest
import torch

from thesislib.models.fusion import (
    FUSION_LEVELS,
    AttentionBottleneck,
    Branch,
    CrossAttention,
    EarlyConcatenation,
    Gating,
    JointSpace,
    fit_audio_weight,
    majority_vote,
    make_fusion,
    maximum,
    weighted_average,
)

AUDIO_DIM, VIDEO_DIM, CLASSES = 5, 7, 3
NAMES = sorted(FUSION_LEVELS)
TRAINABLE = [name for name in NAMES if name not in ("vote", "maximum", "average")]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pooled(batch=6, seed=0):
    return (
        Branch(draw(batch, AUDIO_DIM, seed=seed), 2 * draw(batch, CLASSES, seed=seed + 1)),
        Branch(draw(batch, VIDEO_DIM, seed=seed + 2), 2 * draw(batch, CLASSES, seed=seed + 3)),
    )


def sequences(batch=4, audio_steps=6, video_steps=9, seed=0):
    audio_mask = torch.arange(audio_steps) < torch.tensor([6, 4, 2, 1])[:batch, None]
    video_mask = torch.arange(video_steps) < torch.tensor([9, 6, 3, 1])[:batch, None]
    return (
        Branch(draw(batch, audio_steps, AUDIO_DIM, seed=seed), draw(batch, 3), audio_mask),
        Branch(draw(batch, video_steps, VIDEO_DIM, seed=seed + 1), draw(batch, 3), video_mask),
    )


def build(name, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fusion = make_fusion(name, AUDIO_DIM, VIDEO_DIM, CLASSES, width=16, **options)
    return fusion.eval() if isinstance(fusion, torch.nn.Module) else fusion


def softmax(logits):
    p = np.exp(logits.numpy().astype(np.float64))
    return p / p.sum(axis=1, keepdims=True)


# The rules, against numpy


def test_vote_takes_the_majority_and_settles_ties_by_mean_probability():
    audio, video = pooled(batch=200)
    p, q = softmax(audio.logits), softmax(video.logits)
    agree = p.argmax(1) == q.argmax(1)
    assert 0 < agree.sum() < 200
    result = majority_vote(audio, video)
    winners = result.argmax(dim=1).numpy()
    np.testing.assert_array_equal(winners[agree], p.argmax(1)[agree])
    for row in np.flatnonzero(~agree):
        rivals = [p[row].argmax(), q[row].argmax()]  # a third class can never win
        assert winners[row] == max(rivals, key=lambda k: p[row, k] + q[row, k])
    np.testing.assert_allclose(result.exp().sum(dim=1), 1, rtol=1e-5)
    shares = result.exp().numpy()[~agree]
    assert (np.sort(shares, axis=1)[:, 1:] > 0.499).all()


def test_maximum_and_average_against_numpy():
    audio, video = pooled(batch=50)
    p, q = softmax(audio.logits), softmax(video.logits)
    highest = np.maximum(p, q)
    np.testing.assert_allclose(
        maximum(audio, video).exp(), highest / highest.sum(1, keepdims=True), rtol=1e-5
    )
    for weight in (0.0, 0.3, 1.0):
        result = weighted_average(audio, video, audio_weight=weight)
        np.testing.assert_allclose(result.exp(), weight * p + (1 - weight) * q, rtol=1e-5)


def test_rules_stay_finite_where_a_branch_is_certain():
    audio = Branch(torch.zeros(1, 1), torch.tensor([[1e4, 0.0, 0.0]]))
    for rule in (majority_vote, maximum, weighted_average):
        assert torch.isfinite(rule(audio, None)).all()
        assert rule(audio, audio).argmax() == 0


def test_fitted_weight_has_the_lowest_cross_entropy():
    target = torch.randint(CLASSES, (300,), generator=torch.Generator().manual_seed(3))
    hit = torch.nn.functional.one_hot(target, CLASSES).float()
    audio, video = draw(300, CLASSES) + hit, draw(300, CLASSES, seed=1) + 1.5 * hit
    p, q = softmax(audio), softmax(video)
    rows = np.arange(300)

    def loss(weight):
        return -np.log((weight * p + (1 - weight) * q)[rows, target.numpy()]).mean()

    best = min(np.linspace(0, 1, 101), key=loss)
    assert 0 < best < 0.5
    assert fit_audio_weight(audio, video, target) == pytest.approx(best, abs=0.0101)


def test_a_rule_without_logits_is_refused():
    with pytest.raises(ValueError, match="with its logits"):
        majority_vote(Branch(torch.zeros(2, 4)), None)


# The common interface


@pytest.mark.parametrize("name", NAMES)
def test_every_fusion_takes_pooled_features_and_leaves_either_modality_out(name):
    fusion = build(name)
    audio, video = pooled()
    both, heard, seen = fusion(audio, video), fusion(audio, None), fusion(None, video)
    for logits in (both, heard, seen):
        assert logits.shape == (6, CLASSES)
        assert torch.isfinite(logits).all()
    assert not torch.allclose(heard, seen)
    assert not torch.allclose(both, heard)
    with pytest.raises(ValueError, match="both modalities"):
        fusion(None, None)


@pytest.mark.parametrize("name", ["vote", "maximum", "average"])
def test_a_rule_alone_is_the_branch_itself(name):
    audio, video = pooled()
    fusion = build(name)
    if name == "vote":
        assert (fusion(None, video).argmax(1) == video.logits.argmax(1)).all()
    else:
        torch.testing.assert_close(fusion(audio, None), audio.logits.log_softmax(1))


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("vote", "maximum", "average")])
@pytest.mark.parametrize("drop", [None, "audio", "video"])
def test_padding_of_a_sequence_changes_nothing(name, drop):
    audio, video = sequences()
    noisy = [
        branch._replace(features=torch.where(branch.mask[..., None], branch.features, 1e3))
        for branch in (audio, video)
    ]
    alone = [
        Branch(branch.features[i : i + 1, : int(branch.mask[i].sum())])
        for i in range(4)
        for branch in (audio, video)
    ]
    fusion = build(name)

    def fuse(a, v):
        return fusion(None if drop == "audio" else a, None if drop == "video" else v)

    with torch.no_grad():
        expected = torch.cat([fuse(a, v) for a, v in zip(alone[::2], alone[1::2], strict=True)])
        torch.testing.assert_close(fuse(audio, video), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fuse(*noisy), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TRAINABLE)
def test_all_parameters_learn_and_only_a_linear_fusion_fails_at_exclusive_or(name):
    """The class is whether the two signs differ: neither modality alone says anything."""
    generator = torch.Generator().manual_seed(1)
    a, v = (torch.randn(64, d, generator=generator) for d in (AUDIO_DIM, VIDEO_DIM))
    target = ((a[:, 0] > 0) ^ (v[:, 0] > 0)).long()
    fusion = build(name, dropout=0.0).train()
    optimiser = torch.optim.Adam(fusion.parameters(), lr=0.02)
    for _ in range(120):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(fusion(Branch(a), Branch(v)), target)
        loss.backward()
        optimiser.step()
    accuracy = (fusion(Branch(a), Branch(v)).argmax(1) == target).float().mean()
    assert accuracy < 0.85 if name == "linear" else accuracy > 0.95
    assert [n for n, p in fusion.named_parameters() if p.grad is None] == []


def test_bad_names_and_weights_are_refused():
    with pytest.raises(ValueError, match="must be one of early"):
        make_fusion("middle", 4, 4, 3)
    with pytest.raises(ValueError, match="audio_weight"):
        make_fusion("average", 4, 4, 3, audio_weight=1.5)


# What makes each of them what it is


def test_early_fusion_takes_the_nearest_step_in_time():
    """With a mixing layer that copies the audio, the head sees a mean over resampled steps."""
    fusion = EarlyConcatenation(1, 1, 1, width=1, dropout=0.0)
    with torch.no_grad():
        fusion.mix.weight.copy_(torch.tensor([[1.0, 0.0]]))
        fusion.context.weight.zero_()[0, 0, 2] = 1.0
        fusion.head.weight.fill_(1.0)
        for bias in (fusion.mix.bias, fusion.context.bias, fusion.head.bias):
            bias.zero_()
    audio = torch.tensor([[[1.0], [10.0], [100.0], [5000.0]]])
    mask = torch.tensor([[True, True, True, False]])
    video_steps = 7
    centres = (np.arange(video_steps) + 0.5) / video_steps * 3
    expected = np.array([1.0, 10.0, 100.0])[np.floor(centres).astype(int)].mean()
    result = fusion(Branch(audio, mask=mask), Branch(torch.zeros(1, video_steps, 1)))
    assert result.item() == pytest.approx(expected)


def test_early_fusion_sees_the_order_of_steps_and_attention_does_not():
    audio, video = Branch(draw(2, 6, AUDIO_DIM)), Branch(draw(2, 9, VIDEO_DIM))
    shuffled = Branch(video.features[:, torch.tensor([3, 0, 8, 1, 7, 2, 6, 4, 5])])
    for name, moved in (("early", True), ("cross-attention", False), ("bottleneck", False)):
        fusion = build(name)
        same = torch.allclose(fusion(audio, video), fusion(audio, shuffled), atol=1e-5)
        assert same is not moved, name


@pytest.mark.parametrize(("bias", "open_to"), [(1e3, "audio"), (-1e3, "video")])
def test_a_gate_at_its_limit_passes_one_modality_only(bias, open_to):
    fusion = Gating(AUDIO_DIM, VIDEO_DIM, CLASSES, width=8).eval()
    audio, video = pooled()
    with torch.no_grad():
        fusion.gate.bias.fill_(bias)
    alone = fusion(audio, None) if open_to == "audio" else fusion(None, video)
    torch.testing.assert_close(fusion(audio, video), alone)


def test_an_undecided_gate_is_the_mean_of_both():
    fusion = Gating(AUDIO_DIM, VIDEO_DIM, CLASSES, width=8).eval()
    audio, video = pooled()
    with torch.no_grad():
        fusion.gate.bias.zero_()
        fusion.gate.weight.zero_()
    mean = (fusion(audio, None) + fusion(None, video)) / 2  # the head is linear
    torch.testing.assert_close(fusion(audio, video), mean)


def test_joint_space_projects_to_unit_vectors_and_reads_their_mean():
    fusion = JointSpace(AUDIO_DIM, VIDEO_DIM, CLASSES, width=8).eval()
    audio, video = pooled()
    points = fusion.project(audio, video)
    for point in points:
        torch.testing.assert_close(point.norm(dim=1), torch.ones(6))
    mirrored = JointSpace(VIDEO_DIM, AUDIO_DIM, CLASSES, width=8).eval()
    mirrored.load_state_dict(
        {
            {"audio": "video", "video": "audio"}.get(name.split(".")[0], name.split(".")[0])
            + "."
            + name.split(".")[1]: value
            for name, value in fusion.state_dict().items()
        }
    )
    torch.testing.assert_close(fusion(audio, video), mirrored(video, audio))


def test_cross_attention_over_equal_steps_adds_their_projected_value():
    """Equal keys draw equal weights, so attention must return the one value there is."""
    fusion = CrossAttention(AUDIO_DIM, VIDEO_DIM, CLASSES, width=8).eval()
    audio = Branch(draw(2, 4, AUDIO_DIM))
    one = draw(2, 1, VIDEO_DIM, seed=5)
    many = Branch(one.expand(-1, 9, -1))
    torch.testing.assert_close(fusion(audio, many), fusion(audio, Branch(one)))


def audio_from_video(fusion, video):
    """Gradient norm of the audio's tokens with respect to the video's features."""
    features = video.features.clone().requires_grad_()
    audio_tokens, _ = fusion.encode(Branch(draw(2, 6, AUDIO_DIM)), Branch(features))
    (gradient,) = torch.autograd.grad(
        audio_tokens.square().sum(), features, allow_unused=True, materialize_grads=True
    )
    return gradient.norm().item()


def test_nothing_crosses_before_the_second_layer_nor_outside_the_bottleneck(monkeypatch):
    video = Branch(draw(2, 9, VIDEO_DIM, seed=2))
    sizes = (AUDIO_DIM, VIDEO_DIM, CLASSES, 8, 0.0, 2)
    one, two = (AttentionBottleneck(*sizes, layers=n, tokens=2) for n in (1, 2))
    assert audio_from_video(one, video) == 0.0
    assert audio_from_video(two, video) > 1e-3
    monkeypatch.setattr(two, "merge", lambda made: made[0].detach())
    assert audio_from_video(two, video) == 0.0


def test_the_bottleneck_bounds_the_rank_of_what_crosses():
    """All that the audio learns of 63 video numbers passes through one vector of eight."""
    audio, video = Branch(draw(1, 6, AUDIO_DIM)), draw(1, 9, VIDEO_DIM, seed=2)

    def rank(fusion):
        def read(features):
            return fusion.encode(audio, Branch(features))[0]

        jacobian = torch.autograd.functional.jacobian(read, video.double()).flatten(3).flatten(0, 2)
        return int(torch.linalg.matrix_rank(jacobian))

    audio = Branch(audio.features.double())
    sizes = (AUDIO_DIM, VIDEO_DIM, CLASSES, 8, 0.0, 2)
    ranks = [rank(AttentionBottleneck(*sizes, layers=2, tokens=n).double()) for n in (1, 3)]
    assert 0 < ranks[0] <= 8 < ranks[1] <= 24
