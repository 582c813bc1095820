"""Names of cached things, features and checkpoints: a hash of what made them.

What lies under such a name is either what today's code would make again, or is never looked up;
nothing needs to be invalidated, and old folders may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from thesislib import files


def cache_key(**what: object) -> str:
    """Hash of everything that makes a thing: parameters, code and inputs.

    Args:
        **what: Parameters as JSON values (a tuple counts as a list), the hash of the code that
            makes the thing (`thesislib.code.code_sha256`), and hashes of its inputs
            (`thesislib.files.sha256_file`). What does not change the thing, such as the folder
            of results, is left out.

    Returns:
        64 hexadecimal digits; the order of the arguments does not count.

    Raises:
        TypeError: a value that JSON cannot say, such as a path or an array.
        ValueError: a value that is not finite.

    >>> cache_key(size=48, code="a1") == cache_key(code="a1", size=48)
    True
    >>> cache_key(size=48, code="a1") == cache_key(size=96, code="a1")
    False
    """
    text = json.dumps(what, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def cache_folder(kind: str, key: str) -> Path:
    """The folder of one cached thing, ``data/cache/<kind>/<key>``; it is not created.

    Args:
        kind: What it is, in lower case with hyphens, such as ``mouth-crops``.
        key: From `cache_key`.

    Raises:
        ValueError: a kind or key that would leave the folder of caches.

    >>> cache_folder("mouth-crops", "a1").parts[-4:]
    ('data', 'cache', 'mouth-crops', 'a1')
    """
    for part in (kind, key):
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", part):
            raise ValueError(f"{part!r} is not lower-case letters, digits and hyphens")
    return files.resolve("data/cache") / kind / key
