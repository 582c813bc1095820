"""Chapter 8, first half, as one job: what the frozen main branch knows of one corpus.

The voices are described, every layer of the encoder is probed, and each probe leaves a record.
Nothing but the probes is trained.

Source: thesis section 8.4, the main-only rows of Table 8.2; note 28.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from thesislib.config import MainBranchConfig
from thesislib.corpora.clip import Clip
from thesislib.corpora.loading import Corpus, load_corpus
from thesislib.learning.features import extract_features
from thesislib.learning.probes import TASKS, cross_validate, cross_validate_nested
from thesislib.models.checkpoints import load_encoder
from thesislib.records.record import RunRecord
from thesislib.records.recording import Stopwatch, record_run
from thesislib.signals.audio import SAMPLE_RATE
from thesislib.signals.media import read_batch
from thesislib.signals.voice import f0_track, long_term_average_spectrum

EXPERIMENT, VOICES = "main-only", "voices"
"""Names of the experiments: the probes, and the description of the voices."""
NESTED = "nested"
BANDS = 32
Say = Callable[[str], None]
Probe = tuple[str, str, pd.DataFrame]
"""Task, name of the features (``mfcc``, ``layer_<i>`` or ``nested``), predictions frame."""


def run(config: MainBranchConfig, *, say: Say = print) -> list[RunRecord]:
    """Describe the voices of a corpus, probe the frozen encoder on it, and write the records.

    Args:
        config: The job.
        say: Called with a line a step.

    Raises:
        InputError: the corpus or the weights are not there, or no clip can be used.
    """
    torch.set_num_threads(config.threads)
    stopwatch = Stopwatch()
    data = load_corpus(config.corpus, clips=config.clips, seed=config.seed)
    description = describe_voices(data.clips, window_s=config.window_s)
    voices = record_voices(config, data, description, stopwatch)
    say(f"voices of {len(description)} clips described")
    features, kept, failures = extract_features(
        data.clips, load_encoder(config.encoder), window_s=config.window_s
    )
    for failure in failures:
        say(f"left out: {failure}")
    say(f"features of {len(kept)} clips: {', '.join(features)}")
    probes = probe_all(features, [data.clips[position] for position in kept], config)
    records = [voices, *record_probes(config, data, probes, stopwatch)]
    say(f"{len(records)} records in {stopwatch.seconds():.0f} s")
    return records


def record_voices(
    config: MainBranchConfig, data: Corpus, description: pd.DataFrame, stopwatch: Stopwatch
) -> RunRecord:
    """Write the record of the voices.

    Args:
        config: The job.
        data: The corpus.
        description: From `describe_voices`.
        stopwatch: Started before they were described.
    """
    return record_run(
        description, "embedding", experiment=VOICES, configuration={},
        manifest=data.manifest, variant=data.variant, config=config, stopwatch=stopwatch,
    )  # fmt: skip


def record_probes(
    config: MainBranchConfig, data: Corpus, probes: Iterable[Probe], stopwatch: Stopwatch
) -> list[RunRecord]:
    """Measure the probes and write a record of each.

    Args:
        config: The job.
        data: The corpus.
        probes: From `probe_all`.
        stopwatch: Started before they were trained.
    """
    return [
        record_run(
            frame, "classification", experiment=EXPERIMENT,
            configuration={"task": task, "features": name},
            manifest=data.manifest, variant=data.variant, config=config, stopwatch=stopwatch,
        )
        for task, name, frame in probes
    ]  # fmt: skip


def probe_all(
    features: Mapping[str, NDArray], clips: Sequence[Clip], config: MainBranchConfig
) -> Iterator[Probe]:
    """Probe every task on every feature set; for emotion, choose the layer inside the folds too.

    Args:
        features: `(N, D)` by name, from `extract_features`.
        clips: N, of which the features are.
        config: The job.
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
