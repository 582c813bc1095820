"""Pretrained weights: which there are, how they are fetched and checked, and how they are loaded.

What a set of weights is, where it comes from and what it may be used for is said by its manifest in
``data_manifests/``. Nothing is downloaded unless `get_weights` is called.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from thesislib.corpora.manifest import Manifest, list_manifests, load_manifest
from thesislib.errors import InputError
from thesislib.files import atomic_write, sha256_file, weights_root
from thesislib.models.encoders import (
    EncoderConfig,
    WhisperEncoder,
    build_encoder,
    load_hugging_face,
)

if TYPE_CHECKING:
    import onnx

# Written into every converted file; raising it makes files of an older converter be made anew.
CONVERTER_VERSION = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One set of pretrained weights, as ``thesis weights list`` shows it.

    Attributes:
        name: Name of its manifest, and of its folder under the weights root.
        state: ``present``, ``absent``, or ``damaged`` (some of it is there but does not verify).
        licence: SPDX name.
        size_bytes: Size of the download in bytes.
        about: What it is, in a few words.
    """

    name: str
    state: Literal["present", "absent", "damaged"]
    licence: str
    size_bytes: int
    about: str


def list_weights() -> list[Weights]:
    """All sets of weights that have a manifest, in order of name.

    >>> "speech-encoder" in [weights.name for weights in list_weights()]
    True
    """
    found = []
    for manifest in list_manifests("weights"):
        folder = weights_root() / manifest.name
        state: Literal["present", "absent", "damaged"] = "absent"
        if folder.is_dir() and any(folder.iterdir()):
            state = "present" if _problem(manifest, folder) is None else "damaged"
        found.append(
            Weights(
                name=manifest.name,
                state=state,
                licence=manifest.document["license"].rsplit("/", 1)[-1],
                size_bytes=int(_part(manifest, "wheel")["contentSize"].split()[0]),
                about=manifest.document["alternateName"],
            )
        )
    return found


def get_weights(
    name: str, *, wheel: Path | None = None, progress: Callable[[str], None] | None = None
) -> Path:
    """Fetch, verify and convert a set of weights; what is already there and valid is kept.

    The package installer of the running interpreter downloads the wheel that the manifest names,
    without its dependencies, from wherever that installer is set up to look. The wheel's hash is
    checked before it is opened; the members that the manifest names are taken out, checked, and
    converted to one float32 file. The weights root then holds ``NAME/model.safetensors`` and,
    beside it, the original files.

    Args:
        name: Name of a weights manifest, such as ``speech-encoder`` or ``face-detector``.
        wheel: A copy of the wheel that was downloaded elsewhere; no network is used then.
        progress: Called with one plain line before each step.

    Returns:
        Path of the converted file.

    Raises:
        InputError: the name is unknown, the download failed, a hash differs, or the weights folder
            cannot be written.
    """
    manifest = _weights_manifest(name)
    say = progress or (lambda line: None)
    folder = weights_root() / name
    target = folder / "model.safetensors"
    originals = {name: folder / file for name, file in _original_names(manifest).items()}
    if _problem(manifest, folder) is None:
        return target
    if not all(_is_file_with(path, _part(manifest, p)["sha256"]) for p, path in originals.items()):
        with tempfile.TemporaryDirectory() as scratch:
            if wheel is None:
                say(f"downloading {_part(manifest, 'wheel')['contentUrl']}")
                wheel = _download(manifest, Path(scratch))
            say(f"checking {wheel.name}")
            _extract(manifest, wheel, originals)
    say(f"converting {', '.join(path.name for path in originals.values())}")
    config: dict[str, Any]
    if set(originals) == {"graph"}:
        encoder_config, state = convert_onnx(originals["graph"])
        config = asdict(encoder_config)
    else:
        config, state = {}, convert_torch(originals)
    origin = {
        "name": name,
        "config": config,
        **_original_hashes(manifest),
        "wheel_sha256": _part(manifest, "wheel")["sha256"],
        "converter_version": CONVERTER_VERSION,
        "tensors_sha256": _digest(state),
    }
    with atomic_write(target) as temporary:
        # One entry, as safetensors writes several in random order: the same bytes on every machine.
        save_file(state, temporary, {"thesislib": json.dumps(origin)})
    return target


def load_encoder(name_or_folder: str | Path) -> WhisperEncoder:
    """A frozen speech encoder, by the name of its weights or from a Hugging Face folder.

    Args:
        name_or_folder: ``speech-encoder``, or a folder with a Whisper model of any size.

    Returns:
        The encoder in float32 on the CPU, in evaluation mode, without gradients.

    Raises:
        InputError: the weights are absent or damaged, or there is no such folder.
    """
    names = [manifest.name for manifest in list_manifests("weights")]
    if str(name_or_folder) not in names:
        if not Path(name_or_folder).is_dir():
            raise InputError(
                name_or_folder, "is neither a name nor a folder", f"choose from {', '.join(names)}"
            )
        return load_hugging_face(name_or_folder)
    name = str(name_or_folder)
    config, state = load_converted(name)
    try:
        return build_encoder(EncoderConfig(**config), state)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(name, "holds no speech encoder", "choose other weights") from error


