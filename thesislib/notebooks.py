"""Running a chapter's notebook in batch, and storing its outputs.

``python -m thesislib.notebooks 01 02`` executes notebooks in place, at the parameters that stand in
them: that is how the outputs come about which the repository holds. Either way the notebook's
metadata say under ``thesis`` when, how long and with what it was executed (`note_execution`).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient import NotebookClient
from papermill.exceptions import PapermillExecutionError

from thesislib import files
from thesislib.config import PROFILES
from thesislib.errors import InputError
from thesislib.records import provenance

ATTEMPTS = 3  # two kernels that start at once may draw the same port; the loser dies


class ChapterFailedError(RuntimeError):
    """A cell of a chapter raised; the message names it and where the notebook lies."""


def find_notebook(chapter: str) -> Path:
    """The notebook of a chapter, by its two digits.

    Raises:
        InputError: no notebook, or several, begin with `chapter`.
    """
    folder = files.project_root() / "notebooks"
    is_number = re.fullmatch(r"\d\d", chapter) is not None
    found = sorted(folder.glob(f"{chapter}_*.ipynb")) if is_number else []
    if len(found) != 1:
        known = ", ".join(sorted(path.stem[:2] for path in folder.glob("*.ipynb")))
        raise InputError(f"chapter {chapter}", "has no notebook of its own", f"choose {known}")
    return found[0]


def run_chapter(
    chapter: str,
    parameters: Mapping[str, object],
    *,
    profile: str,
    out: Path,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Execute a chapter's notebook with papermill.

    Args:
        chapter: Two digits.
        parameters: Values for the notebook's parameters.
        profile: ``tiny``, ``small`` or ``paper``.
        out: Results folder: ``notebooks/``, ``runs/`` and ``predictions/`` are written there.
        say: Called with a line at the start and before another attempt.

    Returns:
        The executed notebook.

    Raises:
        InputError: unknown chapter, profile or parameter, or bad input met inside the notebook.
        ChapterFailedError: a cell raised anything else; the notebook is kept beside its target.
    """
    notebook = find_notebook(chapter)
    if profile not in PROFILES:
        raise InputError("option --profile", f"cannot be {profile!r}", f"one of {PROFILES}")
    out = out.resolve()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbformat's advice on cell ids is not the caller's
        known = papermill.inspect_notebook(str(notebook))
    for name in ("profile", "out"):
        if name in parameters:
            raise InputError(f"option -p {name}", "has an option of its own", f"write --{name}")
    given = {**parameters, "profile": profile, "out": str(out)}
    for name in given:
        if name not in known:
            raise InputError(
                f"parameter {name}",
                f"is unknown to {notebook.name}",
                f"the parameters are {', '.join(known)}",
            )
    target = out / "notebooks" / notebook.name
    with files.atomic_write(target) as temporary:
        started, since = datetime.now(UTC), time.perf_counter()
        for attempt in range(1, ATTEMPTS + 1):
            say(f"running {notebook.name} at {profile}")
            try:
                papermill.execute_notebook(
                    str(notebook),
                    str(temporary),
                    parameters=given,
                    kernel_name="python3",
                    progress_bar=False,
                    # Not its warning about TCP without encryption, which is loopback's.
                    extra_arguments=["--log-level=ERROR"],
                    cwd=str(notebook.parent),
                )
                break
            except PapermillExecutionError as error:
                if error.ename == "InputError":
                    path, _, rest = error.evalue.partition(": ")
                    raise InputError(path, *_problem_and_mend(rest)) from None
                failed = target.with_suffix(".failed.ipynb")
                shutil.copy(temporary, failed)
                raise ChapterFailedError(
                    f"{notebook.name}: cell [{error.exec_count}] failed: {error.ename}: "
                    f"{error.evalue}; see {failed}"
                ) from error
            except ChapterFailedError:
                raise
            except RuntimeError as error:
                if attempt == ATTEMPTS:
                    raise
                say(f"the kernel died ({error}); attempt {attempt + 1} of {ATTEMPTS}")
        document = _read(temporary)
        note_execution(document, started=started, seconds=time.perf_counter() - since)
        nbformat.write(document, temporary)
    return target


def store_outputs(chapter: str) -> Path:
    """Execute a chapter's notebook where it lies, at its own parameters, and keep the outputs.

    Nothing is written where a cell raises.

    Args:
        chapter: Two digits.

    Returns:
        The notebook.

    Raises:
        InputError: unknown chapter.
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    path = find_notebook(chapter)
    document = _read(path)
    document.metadata.pop("widgets", None)  # of another execution
    started, since = datetime.now(UTC), time.perf_counter()
    NotebookClient(
        document,
        kernel_name="python3",
        timeout=None,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # not about TCP on loopback
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    note_execution(document, started=started, seconds=time.perf_counter() - since)
    with files.atomic_write(path) as temporary:
        nbformat.write(document, temporary)
    return path


def note_execution(document: nbformat.NotebookNode, *, started: datetime, seconds: float) -> None:
    """Write down in a notebook's metadata when, how long and with what it was executed.

    Adds ``thesis``: ``started`` (ISO 8601, UTC), ``seconds``, ``python``, ``torch``, ``cpu``,
    ``threads``, ``commit``, and ``cells``, the hash of the code cells (`cells_sha256`).
    """
    document.metadata["thesis"] = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        **provenance.environment(),
        "commit": provenance.commit(),
        "cells": cells_sha256(document["cells"]),
    }


def cells_sha256(cells: Sequence[Mapping[str, Any]]) -> str:
    """Hash of the source of code cells in order, without what papermill added; hexadecimal.

    Args:
        cells: Of a notebook as nbformat has it, or as JSON has it (lists of lines).

    >>> code = {"cell_type": "code", "metadata": {}}
    >>> one, other = cells_sha256([code | {"source": "x"}]), cells_sha256([code | {"source": "y"}])
    >>> one == cells_sha256([code | {"source": ["x"]}]), one == other
    (True, False)
    """
    digest = hashlib.sha256()
    for cell in cells:
        added = "injected-parameters" in str(cell["metadata"])
        if cell["cell_type"] == "code" and not added:
            digest.update("".join(cell["source"]).encode() + b"\0")
    return digest.hexdigest()


def _read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def _problem_and_mend(line: str) -> tuple[str, str]:
    problem, _, mend = line.rpartition("; ")
    return (problem, mend) if problem else (line, "see the message")


if __name__ == "__main__":
    for number in sys.argv[1:]:
        print(f"{store_outputs(number)}: stored")
