"""Grids: what is run for the book, from ``experiments/*.yaml`` to one job a run.

A file names a chapter and, for each profile, entries; an entry gives parameters one value or a
list of values, and stands for their product::

    chapter: "08"
    experiment: main_branch   # where a chapter has several
    records: 14               # how many records a run leaves, where that is always the same
    profiles:
      small:
        - {corpus: emodb-twin, seed: [0, 1, 2]}
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from thesislib import files
from thesislib.config import EXPERIMENTS, PROFILES, Experiment, experiment_name, for_profile
from thesislib.corpora.acceptance import require_acceptance
from thesislib.corpora.manifest import load_manifest
from thesislib.errors import InputError
from thesislib.records import provenance

KEYS = ("chapter", "experiment", "records", "profiles")
MEMORY_MB = {"tiny": 3_000, "small": 8_000, "paper": 64_000}  # most that a job of a profile takes
LONGEST_NAME = 200


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of a grid.

    Attributes:
        name: Readable, unique, and the same on every machine; also the name of its files.
        command: What makes its records, in words of a command line.
        chapter: Two digits.
        config: Every parameter, as its records hold them.
        hashes: Of manifest and code, today, under the names that a record gives them.
        records: How many records it leaves; 0 where the grid does not say.
        threads: Processor threads.
        memory_mb: Most memory that it takes, in megabytes.
        missing: Why it cannot be attempted here; empty where it can.
    """

    name: str
    command: tuple[str, ...]
    chapter: str
    config: Mapping[str, Any]
    hashes: Mapping[str, str]
    records: int = 0
    threads: int = 1
    memory_mb: int = MEMORY_MB["tiny"]
    missing: str = ""


def load_jobs(folder: Path, *, profile: str, out: Path, only: str = "") -> list[Job]:
    """All jobs of the grids in a folder.

    Args:
        folder: Holds the ``*.yaml``.
        profile: ``tiny``, ``small`` or ``paper``.
        out: Folder of results.
        only: Two digits; the jobs of this chapter only.

    Raises:
        InputError: a grid cannot be read, an entry names what is unknown or cannot be, two
            entries stand for the same run, or no grid is of the chapter `only`.
    """
    if profile not in PROFILES:
        raise InputError("option --profile", f"cannot be {profile!r}", f"one of {PROFILES}")
    jobs: dict[str, Job] = {}
    chapters = []
    for path in sorted(folder.glob("*.yaml")):
        grid = _read(path)
        chapters.append(grid["chapter"])
        if only and grid["chapter"] != only:
            continue
        for where, config in _configurations(path, grid, profile):
            job = as_job(config, out=out, records=grid.get("records", 0))
            if job.name in jobs:
                raise InputError(path, f"asks for {job.name} twice", "drop one", where=where)
            jobs[job.name] = job
    if only and only not in chapters:
        raise InputError(
            f"chapter {only}", "has no grid", f"choose {', '.join(sorted(set(chapters)))}"
        )
    return list(jobs.values())


def as_job(config: Experiment, *, out: Path, records: int = 0) -> Job:
    """The job of one configuration.

    Args:
        config: Every parameter.
        out: Folder of results.
        records: How many records it leaves; 0 for not known.
    """
    kind = type(config)
    spelled = {k: v for k, v in config.changed().items() if k not in ("corpus", "seed")}
    parts = [config.CHAPTER, experiment_name(kind), config.corpus]
    parts += [f"{name}-{value}" for name, value in spelled.items()]
    name = _file_name("-".join(parts), end=f"-{config.profile}-s{config.seed}")
    verb, *options = shlex.split(config.command())[1:]
    return Job(
        name=name,
        command=(
            *(sys.executable, "-m", "thesislib.cli", verb, *options),
            *("--out", str(out.resolve())),
        ),
        chapter=config.CHAPTER,
        config=json.loads(json.dumps(config.as_dict())),
        hashes={
            "manifest_sha256": load_manifest(config.corpus).sha256,
            "training_sha256": provenance.training_sha256(kind),
            "evaluation_sha256": provenance.evaluation_sha256(kind),
        },
        records=records,
        threads=config.threads,
        memory_mb=MEMORY_MB[config.profile],
        missing=_missing(config),
    )


