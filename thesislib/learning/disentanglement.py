"""Chapter 8, second half, as one job: an encoder, a training corpus, losses and a seed.

The auxiliary branch is trained on unlabelled windows of one corpus; then linear probes say what
either branch, and both together, know of corpora that it has not seen. A record of the
reconstruction and one for each probed corpus come out.

Source: sections 8.3 and 8.4; Tables 8.1 to 8.5; notes 24 to 30.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from thesislib.config import (
    EXPRESSIONS,
    PLANTED,
    DisentanglementConfig,
    LaughConfig,
    evaluated,
)
from thesislib.corpora.loading import Corpus, load_corpus
from thesislib.corpora.twins.emodb import EFFECTS
from thesislib.corpora.twins.voice import parse_effects
from thesislib.errors import InputError
from thesislib.learning.auxiliary_training import (
    TERMS,
    Objective,
    ObjectiveConfig,
    Trained,
    reconstruction_errors,
    train_auxiliary,
)
from thesislib.learning.branch_data import (
    FACTORS,
    SoundWindows,
    branch_data,
    branch_inputs,
    folds_of,
    known_factors,
    read_windows,
    split_by_speaker,
    targets_of,
)
from thesislib.learning.branch_features import branch_features
from thesislib.learning.event_tagging import event_ast
from thesislib.learning.probes import linear_probe
from thesislib.learning.training import TensorData, TrainingConfig
from thesislib.models.ast import load_ast
from thesislib.models.checkpoints import load_encoder
from thesislib.models.dual_branch import DualBranch, DualBranchConfig, Encoder
from thesislib.models.encoders import WhisperEncoder
from thesislib.records.record import RunRecord
from thesislib.records.recording import Stopwatch, record_run
from thesislib.signals.audio import SAMPLE_RATE, WHISPER_SHIFT, frame_count

EXPERIMENT = "disentanglement"
RECONSTRUCTION = "branch-reconstruction"
AST_TWIN = "ast-twin"
DIALOGUES = {"dyads": 12, "duration_s": 24.0}  # of a twin of conversations, as in chapter 6
EMOTIONS = tuple(effect for effect in EFFECTS if effect.startswith("emotion_"))
"""Effects of emotion on the voice."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a job has after training, for a notebook to look into.

    Attributes:
        corpus: Trained on.
        windows: Of it.
        data: What the model reads of them.
        held_out: Positions of the windows that validated.
        trained: The branches, and how training went.
    """

    corpus: Corpus
    windows: SoundWindows
    data: TensorData
    held_out: list[int]
    trained: Trained


def run(config: DisentanglementConfig, *, say: Say = print) -> list[RunRecord]:
    """Train the auxiliary branch, probe the branches, and write the records.

    Args:
        config: The job.
        say: Called with a line a step.

    Raises:
        InputError: a corpus or weights are not there, or nothing can be learnt from them.
    """
    torch.set_num_threads(config.threads)
    stopwatch = Stopwatch()
    session = train(config, say=say)
    frame = reconstruction_frame(session, config.batch_size)
    trained_on = session.corpus
    records = [
        _record(
            frame, "reconstruction", config, trained_on, RECONSTRUCTION, stopwatch, config.corpus
        )
    ]
    for item in config.evaluate.split():
        corpus = load(config, item)
        frame = probe_corpus(config, session.trained.branches, corpus, say=say)
        name, _, strength = item.partition("@")
        if strength:
            name += f"-{PLANTED[name]}-{strength}"
        record = _record(frame, "classification", config, corpus, EXPERIMENT, stopwatch, name)
        records.append(record)
    say(f"{len(records)} records in {stopwatch.seconds():.0f} s")
    return records


def train(config: DisentanglementConfig, *, say: Say = lambda line: None) -> Session:
    """Train the auxiliary branch as the configuration says.

    Raises:
        InputError: as `run`.
    """
    corpus = load(config, config.corpus)
    encoder = main_branch(config, say=say)
    branches = build_branches(config, encoder)
    windows = read_windows(corpus.clips, config.window_s, most=config.windows, every=True, say=say)
    training, held_out = split_by_speaker(windows.clips)
    data = branch_data(branches, branch_inputs(windows, encoder, branches.grid))
    generator = torch.Generator().manual_seed(config.seed)
    objective = Objective(branches, objective_config(config), generator)
    trained = train_auxiliary(
        objective,
        rows_of(data, training),
        rows_of(data, held_out),
        TrainingConfig(
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            schedule="constant",  # the thesis names no schedule
            precision=config.precision,
            monitor="total",
            seed=config.seed,
        ),
    )
    terms = ", ".join(f"{name} {trained.validation[name]:.4f}" for name in TERMS)
    say(f"best epoch {trained.fitted.best_epoch} of {config.epochs}, held out: {terms}")
    return Session(corpus=corpus, windows=windows, data=data, held_out=held_out, trained=trained)


def main_branch(config: DisentanglementConfig, *, say: Say = lambda line: None) -> Encoder:
    """The frozen encoder: by name, from a folder, or trained on the twin of sound events.

    Raises:
        InputError: there is no such encoder, or its weights are absent.
    """
    if config.encoder == AST_TWIN:
        return event_ast(
            clips=config.event_clips,
            window_s=config.window_s,
            seed=config.twin_seed,
            workers=config.threads,
            say=say,
        )
    folder = Path(config.encoder)
    if (folder / "config.json").is_file() and '"audio-spectrogram-transformer"' in (
        folder / "config.json"
    ).read_text(encoding="utf-8"):
        frames = frame_count(round(config.window_s * SAMPLE_RATE))
        return load_ast(folder, n_frames=-(-frames // 16) * 16)
    return load_encoder(config.encoder)


def build_branches(config: DisentanglementConfig, encoder: Encoder) -> DualBranch:
    """The two branches, with initial weights drawn from the seed.

    Raises:
        InputError: the window does not fit the encoder.
    """
    frames = 0
    if isinstance(encoder, WhisperEncoder):
        frames = round(config.window_s * SAMPLE_RATE / WHISPER_SHIFT)
    width = config.decoder_width or encoder.config.width
    choices = DualBranchConfig(
        n_frames=frames,
        decoder_width=config.decoder_width,
        decoder_heads=8 if width % 8 == 0 else encoder.config.heads,
        auxiliary_layers=config.auxiliary_layers,
        inputs=config.inputs,  # type: ignore[arg-type]  # checked by both configurations
        mask_main=config.mask_main,
        blank_hidden=config.blank_hidden,
    )
    return DualBranch(encoder, choices, torch.Generator().manual_seed(config.seed))


def objective_config(config: DisentanglementConfig) -> ObjectiveConfig:
    """What is minimised, from the experiment's parameters."""
    return ObjectiveConfig(
        losses=config.losses,  # type: ignore[arg-type]
        weight=config.weight,
        information=config.information,  # type: ignore[arg-type]
    )


