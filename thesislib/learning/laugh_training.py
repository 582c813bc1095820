"""Training of chapter 6: the branches of LSN-TCN, and every way of fusing them.

A branch is trained on windows; what the two make of every window is then kept, and the fusions
are trained on that. Whatever is kept lies under a hash of all that made it, so that a run that was
stopped goes on where it was, and runs that share a step share its result.

Source: thesis section 6.3; notes items 16, 20, 21 and 37.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from thesislib.caching import cache_folder, cache_key
from thesislib.code import code_sha256
from thesislib.config import LaughConfig
from thesislib.corpora.clip import Clip
from thesislib.corpora.splits import Split
from thesislib.files import atomic_write
from thesislib.learning.checkpointing import contained_randomness
from thesislib.learning.laugh_data import CLASS_OF, View, Windows, targets
from thesislib.learning.training import TensorData, TrainingConfig, class_weights, fit
from thesislib.models.fusion import FUSION_LEVELS, Branch, Fusion, fit_audio_weight, make_fusion
from thesislib.models.lsn_tcn import CLASSES, LsnTcn, LsnTcnConfig, preset
from thesislib.models.ms_tcn import MsTcn, MsTcnConfig

MODALITIES = ("audio", "video")
# Of grey faces, as the lipreading models were trained; a colour's own would differ little.
PIXEL_MEAN, PIXEL_STD = 0.421, 0.165
_BATCH = 64  # of evaluation
_THIS = "thesislib.learning.laugh_training"
Say = Callable[[str], None]
Kept = dict[str, Tensor]
"""What the branches make of N windows: ``audio_frames`` (N, T, D), ``audio_steps``,
``audio_embedding`` (N, D), ``audio_logits`` (N, 3), and the same of ``video``."""


def model_config(config: LaughConfig) -> LsnTcnConfig:
    """Sizes of the model: a preset's, with another width where one is given."""
    chosen = preset(config.preset)
    if config.width:
        audio, video = (
            replace(branch, width=config.width, tcn_width=12 * config.width)
            for branch in (chosen.audio, chosen.video)
        )
        chosen = replace(chosen, audio=audio, video=video, fusion_width=16 * config.width)
    return chosen


def view_of(config: LaughConfig) -> View:
    """What the model takes of a window."""
    sizes = model_config(config)
    return View(
        frames=sizes.frames,
        side=sizes.side,
        samples=sizes.samples,
        detect_every_s=config.detect_every_s,
    )


def inputs_of(windows: Windows, modality: str) -> Tensor:
    """The stored input of a branch: `(N, samples)` or `(N, T, S, S, 3)` uint8."""
    return windows.waveform if modality == "audio" else windows.frames


def as_input(stored: Tensor) -> Tensor:
    """A stored batch as a branch takes it: `(B, 1, samples)`, or `(B, 3, T, S, S)` normalised."""
    if stored.ndim == 2:
        return stored[:, None].float()
    return ((stored.float() / 255 - PIXEL_MEAN) / PIXEL_STD).permute(0, 4, 1, 2, 3)


# Branches ----------------------------------------------------------------------------------------


