"""Training of the auxiliary branch: what is minimised, and on what.

Source: section 8.3.3; notes 26 to 28 and 30.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from thesislib.errors import InputError
from thesislib.learning.losses import (
    branch_contrast,
    disentanglement_loss,
    reconstruction_loss,
)
from thesislib.learning.mutual_information import (
    Club,
    soft_histogram_information,
    standardise,
)
from thesislib.learning.training import Batch, Fitted, Loss, TensorData, TrainingConfig, fit
from thesislib.models.dual_branch import DualBranch
from thesislib.models.transformer import Masking, random_masking

Losses = Literal["all", "reconstruction", "no-reconstruction", "no-contrast", "no-information"]
Estimator = Literal["histogram", "club"]
TERMS = ("reconstruction", "contrast", "information")
VALIDATION_SEED = 12_345  # of the masks that every epoch is judged on


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What of equation 8.1 is minimised.

    Attributes:
        losses: ``all``, ``reconstruction`` alone, or all but one.
        weight: The thesis's lambda.
        information: How the mutual information is estimated (note 27).
    """

    losses: Losses = "all"
    weight: float = 0.01
    information: Estimator = "histogram"

    def __post_init__(self) -> None:
        for name, choices in ("losses", get_args(Losses)), ("information", get_args(Estimator)):
            if getattr(self, name) not in choices:
                problem = f"{getattr(self, name)!r} is unknown"
                raise InputError(name, problem, f"use {', '.join(choices)}")
        if not self.weight >= 0:
            raise InputError("weight", f"{self.weight} is negative", "use 0 or more")

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms that count."""
        if self.losses == "reconstruction":
            return ("reconstruction",)
        return tuple(term for term in TERMS if self.losses != f"no-{term}")


class Objective(nn.Module):
    """The branches with their losses, so that one forward pass is one step on any device.

    Args:
        branches: The model.
        config: What is minimised.
        generator: Draws CLUB's initial weights; the global one if None.
    """

    def __init__(
        self,
        branches: DualBranch,
        config: ObjectiveConfig,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.branches, self.config = branches, config
        width = branches.mask_token.shape[-1]
        uses_club = config.information == "club" and "information" in config.terms
        self.club = Club(width, generator=generator) if uses_club else None

    def forward(
        self, spectrogram: Tensor, noise: Tensor, main: Tensor | None = None
    ) -> dict[str, Tensor]:
        """All losses of a batch, scalars.

        Args:
            spectrogram: `(B, …)`, as `DualBranch.forward` takes it.
            noise: `(B, N)`, whose order is the mask.
            main: Cached features of the main branch `(B, N, D)`.

        Returns:
            ``loss``, to be minimised; the three terms, whether they count or not; and with CLUB
            ``club``, what its own network is taught by.
        """
        masking = self.mask(noise)
        output = self.branches(spectrogram, masking, main)
        pairs = [part.flatten(0, 1) for part in (output.main, output.auxiliary)]
        club = output.auxiliary.new_zeros(())
        if self.club is None:
            information = soft_histogram_information(*pairs)
        else:
            with torch.autocast(spectrogram.device.type, enabled=False):
                x, y = (standardise(part) for part in pairs)
                # A share for each feature, to be of the size of the histogram's pair of numbers.
                information = self.club.bound(x, y) / x.shape[1]
                club = self.club.learning_loss(x, y) / x.shape[1]
        terms = {
            "reconstruction": reconstruction_loss(output.prediction, output.target, output.hidden),
            "contrast": branch_contrast(output.main_mean, output.auxiliary_mean).loss,
            "information": information,
        }
        zero = club.new_zeros(())
        counted = [terms[name] if name in self.config.terms else zero for name in TERMS]
        total = disentanglement_loss(*counted, weight=self.config.weight)
        return {"loss": total + club, "total": total.detach()} | {
            name: term.detach() for name, term in terms.items()
        }

    def mask(self, noise: Tensor) -> Masking:
        """Masks from noise."""
        return random_masking(noise, self.branches.config.mask_ratio)


class Trained(NamedTuple):
    """What training yields.

    Attributes:
        branches: With the weights of the best epoch.
        fitted: How it went, one row an epoch.
        validation: Terms on the held-out windows, with the same masks for every model.
    """

    branches: DualBranch
    fitted: Fitted
    validation: dict[str, float]


def step_of(branches: DualBranch) -> Loss:
    """The loss of a batch with ``spectrogram`` and, where it is cached, ``main``."""
    n_tokens = branches.grid.n_tokens

    def step(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        spectrogram = batch["spectrogram"]
        noise = torch.rand(len(spectrogram), n_tokens, generator=generator)
        losses: dict[str, Tensor] = model(
            spectrogram, noise.to(spectrogram.device), batch.get("main")
        )
        return losses

    return step


def train_auxiliary(
    objective: Objective,
    train: TensorData,
    validation: TensorData,
    config: TrainingConfig,
    *,
    progress: bool = False,
) -> Trained:
    """Train the auxiliary branch and the decoder, and keep the epoch of the best validation.

    Args:
        objective: Changed in place.
        train: With tensors ``spectrogram`` and, where they are cached, ``main``.
        validation: Likewise, of other speakers.
        config: How; its monitor has to be ``total``.
        progress: Show it.

    Raises:
        InputError: there are too few windows.
    """
    step = step_of(objective.branches)

    def validate(model: nn.Module) -> dict[str, float]:
        return measure(model, step, validation, config.batch_size)

    fitted = fit(objective, step, train, config=config, validate=validate, progress=progress)
    terms = measure(objective, step, validation, config.batch_size)
    return Trained(objective.branches, fitted, terms)


@torch.no_grad()
def measure(model: nn.Module, step: Loss, data: TensorData, batch_size: int) -> dict[str, float]:
    """Means of the losses over held-out windows, under masks that are always the same.

    The last batch takes in what is left over, so that none holds a single window.
    """
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    n, sums = len(data), dict[str, float]()
    for start, stop in _batches(n, batch_size):
        for name, value in step(model, data.__getitems__(range(start, stop)), generator).items():
            sums[name] = sums.get(name, 0.0) + float(value) * (stop - start) / n
    return sums


def _batches(n: int, batch_size: int) -> list[tuple[int, int]]:
    """Bounds of batches of n windows, the last with what is left over."""
    starts = list(range(0, max(n - batch_size, 0) + 1, batch_size))
    return list(zip(starts, [*starts[1:], n], strict=True))


@torch.inference_mode()
def reconstruction_errors(
    branches: DualBranch, data: TensorData, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Squared error of the hidden values of each window, and the number of these values.

    Args:
        branches: Trained.
        data: With ``spectrogram`` and, where it is cached, ``main``.
        batch_size: Windows at a time; the last batch may be larger.

    Returns:
        Two tensors `(N,)`: the sum of squares, in squared units of the log-mel, and the count.
    """
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    errors, counts = [], []
    for start, stop in _batches(len(data), batch_size):
        batch = data.__getitems__(range(start, stop))
        noise = torch.rand(stop - start, branches.grid.n_tokens, generator=generator)
        masking = random_masking(noise, branches.config.mask_ratio)
        output = branches(batch["spectrogram"], masking, batch.get("main"))
        squares = (output.prediction - output.target).square().sum(dim=-1)
        errors.append((squares * output.hidden).sum(dim=1))
        counts.append(output.hidden.sum(dim=1) * branches.grid.values)
    return torch.cat(errors), torch.cat(counts)


@torch.inference_mode()
def reconstruct(
    branches: DualBranch, spectrogram: Tensor, *, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures of masked windows, as in Figure 8.4.

    Args:
        branches: Trained.
        spectrogram: `(B, …)`, front end of the encoder.
        seed: Of the masks.

    Returns:
        The window, the window with hidden patches NaN, and the window with them drawn; each
        `(B, T, M)`.
    """
    grid = branches.grid
    masking = branches.mask(len(spectrogram), torch.Generator().manual_seed(seed))
    output = branches(spectrogram, masking)
    hidden = masking.hidden.unsqueeze(-1)
    patches = (
        output.target,
        output.target.masked_fill(hidden, torch.nan),
        torch.where(hidden, output.prediction, output.target),
    )
    pictures = [grid.join(values) for values in patches]
    whole, seen, drawn = (p.transpose(1, 2) if grid.whisper else p for p in pictures)
    return whole, seen, drawn


def main_column(features: Tensor | None) -> dict[str, Tensor]:
    """The column of cached features of a `TensorData`, if there is one."""
    return {} if features is None else {"main": features}