def load_converted(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The sizes and parameters that `get_weights` wrote, once their checksum is seen to hold.

    Args:
        name: Name of a weights manifest.

    Returns:
        Sizes as a dictionary (empty where the model has only one size), and float32 parameters.

    Raises:
        InputError: the weights are absent or damaged.
    """
    path = weights_root() / name / "model.safetensors"
    mend = f"run `thesis weights get {name}`"
    if not path.is_file():
        raise InputError(path, "is absent", mend)
    try:
        return _read_converted(path, load_manifest(name))
    except ValueError as error:
        raise InputError(path, str(error), mend) from error


def convert_torch(originals: dict[str, Path]) -> dict[str, Tensor]:
    """Join files of parameters, each a plain state dictionary that torch has saved.

    Args:
        originals: Name of a part of the model to its file.

    Returns:
        Parameters in float32, each name led by that of its part and a dot.

    Raises:
        InputError: a file is not a dictionary of tensors; no code in it is run.
    """
    state = {}
    for part, path in originals.items():
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
            for name, tensor in sorted(tensors.items()):
                state[f"{part}.{name}"] = tensor.detach().float().contiguous()
        except (OSError, RuntimeError, EOFError, AttributeError, pickle.UnpicklingError) as error:
            raise InputError(path, "holds no parameters", "get the weights again") from error
    return state


def convert_onnx(path: Path) -> tuple[EncoderConfig, dict[str, Tensor]]:
    """Take the encoder out of an exported, quantised ONNX graph.

    Exporting kept the names of biases, norms and positions, but linear weights are anonymous,
    transposed and int8. They are found by following the graph: a named bias is added to the product
    of its weight; the key projection, which has no bias, is the third product of what the query
    projection reads.

    Args:
        path: The graph: Whisper's encoder, each weight stored as float32 or behind a
            ``DequantizeLinear``.

    Returns:
        Sizes, and parameters under Hugging Face's names in float32.

    Raises:
        InputError: the file is no ONNX graph, or does not hold such an encoder.
    """
    from onnx import load  # here, as it is slow to import and needed once

    try:
        graph = load(path).graph
    except Exception as error:  # protobuf has error classes of its own in each implementation
        raise InputError(path, "is not a readable ONNX file", "get the weights again") from error
    try:
        config, state = _follow(graph)
        build_encoder(config, state)
    except (ValueError, KeyError, IndexError, RuntimeError) as error:
        detail = str(error).splitlines()[-1]
        raise InputError(
            path, f"does not hold a Whisper-style encoder ({detail})", "get the weights again"
        ) from error
    return config, state


def _follow(graph: onnx.GraphProto) -> tuple[EncoderConfig, dict[str, Tensor]]:
    from onnx.numpy_helper import to_array

    stored = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    maker = {output: node for node in graph.node for output in node.output}
    positions = [name for name in stored if name.endswith("encoder.embed_positions.weight")]
    if len(positions) != 1:
        raise ValueError("it needs one encoder.embed_positions.weight")
    prefix = positions[0].removesuffix("embed_positions.weight")

    def weight(name: str) -> np.ndarray:
        return stored[name] if name in stored else _dequantise(maker[name], stored)

    def origin(name: str) -> str:  # the signal before it was quantised and dequantised
        while name in maker and maker[name].op_type in ("QuantizeLinear", "DequantizeLinear"):
            name = maker[name].input[0]
        return name

    arrays = {
        name.removeprefix(prefix): array
        for name, array in stored.items()
        if name.startswith(prefix) and name.endswith((".weight", ".bias"))
    }
    products, queries = {}, {}
    for node in graph.node:
        biases = [n for n in node.input if n.startswith(prefix) and n.endswith(".bias")]
        base = biases[0].removeprefix(prefix).removesuffix(".bias") if biases else ""
        if node.op_type == "Conv" and base:
            arrays[f"{base}.weight"], arrays[f"{base}.bias"] = map(weight, node.input[1:3])
        elif node.op_type == "Add" and base:
            (summand,) = (n for n in node.input if n not in biases)
            product = maker[origin(summand)]
            products[product.output[0]] = base
            arrays[f"{base}.weight"] = weight(product.input[1]).T
            if base.endswith(".q_proj"):
                queries[origin(product.input[0])] = base, node.output[0]
    heads = set()
    for node in graph.node:
        read = origin(node.input[0]) if node.input else ""
        if node.op_type == "MatMul" and read in queries and node.output[0] not in products:
            key = queries[read][0].replace(".q_proj", ".k_proj") + ".weight"
            if key in arrays:
                raise ValueError(f"{key} is found twice")
            arrays[key] = weight(node.input[1]).T
        elif node.op_type == "Reshape" and read in {output for _, output in queries.values()}:
            heads.add(int(stored[maker[node.input[1]].input[-2]].item()))  # (B, T, heads, features)
    if len(heads) != 1:
        raise ValueError("it needs one number of attention heads")
    config = EncoderConfig(
        n_mels=arrays["conv1.weight"].shape[1],
        n_positions=arrays["embed_positions.weight"].shape[0],
        width=arrays["embed_positions.weight"].shape[1],
        heads=heads.pop(),
        layers=len(queries),
        ffn_width=arrays["layers.0.fc1.weight"].shape[0],
    )
    state = {
        name: torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
        for name, array in sorted(arrays.items())
    }
    return config, state


def _dequantise(node: onnx.NodeProto, stored: dict[str, np.ndarray]) -> np.ndarray:
    """``(q - zero point) * scale``, per channel along the node's axis, as ONNX defines it."""
    quantised, scale, zero = (stored[name] for name in node.input)
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = [-1 if i == axis and scale.size > 1 else 1 for i in range(quantised.ndim)]
    steps = quantised.astype(np.int64) - zero.astype(np.int64).reshape(shape)
    return steps.astype(np.float32) * scale.reshape(shape)


def _weights_manifest(name: str) -> Manifest:
    names = [manifest.name for manifest in list_manifests("weights")]
    if name not in names:
        raise InputError(name, "is not a set of weights", f"choose from {', '.join(names)}")
    return load_manifest(name)


def _part(manifest: Manifest, part: str) -> dict[str, Any]:
    """The manifest's entry for a file: ``wheel``, or one inside it, such as ``graph``."""
    return next(entry for entry in manifest.document["distribution"] if entry["name"] == part)


def _original_names(manifest: Manifest) -> dict[str, str]:
    """File name of each part that is taken out of the wheel."""
    parts = {part["name"]: part["contentUrl"] for part in manifest.document["distribution"]}
    return {name: PurePosixPath(url).name for name, url in parts.items() if name != "wheel"}


def _original_hashes(manifest: Manifest) -> dict[str, str]:
    names = _original_names(manifest)
    return {f"{name}_sha256": _part(manifest, name)["sha256"] for name in names}


def _is_file_with(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256


def _digest(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _read_converted(path: Path, manifest: Manifest) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Sizes and parameters of a converted file; ValueError says what is wrong with it."""
    try:
        with safe_open(path, "pt") as file:
            origin = json.loads((file.metadata() or {})["thesislib"])
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        config = dict(origin["config"])
        if origin["tensors_sha256"] != _digest(state):
            raise ValueError("its weights differ from their checksum")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"is damaged ({error})") from error
    expected = _original_hashes(manifest) | {"converter_version": CONVERTER_VERSION}
    if any(origin.get(key) != value for key, value in expected.items()):
        raise ValueError("was converted from another file or by an older converter")
    return config, state


def _problem(manifest: Manifest, folder: Path) -> str | None:
    """What is wrong with the files in a weights folder, or None."""
    for name, file in _original_names(manifest).items():
        if not _is_file_with(folder / file, _part(manifest, name)["sha256"]):
            return f"the original {file} is absent or differs"
    try:
        _read_converted(folder / "model.safetensors", manifest)
    except ValueError as error:
        return str(error)
    return None


def _download(manifest: Manifest, folder: Path) -> Path:
    package, file = manifest.about("package"), _part(manifest, "wheel")["contentUrl"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--retries", "2"]
    command += ["--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    command += ["--dest", str(folder), f"{package['name']}=={package['version']}"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode or not (folder / file).is_file():
        lines = [line for line in outcome.stderr.splitlines() if "ERROR" in line]
        reason = lines[-1].removeprefix("ERROR: ") if lines else "no such file came"
        raise InputError(
            manifest.name,
            f"could not be downloaded ({reason})",
            f"where there is no network, download {file} on another machine from the Python "
            f"package index ({package['name']} {package['version']}) and run "
            f"`thesis weights get {manifest.name} --from {file}`",
        )
    return folder / file


def _extract(manifest: Manifest, wheel: Path, targets: dict[str, Path]) -> None:
    """Write the members that are needed, if wheel and members have the manifest's hashes."""
    expected = _part(manifest, "wheel")
    mend = f"download {expected['contentUrl']} again"
    if not wheel.is_file():
        raise InputError(wheel, "is not a file", f"name a copy of {expected['contentUrl']}")
    if sha256_file(wheel) != expected["sha256"]:
        raise InputError(wheel, "has another SHA-256 than the manifest's", mend)
    members = {part: _part(manifest, part) for part in targets}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for info in archive.infolist():
                inside = PurePosixPath(info.filename)
                link = stat.S_ISLNK(info.external_attr >> 16)
                if link or inside.is_absolute() or ".." in inside.parts:
                    raise InputError(wheel, "holds a link or a path that leads out of it", mend)
            contents = {part: archive.read(members[part]["contentUrl"]) for part in members}
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(wheel, f"cannot be unpacked ({error})", mend) from error
    for part, member in members.items():
        if hashlib.sha256(contents[part]).hexdigest() != member["sha256"]:
            problem = "holds a file with another SHA-256 than the manifest's"
            raise InputError(wheel, problem, mend, where=member["contentUrl"])
    for part, target in targets.items():
        with atomic_write(target) as temporary:
            temporary.write_bytes(contents[part])
