"""Estimates of mutual information against Gaussians, for which it is known."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from thesislib.errors import InputError
from thesislib.learning.losses import branch_contrast, disentanglement_loss
from thesislib.learning.mutual_information import (
    Club,
    joint_distribution,
    soft_histogram_information,
    standardise,
)


def gaussians(rho, n=20_000, d=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator)
    noise = torch.randn(n, d, generator=generator)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


@pytest.mark.parametrize("rho", [0.0, 0.3, -0.6, 0.9])
def test_histogram_finds_the_information_of_gaussians(rho):
    # I = -log(1 - rho^2) / 2. Two biases: chance adds at most 31^2 / (2 * 80,000) = 0.006; sharing
    # a value between bins of h = 8/31 adds a variance of h^2/6 to either, which shrinks rho to
    # rho / (1 + h^2/6).
    blurred = rho / (1 + (8 / 31) ** 2 / 6)
    expected = -0.5 * math.log(1 - blurred**2)
    found = float(soft_histogram_information(*gaussians(rho)))
    assert expected - 0.01 < found < expected + 0.02
    assert found == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.05)


def test_histogram_equals_sklearns_where_values_lie_on_bin_centres():
    generator = np.random.default_rng(0)
    x = generator.integers(0, 9, 500)
    y = (x + generator.integers(0, 3, 500)) % 9
    centres = torch.linspace(-4, 4, 9)
    joint = joint_distribution(centres[x], centres[y], bins=9)
    counts = np.zeros((9, 9))
    np.add.at(counts, (x, y), 1)
    assert np.allclose(joint.numpy() * 500, counts, atol=1e-4)
    ratio = joint / (joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True))
    information = torch.where(joint > 0, joint * ratio.log(), 0.0).sum()
    assert float(information) == pytest.approx(mutual_info_score(x, y), abs=1e-5)


def test_histogram_is_symmetric_and_does_not_see_scale_or_offset():
    x, y = gaussians(0.7, n=500)
    one = float(soft_histogram_information(x, y))
    assert float(soft_histogram_information(y, x)) == pytest.approx(one, abs=1e-5)
    assert float(soft_histogram_information(5 * x - 3, 0.1 * y + 7)) == pytest.approx(one, abs=1e-4)


@pytest.mark.parametrize("rho", [-0.8, 0.8])
def test_gradient_points_away_from_dependence(rho):
    # y = a x + noise: the derivative of the information by a has the sign of a.
    x, noise = (part.double() for part in gaussians(0.0, n=4000))
    a = torch.tensor(rho, dtype=torch.float64, requires_grad=True)
    information = soft_histogram_information(x, a * x + 0.6 * noise)
    information.backward()
    assert math.copysign(1, float(a.grad)) == math.copysign(1, rho)
    # With y = a x + 0.6 noise, I = log(1 + a^2 / 0.36) / 2, so dI/da = a / (0.36 + a^2).
    assert float(a.grad) == pytest.approx(rho / (0.36 + rho**2), rel=0.15)


def test_minimising_the_histogram_removes_dependence():
    x, y = gaussians(0.9, n=500, d=3)
    free = y.clone().requires_grad_()
    optimiser = torch.optim.Adam([free], lr=0.05)
    before = float(soft_histogram_information(x, y))
    for _ in range(60):
        optimiser.zero_grad()
        soft_histogram_information(x, free).backward()
        optimiser.step()
    assert float(soft_histogram_information(x, free.detach())) < 0.5 * before


def test_constant_and_extreme_activations_leave_finite_gradients():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    y = torch.cat([torch.ones(50, 1), 1e6 * x[:, 1:]], dim=1).requires_grad_()
    soft_histogram_information(x, y).backward()
    assert bool(y.grad.isfinite().all())
    assert float(standardise(torch.full((4, 2), 7.0)).abs().max()) == 0


def test_histogram_in_autocast_is_the_one_in_float32():
    x, y = gaussians(0.5, n=1000)
    expected = float(soft_histogram_information(x, y))
    with torch.autocast("cpu", torch.bfloat16):
        assert float(soft_histogram_information(x, y)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_club_with_the_true_conditional_is_the_known_bound(rho):
    # For one Gaussian pair and the true conditional, CLUB = rho^2 / (1 - rho^2) >= I.
    x, y = gaussians(rho, d=1)
    club = Club(1, 2)
    with torch.no_grad():  # relu(x) - relu(-x) = x
        club.network[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        club.network[0].bias.zero_()
        club.network[2].weight.copy_(torch.tensor([[rho, -rho], [0.0, 0.0]]))
        club.network[2].bias.copy_(torch.tensor([0.0, math.log(1 - rho**2)]))
    # The standard error of a mean of 20,000 products is below 0.02 for these rho; three of them.
    bound = float(club.bound(x, y).detach())
    assert bound == pytest.approx(rho**2 / (1 - rho**2), abs=0.06)
    assert bound > -0.5 * math.log(1 - rho**2) - 0.06


def test_club_equals_the_mean_over_all_pairs():
    x, y = gaussians(0.5, n=7, d=3)
    club = Club(3, 5, torch.Generator().manual_seed(1))
    mean, log_variance = club.network(x).chunk(2, dim=1)

    def log_likelihood(i, j):  # of y[j] given x[i], without what cancels
        return -0.5 * ((y[j] - mean[i]) ** 2 / log_variance[i].exp()).sum()

    own = torch.stack([log_likelihood(i, i) for i in range(7)]).mean()
    every = torch.stack([log_likelihood(i, j) for i in range(7) for j in range(7)]).mean()
    torch.testing.assert_close(club.bound(x, y), own - every, atol=1e-5, rtol=1e-5)


def test_club_learns_the_conditional_and_lowers_the_information():
    x, y = gaussians(0.8, n=2000, d=2)
    club = Club(2, 16, torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(club.parameters(), lr=0.02)
    for _ in range(300):
        optimiser.zero_grad()
        club.learning_loss(x, y).backward()
        optimiser.step()
    information = 2 * -0.5 * math.log(1 - 0.64)
    bound = 2 * 0.64 / 0.36
    assert information < float(club.bound(x, y).detach()) < 1.1 * bound
    # A step against the gradient makes the pair less alike: the sign of the penalty is right.
    free = y.clone().requires_grad_()
    club.bound(x, free).backward()
    step = y - 200 * free.grad
    assert abs(np.corrcoef(x[:, 0], step[:, 0])[0, 1]) < abs(np.corrcoef(x[:, 0], y[:, 0])[0, 1])


def test_clubs_two_losses_do_not_mix():
    x, y = (part.requires_grad_() for part in gaussians(0.5, n=20, d=2))
    club = Club(2, 4, torch.Generator().manual_seed(0))
    club.bound(x, y).backward()
    assert y.grad is not None
    assert all(p.grad is None for p in club.parameters())
    x.grad = y.grad = None
    club.learning_loss(x, y).backward()
    assert x.grad is None
    assert y.grad is None
    assert all(p.grad is not None for p in club.parameters())


def test_pairs_that_do_not_fit_are_refused():
    x = torch.zeros(4, 2)
    for bad in (torch.zeros(4, 3), torch.zeros(3, 2), torch.zeros(4)):
        with pytest.raises(InputError, match="not one"):
            soft_histogram_information(x, bad)
        with pytest.raises(InputError, match="not one"):
            Club(2).bound(x, bad)
    with pytest.raises(InputError, match="use 2 or more"):
        soft_histogram_information(x, x, bins=1)


def test_contrast_pulls_the_branches_together_while_information_pushes_them_apart():
    # Note 27: on one and the same step the two gradients point in opposite directions.
    x, _ = gaussians(0.0, n=64, d=8)
    noise = gaussians(0.0, n=64, d=8, seed=1)[0]
    share = torch.tensor(0.7, requires_grad=True)  # how much of x the auxiliary output holds

    def auxiliary():
        return share * x + 0.7 * noise

    (contrast,) = torch.autograd.grad(branch_contrast(x, auxiliary()).loss, share)
    (information,) = torch.autograd.grad(soft_histogram_information(x, auxiliary()), share)
    assert float(contrast) < 0 < float(information)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95])
def test_contrast_never_claims_more_than_the_information_of_gaussians(rho):
    # log B less the loss is a lower bound of the information of the two means, whatever the
    # similarity is, and at most log B (InfoNCE).
    d, batch = 4, 64
    truth = -d / 2 * np.log(1 - rho**2)
    found = []
    for seed in range(20):
        x, y = gaussians(rho, n=batch, d=d, seed=seed)
        found.append(np.log(batch) - float(branch_contrast(x, y, temperature=0.5).loss))
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) < truth + 3 * error
    assert np.mean(found) < np.log(batch)
    if rho == 0.95:
        assert np.mean(found) > 1, "and what is there is found in part"


@pytest.mark.parametrize("rho", [0.3, 0.8])
def test_minimising_the_contrast_makes_the_branches_alike(rho):
    x, y = gaussians(rho, n=64, d=8)
    share = torch.tensor(0.5, requires_grad=True)
    (slope,) = torch.autograd.grad(branch_contrast(x, share * x + (1 - share) * y).loss, share)
    assert float(slope) < 0, "a step down the slope takes in more of the other branch"


def test_the_weighted_sum_is_equation_8_1():
    parts = [torch.tensor(v, requires_grad=True) for v in (1.0, 2.0, 3.0)]
    total = disentanglement_loss(*parts, weight=0.1)
    total.backward()
    assert float(total.detach()) == pytest.approx(1.5)
    assert [float(p.grad) for p in parts] == pytest.approx([1.0, 0.1, 0.1])
