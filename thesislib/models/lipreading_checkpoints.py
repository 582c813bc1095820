"""Reading the published lipreading and LSN-TCN checkpoints into the models of this library.

Four families are told apart by their keys: lipreading models with ReLU or swish (298 keys) or
PReLU (343), one modality each; the authors' three-class models built on those (345: a second
head, the first one unused); and the LSN-TCN release, both modalities in one file (482, again with
an unused head). Keys may carry ``module.``; the tensors may sit under ``model_state_dict``. Video
kernels may be stored (T, H, W) or, in the release, (H, W, T); a grey kernel becomes an RGB one by
dividing it by three (note 18).

Files are opened by safetensors, or by ``torch.load(weights_only=True)``; nothing else is trusted.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from thesislib.errors import InputError
from thesislib.models.lsn_tcn import LsnTcn, preset
from thesislib.models.ms_tcn import Activation, Modality, MsTcn, MsTcnConfig

Part = Literal["encoder", "tcn", "head"]

_MEND = "give a checkpoint of the lipreading MS-TCN or of LSN-TCN"

# From the published names to ours, tried in turn; `layer3.1` is the sixth residual block.
_RESNET = [
    (r"\.bn(\d)\.", r".norm\1."),
    (r"\.relu(\d)\.", r".activation\1."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut_norm."),
]
_FRONT = [
    (r"^(?:conv1)\.", "conv."),
    (r"^(?:bn1)\.", "norm."),
    (r"^(?:relu)\.", "activation."),
]
_FRONT_3D = {"0": "conv", "1": "norm", "2": "activation"}
_TCN = [
    (r"^network\.", "blocks."),
    (r"\.cbcr0_(\d+)\.", r".first.\1."),
    (r"\.cbcr1_(\d+)\.", r".second.\1."),
    (r"\.batchnorm\.", ".norm."),
    (r"\.non_lin\.", ".activation."),
    (r"\.downsample\.", ".shortcut."),
    (r"\.relu_final\.", ".activation."),
]


@dataclass(frozen=True)
class LipreadingCheckpoint:
    """A published checkpoint under our names.

    Attributes:
        path: The file.
        family: ``lipreading``, ``three-class`` or ``release``.
        modality: What it hears or sees; None in a release, which holds both.
        prelu: True with PReLU; ReLU and swish have no weights and cannot be told apart.
        colours: Colour channels of its video kernel; None without one.
        classes: Size of its head.
        tensors: Weights by our name; video kernels as (out, colours, T, H, W).
        dropped: Published names of tensors that no forward pass uses.
        keys: Number of tensors in the file.
    """

    path: Path
    family: Literal["lipreading", "three-class", "release"]
    modality: Modality | None
    prelu: bool
    colours: int | None
    classes: int
    tensors: dict[str, Tensor]
    dropped: tuple[str, ...]
    keys: int


def read_lipreading_checkpoint(path: str | Path) -> LipreadingCheckpoint:
    """Open a published checkpoint and bring it under our names.

    Raises:
        InputError: The file is missing, is not a checkpoint that can be opened safely, or is one
            of another architecture (the first keys at fault are named).
    """
    path = Path(path)
    return convert_lipreading_state(read_tensors(path), path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name, without ``module.`` and without optimiser state.

    Raises:
        InputError: The file is missing, damaged, needs unsafe unpickling or holds no tensors.
    """
    if not path.is_file():
        raise InputError(path, "is not there", "check the path of the checkpoint")
    loaded: object
    try:
        if path.suffix == ".safetensors":
            loaded = load_file(path)
        else:
            with warnings.catch_warnings():  # of odd pickles, which are refused in one line below
                warnings.simplefilter("ignore")
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (
        SafetensorError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        AttributeError,
    ) as error:
        raise InputError(
            path,
            f"cannot be opened as plain weights ({type(error).__name__})",
            "fetch it again; checkpoints that hold code are refused",
        ) from error
    for wrapper in ("model_state_dict", "state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded:
        raise InputError(path, "holds no weights by name", _MEND)
    strangers = [name for name, value in loaded.items() if not isinstance(value, Tensor)]
    if strangers:
        raise InputError(path, f"holds things other than tensors ({_list(strangers)})", _MEND)
    return {str(name).removeprefix("module."): value for name, value in loaded.items()}


def convert_lipreading_state(
    tensors: Mapping[str, Tensor], path: str | Path = "checkpoint"
) -> LipreadingCheckpoint:
    """Bring published weights under our names; `path` is for messages.

    Raises:
        InputError: Some keys are not of the MS-TCN, or essential ones are missing.
    """
    path = Path(path)
    release = any(name.startswith(("audio_trunk.", "video_trunk.")) for name in tensors)
    modality: Modality = "video" if any("frontend3D." in name for name in tensors) else "audio"
    own_head = "tcn_output.weight" in tensors
    renamed: dict[str, Tensor] = {}
    dropped, strangers = [], []
    for name, tensor in tensors.items():
        ours = _release_name(name) if release else _branch_name(name, modality)
        if own_head and name.startswith("tcn.tcn_output."):
            dropped.append(name)  # the head that the three-class models inherited and never call
        elif ours is None:
            strangers.append(name)
        else:
            renamed[ours] = tensor
    head = tensors.get("tcn_output.weight", tensors.get("tcn.tcn_output.weight"))
    if strangers or head is None:
        problem = f"unknown keys {_list(strangers)}" if strangers else "no key of a head"
        raise InputError(path, f"is of another architecture: {problem}", _MEND)
    kernel_name = "video.encoder.conv.weight" if release else "encoder.conv.weight"
    kernel = renamed.get(kernel_name)
    colours = None
    if kernel is not None and kernel.ndim == 5:
        renamed[kernel_name] = kernel = time_first(kernel, path)
        colours = kernel.shape[1]
    return LipreadingCheckpoint(
        path=path,
        family="release" if release else "three-class" if own_head else "lipreading",
        modality=None if release else modality,
        prelu=any(name.endswith("activation1.weight") for name in renamed),
        colours=colours,
        classes=head.shape[0],
        tensors=renamed,
        dropped=tuple(dropped),
        keys=len(tensors),
    )


def time_first(kernel: Tensor, path: str | Path = "checkpoint") -> Tensor:
    """A video kernel as (out, colours, T, H, W), from that or from (out, colours, H, W, T).

    >>> time_first(torch.zeros(64, 3, 7, 7, 5)).shape
    torch.Size([64, 3, 5, 7, 7])
    """
    shape = tuple(kernel.shape[2:])
    if shape == (5, 7, 7):
        return kernel
    if shape == (7, 7, 5):
        return kernel.permute(0, 1, 4, 2, 3).contiguous()
    raise InputError(path, f"has a video kernel of {shape}, not of 5 x 7 x 7", _MEND)


def match_colours(kernel: Tensor, colours: int) -> Tensor:
    """A video kernel (out, 1 or 3, T, H, W) for frames of `colours` channels.

    A grey kernel over three is an RGB one that sees a grey picture as before; an RGB kernel
    summed over its colours is the grey one.

    >>> match_colours(torch.ones(1, 1, 5, 7, 7), 3).sum(dim=1).unique()
    tensor([1.])
    """
    if kernel.shape[1] == colours:
        return kernel
    if kernel.shape[1] == 1:
        return (kernel / colours).repeat(1, colours, 1, 1, 1)
    return kernel.sum(dim=1, keepdim=True)


def build_ms_tcn(
    checkpoint: LipreadingCheckpoint,
    *,
    activation: Activation = "swish",
    layout: Literal["default", "official"] = "official",
) -> MsTcn:
    """The branch that a one-modality checkpoint describes, with its weights.

    Args:
        checkpoint: As read.
        activation: ``relu`` or ``swish`` where the checkpoint does not tell; those with PReLU do.
        layout: ``official`` reproduces the published numbers, ``default`` masks padding.

    Raises:
        InputError: The checkpoint is a release, or does not fit the published sizes.
    """
    if checkpoint.modality is None:
        raise InputError(checkpoint.path, "holds both modalities", "read it by `build_release`")
    config = MsTcnConfig(
        checkpoint.modality,
        colours=checkpoint.colours or 1,
        activation="prelu" if checkpoint.prelu else activation,
        classes=checkpoint.classes,
        # The authors pooled their three-class models as for LRW; the lipreading models do not.
        pool=(21, 1) if checkpoint.family == "three-class" else (20, 0),
        layout=layout,
    )
    model = MsTcn(config)
    load_branch(model, checkpoint)
    return model


def build_release(
    checkpoint: LipreadingCheckpoint,
    mode: Literal["audio", "video", "fusion"] = "fusion",
    *,
    layout: Literal["default", "official"] = "official",
) -> LsnTcn:
    """The authors' LSN-TCN release with its weights.

    A release file holds both branches and the one head of the mode it was trained in; the heads
    of the other modes stay as initialised.

    Raises:
        InputError: The checkpoint is no release, or its head does not fit the mode.
    """
    if checkpoint.family != "release":
        raise InputError(checkpoint.path, "is not an LSN-TCN release", "use `build_ms_tcn`")
    config = preset("release", layout)
    colours = checkpoint.colours or 3
    model = LsnTcn(replace(config, video=replace(config.video, colours=colours)))
    own = "fusion.head" if mode == "fusion" else f"{mode}.head"
    tensors = {
        re.sub(r"^head\.", f"{own}.", name): value for name, value in checkpoint.tensors.items()
    }
    other = [f"{head}." for head in ("audio.head", "video.head", "fusion.head") if head != own]
    optional = {name for name in model.state_dict() if name.startswith(tuple(other))}
    _load(model, tensors, checkpoint.path, optional)
    return model


def load_branch(
    model: MsTcn,
    checkpoint: LipreadingCheckpoint,
    parts: tuple[Part, ...] = ("encoder", "tcn", "head"),
) -> None:
    """Load a one-modality checkpoint into a branch, by name, all or nothing.

    Args:
        model: A branch; its video kernel may have other colours than the checkpoint's.
        checkpoint: As read.
        parts: What to load; to fine-tune on other classes, leave out ``head``.

    Raises:
        InputError: Modality, activation, names or shapes do not fit; nothing is loaded then.
    """
    config = model.config
    if checkpoint.modality != config.modality:
        raise InputError(
            checkpoint.path,
            f"is a checkpoint for {checkpoint.modality or 'both modalities'}, "
            f"the model is for {config.modality}",
            "pair checkpoint and model",
        )
    if checkpoint.prelu != (config.activation == "prelu"):
        raise InputError(
            checkpoint.path,
            f"has {'PReLU' if checkpoint.prelu else 'no PReLU'} weights, "
            f"the model's activation is {config.activation}",
            "give the model the activation that the checkpoint was trained with",
        )
    prefixes = tuple(f"{part}." for part in parts)
    tensors = {name: t for name, t in checkpoint.tensors.items() if name.startswith(prefixes)}
    if checkpoint.modality == "video" and "encoder.conv.weight" in tensors:
        kernel = tensors["encoder.conv.weight"]
        tensors["encoder.conv.weight"] = match_colours(kernel, config.colours)
    optional = {name for name in model.state_dict() if not name.startswith(prefixes)}
    _load(model, tensors, checkpoint.path, optional)


def _load(model: nn.Module, tensors: dict[str, Tensor], path: Path, optional: set[str]) -> None:
    """Load by name after every name and shape was checked."""
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in tensors and name not in optional]
    extra = [name for name in tensors if name not in wanted]
    shapes = [
        f"{name} {tuple(value.shape)} for {tuple(wanted[name].shape)}"
        for name, value in tensors.items()
        if name in wanted and value.shape != wanted[name].shape
    ]
    for problem, names in (("lacks", missing), ("has too many", extra), ("has", shapes)):
        if names:
            raise InputError(
                path,
                f"does not fit the model: it {problem} {_list(names)}",
                "give a checkpoint of the same architecture and sizes",
            )
    model.load_state_dict(tensors, strict=False)