def _file_name(told: str, *, end: str) -> str:
    """A name that file systems take: those of many parameters are cut, and kept apart by a digest.

    A file may have 255 bytes, of which endings and those of temporary files take some.
    """
    name = re.sub(r"[^A-Za-z0-9_.+-]+", "-", told)
    if len(name) + len(end) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 40]}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
    return name + end


def _missing(config: Experiment) -> str:
    """Why a corpus cannot be read here; a twin is made where it is not."""
    if config.synthetic:
        return ""
    if files.find_corpus(config.corpus) is None:
        return f"{config.corpus} is not here; `thesis data check {config.corpus}` says whence it is"
    try:
        require_acceptance(config.corpus)
    except InputError as error:
        return str(error)
    return ""


def _read(path: Path) -> dict[str, Any]:
    try:
        grid = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}" if error.problem_mark else None
        raise InputError(path, f"is not YAML ({error.problem})", "mend it", where=line) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(path, f"cannot be read ({error})", "restore the file") from error
    if not isinstance(grid, dict) or not {"chapter", "profiles"} <= grid.keys():
        raise InputError(path, "is no grid", "give it the keys chapter and profiles")
    _refuse_unknown(path, grid, KEYS, "the top")
    if not isinstance(grid["profiles"], dict):
        raise InputError(path, "has no mapping under profiles", f"one of {', '.join(PROFILES)}")
    _refuse_unknown(path, grid["profiles"], PROFILES, "profiles")
    records = grid.get("records", 1)
    if not isinstance(records, int) or isinstance(records, bool) or records < 1:
        raise InputError(path, f"cannot have {records!r} records a run", "give 1 or more")
    _experiment(path, grid)
    return grid


def _experiment(path: Path, grid: Mapping[str, Any]) -> type[Experiment]:
    chapter = grid["chapter"]
    known = {experiment_name(kind): kind for kind in EXPERIMENTS if chapter == kind.CHAPTER}
    if not known:
        raise InputError(
            path,
            f"cannot be of chapter {chapter!r}",
            "write two digits in quotation marks, one of "
            + ", ".join(sorted({kind.CHAPTER for kind in EXPERIMENTS})),
            where="chapter",
        )
    name = grid.get("experiment", next(iter(known)) if len(known) == 1 else None)
    if name not in known:
        raise InputError(
            path, f"cannot be {name!r}", f"choose {', '.join(known)}", where="experiment"
        )
    return known[name]


def _configurations(
    path: Path, grid: Mapping[str, Any], profile: str
) -> list[tuple[str, Experiment]]:
    """Configurations of a profile, each with its place in the file."""
    kind = _experiment(path, grid)
    known = {field.name for field in fields(kind)} - {"profile", "out"}
    found: list[tuple[str, Experiment]] = []
    entries = grid["profiles"].get(profile) or []
    if not isinstance(entries, list):
        raise InputError(path, "is no list", "begin each entry with -", where=profile)
    for position, entry in enumerate(entries, start=1):
        where = f"{profile}, entry {position}"
        if not isinstance(entry, dict):
            raise InputError(path, "is no mapping", "write {corpus: …, seed: …}", where=where)
        _refuse_unknown(path, entry, known, where)
        choices = [value if isinstance(value, list) else [value] for value in entry.values()]
        for values in product(*choices):
            given = dict(zip(entry, values, strict=True))
            try:
                found.append((where, for_profile(kind, profile, **given)))
            except InputError as error:
                raise InputError(
                    path, error.problem, error.mend, where=f"{where}, {error.path}"
                ) from None
    return found


def _refuse_unknown(
    path: Path, given: Mapping[Any, object], known: set[str] | tuple[str, ...], where: str
) -> None:
    for name in given:
        if name not in known:
            raise InputError(
                path, f"knows no {name!r}", f"choose {', '.join(sorted(known))}", where=where
            )
