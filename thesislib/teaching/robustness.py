"""What happens to a classifier when its input is not quite what it was trained on."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from thesislib.errors import InputError
from thesislib.teaching.networks import logits
from thesislib.teaching.toy_data import Labelled


def add_noise(x: Tensor, strength: float, *, seed: int) -> Tensor:
    """Pictures in [0, 1] with normal noise of this standard deviation, clipped to [0, 1]."""
    _not_negative(strength)
    generator = torch.Generator().manual_seed(seed)
    return (x + strength * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def adversarial_step(model: nn.Module, data: Labelled, strength: float) -> Tensor:
    """Pictures moved by one step against the model: no pixel by more than `strength`.

    Args:
        model: Gives logits `(N, C)`; left without new gradients.
        data: Pictures in [0, 1] and the classes that they have.
        strength: Change of a pixel, upwards or downwards, whichever raises the loss.

    Returns:
        Pictures of the same shape, clipped to [0, 1].

    Source: goodfellow2015explaining, the fast gradient sign method.
    """
    _not_negative(strength)
    model.eval()
    x = data.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), data.y), x)
    return (data.x + strength * gradient.sign()).clamp(0, 1)


def confidence(model: nn.Module, x: Tensor) -> Tensor:
    """Highest probability that the model gives to any class, `(N,)`.

    Source: hendrycks2017baseline, as a score of being in distribution.
    """
    return logits(model, x).softmax(1).amax(1)


def prototypes(features: Tensor, y: Tensor) -> Tensor:
    """Mean feature vector of each class.

    Args:
        features: `(N, width)`.
        y: Classes `(N,)`, each of 0 to C - 1 at least once.

    Returns:
        `(C, width)`.

    Source: snell2017prototypical.

    >>> prototypes(torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 1])).tolist()
    [[1.0], [5.0]]
    """
    member = F.one_hot(y).float()
    return member.T @ features / member.sum(0).unsqueeze(1)


def nearest_prototype(features: Tensor, centres: Tensor) -> Tensor:
    """Class of the closest centre, `(N,)`, for features `(N, width)` and centres `(C, width)`."""
    return torch.cdist(features, centres).argmin(1)


def _not_negative(strength: float) -> None:
    if strength < 0:
        raise InputError("strength", f"cannot be {strength}", "give 0 or more")
