"""A small task for two modalities, one of which gets noisy, and ways of fusing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from thesislib.errors import InputError
from thesislib.models.fusion import Branch, Gating, make_fusion, weighted_average
from thesislib.teaching.networks import mlp, seeded

Task = Literal["agreement", "conflict"]
CUES = 3  # what either modality can show
STEPS, FEATURES = 6, 8
WIDTH = 32  # hidden size of everything trained here
NOISIEST = 4.0  # standard deviation, four times that of the features themselves


class World(NamedTuple):
    """How each cue sounds and looks: `(3, 8)` and `(3, 8)`."""

    sound: Tensor
    look: Tensor


class Encounters(NamedTuple):
    """Simulated clips.

    Attributes:
        sound: Features `(N, 6, 8)`.
        look: Features `(N, 6, 8)`.
        label: Classes `(N,)`.
    """

    sound: Tensor
    look: Tensor
    label: Tensor


def draw_world(seed: int) -> World:
    """Prototypes of the cues, in random directions and of length 1."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(2, CUES, FEATURES, generator=generator)
    sound, look = F.normalize(drawn, dim=2)
    return World(sound, look)


def encounters(world: World, n: int, *, task: Task, noise: float | None, seed: int) -> Encounters:
    """Draw clips whose sound and look each carry a cue, in noise of unit variance.

    In ``agreement`` both carry the class, one of three. In ``conflict`` each is warm or cold, and
    the classes are both warm, both cold, and one of each: what the two say separately does not
    tell that they contradict each other.

    Args:
        world: What the cues are like.
        n: Clips.
        task: ``agreement`` or ``conflict``.
        noise: Standard deviation of further noise on the sound; None draws one for each clip,
            evenly between 0 and `NOISIEST`.
        seed: Seed of the draw.

    Raises:
        InputError: the task is unknown.

    >>> encounters(draw_world(0), 5, task="conflict", noise=0.0, seed=0).sound.shape
    torch.Size([5, 6, 8])
    """
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(3, (n,), generator=generator)
    either = torch.randint(2, (n,), generator=generator)
    if task == "agreement":
        heard = seen = label
    elif task == "conflict":
        heard = torch.where(label == 2, either, label)
        seen = torch.where(label == 2, 1 - either, label)
    else:
        raise InputError("task", f"cannot be {task!r}", "choose agreement or conflict")
    level = torch.rand(n, generator=generator) * NOISIEST
    level = level if noise is None else torch.full((n,), noise)
    shape = (n, STEPS, FEATURES)
    own = torch.randn(2, *shape, generator=generator)
    further = torch.randn(shape, generator=generator) * level[:, None, None]
    sound = world.sound[heard][:, None] + own[0] + further
    return Encounters(sound, world.look[seen][:, None] + own[1], label)


def pooled(features: Tensor) -> Tensor:
    """Mean and standard deviation over the steps, `(B, T, D)` to `(B, 2 D)`."""
    return torch.cat([features.mean(1), features.std(1, correction=0)], 1)


Model = Callable[[Tensor, Tensor], Tensor]
"""From sound and look to logits `(N, 3)`."""

METHODS = (
    "sound alone",
    "look alone",
    "early",
    "late: average",
    "late: trained",
    "mid: gating",
    "mid: attention",
)
"""What `fit` knows."""


def fit(method: str, train: Encounters, *, epochs: int = 6, seed: int) -> Model:
    """Train one way of fusing on clips of mixed noise.

    All have the same width and see the same clips equally often. *Late* trains two networks apart
    and combines their probabilities: ``average`` with equal weights, ``trained`` by a small
    network, for which a quarter of the clips is kept.

    Args:
        method: One of `METHODS`.
        train: Clips, in which the noise varies.
        epochs: Passes over them, in batches of 100.
        seed: Of the initial weights and the order of the clips.

    Raises:
        InputError: the method is unknown.
    """
    if method not in METHODS:
        raise InputError("method", f"cannot be {method!r}", f"choose one of {', '.join(METHODS)}")
    if method.startswith("late"):
        return _fit_late(method, train, epochs, seed)
    name = {"early": "early", "mid: gating": "gating", "mid: attention": "cross-attention"}
    size = FEATURES if method in ("early", "mid: attention") else 2 * FEATURES
    kind = name.get(method, "mlp")
    network = seeded(
        lambda: _module(make_fusion(kind, size, size, 3, width=WIDTH, dropout=0.0)), seed
    )

    def forward(sound: Tensor, look: Tensor) -> Tensor:
        if size != FEATURES:
            sound, look = pooled(sound), pooled(look)
        ear = None if method == "look alone" else Branch(sound)
        eye = None if method == "sound alone" else Branch(look)
        logits: Tensor = network(ear, eye)
        return logits

    _train(network, forward, train, epochs, seed)
    return torch.no_grad()(forward)


def train_gate(train: Encounters, *, epochs: int = 6, seed: int) -> Gating:
    """The network of ``mid: gating``, to look at its gate; it takes `pooled` features."""
    size = 2 * FEATURES
    gate = seeded(lambda: Gating(size, size, 3, WIDTH, 0.0), seed)

    def forward(sound: Tensor, look: Tensor) -> Tensor:
        logits: Tensor = gate(Branch(pooled(sound)), Branch(pooled(look)))
        return logits

    _train(gate, forward, train, epochs, seed)
    return gate


def _fit_late(method: str, train: Encounters, epochs: int, seed: int) -> Model:
    kept = len(train.label) // 4 if method == "late: trained" else 0
    rest = Encounters(*(column[kept:] for column in train))
    ear = fit("sound alone", rest, epochs=epochs, seed=seed)
    eye = fit("look alone", rest, epochs=epochs, seed=seed)
    if not kept:

        def average(sound: Tensor, look: Tensor) -> Tensor:
            heard = Branch(sound, logits=ear(sound, look))
            return weighted_average(heard, Branch(look, logits=eye(sound, look)))

        return average

    network = mlp([6, WIDTH, 3], seed=seed)

    def trained(sound: Tensor, look: Tensor) -> Tensor:
        decisions = [branch(sound, look).softmax(1) for branch in (ear, eye)]
        logits: Tensor = network(torch.cat(decisions, 1))
        return logits

    chosen = Encounters(*(column[:kept] for column in train))
    _train(network, trained, chosen, 4 * epochs, seed)
    return torch.no_grad()(trained)


def _module(fusion: object) -> nn.Module:
    assert isinstance(fusion, nn.Module)
    return fusion


def _train(network: nn.Module, forward: Model, train: Encounters, epochs: int, seed: int) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(train.label), generator=generator).split(100):
            loss = F.cross_entropy(forward(train.sound[rows], train.look[rows]), train.label[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    network.eval()


@torch.no_grad()
def accuracy(model: Model, test: Encounters) -> float:
    """Share of clips whose class has the highest score."""
    return float((model(test.sound, test.look).argmax(1) == test.label).float().mean())
