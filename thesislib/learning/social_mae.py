"""Chapter 7 as one job: a task, a number of frames, a pre-training and a seed, to records.

A job pre-trains (or finds what another job has pre-trained), measures how well the model draws
hidden patches of the task's corpus, which it has not seen, and trains the task on sound, pictures
or both.

Source: thesis section 7.5; Tables 7.1 to 7.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from thesislib.config import SocialMaeConfig
from thesislib.corpora.loading import Corpus
from thesislib.corpora.splits import Split
from thesislib.learning.datasets import Batch
from thesislib.learning.social_mae_baselines import AUDIO_ONLY, baseline_outputs
from thesislib.learning.social_mae_data import Say, Windows, load_task
from thesislib.learning.social_mae_drawings import record_drawings
from thesislib.learning.social_mae_inputs import front_end
from thesislib.learning.social_mae_pretraining import Pretrained, model_config, pretrain
from thesislib.learning.social_mae_reconstruction import choose_rows, reconstruct
from thesislib.learning.social_mae_regions import NAMES, window_regions
from thesislib.learning.social_mae_splits import make_splits
from thesislib.learning.social_mae_tasks import TASKS, class_names, label_of, targets
from thesislib.learning.social_mae_training import outputs_of, train_task
from thesislib.models.masked_autoencoder import MaskedAutoencoder, Mode
from thesislib.records.record import RunRecord
from thesislib.records.recording import Stopwatch, record_run

TASK, ZERO_SHOT = "social-mae", "reconstruction"
"""Names of the experiments: a task, and zero-shot reconstruction."""


class Data(NamedTuple):
    """A corpus with its windows and what is to be told of them.

    Attributes:
        corpus: As it was loaded.
        windows: N that can be used.
        names: Classes, or traits.
        target: `(N,)` class numbers, or `(N, K)` traits.
    """

    corpus: Corpus
    windows: Windows
    names: list[str]
    target: Tensor


def run(config: SocialMaeConfig, *, say: Say = print) -> list[RunRecord]:
    """Pre-train, reconstruct, train the task, and write a record a model and mode.

    With several devices each process calls this. They pre-train and write no record: a run with
    one device finds what they have learnt and does the rest.

    Args:
        config: The job.
        say: Called with a line a step.

    Raises:
        InputError: sizes that do not fit, a corpus that is not there, or nothing to learn from
            it; before training.
    """
    torch.set_num_threads(config.threads)
    stopwatch = Stopwatch()
    records: list[RunRecord] = []
    model_config(config)  # sizes that do not fit are refused before anything is decoded
    if config.devices > 1:
        pretrain(config, say=say)
        say("no record yet: run the same with devices 1")
        return records
    data = load(config, say=say)
    splits = make_splits(config, data.windows.clips)
    pretrained = None
    if config.pretraining != "none":
        pretrained = pretrain(config, say=say)
        for method, frame in draw_zero_shot(config, data, pretrained.model).items():
            where = {"model": method, "mode": "masked"}
            records.append(
                _record(frame, "reconstruction", ZERO_SHOT, where, config, data, stopwatch)
            )
        if config.kept_drawings:
            records.append(record_drawings(config, data, pretrained.model, stopwatch))
    for (model, mode), frame in predict(config, data, splits, pretrained, say=say).items():
        kind = TASKS[data.corpus.name].kind
        where = {"model": model, "mode": mode}
        records.append(_record(frame, kind, TASK, where, config, data, stopwatch))
    say(f"{len(records)} records in {stopwatch.seconds():.0f} s")
    return records


def load(config: SocialMaeConfig, *, say: Say = lambda line: None) -> Data:
    """The task's corpus, its windows and their targets.

    Raises:
        InputError: the corpus is not there, has no usable window or lacks labels.
    """
    corpus, windows = load_task(config, say=say)
    for failure in windows.failures:
        say(f"left out: {failure}")
    names = class_names(corpus.name, windows.clips)
    return Data(corpus, windows, names, targets(corpus.name, windows.clips, names))


def draw_zero_shot(
    config: SocialMaeConfig, data: Data, model: MaskedAutoencoder
) -> dict[str, pd.DataFrame]:
    """Errors on hidden patches of the task's corpus, by the model and by copying."""
    rows = choose_rows(len(data.windows), config.reconstructed)
    regions = window_regions(config, data.corpus, data.windows, rows)
    return reconstruct(
        model, data.windows, rows, front_end(config), seed=config.seed,
        regions=regions, names=NAMES,
    )  # fmt: skip