class Tail(nn.Module):
    """What is trained of a branch whose lower part stays as it is, on what that part makes.

    Args:
        branch: It shares its parameters with the tail.
        level: ``frames`` trains the temporal blocks and the head, ``embedding`` the head alone.
    """

    def __init__(self, branch: MsTcn, level: str) -> None:
        super().__init__()
        self.tcn = branch.tcn if level == "frames" else None
        self.head = branch.head

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K), from frames (B, T, D) or embeddings (B, D)."""
        if self.tcn is not None:
            features = self.tcn(features.transpose(1, 2)).mean(dim=2)
        return self.head(features)


def trained_level(config: LaughConfig, modality: str) -> str:
    """What a branch is trained from: its ``input``, its ``frames`` or its ``embedding``.

    Source: notes item 37: of a pretrained voice the temporal blocks, of a pretrained face all.
    """
    if config.start == "scratch" or config.scope == "full":
        return "input"
    if config.scope == "head":
        return "embedding"
    return "frames" if modality == "audio" else "input"


def train_branches(
    config: LaughConfig,
    windows: Windows,
    split: Split,
    *,
    pretrained: Mapping[str, Mapping[str, Tensor]] | None = None,
    say: Say = lambda line: None,
) -> tuple[LsnTcn, dict[str, pd.DataFrame]]:
    """Train the voice's and the face's branch on the training part.

    Args:
        config: How.
        windows: Of the training corpus.
        split: Of these windows.
        pretrained: Weights of the branches without their heads, by modality.
        say: Called with a line a branch.

    Returns:
        The model, and the history of either branch.
    """
    with contained_randomness(config.seed, 60):
        model = LsnTcn(model_config(config))
    histories = {}
    target = targets(windows.clips)
    for modality in MODALITIES:
        branch: MsTcn = getattr(model, modality)
        if pretrained is not None:
            branch.load_state_dict({**branch.state_dict(), **pretrained[modality]})
        stored, level = inputs_of(windows, modality), trained_level(config, modality)
        part: nn.Module = branch
        if level != "input":
            stored, part = features_of(branch, stored)[level], Tail(branch, level)
        histories[modality] = _fit_classifier(
            part, stored, target, split, config, modality, epochs=config.epochs,
            names=list(CLASS_OF.values()), prepare=as_input if part is branch else _as_they_are,
        )  # fmt: skip
        say(f"{modality}: trained, validation loss {histories[modality]['loss'].min():.3f}")
    return model.eval(), histories


def _fit_classifier(
    model: nn.Module,
    stored: Tensor,
    target: Tensor,
    split: Split,
    config: LaughConfig,
    name: str,
    *,
    epochs: int,
    names: Sequence[str],
    prepare: Callable[[Tensor], Tensor] = as_input,
) -> pd.DataFrame:
    """Train on one tensor of inputs with balanced classes; choose the epoch by validation."""
    train, validation = (torch.from_numpy(part) for part in (split.train, split.validation))
    data = TensorData(inputs=stored[train], target=target[train])
    key = cache_key(
        name=name,
        inputs=_digest(stored),
        target=_digest(target),
        split=split.sha256,
        start=_digest(torch.cat([p.detach().flatten() for p in model.parameters()])),
        options=[epochs, config.batch_size, config.learning_rate, config.precision, config.seed],
        code=code_sha256([_THIS]),
    )

    def loss(model: nn.Module, batch: Mapping[str, Tensor], _: torch.Generator) -> Kept:
        logits = model(prepare(batch["inputs"]))
        hit = (logits.argmax(dim=1) == batch["target"]).float().mean()
        return {"loss": F.cross_entropy(logits.float(), batch["target"]), "accuracy": hit}

    def validate(model: nn.Module) -> dict[str, float]:
        logits = logits_of(model, stored[validation], prepare)
        return {"loss": float(F.cross_entropy(logits, target[validation]))}

    fitted = fit(
        model,
        loss,
        data,
        config=TrainingConfig(
            epochs=epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            precision=config.precision,
            seed=config.seed,
        ),
        validate=validate,
        sample_weights=class_weights(target[train], names),
        folder=cache_folder("laughs", key),
        key=key,
        progress=False,
    )
    return fitted.history


@torch.no_grad()
def logits_of(
    model: nn.Module, stored: Tensor, prepare: Callable[[Tensor], Tensor] = as_input
) -> Tensor:
    """Logits `(N, K)` of a branch for N stored inputs, in batches."""
    model.eval()
    return torch.cat([model(prepare(part)).float() for part in stored.split(_BATCH)])


def _as_they_are(features: Tensor) -> Tensor:
    return features


@torch.no_grad()
def features_of(branch: MsTcn, stored: Tensor) -> Kept:
    """Every level of a branch for N stored inputs: frames, steps, embedding, logits."""
    branch.eval()
    made: dict[str, list[Tensor]] = {"frames": [], "steps": [], "embedding": [], "logits": []}
    for part in stored.split(_BATCH):
        features = branch.embed(as_input(part))
        made["frames"].append(features.frames)
        made["steps"].append(features.steps)
        made["embedding"].append(features.embedding)
        made["logits"].append(branch.head(features.embedding))
    return {level: torch.cat(parts) for level, parts in made.items()}


def keep_features(model: LsnTcn, windows: Windows) -> Kept:
    """What both branches make of every window, from disk where it was computed before."""
    key = cache_key(
        weights=_digest(torch.cat([p.detach().flatten() for p in model.state_dict().values()])),
        inputs=[_digest(inputs_of(windows, modality)) for modality in MODALITIES],
        code=code_sha256(["thesislib.models.lsn_tcn"]),
    )
    stored = cache_folder("laugh-features", key) / "features.safetensors"
    with suppress(OSError, SafetensorError):
        return load_file(stored)
    kept = {
        f"{modality}_{level}": values.contiguous()
        for modality in MODALITIES
        for level, values in features_of(
            getattr(model, modality), inputs_of(windows, modality)
        ).items()
    }
    with atomic_write(stored) as temporary:
        save_file(kept, temporary)
    return kept


# Fusions -----------------------------------------------------------------------------------------


class FusionHead(nn.Module):
    """A trainable fusion as a module that takes one batch of kept features.

    Args:
        fusion: From `make_fusion`.
        level: Which features it takes.
    """

    def __init__(self, fusion: nn.Module, level: str) -> None:
        super().__init__()
        self.fusion, self.level = fusion, level

    def forward(self, kept: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, 3)."""
        return fuse(self.fusion, kept, self.level)


