"""Chapter 8, first half: every probe of the frozen main branch on one corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from thesislib.config import MainBranchConfig
from thesislib.corpora.clip import Clip
from thesislib.learning.probes import TASKS, cross_validate, cross_validate_nested
from thesislib.signals.audio import SAMPLE_RATE
from thesislib.signals.media import read_batch
from thesislib.signals.voice import f0_track, long_term_average_spectrum

NESTED = "nested"
BANDS = 32


def probe_all(
    features: Mapping[str, NDArray], clips: Sequence[Clip], config: MainBranchConfig
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Probe every task on every feature set; for emotion, choose the layer inside the folds too.

    Yields:
        Task, name of the features (``mfcc``, ``layer_<i>`` or ``nested``), predictions frame.
    """
    c = config.regularisation_c
    for task in TASKS:
        for name, values in features.items():
            yield task, name, cross_validate(values, clips, task, regularisation_c=c)
    layers = {name: values for name, values in features.items() if name.startswith("layer_")}
    yield (
        "emotion",
        NESTED,
        cross_validate_nested(layers, clips, "emotion", regularisation_c=c),
    )


@torch.inference_mode()
def describe_voices(clips: Sequence[Clip], *, window_s: float) -> pd.DataFrame:
    """Acoustic description of each clip, to compare corpora in the aggregate.

    Returns:
        A frame of kind *embedding*: ``clip_id, speaker, sex, emotion``, then ``z_0``, the median
        f0 in hertz; ``z_1``, its spread between the 10th and 90th percentile in semitones;
        ``z_2``, the voiced share of the window; ``z_3`` on, the long-term average spectrum in
        dB in `BANDS` mel-spaced bands, relative to their mean. Broken recordings are left out.
    """
    batch = read_batch(list(clips), duration_s=window_s, on_error="quarantine")
    f0 = torch.cat([f0_track(part, SAMPLE_RATE) for part in batch.waveforms.split(64)])
    spectra = [
        long_term_average_spectrum(waveforms, lengths, SAMPLE_RATE, bands=BANDS)
        for waveforms, lengths in zip(
            batch.waveforms.split(64), batch.lengths.split(64), strict=True
        )
    ]
    ltas = torch.cat(spectra)
    low, high = (torch.nanquantile(f0, q, dim=1) for q in (0.1, 0.9))
    voiced = (~f0.isnan()).sum(1) / (batch.lengths * f0.shape[1] / batch.waveforms.shape[1])
    columns = torch.cat(
        [
            torch.stack([f0.nanmedian(dim=1).values, 12 * (high / low).log2(), voiced], dim=1),
            ltas - ltas.mean(1, keepdim=True),
        ],
        dim=1,
    )
    chosen = [clips[position] for position in batch.kept]
    frame = pd.DataFrame(
        {
            "clip_id": [clip.clip_id for clip in chosen],
            "speaker": [clip.speaker for clip in chosen],
            "sex": [clip.sex for clip in chosen],
            "emotion": [clip.labels["emotion"] for clip in chosen],
        }
    )
    names = [f"z_{number}" for number in range(columns.shape[1])]
    return frame.join(pd.DataFrame(columns.numpy().astype(np.float32), columns=names))
