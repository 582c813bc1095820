"""Which records are still what today's code, parameters and manifests would make.

Code and manifests are compared by the hashes that a record holds, parameters one by one. Which
modules changed, and which pinned versions, git knows: it is asked about the record's commit.
Without git the verdict is the same and its reason shorter.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from thesislib import code, files
from thesislib.config import Experiment, experiment, for_profile, read_value
from thesislib.corpora.manifest import load_manifest
from thesislib.errors import InputError
from thesislib.records import provenance

LOCK_FILE = "constraints.txt"
Document = Mapping[str, Any]
"""A run record as its file holds it: to compare hashes, no metric needs to be imported."""
COMPARED = (
    *("run_id", "chapter", "profile", "corpus", "config", "commit", "environment", "command"),
    *("manifest_sha256", "training_sha256", "evaluation_sha256", "predictions"),
)


@dataclass(frozen=True)
class Verdict:
    """Whether a record is stale.

    Attributes:
        run_id: Of the record.
        chapter: Two digits.
        reasons: Why it is stale, a line each; empty for a fresh one.
    """

    run_id: str
    chapter: str
    reasons: tuple[str, ...]

    @property
    def stale(self) -> bool:
        """Whether there is a reason."""
        return bool(self.reasons)


def read_documents(results: Path) -> list[Document]:
    """All records of a results folder, in order of run id.

    Raises:
        InputError: a file is missing, is not JSON, or lacks what is compared.
    """
    found = []
    for path in sorted((results / "runs").glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            missing = [name for name in COMPARED if name not in document]
        except (OSError, ValueError, TypeError) as error:
            raise InputError(path, f"is not a run record ({error})", "delete it") from error
        if missing:
            raise InputError(path, f"is not a run record (no {missing[0]})", "delete it")
        found.append(document)
    return found


def verdict(record: Document) -> Verdict:
    """Whether a record, from `read_documents`, is what would be made today, and if not, why."""
    return Verdict(record["run_id"], record["chapter"], tuple(_reasons(record)))


def experiment_of(record: Document) -> type[Experiment] | None:
    """The experiment that a record belongs to; None where there is none of this name any more."""
    command = record["command"]
    words = [*shlex.split(command), ""]
    name = words[words.index("--experiment") + 1] if "--experiment" in words else ""
    try:
        return experiment(record["chapter"], trained=command.startswith("thesis train "), name=name)
    except InputError:
        return None


def _reasons(record: Document) -> list[str]:
    kind = experiment_of(record)
    if kind is None:
        return [f"chapter {record['chapter']} has no experiment that `{record['command']}` runs"]
    found = []
    if record["training_sha256"] != provenance.training_sha256(kind):
        found.append(f"code of training changed{_since(record, kind, kind.CODE, 'train')}")
    if record["evaluation_sha256"] != provenance.evaluation_sha256(kind):
        changes = _since(record, kind, provenance.EVALUATION, "evaluate")
        found.append(f"code of evaluation changed{changes}")
    try:
        manifest = load_manifest(record["corpus"])
        if manifest.sha256 != record["manifest_sha256"]:
            found.append(f"manifest changed: data_manifests/{manifest.path.name}")
    except InputError as error:
        found.append(str(error))
    if parameters := _changed_parameters(record, kind):
        found.append(f"parameters changed: {', '.join(parameters)}")
    if versions := _changed_versions(record):
        found.append(f"lock file changed: {', '.join(versions)}")
    return found


def _since(record: Document, kind: type[Experiment], roots: tuple[str, ...], tag: str) -> str:
    commit = _commit(record)
    changed = _changed_code(commit, roots, "" if kind.RUN else kind.CHAPTER, tag)
    return (f" since {commit[:8]}" if commit else "") + (
        f": {', '.join(changed)}" if changed else ""
    )


def _commit(record: Document) -> str:
    """The commit that a record names; empty without one, or where it cannot be one."""
    commit = record["commit"].removesuffix("-dirty")
    return commit if re.fullmatch(r"[0-9a-f]{7,64}", commit) else ""


def _changed_parameters(record: Document, kind: type[Experiment]) -> list[str]:
    """Parameters whose value would be another today, the command being the same."""
    words = shlex.split(record["command"])
    given = {
        words[place + 1]: read_value(words[place + 2])
        for place, word in enumerate(words[:-2])
        if word == "-p"
    }
    try:
        today: Mapping[str, Any] = for_profile(kind, record["profile"], **given).as_dict()
    except InputError as error:
        return [str(error)]
    missing = object()
    return [
        f"{name} was {record['config'][name]!r}"
        if name not in today
        else f"{name} is new"
        if name not in record["config"]
        else f"{name} was {record['config'][name]!r} and is {today[name]!r}"
        for name in sorted(record["config"].keys() | today.keys())
        if record["config"].get(name, missing) != today.get(name, missing)
    ]


def _changed_versions(record: Document) -> list[str]:
    """Pinned packages whose version is another today; additions cannot have taken part."""
    path = files.project_root() / LOCK_FILE
    now = _pins(path.read_text(encoding="utf-8")) if path.is_file() else {}
    then = _pins(_at_commit(_commit(record), LOCK_FILE) or "")
    if torch := str(record["environment"].get("torch", "")).partition("+")[0]:
        then["torch"] = torch  # what was installed, whatever the file said
    return [
        f"{name} was {version} and is {now.get(name, 'gone')}"
        for name, version in sorted(then.items())
        if now and now.get(name) != version
    ]


def _pins(text: str) -> dict[str, str]:
    """Package to version, from lines such as ``torch==2.14.1``."""
    lines = (line.partition("#")[0].partition(";")[0].strip() for line in text.splitlines())
    pins = (line.partition("==") for line in lines if "==" in line)
    return {name.strip(): version.strip() for name, _, version in pins}


@cache
def _changed_code(commit: str, roots: tuple[str, ...], chapter: str, tag: str) -> tuple[str, ...]:
    """Modules, and notebooks, whose code git holds otherwise at a commit; none without git."""
    candidates = _differing_files(commit)
    found = []
    for path in code.import_closure(roots):
        relative = path.relative_to(code.PACKAGE.parent).as_posix()
        if relative in candidates:
            then = _at_commit(commit, relative)
            if then is None or not code.same_code(then, path.read_text(encoding="utf-8")):
                found.append(relative.removesuffix("/__init__.py").removesuffix(".py"))
    found = [name.replace("/", ".") for name in found]
    for relative in sorted(candidates) if chapter else ():
        if relative.startswith(f"notebooks/{chapter}_") and relative.endswith(".ipynb"):
            then = _at_commit(commit, relative)
            cells = provenance.notebook_cells(chapter, tag)
            if then is None or provenance.tagged_cells(then, tag) != cells:
                found.append(f"cells of {relative}")
    return tuple(found)


@cache
def _differing_files(commit: str) -> frozenset[str]:
    """Paths in which the working tree differs from a commit, new files among them."""
    changed = (
        _git("diff", "--name-only", commit, "--", "thesislib", "notebooks") if commit else None
    )
    new = _git("ls-files", "--others", "--exclude-standard", "--", "thesislib", "notebooks")
    return frozenset() if changed is None else frozenset((changed + (new or "")).splitlines())


@cache
def _at_commit(commit: str, relative: str) -> str | None:
    """A file's text at a commit; None where git, the commit or the file is not there."""
    return _git("show", f"{commit}:{relative}") if commit else None


def _git(*arguments: str) -> str | None:
    root: Path = files.project_root()
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")