def fuse(fusion: Fusion, kept: Mapping[str, Tensor], level: str) -> Tensor:
    """Logits (B, 3) of a fusion over kept features."""
    voice, face = (
        Branch(kept[f"{modality}_{level}"], kept[f"{modality}_logits"]) for modality in MODALITIES
    )
    return fusion(voice, face)


def train_fusions(
    config: LaughConfig,
    kept: Kept,
    target: Tensor,
    split: Split,
    *,
    say: Say = lambda line: None,
) -> dict[str, Fusion]:
    """Every fusion, trained on the kept features of the training part; the branches stay.

    The weight of ``average`` is fitted on the validation part; rules without parameters are taken
    as they are.
    """
    sizes = model_config(config)
    names = list(FUSION_LEVELS) if config.fusions == "all" else ["mlp"]
    train, validation = (torch.from_numpy(part) for part in (split.train, split.validation))
    made: dict[str, Fusion] = {}
    for name in names:
        level = FUSION_LEVELS[name]
        dims = [kept[f"{modality}_{level}"].shape[-1] for modality in MODALITIES]
        weight = 0.5
        if name == "average":
            logits = [kept[f"{modality}_logits"][validation] for modality in MODALITIES]
            weight = fit_audio_weight(logits[0], logits[1], target[validation])
        with contained_randomness(config.seed, 61):
            fusion = make_fusion(
                name, dims[0], dims[1], len(CLASSES), audio_weight=weight,
                width=sizes.fusion_width, dropout=sizes.fusion_dropout,
            )  # fmt: skip
        if isinstance(fusion, nn.Module):
            _fit_fusion(fusion, level, kept, target, train, validation, config, name)
        made[name] = fusion
        say(f"{name}: ready")
    return made


def _fit_fusion(
    fusion: nn.Module,
    level: str,
    kept: Kept,
    target: Tensor,
    train: Tensor,
    validation: Tensor,
    config: LaughConfig,
    name: str,
) -> None:
    chosen = {
        f"{modality}_{part}": kept[f"{modality}_{part}"]
        for modality in MODALITIES
        for part in (level, "logits")
    }
    head = FusionHead(fusion, level)
    key = cache_key(
        fusion=name,
        features=[_digest(values) for values in chosen.values()],
        parts=[_digest(train), _digest(validation), _digest(target)],
        start=_digest(torch.cat([p.detach().flatten() for p in head.parameters()])),
        options=[config.fusion_epochs, config.batch_size, config.learning_rate, config.seed],
        code=code_sha256([_THIS]),
    )

    def loss(model: nn.Module, batch: Mapping[str, Tensor], _: torch.Generator) -> Kept:
        return {"loss": F.cross_entropy(model(batch), batch["target"])}

    def validate(model: nn.Module) -> dict[str, float]:
        logits = model({part: values[validation] for part, values in chosen.items()})
        return {"loss": float(F.cross_entropy(logits, target[validation]))}

    fit(
        head,
        loss,
        TensorData(
            transform=None,
            target=target[train],
            **{part: values[train] for part, values in chosen.items()},
        ),
        config=TrainingConfig(
            epochs=config.fusion_epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            seed=config.seed,
        ),
        validate=validate,
        sample_weights=class_weights(target[train], list(CLASS_OF.values())),
        folder=cache_folder("laughs", key),
        key=key,
        progress=False,
    )


