"""Features of the frozen branch, computed once and kept on disk, within a bound.

A file holds the features of one set of windows by one encoder, in half precision, as safetensors
that training maps into memory. Its name, and a line inside it, are the hash of the encoder's
weights, of the windows and of the code that makes them: another encoder's features are never found,
and a file that was given a wrong name is refused. Where a disk is full, work goes on uncached.

Source: note 30.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from thesislib.caching import cache_folder, cache_key
from thesislib.code import code_sha256
from thesislib.errors import InputError
from thesislib.files import atomic_write

KIND = "main-features"
LIMIT_BYTES = 8 * 2**30
BATCH = 16
HEAD_BYTES = 256  # of a file, before the data; about


def tensor_sha256(*tensors: Tensor) -> str:
    """Hash of the values, types and shapes of tensors.

    >>> tensor_sha256(torch.zeros(2)) == tensor_sha256(torch.zeros(1, 2))
    False
    """
    digest = hashlib.sha256()
    for tensor in tensors:
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def features_key(encoder: nn.Module, spectrograms: Tensor, **what: object) -> str:
    """What names cached features: encoder, windows, code, and `what` else makes them.

    Args:
        encoder: Its class, sizes and weights count.
        spectrograms: All windows, as the encoder reads them.
        **what: JSON values, such as the number of tokens kept.
    """
    state = encoder.state_dict()
    return cache_key(
        encoder=[type(encoder).__name__, repr(getattr(encoder, "config", None)), list(state)],
        weights=tensor_sha256(*state.values()),
        windows=tensor_sha256(spectrograms),
        code=code_sha256(["thesislib.models.dual_branch"]),
        **what,
    )


def cached_features(
    compute: Callable[[Tensor], Tensor],
    spectrograms: Tensor,
    key: str,
    *,
    limit_bytes: int = LIMIT_BYTES,
    batch_size: int = BATCH,
) -> Tensor | None:
    """The features of all windows, from the cache or computed and put there.

    They are written as they are computed, so that memory does not grow with their number. The
    files used longest ago make room for new ones.

    Args:
        compute: Windows `(b, …)` to features `(b, T, D)`.
        spectrograms: `(N, …)`.
        key: From `features_key`.
        limit_bytes: Bound on the size of all cached features together.
        batch_size: Windows computed at a time.

    Returns:
        `(N, T, D)` float16, mapped into memory; None where there is no room for them, of which
        one warning tells: features then have to be computed as they are needed.

    Raises:
        InputError: what lies there under this key was made by something else, or is damaged.
    """
    path = cache_folder(KIND, key) / "features.safetensors"
    if path.is_file():
        return open_features(path, key)
    try:
        first = _computed(compute, spectrograms[:batch_size])
        needed = 2 * len(spectrograms) * first[0].numel() + HEAD_BYTES
        if needed > limit_bytes:
            raise OSError(f"{needed / 2**20:.0f} MiB exceed the bound of {limit_bytes / 2**20:.0f}")
        evict(path.parent.parent, limit_bytes - needed)
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            stream.write(_header((len(spectrograms), *first.shape[1:]), key))
            for start in range(0, len(spectrograms), batch_size):
                rows = spectrograms[start : start + batch_size]
                part = first if start == 0 else _computed(compute, rows)
                stream.write(part.numpy().tobytes())
    except (OSError, InputError) as error:
        reason = getattr(error, "strerror", None) or error
        with suppress(OSError):
            path.parent.rmdir()  # the empty folder of a file that was not written
        # Of the folder, not of this file: a run that has many to keep says it once.
        warnings.warn(f"{path.parents[1]}: features are not cached ({reason})", stacklevel=1)
        return None
    return open_features(path, key)


def open_features(path: Path, key: str) -> Tensor:
    """Cached features, mapped into memory, once the key inside the file is the one expected.

    Raises:
        InputError: the file is damaged, or another encoder, another version or other windows made
            what is in it.
    """
    try:
        with safe_open(path, "pt") as file:
            found = (file.metadata() or {}).get("key")
            if found != key:
                raise InputError(
                    path, "holds features of another encoder, version or corpus",
                    "delete this folder; features are computed anew", where=f"key {found}",
                )  # fmt: skip
            features = file.get_tensor("features")
    except SafetensorError as error:
        raise InputError(path, "is damaged", "delete it; features are computed anew") from error
    with suppress(OSError):
        os.utime(path)  # the mark of its last use
    return features


def evict(folder: Path, limit_bytes: int) -> list[Path]:
    """Delete the features that were used longest ago until the others fit.

    A file that is in use stays readable to whoever has it open.

    Args:
        folder: Of all cached features, one folder a key.
        limit_bytes: What may stay.

    Returns:
        The deleted files.
    """
    files = sorted(folder.glob("*/features.safetensors"), key=lambda p: p.stat().st_mtime)
    total, deleted = sum(path.stat().st_size for path in files), []
    for path in files:
        if total <= limit_bytes:
            break
        total -= path.stat().st_size
        path.unlink()
        with suppress(OSError):
            path.parent.rmdir()
        deleted.append(path)
    return deleted


@torch.inference_mode()
def _computed(compute: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    features = compute(rows).to("cpu", torch.float16).contiguous()
    if not features.isfinite().all():
        raise InputError("features", "exceed half precision", "train without cached features")
    return features


def _header(shape: tuple[int, ...], key: str) -> bytes:
    """The head of a safetensors file with one tensor, whose bytes follow."""
    size = 2
    for n in shape:
        size *= n
    head = {
        "__metadata__": {"key": key},
        "features": {"dtype": "F16", "shape": list(shape), "data_offsets": [0, size]},
    }
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the data
    return struct.pack("<Q", len(text)) + text
