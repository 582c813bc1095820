"""Locks between processes, which the system frees when their holders are dead."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path, busy: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Hold a lock, which the system frees when its holders are dead.

    Args:
        path: The file to lock.
        busy: Called where another process holds it, before the wait.

    Yields:
        The open file, which a child that inherits it holds too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            pass  # some shared file systems know no locks; records are written whole in any case
        yield handle
    finally:
        os.close(handle)