def train_end_to_end(config: LaughConfig, model: LsnTcn, windows: Windows, split: Split) -> LsnTcn:
    """Cross-attention over both branches, all of it trained further from the trained branches."""
    sizes = replace(model_config(config), fusion="cross-attention")
    with contained_randomness(config.seed, 62):
        whole = LsnTcn(sizes)
    for modality in MODALITIES:
        getattr(whole, modality).load_state_dict(getattr(model, modality).state_dict())
    target, train = targets(windows.clips), torch.from_numpy(split.train)
    key = cache_key(
        start=_digest(torch.cat([p.detach().flatten() for p in whole.state_dict().values()])),
        inputs=[_digest(inputs_of(windows, modality)) for modality in MODALITIES],
        split=split.sha256,
        options=[config.epochs, config.batch_size, config.learning_rate, config.seed],
        code=code_sha256([_THIS]),
    )

    def loss(model: nn.Module, batch: Mapping[str, Tensor], _: torch.Generator) -> Kept:
        logits = model(as_input(batch["waveform"]), as_input(batch["frames"]))
        return {"loss": F.cross_entropy(logits.float(), batch["target"])}

    def validate(model: nn.Module) -> dict[str, float]:
        logits = whole_logits(model, windows, split.validation)
        return {"loss": float(F.cross_entropy(logits, target[torch.from_numpy(split.validation)]))}

    fit(
        whole,
        loss,
        TensorData(
            waveform=windows.waveform[train], frames=windows.frames[train], target=target[train]
        ),
        config=TrainingConfig(
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            precision=config.precision,
            seed=config.seed,
        ),
        validate=validate,
        sample_weights=class_weights(target[train], list(CLASS_OF.values())),
        folder=cache_folder("laughs", key),
        key=key,
        progress=False,
    )
    return whole.eval()


@torch.no_grad()
def whole_logits(
    model: nn.Module, windows: Windows, rows: Sequence[int] | NDArray[np.int64]
) -> Tensor:
    """Logits `(n, 3)` of a whole model for some windows, in batches."""
    chosen = torch.as_tensor(rows, dtype=torch.long)
    return torch.cat(
        [
            model(as_input(windows.waveform[part]), as_input(windows.frames[part])).float()
            for part in chosen.split(_BATCH)
        ]
    )


# Predictions -------------------------------------------------------------------------------------


def predictions_frame(clips: Sequence[Clip], logits: Tensor, fold: str) -> pd.DataFrame:
    """A predictions frame of kind *classification* with the columns of chapter 6.

    Args:
        clips: N windows.
        logits: `(N, 3)`.
        fold: Such as ``test`` or ``zero-shot``.
    """
    probabilities = logits.double().softmax(dim=1)
    frame = pd.DataFrame(
        {
            "clip_id": [clip.clip_id for clip in clips],
            "speaker": [clip.speaker for clip in clips],
            "fold": fold,
            "target": [CLASS_OF[clip.labels["expression"]] for clip in clips],
            "prediction": [CLASSES[i] for i in probabilities.argmax(dim=1).tolist()],
        }
    )
    for number, name in enumerate(CLASSES):
        frame[f"p_{name}"] = probabilities[:, number].numpy()
    for name in ("intensity", "role", "dyad"):
        frame[name] = [clip.labels[name] for clip in clips]
    frame["sex"] = [clip.sex for clip in clips]
    return frame


def all_logits(kept: Kept, fusions: Mapping[str, Fusion]) -> dict[str, Tensor]:
    """Logits `(N, 3)` of both branches and of every fusion, by name."""
    found = {modality: kept[f"{modality}_logits"] for modality in MODALITIES}
    with torch.no_grad():
        for name, fusion in fusions.items():
            if isinstance(fusion, nn.Module):
                fusion.eval()
            found[name] = fuse(fusion, kept, FUSION_LEVELS[name])
    return found


def _digest(values: Tensor) -> str:
    """Hash of a tensor's type, shape and bytes."""
    values = values.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{values.dtype} {tuple(values.shape)}".encode())
    digest.update(values.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# Pretext -----------------------------------------------------------------------------------------


def pretrain(
    config: LaughConfig, windows: Windows, sentences: Sequence[str], split: Split
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """Train both branches to tell which sentence is spoken, a stand-in for lipreading.

    Args:
        config: How; its `twin_seed` seeds the training, so that runs share the result.
        windows: Of the pretext corpus, with the label ``sentence``.
        sentences: The classes.
        split: Of these windows.

    Returns:
        Weights of the branches without their heads, and the logits of all windows, by modality.
    """
    target = torch.tensor([sentences.index(clip.labels["sentence"]) for clip in windows.clips])
    weights, logits = {}, {}
    for modality in MODALITIES:
        sizes: MsTcnConfig = replace(
            getattr(model_config(config), modality), classes=len(sentences)
        )
        with contained_randomness(config.twin_seed, 63):
            branch = MsTcn(sizes)
        stored = inputs_of(windows, modality)
        _fit_classifier(
            branch, stored, target, split, replace(config, seed=config.twin_seed),
            f"pretext {modality}", epochs=config.pretext_epochs, names=list(sentences),
        )  # fmt: skip
        weights[modality] = {
            name: value
            for name, value in branch.state_dict().items()
            if not name.startswith("head.")
        }
        logits[modality] = logits_of(branch, stored)
    return weights, logits
