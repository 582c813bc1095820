"""What the loaders share: the licence, the owners' tables, and a look at a file's first bytes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from thesislib.corpora.acceptance import require_acceptance
from thesislib.errors import InputError

TWIN_FILE = "twin.json"
_LFS_POINTER = b"version https://git-lfs"
_MAGIC = {
    ".wav": (0, b"RIFF"),
    ".flac": (0, b"fLaC"),
    ".flv": (0, b"FLV"),
    ".avi": (0, b"RIFF"),
    ".mp4": (4, b"ftyp"),
    ".m4a": (4, b"ftyp"),
    ".mov": (4, b"ftyp"),
}


def detect_variant(root: Path) -> str:
    """``twin`` where the folder carries the marker of one, else ``release``."""
    return "twin" if (root / TWIN_FILE).is_file() else "release"


def require_licence(root: Path, corpus: str) -> None:
    """Refuse a licensed corpus whose terms nobody has accepted; a twin needs no acceptance.

    Raises:
        InputError: the folder does not exist, or nobody has accepted.
    """
    if not root.is_dir():
        raise InputError(root, "is not a folder", f"name the folder that holds {corpus}")
    if detect_variant(root) != "twin":
        require_acceptance(corpus)


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The wanted columns of a comma-separated table, cells and headings without outer blanks.

    Raises:
        InputError: the file is missing, is not text, lacks a column, or has a row with more or
            fewer cells than headings.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [[cell.strip() for cell in row] for row in csv.reader(stream) if any(row)]
    except FileNotFoundError:
        raise InputError(path, "is missing", "restore it from the owners' release") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"cannot be read as a table ({error})", "restore it") from error
    header = rows[0] if rows else []
    for column in columns:
        if column not in header:
            raise InputError(path, f"has no column {column!r}", "restore it", where="header")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            problem = f"has {len(row)} cells, not {len(header)}"
            raise InputError(path, problem, "restore it", where=f"row {number}")
    places = {column: header.index(column) for column in columns}
    return [{column: row[place] for column, place in places.items()} for row in rows[1:]]


def check_media(path: Path) -> list[InputError]:
    """Whether a recording is one by its first bytes; it is not decoded.

    Returns:
        One problem where the file is empty, a pointer that git-lfs left in its place, or does
        not begin as its suffix promises; else none.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(32)
    except OSError as error:
        return [InputError(path, f"cannot be read ({error.strerror})", "check its permissions")]
    if not head:
        return [InputError(path, "is empty (0 bytes)", "copy it again")]
    if head.startswith(_LFS_POINTER):
        problem = "is a pointer of git-lfs, not the recording"
        return [InputError(path, problem, "run `git lfs pull` in the owners' repository")]
    start, magic = _MAGIC.get(path.suffix.lower(), (0, b""))
    if not head[start:].startswith(magic):
        return [InputError(path, f"is no {path.suffix.lower()} file", "copy it again")]
    return []


def missing_of_twin(root: Path) -> list[InputError]:
    """Files that a twin's own list names and the folder lacks; none for a real corpus.

    The list is ``clips`` in ``twin.json``, each with a ``file`` relative to the twin.
    """
    path = root / TWIN_FILE
    if not path.is_file():
        return []
    try:
        named = [str(row["file"]) for row in json.loads(path.read_text("utf-8")).get("clips", [])]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return [InputError(path, f"cannot be read ({error})", "write the twin again")]
    return [
        InputError(root / name, "is missing", "write the twin again")
        for name in sorted(set(named))
        if not (root / name).is_file()
    ]


def unique_stems(paths: Iterable[Path]) -> dict[str, Path]:
    """File name without suffix to its path, in order of name.

    Raises:
        InputError: two files have the same name.

    >>> list(unique_stems([Path("b/2.wav"), Path("a/1.wav")]))
    ['1', '2']
    """
    found: dict[str, Path] = {}
    for path in sorted(paths, key=lambda p: (p.stem, p)):
        if other := found.get(path.stem):
            mend = "keep one of them, or name the folder of one"
            raise InputError(path, f"has the same name as {other}", mend)
        found[path.stem] = path
    return found
