"""Which commit, machine and code made a number, and which cells of a notebook took part."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

from thesislib import files
from thesislib.code import code_sha256
from thesislib.config import Experiment

EVALUATION = ("thesislib.evaluation.metrics",)  # where the code begins that measures predictions


def commit() -> str:
    """The checked-out commit, with ``-dirty`` where tracked files differ; empty without git.

    Results do not count: the records that a grid writes would mark all that follow.
    """
    try:
        head = _git("rev-parse", "HEAD")
        differs = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head}-dirty" if differs else head


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(
        command, cwd=files.project_root(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def environment() -> dict[str, str | int]:
    """Versions, processor and thread count, as a run record keeps them."""
    import torch  # here, since whoever only compares hashes need not wait for it

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu": _processor(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def notebook_cells(chapter: str, tag: str) -> list[str]:
    """Source of the code cells of a chapter's notebook that carry a tag; none without it."""
    return [
        cell
        for path in sorted((files.project_root() / "notebooks").glob(f"{chapter}_*.ipynb"))
        for cell in tagged_cells(path.read_text(encoding="utf-8"), tag)
    ]


def tagged_cells(notebook: str, tag: str) -> list[str]:
    """Source of the code cells that carry a tag, from the text of a notebook."""
    return [
        "".join(cell["source"])
        for cell in json.loads(notebook)["cells"]
        if cell["cell_type"] == "code" and tag in cell["metadata"].get("tags", [])
    ]


def training_sha256(kind: type[Experiment]) -> str:
    """Hash of the code that makes the predictions of an experiment, as it stands today."""
    return code_sha256(kind.CODE, () if kind.RUN else notebook_cells(kind.CHAPTER, "train"))


def evaluation_sha256(kind: type[Experiment]) -> str:
    """Hash of the code that measures the predictions of an experiment, as it stands today."""
    return code_sha256(EVALUATION, () if kind.RUN else notebook_cells(kind.CHAPTER, "evaluate"))
