"""Chapter 6 as one job: a corpus, a start, a scope, a split and a seed, to a record a model.

Source: thesis section 6.3; Tables 6.1 to 6.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from thesislib import files
from thesislib.config import LaughConfig
from thesislib.corpora import dyadic
from thesislib.corpora.clip import Clip
from thesislib.corpora.loading import Corpus, load_corpus
from thesislib.corpora.splits import Split, random_split, speaker_split
from thesislib.corpora.twins.voice import parse_effects
from thesislib.learning.laugh_analyses import band_drops, embedding_frame, occlusion_drops
from thesislib.learning.laugh_data import (
    WINDOW_S,
    Windows,
    balanced_split,
    check_parts,
    choose,
    ingest,
    targets,
)
from thesislib.learning.laugh_training import (
    MODALITIES,
    Kept,
    all_logits,
    keep_features,
    predictions_frame,
    pretrain,
    train_branches,
    train_end_to_end,
    train_fusions,
    view_of,
    whole_logits,
)
from thesislib.locking import exclusive
from thesislib.models.fusion import Fusion
from thesislib.models.lsn_tcn import LsnTcn
from thesislib.records.record import RunRecord
from thesislib.records.recording import Stopwatch, record_run

EXPERIMENT = "laughs"
PRETEXT_STARTS_S = (0.2, 0.8)
"""Where the windows of a sentence start: a sentence lasts two seconds and more."""
Say = Callable[[str], None]


class Data(NamedTuple):
    """A corpus with its windows.

    Attributes:
        corpus: As it was loaded.
        windows: Those that can be used.
    """

    corpus: Corpus
    windows: Windows


class Trained(NamedTuple):
    """What a job trains.

    Attributes:
        model: Both branches.
        fusions: By name.
        whole: The model fused end to end, if that was asked for.
        split: Of the training corpus's windows.
        kept: What the branches make of these windows.
        histories: Of the branches, by modality.
    """

    model: LsnTcn
    fusions: Mapping[str, Fusion]
    whole: LsnTcn | None
    split: Split
    kept: Kept
    histories: Mapping[str, pd.DataFrame]


def run(config: LaughConfig, *, say: Say = print) -> list[RunRecord]:
    """Train, test on the corpus and on the other one, and write a record a model and test.

    Args:
        config: The job.
        say: Called with a line a step.

    Raises:
        InputError: a corpus is not there, or nothing can be learnt from it; before training.
    """
    torch.set_num_threads(config.threads)
    stopwatch = Stopwatch()
    data = load(config, config.corpus, say=say)
    make_split(config, data.windows.clips)  # refused before anything is trained
    other = None if config.zero_shot == "none" else load(config, config.zero_shot, say=say)
    records, pretrained = [], None
    if config.start == "pretrained":
        pretrained, frames, pretext = pretext_weights(config, say=say)
        for modality, frame in frames.items():
            records.append(
                _record(frame, config, data, pretext.name, "pretext", modality, stopwatch)
            )
    trained = train(config, data.windows, pretrained=pretrained, say=say)
    tests = [(data, trained.kept, trained.split.test.tolist(), "test")]
    if other is not None:
        kept = keep_features(trained.model, other.windows)
        tests.append((other, kept, list(range(len(other.windows))), "zero-shot"))
    for tested, kept, rows, fold in tests:
        for name, frame in predict(trained, tested.windows, kept, rows, fold).items():
            records.append(
                _record(frame, config, data, tested.corpus.name, EXPERIMENT, name, stopwatch)
            )
    if config.analyses:
        for name, frame in analyse(trained, data.windows, seed=config.seed).items():
            records.append(
                _record(frame, config, data, data.corpus.name, "analysis", name, stopwatch)
            )
    say(f"{len(records)} records in {stopwatch.seconds():.0f} s")
    return records


def load(config: LaughConfig, name: str, *, say: Say = lambda line: None) -> Data:
    """A corpus of conversations, and what its windows show and let hear.

    Raises:
        InputError: the corpus is not there, or has no usable window.
    """
    is_twin = name.endswith("-twin")
    dyads = config.zero_shot_dyads if name == config.zero_shot else config.dyads
    # Of jobs that want the same twin at the same time, one writes it.
    with exclusive(files.resolve("data/twins") / f".{name}.lock"):
        corpus = load_corpus(
            name,
            seed=config.twin_seed,
            dyads=dyads if is_twin else 0,
            duration_s=config.duration_s if is_twin else 0.0,
            effects=parse_effects(config.effects.split()) if is_twin else None,
        )
    clips = dyadic.load_clips(corpus.root, corpus.name, hop_s=config.hop_s or None)
    windows = ingest(choose(clips, config.clips), view_of(config), say=say)
    for failure in windows.failures:
        say(f"left out: {failure}")
    return Data(corpus, windows)


def make_split(config: LaughConfig, clips: list[Clip]) -> Split:
    """The split, once it is sure that something can be learnt from it.

    Raises:
        InputError: one speaker only, too few groups of people, or a class that the training or
            the test part lacks however the people are parted.
    """
    if config.split == "speaker":
        return balanced_split(config.corpus, clips, seed=config.seed)
    split = random_split(clips, seed=config.seed)
    check_parts(config.corpus, clips, split)
    return split


def train(
    config: LaughConfig,
    windows: Windows,
    *,
    pretrained: Mapping[str, Mapping[str, Tensor]] | None = None,
    say: Say = lambda line: None,
) -> Trained:
    """Both branches, then the fusions on what they make of the windows.

    Raises:
        InputError: nothing can be learnt from the windows.
    """
    split = make_split(config, windows.clips)
    model, histories = train_branches(config, windows, split, pretrained=pretrained, say=say)
    kept = keep_features(model, windows)
    fusions = train_fusions(config, kept, targets(windows.clips), split, say=say)
    whole = train_end_to_end(config, model, windows, split) if config.end_to_end else None
    return Trained(model, fusions, whole, split, kept, histories)


def predict(
    trained: Trained, windows: Windows, kept: Kept, rows: list[int], fold: str
) -> dict[str, pd.DataFrame]:
    """Predictions of every model for some windows, by its name."""
    chosen = {name: values[rows] for name, values in kept.items()}
    logits = all_logits(chosen, trained.fusions)
    if trained.whole is not None:
        logits["cross-attention-end-to-end"] = whole_logits(trained.whole, windows, rows)
    clips = [windows.clips[row] for row in rows]
    return {name: predictions_frame(clips, values, fold) for name, values in logits.items()}


def analyse(trained: Trained, windows: Windows, *, seed: int) -> dict[str, pd.DataFrame]:
    """Maps of the embeddings, the occlusion map of the face and the bands of the voice."""
    rows = trained.split.test.tolist()
    frames = {
        f"{modality}-map": embedding_frame(
            windows, rows, trained.kept[f"{modality}_embedding"][rows], seed=seed
        )
        for modality in MODALITIES
    }
    frames["occlusion"] = occlusion_drops(trained.model.video, windows, rows)
    frames["bands"] = band_drops(trained.model.audio, windows, rows)
    return frames


def scores_of_recordings(
    predictions: pd.DataFrame, data: Data
) -> dict[str, tuple[pd.DataFrame, list[tuple[float, float, str]]]]:
    """Scores over time and the annotation of every recording that predictions are of, by name.

    Args:
        predictions: Of windows of the corpus.
        data: The corpus.

    Returns:
        For each recording its windows in order with ``time_s``, the middle of each, and the
        smiles and laughs that are annotated: start and end in seconds, and class.
    """
    found = {}
    name = predictions["clip_id"].str.rpartition("@")
    for recording in dyadic.load_recordings(data.corpus.root, data.corpus.name):
        own = predictions[name[0] == recording.name]
        if own.empty:
            continue
        middle_s = name.loc[own.index, 2].astype(float) / 1000 + WINDOW_S / 2
        segments = [
            (segment.start_s, segment.end_s, tier)
            for tier in ("Smiles", "Laughs")
            for segment in recording.annotation.tiers.get(tier, ())
        ]
        found[recording.name] = own.assign(time_s=middle_s).sort_values("time_s"), segments
    return found


def pretext_weights(
    config: LaughConfig, *, say: Say = lambda line: None
) -> tuple[dict[str, dict[str, Tensor]], dict[str, pd.DataFrame], Corpus]:
    """Weights from the pretext task, how well its test part is told, and its corpus.

    Raises:
        InputError: the pretext corpus is not there, or has no usable clip.
    """
    with exclusive(files.resolve("data/twins") / f".{config.pretext}.lock"):
        corpus = load_corpus(config.pretext, clips=config.pretext_clips, seed=config.twin_seed)
    clips = [
        replace(clip, clip_id=f"{clip.clip_id}@{start_s:g}", start_s=start_s, duration_s=None)
        for clip in corpus.clips
        for start_s in PRETEXT_STARTS_S
    ]
    windows = ingest(clips, view_of(config), say=say)
    sentences = sorted({clip.labels["sentence"] for clip in windows.clips})
    split = speaker_split(windows.clips, seed=config.twin_seed)
    weights, logits = pretrain(config, windows, sentences, split)
    frames = {}
    for modality, values in logits.items():
        probabilities = values[split.test].double().softmax(dim=1)
        tested = [windows.clips[row] for row in split.test]
        frame = pd.DataFrame(
            {
                "clip_id": [clip.clip_id for clip in tested],
                "speaker": [clip.speaker for clip in tested],
                "fold": "test",
                "target": [clip.labels["sentence"] for clip in tested],
                "prediction": [sentences[i] for i in probabilities.argmax(dim=1).tolist()],
            }
        )
        for number, name in enumerate(sentences):
            frame[f"p_{name}"] = probabilities[:, number].numpy()
        right = (frame["target"] == frame["prediction"]).mean()
        say(f"pretext, {modality}: {right:.2f} right of {len(sentences)} sentences")
        frames[modality] = frame
    return weights, frames, corpus


def _record(
    frame: pd.DataFrame,
    config: LaughConfig,
    data: Data,
    tested: str,
    experiment: str,
    model: str,
    stopwatch: Stopwatch,
) -> RunRecord:
    """A record of the corpus that was trained on; its configuration says what was tested on."""
    return record_run(
        frame,
        "embedding" if experiment == "analysis" else "classification",
        experiment=experiment,
        configuration={
            "model": model,
            "start": config.start,
            "scope": config.scope if config.start == "pretrained" else "full",
            "split": config.split,
            "tested": tested,
        },
        manifest=data.corpus.manifest,
        variant=data.corpus.variant,
        config=config,
        stopwatch=stopwatch,
    )