def load(config: DisentanglementConfig, item: str) -> Corpus:
    """A corpus of the job, or its twin, with what is planted as strong as the item names.

    Raises:
        InputError: it is not there.
    """
    name, strength = evaluated(item)
    size: dict[str, Any] = {"clips": config.clips if name == config.corpus else config.eval_clips}
    if name.endswith("-twin"):
        size["seed"] = config.twin_seed
        if name.removesuffix("-twin") in ("ndc-me", "ifadv", "ccdb"):
            size |= DIALOGUES | {"effects": parse_effects(LaughConfig().effects.split())}
        if strength != 1:
            planted = EXPRESSIONS if PLANTED[name] == "expression" else EMOTIONS
            size["effects"] = size.get("effects", {}) | dict.fromkeys(planted, strength)
        if name not in ("emodb-twin", "librispeech-twin"):  # the others have pictures, too
            size["effects"] = size.get("effects", {}) | {"pictures": 0.0}
        if name != "emodb-twin":
            size["workers"] = config.threads
    return load_corpus(name, **size)


# ---------------------------------------------------------------------------------------- frames


def reconstruction_frame(session: Session, batch_size: int) -> pd.DataFrame:
    """How well hidden patches of held-out windows are drawn; kind *reconstruction*.

    A row a window, with the sum of squared errors over its `n` hidden values. The columns
    ``contrast`` and ``information`` repeat what the two other terms come to on these windows.
    """
    held_out = session.held_out
    errors, counts = reconstruction_errors(
        session.trained.branches, rows_of(session.data, held_out), batch_size
    )
    clips = [session.windows.clips[position] for position in held_out]
    return pd.DataFrame(
        {
            "clip_id": [f"{clip.clip_id}#{p}" for clip, p in zip(clips, held_out, strict=True)],
            "speaker": [clip.speaker for clip in clips],
            "modality": "audio",
            "region": "hidden",
            "squared_error": errors.double().numpy(),
            "n": counts.numpy(),
            "contrast": session.trained.validation["contrast"],
            "information": session.trained.validation["information"],
        }
    )


def probe_corpus(
    config: DisentanglementConfig,
    branches: DualBranch,
    corpus: Corpus,
    *,
    say: Say = lambda line: None,
) -> pd.DataFrame:
    """Probe both branches, and both together, for every factor known of a corpus.

    Returns:
        A frame of factors, as `thesislib.evaluation.factors` describes it.

    Raises:
        InputError: no clip can be used, or no factor varies.
    """
    features, windows = corpus_features(config, branches, corpus, say=say)
    rows = known_factors(corpus, windows.clips)
    name = f"{corpus.name}-twin" if corpus.synthetic else corpus.name
    frames = []
    for factor in FACTORS[name]:
        folds = np.array(folds_of(windows.clips, rows, factor, config.folds))
        targets = np.array(targets_of(rows, factor), dtype=object)
        kept = learnable(targets, folds)
        if len(set(targets[kept])) < 2:
            continue
        clips = [windows.clips[position] for position in kept]
        for branch, values in features.items():
            found = cross_validated(
                values[kept], targets[kept].astype(str), folds[kept], config.regularisation_c
            )
            frames.append(
                pd.DataFrame(
                    {
                        "clip_id": [clip.clip_id for clip in clips],
                        "speaker": [clip.speaker for clip in clips],
                        "fold": folds[kept],
                        "factor": factor,
                        "branch": branch,
                        "target": targets[kept].astype(str),
                        "prediction": found,
                    }
                )
            )
    if not frames:
        raise InputError(name, "has no factor that varies", "take more clips")
    say(f"{name}: {len(windows.clips)} clips, {len(frames) // len(features)} factors")
    return pd.concat(frames, ignore_index=True)


