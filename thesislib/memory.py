"""Memory that is kept: large tensors without fetching pages from the system at every step."""

from __future__ import annotations

import ctypes
import os

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # of mallopt(3)
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}
"""The same for processes that are started later, such as the kernel of a chapter."""


def keep_memory() -> bool:
    """Let this process and those that it starts keep the memory of tensors that are gone.

    glibc fetches the memory of every large tensor anew from the system and gives it back at once.
    The system clears each page and maps it, which takes up to half of a training step on a CPU, see
    ``benchmarks/bench_masked_autoencoder.py``. Kept memory is used again instead; the process stays
    as large as it ever was, and needs somewhat more, since pieces do not always fit. Variables that
    are set already are left alone.

    Returns:
        Whether it took effect here; elsewhere than on glibc it does nothing.
    """
    for name, value in KEPT.items():
        os.environ.setdefault(name, value)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))
