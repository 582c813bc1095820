"""What chapter 7 tells of a clip: an emotion, five traits, or an expression.

Source: thesis section 7.5; notes items 10 and 12.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from thesislib.corpora.clip import Clip
from thesislib.errors import InputError
from thesislib.learning.laugh_data import CLASS_OF

TRAITS = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")


class Task(NamedTuple):
    """What is told of a clip.

    Attributes:
        label: Name of the clips' label; empty for the scores `TRAITS`.
        kind: ``classification`` or ``regression``.
    """

    label: str
    kind: Literal["classification", "regression"]


TASKS = {
    "crema-d": Task("emotion", "classification"),
    "emodb": Task("emotion", "classification"),
    "first-impressions": Task("", "regression"),
    "ndc-me": Task("expression", "classification"),
}
"""Corpus to task."""


def class_names(corpus: str, clips: Sequence[Clip]) -> list[str]:
    """Classes of a task in the order of the outputs; the traits of a regression.

    >>> class_names("ndc-me", [])
    ['Laughs', 'Smiles', 'None']
    """
    if corpus == "ndc-me":
        return list(CLASS_OF.values())
    task = TASKS[corpus]
    if task.kind == "regression":
        return list(TRAITS)
    return sorted({clip.labels[task.label] for clip in clips})


def targets(corpus: str, clips: Sequence[Clip], names: Sequence[str]) -> Tensor:
    """Class numbers `(N,)`, or traits `(N, 5)` in [0, 1].

    Args:
        corpus: A key of `TASKS`.
        clips: N clips of it.
        names: From `class_names`.

    Raises:
        InputError: a clip has no such label or score.
    """
    task = TASKS[corpus]
    try:
        if task.kind == "regression":
            return torch.tensor([[clip.scores[name] for name in names] for clip in clips])
        return torch.tensor([names.index(label_of(corpus, clip)) for clip in clips])
    except (KeyError, ValueError) as error:
        what = task.label or "traits"
        raise InputError(corpus, f"a clip lacks {error}", f"restore the labels of {what}") from None


def label_of(corpus: str, clip: Clip) -> str:
    """The class of a clip as the models name it."""
    label = clip.labels[TASKS[corpus].label]
    return CLASS_OF[label] if corpus == "ndc-me" else label
