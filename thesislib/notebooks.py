"""Running a chapter's notebook in batch."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import papermill
from papermill.exceptions import PapermillExecutionError

from thesislib import files
from thesislib.config import PROFILES
from thesislib.errors import InputError

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
    return target


def _problem_and_mend(line: str) -> tuple[str, str]:
    problem, _, mend = line.rpartition("; ")
    return (problem, mend) if problem else (line, "see the message")
