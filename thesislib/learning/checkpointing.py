"""Checkpoints that a kill at any moment cannot spoil, and that say what they belong to.

A checkpoint is three files: ``weights-N.safetensors`` after step N, ``state-N.pt`` with the
optimiser and the random states, and ``checkpoint-N.json`` with the key and the configuration of
the run, the position of the sampler, the history, the best epoch, and the SHA-256 of the other
files. The last is written last: without it, or if a hash differs, there is no checkpoint N. The
two newest are kept, with the weights of the best epoch.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from thesislib.errors import InputError
from thesislib.files import atomic_write, sha256_file
from thesislib.learning.datasets import seeded

KEPT = 2
_PATTERN = "checkpoint-*.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read.

    Attributes:
        record: The JSON file: key, config, position, history.
        weights: Of the last step, by name; empty in a finished folder.
        state: Optimiser, scaler and random states; empty in a finished folder.
        best: Weights of the best epoch so far; empty before the first one ends.
    """

    record: dict[str, Any]
    weights: dict[str, Tensor]
    state: dict[str, Any]
    best: dict[str, Tensor]


def save_checkpoint(
    folder: Path,
    record: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    state: Mapping[str, Any],
    *,
    best_step: int | None = None,
) -> None:
    """Write the checkpoint of ``record["step"]``, then remove what is no longer needed.

    Args:
        folder: Made if it is not there.
        record: What JSON can hold; with ``step`` and ``key``. With ``finished`` the weights of the
            best epoch are all that is kept.
        weights: Tensors by name.
        state: What ``torch.load(weights_only=True)`` can read back.
        best_step: The step whose weights are the best so far: this one, or one saved before.

    Raises:
        InputError: The folder cannot be written.
    """
    step, finished = int(record["step"]), bool(record.get("finished"))
    files = {"best": _weights_path(folder, best_step)} if best_step is not None else {}
    if best_step == step or not finished:
        with atomic_write(_weights_path(folder, step)) as path:
            save_file(_separate(weights), path)
    if not finished:
        files |= {"weights": _weights_path(folder, step), "state": folder / f"state-{step:08}.pt"}
        with atomic_write(files["state"]) as path:
            torch.save(dict(state), path)
    hashes = {role: [path.name, sha256_file(path)] for role, path in files.items()}
    with atomic_write(folder / f"checkpoint-{step:08}.json") as path:
        path.write_text(json.dumps({**record, "files": hashes}, indent=1), encoding="utf-8")
    _prune(folder, 1 if finished else KEPT)


def load_checkpoint(folder: Path, key: str) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None where there is none.

    One that is cut off or changed is named in a warning and passed over.

    Raises:
        InputError: The folder belongs to a run of another key.
    """
    for path in sorted(folder.glob(_PATTERN), reverse=True):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["key"] != key:
                raise InputError(
                    folder,
                    f"holds another run (key {record['key']!r}, not {key!r})",
                    "choose another folder, or remove this one",
                    where=path.name,
                )
            return _read(folder, record)
        except (OSError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as bad:
            problem = str(bad)
        except InputError:
            raise
        except ValueError as bad:  # JSON that is cut off, bytes that are no text
            problem = str(bad)
        warnings.warn(
            f"{path}: is damaged ({problem}); the run goes on from the checkpoint before it,"
            " or from the start if there is none",
            stacklevel=2,
        )
    return None


def _read(folder: Path, record: dict[str, Any]) -> Checkpoint:
    paths = {}
    for role, (name, digest) in record["files"].items():
        paths[role] = folder / name
        if sha256_file(paths[role]) != digest:
            raise RuntimeError(f"{name} is not what was written")
    state: dict[str, Any] = {}
    if "state" in paths:
        state = torch.load(paths["state"], map_location="cpu", weights_only=True)
    weights = load_file(paths["weights"]) if "weights" in paths else {}
    best = load_file(paths["best"]) if "best" in paths else {}
    return Checkpoint(record, weights, state, best)


def discard_damaged(folder: Path, step: int | None) -> None:
    """Remove checkpoints beyond the one of `step` (all if None), and temporary files.

    They are what a kill or a fault left behind; the run writes them anew.
    """
    for path in folder.glob(_PATTERN):
        if step is None or path.name > f"checkpoint-{step:08}.json":
            path.unlink()
    for path in folder.glob(".*.part-*"):
        path.unlink()


def _prune(folder: Path, kept: int) -> None:
    records = sorted(folder.glob(_PATTERN))
    for path in records[:-kept]:
        path.unlink()
    needed = set()
    for path in records[-kept:]:
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            files = json.loads(path.read_text(encoding="utf-8"))["files"]
            needed |= {name for name, _ in files.values()}
    for pattern in ("weights-*.safetensors", "state-*.pt"):
        for path in folder.glob(pattern):
            if path.name not in needed:
                path.unlink()


def _weights_path(folder: Path, step: int) -> Path:
    return folder / f"weights-{step:08}.safetensors"


def _separate(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU where tensors share memory, which safetensors refuses."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in weights.items():
        tensor = tensor.detach().cpu().contiguous()
        address = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return separate


# ---------------------------------------------------------------------------------- random states


def random_states() -> dict[str, Any]:
    """The states of the global generators of Python, numpy, torch and CUDA."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - read, not drawn from
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: Mapping[str, Any]) -> None:
    """Set what `random_states` read; CUDA's only where there are as many devices."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


@contextmanager
def contained_randomness(*numbers: int) -> Iterator[None]:
    """Seed the global generators for the block alone; afterwards they are as they were.

    Dropout draws from torch's global generator, so that a run which is to be repeated has to start
    it somewhere. The caller's own draws are not touched by it.

    >>> before = torch.get_rng_state()
    >>> with contained_randomness(0):
    ...     drawn = torch.rand(1)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    before = random_states()
    seed = seeded(*numbers).initial_seed()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - restored below
        torch.manual_seed(seed)
        yield
    finally:
        set_random_states(before)
