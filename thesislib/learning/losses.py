"""Losses of the masked autoencoder and its heads (chapter 7), and of two branches (chapter 8)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from thesislib.errors import InputError

Direction = Literal["v2a", "a2v", "both"]


class Contrast(NamedTuple):
    """Contrastive loss, and the share of anchors that are closest to their own partner."""

    loss: Tensor
    accuracy: Tensor


def contrastive_loss(
    audio: Tensor, video: Tensor, *, temperature: float = 0.05, direction: Direction = "v2a"
) -> Contrast:
    """InfoNCE between the audio and the video of the same clips.

    Args:
        audio: Mean-pooled audio tokens `(B, width)`, of B clips; normalised here.
        video: Mean-pooled video tokens `(B, width)` of the same clips.
        temperature: Divides the cosine similarities; above 0.
        direction: ``v2a``: each video picks its audio among the batch, which is what the authors'
            code does; ``a2v``: each audio picks its video, as equation 7.3 reads; ``both``: their
            mean.

    Returns:
        Loss in nats and accuracy in [0, 1], both scalars.

    Raises:
        InputError: Shapes differ, the batch holds fewer than two clips, or an option is unknown.

    Source: equation 7.3, as note 5 puts it right.

    >>> contrastive_loss(torch.eye(2), torch.eye(2), temperature=1.0)
    Contrast(loss=tensor(0.3133), accuracy=tensor(1.))
    """
    if audio.shape != video.shape or audio.ndim != 2:
        raise InputError(
            "audio, video",
            f"shapes {tuple(audio.shape)} and {tuple(video.shape)} are not one (B, width)",
            "pool the tokens of the same clips",
        )
    if len(audio) < 2:
        raise InputError(
            "batch_size",
            f"the contrastive loss has no negatives in a batch of {len(audio)}",
            "use batch_size >= 2, or contrastive_weight 0",
        )
    if direction not in ("v2a", "a2v", "both"):
        raise InputError("direction", f"{direction!r} is unknown", "use v2a, a2v or both")
    if temperature <= 0:
        raise InputError("temperature", f"{temperature} is not above 0", "the thesis has 0.05")
    # Not under autocast: bfloat16 keeps two digits of a similarity, and 1/0.05 multiplies the rest.
    with torch.autocast(audio.device.type, enabled=False):
        audio, video = _at_least_float32(audio), _at_least_float32(video)
        similarity = F.normalize(video, dim=-1) @ F.normalize(audio, dim=-1).T / temperature
    partner = torch.arange(len(audio), device=audio.device)
    anchors = {"v2a": [similarity], "a2v": [similarity.T], "both": [similarity, similarity.T]}
    losses = [F.cross_entropy(rows, partner) for rows in anchors[direction]]
    hits = [(rows.argmax(dim=1) == partner).float().mean() for rows in anchors[direction]]
    return Contrast(torch.stack(losses).mean(), torch.stack(hits).mean())


def reconstruction_loss(
    prediction: Tensor, target: Tensor, hidden: Tensor, *, norm_pix_loss: bool = False
) -> Tensor:
    """Mean squared error over the patches that the encoder did not see.

    Args:
        prediction: Predicted patches `(B, N, values)`.
        target: True patches `(B, N, values)`.
        hidden: True (or 1) where a patch was masked, `(B, N)`. With none masked there is nothing
            to average and the loss is NaN.
        norm_pix_loss: Compare with patches of zero mean and unit variance each (note 4).

    Returns:
        A scalar, in squared units of `target`, or of its standard deviations.

    Raises:
        InputError: The shapes do not fit.

    Source: equation 7.7, one modality's term.

    >>> target, hidden = torch.zeros(1, 2, 4), torch.tensor([[False, True]])
    >>> reconstruction_loss(torch.tensor([[[9.0] * 4, [2.0] * 4]]), target, hidden)
    tensor(4.)
    """
    if prediction.shape != target.shape or hidden.shape != target.shape[:2]:
        raise InputError(
            "prediction, target, hidden",
            f"shapes {tuple(prediction.shape)}, {tuple(target.shape)}, {tuple(hidden.shape)}",
            "give (B, N, values) twice and (B, N)",
        )
    if norm_pix_loss:
        target = normalise_patches(target)
    difference = _at_least_float32(prediction) - _at_least_float32(target)
    error = difference.square().mean(dim=-1)
    hidden = hidden.to(error.dtype)
    return (error * hidden).sum() / hidden.sum()


def normalise_patches(patches: Tensor) -> Tensor:
    """Patches `(B, N, values)` with zero mean and unit variance each, as `norm_pix_loss` has them.

    Source: the masked autoencoder's reference code: unbiased variance, plus 1e-6 for flat patches.
    """
    patches = _at_least_float32(patches)
    mean, deviation = _patch_statistics(patches)
    return (patches - mean) / deviation


def denormalise_patches(prediction: Tensor, patches: Tensor) -> Tensor:
    """Bring normalised predictions back to the mean and deviation of the true patches.

    Both are `(B, N, values)`; the inverse of `normalise_patches` for drawing reconstructions.
    """
    mean, deviation = _patch_statistics(patches)
    return prediction * deviation + mean


def _patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    mean = patches.mean(dim=-1, keepdim=True)
    return mean, (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, refusing labels that no output stands for.

    Args:
        logits: `(B, classes)`.
        labels: Integers `(B,)` in [0, classes).

    Returns:
        A scalar, in nats.

    Raises:
        InputError: A label lies outside the range, is no integer, or there are not B of them.

    >>> classification_loss(torch.zeros(1, 2), torch.tensor([1]))
    tensor(0.6931)
    """
    classes = logits.shape[-1]
    if labels.shape != logits.shape[:1] or labels.is_floating_point():
        raise InputError(
            "labels",
            f"{tuple(labels.shape)} of {labels.dtype} do not fit logits {tuple(logits.shape)}",
            "give one integer a clip",
        )
    # Checked here since a GPU reports an index out of range late, and then is of no further use.
    outside = (labels < 0) | (labels >= classes)
    if bool(outside.any()):
        row = int(outside.nonzero()[0, 0])
        raise InputError(
            "labels",
            f"{int(labels[row])} is outside 0 to {classes - 1}",
            "map the labels to the classes, or set n_outputs to their number",
            where=f"row {row}",
        )
    return F.cross_entropy(_at_least_float32(logits), labels)


