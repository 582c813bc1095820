"""Figures, from records, predictions and signals; never from a model."""

import matplotlib.pyplot as plt

from thesislib.figures.interaction import answer_curves, faces, pair_heatmaps, timeline
from thesislib.figures.laughs import (
    band_drops,
    calibration,
    embedding_maps,
    intensity_heatmaps,
    occlusion_maps,
    score_over_time,
)
from thesislib.figures.probes import (
    confusion_matrix,
    layer_tradeoff,
    listeners_and_model,
    spectrograms,
    uar_of_speakers,
    voices,
)
from thesislib.figures.social_mae import (
    clip_maps,
    face_reconstructions,
    few_shot_curve,
    region_errors,
    region_means,
    social_mae_diagram,
    spectrogram_reconstruction,
)
from thesislib.figures.style import described, png

__all__ = [
    "answer_curves",
    "band_drops",
    "calibration",
    "clip_maps",
    "confusion_matrix",
    "described",
    "embedding_maps",
    "face_reconstructions",
    "faces",
    "few_shot_curve",
    "intensity_heatmaps",
    "layer_tradeoff",
    "listeners_and_model",
    "occlusion_maps",
    "pair_heatmaps",
    "plt",
    "png",
    "region_errors",
    "region_means",
    "score_over_time",
    "social_mae_diagram",
    "spectrogram_reconstruction",
    "spectrograms",
    "timeline",
    "uar_of_speakers",
    "voices",
]
