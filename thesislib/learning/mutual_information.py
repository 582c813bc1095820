"""Mutual information between the outputs of two branches, as something to minimise.

The histogram of equations 8.4 and 8.5 has no gradient. Two estimates that have one: a histogram
with soft edges, and CLUB, an upper bound that a small network learns (note 27). InfoNCE, a lower
bound, would be the wrong thing to push down: making a lower bound small says nothing.

Source: equations 8.4 and 8.5; cheng2020club.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call

from thesislib.errors import InputError

BINS = 32
REACH = 4.0  # standard deviations on either side; what lies beyond counts into the last bin


def standardise(values: Tensor) -> Tensor:
    """Each feature with zero mean and unit variance over the rows of `(N, D)`; constant ones are 0.

    >>> standardise(torch.tensor([[1.0, 7.0], [3.0, 7.0]])).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    centred = values - values.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + 1e-12).sqrt()


def joint_distribution(x: Tensor, y: Tensor, *, bins: int = BINS) -> Tensor:
    """Soft histogram of standardised pairs: every pair is shared among its four nearest bins.

    A value between the centres of two bins counts into both, in proportion to its nearness, so
    that each weight is a piecewise linear function of the value and has a gradient.

    Args:
        x: Standardised values of any shape.
        y: Those that they are paired with, of the same shape.
        bins: Along each axis, from -4 to 4 standard deviations.

    Returns:
        Probabilities `(bins, bins)`, x along the rows, which add up to 1.

    >>> joint_distribution(torch.tensor([-9.0, 4.0]), torch.tensor([0.0, 4.0]), bins=3).tolist()
    [[0.0, 0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.5]]
    """
    places, weights = [], []
    for values in (x, y):
        position = (values.flatten().clamp(-REACH, REACH) + REACH) * ((bins - 1) / (2 * REACH))
        below = position.detach().floor().clamp(max=bins - 2)
        above = position - below
        places.append((below.long(), below.long() + 1))
        weights.append((1 - above, above))
    counts = x.new_zeros(bins * bins)
    for i in range(2):
        for j in range(2):
            cells = places[0][i] * bins + places[1][j]
            counts = counts.index_add(0, cells, weights[0][i] * weights[1][j])
    return counts.view(bins, bins) / x.numel()


def soft_histogram_information(x: Tensor, y: Tensor, *, bins: int = BINS) -> Tensor:
    """Mutual information of paired activations, by a histogram that has a gradient.

    Each feature is standardised over the rows; then all pairs ``(x[n, d], y[n, d])`` fall into one
    joint histogram. The information of the pair as one pair of numbers is what comes out: features
    that are related in opposite directions blur one another.

    Args:
        x: Outputs of one branch `(N, D)`, N samples, tokens or clips, at least 2.
        y: Outputs of the other at the same places `(N, D)`.
        bins: Along each axis, at least 2.

    Returns:
        A scalar in nats, 0 or more, at most ``log(bins)``. Independent values come out at about
        ``(bins - 1)**2 / (2 N D)`` rather than 0, less where outer bins stay empty.

    Raises:
        InputError: shapes differ, there are fewer than two rows, or fewer than two bins.

    Source: equations 8.4 and 8.5; note 27.

    >>> x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    >>> bool(soft_histogram_information(x, x) > 1.5)
    True
    """
    _check_pairs(x, y)
    if bins < 2:
        raise InputError("bins", f"{bins} make no histogram", "use 2 or more")
    # Not under autocast: sums over 100,000 pairs in bfloat16 would lose most of them.
    with torch.autocast(x.device.type, enabled=False):
        joint = joint_distribution(standardise(x), standardise(y), bins=bins)
        marginals = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
        # A cell without pairs contributes nothing, and must not contribute a gradient of NaN.
        ratio = torch.where(joint > 0, joint, 1.0) / torch.where(joint > 0, marginals, 1.0)
        return (joint * ratio.log()).sum()


class Club(nn.Module):
    """CLUB: an upper bound of the mutual information, from a learnt Gaussian of y given x.

    Args:
        width: Features D of either branch.
        hidden_width: Of the network that predicts mean and variance.
        generator: Draws the initial weights; the global one if None.

    Source: cheng2020club, section 3.2.
    """

    def __init__(
        self, width: int, hidden_width: int = 64, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(width, hidden_width), nn.ReLU(), nn.Linear(hidden_width, 2 * width)
        )
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter, generator=generator)
            else:
                nn.init.zeros_(parameter)

    def bound(self, x: Tensor, y: Tensor) -> Tensor:
        """The upper bound in nats, a scalar; its gradient goes to x and y, not to the network.

        It is a bound where the network knows y given x; before that it may even be negative.

        Args:
            x: `(N, D)`, standardised by the caller where that is wanted.
            y: `(N, D)`, paired with x row by row.

        Raises:
            InputError: shapes differ, or there are fewer than two rows.
        """
        _check_pairs(x, y)
        fixed = {name: parameter.detach() for name, parameter in self.network.named_parameters()}
        predicted = functional_call(self.network, fixed, (x,))
        mean, log_variance = predicted.chunk(2, dim=1)
        precision = (-log_variance.clamp(-6, 6)).exp()
        # Over all N x N pairs the mean of (y_j - mean_i)^2 has this closed form: no loop, no N^2.
        everyone = (mean - y.mean(dim=0)).square() + y.var(dim=0, correction=0)
        partners = (y - mean).square()
        return 0.5 * ((everyone - partners) * precision).sum(dim=1).mean()

    def learning_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Negative log-likelihood of y given x, a scalar, which teaches the network alone.

        Args:
            x: `(N, D)`; no gradient goes to it.
            y: `(N, D)`; nor to this.

        Raises:
            InputError: shapes differ, or there are fewer than two rows.
        """
        _check_pairs(x, y)
        mean, log_variance = self.network(x.detach()).chunk(2, dim=1)
        log_variance = log_variance.clamp(-6, 6)
        terms = (y.detach() - mean).square() * (-log_variance).exp() + log_variance
        return 0.5 * (terms + math.log(2 * math.pi)).sum(dim=1).mean()


def _check_pairs(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape or x.ndim != 2 or len(x) < 2:
        raise InputError(
            "x, y",
            f"shapes {tuple(x.shape)} and {tuple(y.shape)} are not one (N, D) with N > 1",
            "give the outputs of both branches for the same places",
        )