def regression_loss(
    prediction: Tensor, target: Tensor, *, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Mean absolute error, refusing targets outside their scale.

    Args:
        prediction: `(B, traits)`.
        target: `(B, traits)`, values in [low, high].
        low: Lower end of the scale; 0 for the traits of First Impressions.
        high: Upper end of the scale.

    Returns:
        A scalar; one minus it is the accuracy of section 7.5.2.

    Raises:
        InputError: A target lies outside the scale or is not finite, or the shapes differ.

    Source: section 7.5.2; the authors' code has cross-entropy here (note 10).

    >>> regression_loss(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 1.0]]))
    tensor(0.3750)
    """
    if prediction.shape != target.shape:
        raise InputError(
            "target",
            f"{tuple(target.shape)} does not fit predictions {tuple(prediction.shape)}",
            "give one value a trait and clip",
        )
    outside = ~((target >= low) & (target <= high))
    if bool(outside.any()):
        row, trait = (int(i) for i in outside.nonzero()[0])
        raise InputError(
            "target",
            f"{float(target[row, trait])} is outside {low:g} to {high:g}",
            "scale the scores, or give low and high",
            where=f"row {row}, trait {trait}",
        )
    return F.l1_loss(_at_least_float32(prediction), _at_least_float32(target))


def branch_contrast(main: Tensor, auxiliary: Tensor, *, temperature: float = 0.05) -> Contrast:
    """Contrastive loss between the two branches: each auxiliary output picks its main output.

    Args:
        main: Mean-pooled output of the frozen branch `(B, width)`.
        auxiliary: Mean-pooled output of the trained branch `(B, width)`.
        temperature: Of equation 7.3, which 8.3 is taken from without saying one; above 0.

    Returns:
        Loss in nats and accuracy in [0, 1], both scalars.

    Raises:
        InputError: Shapes differ, or the batch holds fewer than two clips.

    Source: equation 8.3.
    """
    return contrastive_loss(main, auxiliary, temperature=temperature, direction="v2a")


def disentanglement_loss(
    reconstruction: Tensor, contrast: Tensor, information: Tensor, *, weight: float = 0.01
) -> Tensor:
    """The weighted sum that the auxiliary branch is trained on, a scalar.

    Args:
        reconstruction: Equation 8.2, `reconstruction_loss`.
        contrast: Equation 8.3, `branch_contrast`; it pulls the branches together.
        information: Equation 8.4; it pushes them apart (note 27).
        weight: The thesis's lambda, on both of the latter.

    Source: equation 8.1.

    >>> disentanglement_loss(torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0))
    tensor(1.0500)
    """
    return reconstruction + weight * (contrast + information)
