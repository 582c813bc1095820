"""Networks small enough to train while a reader waits, and the plainest loop that trains them.

The systems of chapters 6 to 8 are trained by ``thesislib.learning``; the loop here shows each
step and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import TypeVar

import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from thesislib.errors import InputError
from thesislib.teaching.toy_data import Labelled

T = TypeVar("T", bound=nn.Module)

MODES = ("from scratch", "feature extraction", "hybrid", "fine-tuning")
"""How much of a pretrained network learns: all of a new one, the head, head and last layer, all."""


def seeded(build: Callable[[], T], seed: int) -> T:
    """What `build` returns, its initial weights drawn from `seed`.

    Torch's own generator is left as it was.

    >>> draws = [seeded(lambda: nn.Linear(1, 1), 3).weight.item() for _ in range(2)]
    >>> draws[0] == draws[1]
    True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def mlp(
    widths: Sequence[int],
    *,
    seed: int,
    activation: type[nn.Module] = nn.ReLU,
    dropout: float = 0.0,
) -> nn.Sequential:
    """A multi-layer perceptron that takes inputs of any shape.

    Args:
        widths: Features of the input, of each hidden layer, and number of classes; with two
            numbers this is a layer of perceptrons without activation.
        seed: Seed of the initial weights.
        activation: Between the layers.
        dropout: Share of each hidden layer's values that training sets to zero.

    Source: thesis equation 2.2.

    >>> mlp([64, 32, 10], seed=0)(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """
    if len(widths) < 2:
        raise InputError("widths", f"{list(widths)} are too few", "give input and output at least")

    def build() -> nn.Sequential:
        layers: list[nn.Module] = [nn.Flatten()]
        for n_in, n_out in pairwise(widths[:-1]):
            layers += [nn.Linear(n_in, n_out), activation()]
            layers += [nn.Dropout(dropout)] if dropout else []
        return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))

    return seeded(build, seed)


class DigitCNN(nn.Module):
    """Two convolutions with pooling, one hidden layer, and a head, for pictures of 8 x 8.

    Args:
        n_classes: Outputs of the head.
        channels: Feature maps of the first convolution; the second has twice as many.
        width: Features that the head sees.
    """

    def __init__(self, n_classes: int, channels: int = 8, width: int = 32) -> None:
        super().__init__()
        self.lower = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.upper = nn.Sequential(nn.Linear(8 * channels, width), nn.ReLU())
        self.head = nn.Linear(width, n_classes)

    def features(self, pictures: Tensor) -> Tensor:
        """`(N, 1, 8, 8)` to `(N, width)`."""
        return self.upper(self.lower(pictures))

    def forward(self, pictures: Tensor) -> Tensor:
        """`(N, 1, 8, 8)` to logits `(N, n_classes)`."""
        return self.head(self.features(pictures))


def digit_cnn(n_classes: int, *, seed: int) -> DigitCNN:
    """A new :class:`DigitCNN` with weights drawn from `seed`."""
    return seeded(lambda: DigitCNN(n_classes), seed)


def adapt(pretrained: DigitCNN, mode: str, n_classes: int, *, seed: int) -> DigitCNN:
    """A copy of a pretrained network with a new head; only what the mode names can learn.

    Args:
        pretrained: Left as it is.
        mode: One of :data:`MODES`.
        n_classes: Outputs of the new head.
        seed: Seed of the head, and of everything where nothing is taken over.

    Source: thesis section 2.1.3.
    """
    if mode not in MODES:
        raise InputError("mode", f"cannot be {mode!r}", f"choose one of {', '.join(MODES)}")
    network = digit_cnn(n_classes, seed=seed)
    if mode != "from scratch":
        network.lower, network.upper = deepcopy(pretrained.lower), deepcopy(pretrained.upper)
    network.lower.requires_grad_(mode in ("from scratch", "fine-tuning"))
    network.upper.requires_grad_(mode != "feature extraction")
    return network


def train(
    model: nn.Module,
    data: Labelled,
    *,
    epochs: int,
    batch_size: int = 32,
    learning_rate: float = 1e-2,
    weight_decay: float = 0.0,
    validation: Labelled | None = None,
    measure_every: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Minimise cross-entropy with Adam, in place; examples are shuffled in each epoch.

    Args:
        model: Gives logits `(N, C)`.
        data: The training part.
        epochs: How often each example is seen.
        batch_size: Examples a step.
        learning_rate: Of Adam.
        weight_decay: Decoupled from the gradient, as AdamW has it.
        validation: Measured with the training part, never trained on.
        measure_every: Epochs from one measurement to the next; the last is always measured.
        seed: Seed of the order of examples and of dropout.

    Returns:
        One row a measured epoch: ``train_loss, train_accuracy``, and with a validation part
        ``validation_loss, validation_accuracy``, all after the epoch and without dropout.
    """
    if epochs < 1 or measure_every < 1:
        raise InputError("epochs", "and measure_every cannot be below 1", "give 1 or more")
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=learning_rate, weight_decay=weight_decay)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(1, epochs + 1):
            model.train()
            for batch in torch.randperm(len(data.y), generator=generator).split(batch_size):
                loss = F.cross_entropy(model(data.x[batch]), data.y[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            if epoch % measure_every == 0 or epoch == epochs:
                row = {"epoch": epoch} | _measure(model, data, "train")
                if validation is not None:
                    row |= _measure(model, validation, "validation")
                rows.append(row)
    return pd.DataFrame(rows).set_index("epoch")


def logits(model: nn.Module, x: Tensor) -> Tensor:
    """What the model gives without dropout and without a gradient, `(N, C)`."""
    model.eval()
    with torch.no_grad():
        return model(x)


def accuracy(model: nn.Module, data: Labelled) -> float:
    """Share of examples whose class has the highest logit."""
    return float((logits(model, data.x).argmax(1) == data.y).float().mean())


def _measure(model: nn.Module, data: Labelled, name: str) -> dict[str, float]:
    scores = logits(model, data.x)
    return {
        f"{name}_loss": float(F.cross_entropy(scores, data.y)),
        f"{name}_accuracy": float((scores.argmax(1) == data.y).float().mean()),
    }
