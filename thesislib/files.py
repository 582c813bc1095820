"""Where things lie, and how they are written so that a crash leaves the old file or the new one."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from thesislib.errors import InputError


def project_root() -> Path:
    """The checkout that holds the notebooks and results, else the current folder."""
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def resolve(path: str | Path) -> Path:
    """An absolute path; a relative one starts at the project, wherever a kernel was started."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else project_root() / path


def data_roots() -> list[Path]:
    """Folders searched for corpora: those of ``$THESISLIB_DATA_ROOT``, else ``data/``."""
    value = os.environ.get("THESISLIB_DATA_ROOT", "")
    return [resolve(part) for part in value.split(os.pathsep) if part] or [project_root() / "data"]


def weights_root() -> Path:
    """Folder of pretrained and own weights: ``$THESISLIB_WEIGHTS_ROOT``, else ``data/weights``."""
    return resolve(os.environ.get("THESISLIB_WEIGHTS_ROOT") or "data/weights")


def find_corpus(name: str) -> Path | None:
    """The folder of a corpus, or None where no data root has it."""
    return next((root / name for root in data_roots() if (root / name).is_dir()), None)


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it into place.

    An exception inside the block removes the temporary file and leaves `path` as it was.

    Raises:
        InputError: the folder cannot be created or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}.part-", suffix=path.suffix
        )
    except OSError as error:
        raise InputError(
            path.parent, f"cannot be written ({error.strerror})", "choose another --out folder"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would hide results from a group
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # some file systems refuse to sync a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def refuse_unsafe_member(archive: Path, member: zipfile.ZipInfo) -> None:
    """Refuse a zip member that is a link, or whose path leaves the folder of extraction.

    Raises:
        InputError: naming the archive and the member.
    """
    path = PurePosixPath(member.filename.replace("\\", "/"))
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    if is_link or path.is_absolute() or ".." in path.parts:
        raise InputError(
            archive,
            "holds a link" if is_link else "holds a path that leaves its folder",
            "do not use this archive",
            where=member.filename,
        )