def corpus_features(
    config: DisentanglementConfig,
    branches: DualBranch,
    corpus: Corpus,
    *,
    say: Say = lambda line: None,
) -> tuple[Mapping[str, NDArray[np.float32]], SoundWindows]:
    """Mean-pooled features of a corpus, a row a clip, and the windows they are of.

    Raises:
        InputError: no clip can be used.
    """
    windows = read_windows(corpus.clips, config.window_s, say=say)
    inputs = branch_inputs(windows, branches.main, branches.grid)
    data = branch_data(branches, inputs)
    main: Tensor | None = data.tensors.get("main")
    device, half = branches.mask_token.device.type, config.precision == "bf16-mixed"
    with torch.autocast(device, torch.bfloat16, enabled=half):
        pooled = branch_features(branches, inputs, windows.lengths, main)
    return {name: values.numpy() for name, values in pooled.items()}, windows


def learnable(targets: NDArray, folds: NDArray) -> NDArray[np.intp]:
    """Positions of the clips whose class also occurs in another fold, to be learnt from.

    >>> learnable(np.array(["a", "a", "b", None]), np.array(["1", "2", "2", "1"])).tolist()
    [0, 1]
    """
    folds_by_class: dict[object, set[object]] = {}
    for target, fold in zip(targets, folds, strict=True):
        folds_by_class.setdefault(target, set()).add(fold)
    return np.flatnonzero(
        [target is not None and len(folds_by_class[target]) > 1 for target in targets]
    )


def cross_validated(
    features: NDArray, targets: NDArray, folds: NDArray, regularisation_c: float
) -> NDArray[np.str_]:
    """Predictions of a linear probe for every clip, each fitted without the clip's fold.

    Args:
        features: `(N, D)`.
        targets: `(N,)` names of classes.
        folds: `(N,)`, at least two.
        regularisation_c: Inverse strength of the L2 penalty.

    Raises:
        InputError: there is one fold only, or a training part with one class.
    """
    predictions = np.empty_like(targets)
    for train_rows, test_rows in _parts(folds):
        if len(set(targets[train_rows])) < 2:
            raise InputError("probe", "has one class in a training part", "take more clips")
        probe = linear_probe(regularisation_c).fit(features[train_rows], targets[train_rows])
        predictions[test_rows] = probe.predict(features[test_rows])
    return predictions


def _parts(folds: NDArray) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    names = sorted(set(folds))
    if len(names) < 2:
        raise InputError("probe", "has one group of people only", "take more clips")
    for name in names:
        yield np.flatnonzero(folds != name), np.flatnonzero(folds == name)


def rows_of(data: TensorData, positions: list[int]) -> TensorData:
    """Some of the samples."""
    rows = torch.tensor(positions)
    chosen: dict[str, Any] = {name: tensor[rows] for name, tensor in data.tensors.items()}
    return TensorData(**chosen)


# --------------------------------------------------------------------------------------- records


def variant(config: DisentanglementConfig) -> str:
    """In a word what sets a job apart from the plain one.

    >>> variant(DisentanglementConfig(inputs="main", weight=0.1))
    'decode-main-lambda-0.1'
    """
    words = []
    if config.inputs != "both":
        words.append(f"decode-{config.inputs}")
    if config.mask_main:
        words.append("mask-both")
    if config.blank_hidden:
        words.append("blank")
    if config.auxiliary_layers:
        words.append(f"layers-{config.auxiliary_layers}")
    if config.information != "histogram":
        words.append(config.information)
    if config.weight != 0.01:
        words.append(f"lambda-{config.weight:g}")
    return "-".join(words) or "plain"


def _record(
    frame: pd.DataFrame,
    kind: str,
    config: DisentanglementConfig,
    corpus: Corpus,
    experiment: str,
    stopwatch: Stopwatch,
    evaluated_on: str,
) -> RunRecord:
    return record_run(
        frame,
        kind,
        experiment=experiment,
        configuration={
            "encoder": Path(config.encoder).name,
            "losses": config.losses,
            "branches": variant(config),
            "evaluated": evaluated_on,
        },
        manifest=corpus.manifest,
        variant=corpus.variant,
        config=config,
        stopwatch=stopwatch,
        synthetic=corpus.synthetic,
    )
