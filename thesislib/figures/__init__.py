"""Figures, from records, predictions and signals; never from a model."""

import matplotlib.pyplot as plt

from thesislib.figures.interaction import answer_curves, faces, pair_heatmaps, timeline
from thesislib.figures.probes import (
    confusion_matrix,
    layer_tradeoff,
    listeners_and_model,
    spectrograms,
    uar_of_speakers,
    voices,
)
from thesislib.figures.style import png

__all__ = [
    "answer_curves",
    "confusion_matrix",
    "faces",
    "layer_tradeoff",
    "listeners_and_model",
    "pair_heatmaps",
    "plt",
    "png",
    "spectrograms",
    "timeline",
    "uar_of_speakers",
    "voices",
]