def predict(
    config: SocialMaeConfig,
    data: Data,
    splits: Sequence[Split],
    pretrained: Pretrained | None,
    *,
    say: Say = lambda line: None,
) -> dict[tuple[str, str], pd.DataFrame]:
    """Train the task in every mode and fold; predictions of the test parts by model and mode.

    A model that was trained on both is also tested with one of them missing. Beside a regression
    stands the mean of the training part, which knows nothing of a clip.
    """
    found: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for split in splits:
        for (model, mode), outputs in _outputs(config, data, split, pretrained):
            frame = predictions_frame(data, split, outputs)
            found.setdefault((model, mode), []).append(frame)
            say(f"{model}, {mode}, {split.name}: tested on {len(frame)} clips")
    return {key: pd.concat(frames, ignore_index=True) for key, frames in found.items()}


def _outputs(
    config: SocialMaeConfig, data: Data, split: Split, pretrained: Pretrained | None
) -> Iterator[tuple[tuple[str, str], Tensor]]:
    test, front = torch.from_numpy(split.test), front_end(config)
    kind = TASKS[data.corpus.name].kind
    for name in config.modes.split():
        mode: Mode = name  # type: ignore[assignment]
        if config.model in AUDIO_ONLY and mode != "audio":
            continue
        if config.model != "mae":
            outputs = baseline_outputs(config, data.windows, split, data.target, data.names, mode)
            yield (config.model, mode), outputs
            continue
        model = train_task(
            config, data.windows, split, data.target, data.names, mode,
            None if pretrained is None else pretrained.model,
        ).model  # fmt: skip
        tested: list[Mode] = [mode]
        tested += ["missing_audio", "missing_video"] if mode == "both" else []
        for given in tested:

            def forward(model: nn.Module, batch: Batch, given: Mode = given) -> Tensor:
                outputs: Tensor = model(batch.get("audio"), batch.get("video"), given)
                return outputs

            yield ("mae", given), outputs_of(model, data.windows.tensors(), test, forward, front)
    if kind == "regression":
        mean = data.target[torch.from_numpy(split.train)].mean(dim=0)
        yield ("constant", "none"), mean.expand(len(test), -1)


def predictions_frame(data: Data, split: Split, outputs: Tensor) -> pd.DataFrame:
    """A predictions frame of the test part, of the task's kind.

    Args:
        data: The corpus.
        split: Of its windows.
        outputs: `(n, K)` of the test part: logits, or traits.
    """
    rows = split.test.tolist()
    clips = [data.windows.clips[row] for row in rows]
    corpus = data.corpus.name
    columns: dict[str, object] = {
        "clip_id": [clip.clip_id for clip in clips],
        "speaker": [clip.speaker for clip in clips],
        "fold": split.name if split.name.startswith("fold") else "test",
    }
    if TASKS[corpus].kind == "regression":
        for number, name in enumerate(data.names):
            columns[f"target_{name}"] = data.target[rows, number].double().numpy()
            columns[f"prediction_{name}"] = outputs[:, number].double().numpy()
        return pd.DataFrame(columns)
    probabilities = outputs.double().softmax(dim=1)
    columns["target"] = [label_of(corpus, clip) for clip in clips]
    columns["prediction"] = [data.names[i] for i in probabilities.argmax(dim=1).tolist()]
    for number, name in enumerate(data.names):
        columns[f"p_{name}"] = probabilities[:, number].numpy()
    if corpus == "ndc-me":  # measured as in chapter 6, too
        for name in ("intensity", "role", "dyad"):
            columns[name] = [clip.labels[name] for clip in clips]
    columns["sex"] = [clip.sex for clip in clips]
    return pd.DataFrame(columns)


def _record(
    frame: pd.DataFrame,
    kind: str,
    experiment: str,
    where: dict[str, str],
    config: SocialMaeConfig,
    data: Data,
    stopwatch: Stopwatch,
) -> RunRecord:
    return record_run(
        frame,
        kind,
        experiment=experiment,
        configuration={
            **where,
            "frames": str(config.n_frames),
            "pretraining": config.pretraining,
            "scope": config.scope,
        },
        manifest=data.corpus.manifest,
        variant=data.corpus.variant,
        config=config,
        stopwatch=stopwatch,
    )
