"""The baselines of chapter 7 on the same windows, split and budget as Social-MAE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from thesislib import baselines
from thesislib.baselines import auxformer, uavm, vavl
from thesislib.baselines.functionals import N_EGEMAPS
from thesislib.caching import cache_folder, cache_key
from thesislib.code import code_sha256
from thesislib.config import SocialMaeConfig
from thesislib.corpora.splits import Split
from thesislib.files import atomic_write
from thesislib.learning.checkpointing import contained_randomness
from thesislib.learning.datasets import Batch
from thesislib.learning.feature_cache import tensor_sha256
from thesislib.learning.social_mae_data import Windows
from thesislib.learning.social_mae_inputs import front_end
from thesislib.learning.social_mae_pretraining import BATCH
from thesislib.learning.social_mae_tasks import TASKS
from thesislib.learning.social_mae_training import fit_task, outputs_of
from thesislib.models.masked_autoencoder import Mode
from thesislib.signals.audio_visual import FrontEnd

HEAD_WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "auxformer": auxformer.HEAD_WEIGHTS,
    "uavm": uavm.HEAD_WEIGHTS,
    "vavl": vavl.HEAD_WEIGHTS,
}
"""Of those that learn from several heads."""
AUDIO_ONLY = ("functionals", "egemaps")
"""Linear models of handcrafted functionals of the sound."""


def make_baseline(name: str, n_outputs: int, *, width: int, depth: int) -> nn.Module:
    """A baseline at a size near that of the masked autoencoder it stands beside.

    Args:
        name: As `thesislib.config.SocialMaeConfig` spells it.
        n_outputs: Classes, or values.
        width: Features of a token; networks of pictures get a sixth as channels of the first
            of four stages, each of which doubles them.
        depth: Layers of each modality.
    """
    channels = max(4, width // 6)
    tokens = {"width": width, "n_heads": max(1, width // 32), "depth": depth, "channels": channels}
    makers: dict[str, Callable[[], nn.Module]] = {
        "auxformer": lambda: baselines.AuxFormer(n_outputs, **tokens),
        "uavm": lambda: baselines.Uavm(n_outputs, **tokens),
        "vavl": lambda: baselines.Vavl(n_outputs, **tokens),
        "resnet": lambda: baselines.ResNetLogMel(n_outputs, channels=channels),
        "lstm": lambda: baselines.SequenceLstm(n_outputs, channels=channels, width=width),
        "average": lambda: baselines.DeepAverage(n_outputs, channels=channels),
        "functionals": lambda: baselines.FunctionalsLinear(n_outputs),
        "egemaps": lambda: baselines.FunctionalsLinear(n_outputs, N_EGEMAPS),
    }
    return makers[name]()


def baseline_outputs(
    config: SocialMaeConfig,
    windows: Windows,
    split: Split,
    target: Tensor,
    names: Sequence[str],
    mode: Mode,
) -> Tensor:
    """Train a baseline as Social-MAE is trained, and what it says of the test part, `(n, K)`.

    All its parameters have the head's rate, for none was trained before. With one modality a
    model of several heads has one to learn from. Functionals are computed once.

    Raises:
        InputError: openSMILE is asked for and not installed, or cannot use a clip.
    """
    front: FrontEnd | None = front_end(config)
    with contained_randomness(config.seed, 74):
        model = make_baseline(config.model, len(names), width=config.width, depth=config.depth)
    tensors = windows.tensors()
    if isinstance(model, baselines.FunctionalsLinear):
        tensors, front = {"audio": functionals_of(config, windows)}, None
        model.standardise(tensors["audio"][torch.from_numpy(split.train)])
    given = ("audio", "video") if mode == "both" else (mode,)

    def forward(model: nn.Module, batch: Batch) -> Tensor:
        return model(*_inputs(batch, given))

    kind = TASKS[config.corpus.removesuffix("-twin")].kind
    weights = HEAD_WEIGHTS.get(config.model)
    scored = baselines.loss_of(kind, mode=mode, head_weights=weights)

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        frames_first = {**batch}
        if "video" in batch:
            frames_first["video"] = batch["video"].transpose(1, 2)
        return scored(model, frames_first, generator)

    groups = [{"params": list(model.parameters()), "lr": config.head_rate}]
    fit_task(
        config, model, tensors, target, split, names, mode,
        forward=forward, front=front, groups=groups, loss=loss,
    )  # fmt: skip
    return outputs_of(model, tensors, torch.from_numpy(split.test), forward, front)


def functionals_of(config: SocialMaeConfig, windows: Windows) -> Tensor:
    """The functionals `(N, F)` that a job's linear model reads, of the recorded part of a window.

    Raises:
        InputError: openSMILE is asked for and not installed, or cannot use a clip.
    """
    if config.model == "egemaps":
        return _egemaps(windows)
    front, tensors = front_end(config), windows.tensors()
    found = []
    for rows in torch.arange(len(windows)).split(BATCH):
        audio = front({name: tensors[name][rows] for name in ("waveform", "length")})["audio"]
        found.append(baselines.mfcc_statistics(audio))
    return torch.cat(found)


def _egemaps(windows: Windows) -> Tensor:
    """The eGeMAPS `(N, 88)`, a tenth of a second of work a clip, from disk where they are known."""
    key = cache_key(
        sound=tensor_sha256(windows.waveform, windows.length),
        code=code_sha256(["thesislib.baselines.functionals"]),
    )
    stored = cache_folder("egemaps", key) / "functionals.safetensors"
    with suppress(OSError, SafetensorError, KeyError):
        return load_file(stored)["functionals"]
    sounds = zip(windows.waveform, windows.length.tolist(), strict=True)
    found = baselines.egemaps([waveform[:length] for waveform, length in sounds])
    with atomic_write(stored) as temporary:
        save_file({"functionals": found}, temporary)
    return found


def _inputs(batch: Batch, given: Sequence[str]) -> tuple[Tensor | None, Tensor | None]:
    """Sound, and frames `(B, T, 3, H, W)` in the order of the baselines, where they are given."""
    audio = batch["audio"] if "audio" in given else None
    video = batch["video"].transpose(1, 2) if "video" in given else None
    return audio, video