def _branch_name(name: str, modality: Modality) -> str | None:
    """Our name, inside one branch, of a published one; None for a stranger."""
    if match := re.fullmatch(r"frontend3D\.([012])\.(\w+)", name):
        return f"encoder.{_FRONT_3D[match[1]]}.{match[2]}"
    if match := re.fullmatch(r"trunk\.layer([1-4])\.([01])(\..+)", name):
        block = 2 * (int(match[1]) - 1) + int(match[2])
        return f"encoder.resnet.{block}{_replace(match[3], _RESNET)}"
    if modality == "audio" and (match := re.fullmatch(r"trunk\.((?:conv1|bn1|relu)\..+)", name)):
        return f"encoder.{_replace(match[1], _FRONT)}"
    if match := re.fullmatch(r"tcn\.mb_ms_tcn\.(network\..+)", name):
        return f"tcn.{_replace(match[1], _TCN)}"
    if match := re.fullmatch(r"(?:tcn\.)?tcn_output\.(weight|bias)", name):
        return f"head.{match[1]}"
    return None


def _release_name(name: str) -> str | None:
    """Our name in `LsnTcn` of a key of the release; the one head stays ``head.``."""
    modality: Modality = "audio" if name.startswith("audio_trunk.") else "video"
    ours = _branch_name(re.sub(r"^(audio|video)_trunk\.", "trunk.", name), modality)
    return ours if ours is None or ours.startswith("head.") else f"{modality}.{ours}"


def _replace(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _list(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + more
