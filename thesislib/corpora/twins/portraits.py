"""Still pictures of the twin's face: every level of smiles and laughs, for pages."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from thesislib.corpora.twins.face import FaceIdentity, sample_identity
from thesislib.corpora.twins.face_motion import FaceMotion, face_motion, laugh, smile
from thesislib.corpora.twins.face_render import render

# The middle of each level, and for laughs the moment at which the jaw is furthest down.
SMILES = {"no smile": 0.0, "subtle": 0.125, "low": 0.375, "medium": 0.625, "high": 0.875}
LAUGHS = {"low": 1 / 6, "medium": 0.5, "high": 5 / 6}


def portraits(*, seed: int = 0, sex: str = "female", size: int = 224) -> dict[str, NDArray]:
    """One identity at the middle of each level of smiles and laughs.

    Returns:
        Title to `(size, size, 3)` uint8.
    """
    identity = sample_identity(sex, torch.Generator().manual_seed(seed))
    pictures = {}
    for name, intensity in SMILES.items():
        title = name if name == "no smile" else f"{name} smile"
        pictures[title] = _picture(identity, face_motion(smile(torch.tensor([intensity]))), size)
    times = torch.linspace(0, 0.2, 11)
    for name, intensity in LAUGHS.items():
        motion = laugh(torch.full((11,), intensity), times)
        widest = int(motion.action_units.sum(1).argmax())
        pictures[f"{name} laugh"] = _picture(identity, motion[widest : widest + 1], size)
    return pictures


def _picture(identity: FaceIdentity, motion: FaceMotion, size: int) -> NDArray[np.uint8]:
    return next(iter(render(identity, motion, size=size)))[0].numpy()
