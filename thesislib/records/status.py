"""The status page: when each chapter was executed, with what, how long, and what changed since."""

from __future__ import annotations

import ast
import json
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from thesislib import code, files
from thesislib.notebooks import cells_sha256
from thesislib.reproduce.staleness import LOCK_FILE, Document, experiment_of, verdict

HASHES = ("training_sha256", "evaluation_sha256", "manifest_sha256")
IGNORED = ("seed",)  # runs that differ in nothing else are stale together


@dataclass(frozen=True, slots=True)
class Status:
    """The recorded runs of one chapter.

    Attributes:
        chapter: Two digits.
        runs: Number of records.
        first: Start of the first run, UTC.
        last: Start of the last one.
        seconds: Sum over runs, counted once where a run wrote several records.
        profiles: Sizes, each with its number of records.
        corpora: What was run on, each with its number of records.
        commits: What was checked out, each with its number of records.
        environments: Versions and processors, each with its number of records.
        stale: Reasons for which records are stale, each with their number.
        fresh: Number of records that are what would be made today.
        commands: How to make it again.
    """

    chapter: str
    runs: int
    first: str
    last: str
    seconds: float
    profiles: Mapping[str, int]
    corpora: Mapping[str, int]
    commits: Mapping[str, int]
    environments: Mapping[str, int]
    stale: Mapping[str, int]
    fresh: int
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """A notebook as it is stored with its outputs.

    Attributes:
        path: Relative to the project.
        chapter: Two digits.
        title: Of the chapter.
        python: Version that its outputs are of.
        profile: Default of its parameters, which is what the outputs are of.
        cells: Code cells.
        executed: How many of them have been executed.
        commit: That stored this execution; where `started` is not known, that stored the file
            last. Empty without git.
        when: Time of that commit, ISO 8601.
        changes: What changed since: modules that it imports, its own code cells, manifests, pinned
            versions, and records that it reads; None without git.
        started: When it was executed, UTC, ISO 8601; empty where the notebook does not say.
        seconds: How long that took; None where the notebook does not say.
        environment: Versions, processor and threads; empty where the notebook does not say.
    """

    path: str
    chapter: str
    title: str
    python: str
    profile: str
    cells: int
    executed: int
    commit: str
    when: str
    changes: tuple[str, ...] | None
    started: str = ""
    seconds: float | None = None
    environment: str = ""


def chapter_statuses(documents: Sequence[Document]) -> dict[str, Status]:
    """One status a chapter that has records.

    Args:
        documents: From `thesislib.reproduce.staleness.read_documents`.
    """
    chapters = sorted({document["chapter"] for document in documents})
    return {
        chapter: _status(chapter, [d for d in documents if d["chapter"] == chapter])
        for chapter in chapters
    }


def _status(chapter: str, documents: Sequence[Document]) -> Status:
    judged: dict[str, tuple[str, ...]] = {}
    reasons: Counter[str] = Counter()
    fresh = 0
    for document in documents:
        key = _alike(document)
        if key not in judged:
            judged[key] = verdict(document).reasons
        reasons.update(judged[key])
        fresh += not judged[key]
    starts = sorted(str(document["started"]) for document in documents)
    return Status(
        chapter=chapter,
        runs=len(documents),
        first=starts[0],
        last=starts[-1],
        seconds=_seconds(documents),
        profiles=_counted(d["profile"] for d in documents),
        corpora=_counted(
            f"{d['corpus']}, {'twin' if d['synthetic'] else 'real'}" for d in documents
        ),
        commits=_counted(d["commit"] for d in documents),
        environments=_counted(_environment(d["environment"]) for d in documents),
        stale=dict(reasons.most_common()),
        fresh=fresh,
        commands=(f"thesis reproduce --only {chapter}", f"thesis why-stale {chapter}"),
    )


def _alike(document: Document) -> str:
    """What a verdict depends on: runs that differ in the seed alone share it."""
    config = {k: v for k, v in document["config"].items() if k not in IGNORED}
    kind = experiment_of(document)
    parts: list[Any] = [document[name] for name in HASHES]
    parts += [document["corpus"], document["commit"], document["profile"], config]
    parts += [document["environment"].get("torch"), kind.__name__ if kind else document["command"]]
    return json.dumps([*parts, _without_seed(document["command"])], sort_keys=True, default=str)


def _without_seed(command: str) -> str:
    words = command.split()
    places = [n for n, word in enumerate(words) if word == "seed"]
    return " ".join(w for n, w in enumerate(words) if not any(p - 1 <= n <= p + 1 for p in places))


def _seconds(documents: Sequence[Document]) -> float:
    """Time of the chapter's runs: of records of one command and start, the longest."""
    longest: dict[tuple[str, str], float] = {}
    for document in documents:
        key = (document["command"], document["started"])
        longest[key] = max(longest.get(key, 0.0), float(document["seconds"]))
    return sum(longest.values())


def _environment(environment: Mapping[str, Any]) -> str:
    told = {"python": "Python", "torch": "torch", "cpu": "", "threads": "threads"}
    return ", ".join(
        f"{name} {environment[key]}".strip() for key, name in told.items() if key in environment
    )


def _counted(values: Any) -> dict[str, int]:  # noqa: ANN401 - any iterable of texts
    return dict(Counter(values).most_common())


def stored_notebooks(documents: Sequence[Document] = ()) -> tuple[Stored, ...]:
    """Every chapter's notebook, in order.

    Args:
        documents: Records, from `thesislib.reproduce.staleness.read_documents`, to tell which of
            those that a chapter reads are newer than its outputs.
    """
    root = files.project_root()
    paths = sorted((root / "notebooks").glob("[0-9]*.ipynb"))
    return tuple(_stored(path, root, documents) for path in paths)


def _stored(path: Path, root: Path, documents: Sequence[Document]) -> Stored:
    document = json.loads(path.read_text(encoding="utf-8"))
    cells = [c for c in document["cells"] if c["cell_type"] == "code" and "".join(c["source"])]
    name = path.relative_to(root).as_posix()
    told = document["metadata"].get("thesis", {})
    commit, when = _stored_by(root, name, told.get("started", ""))
    return Stored(
        path=name,
        chapter=path.name[:2],
        title=_title(document),
        python=document["metadata"].get("language_info", {}).get("version", ""),
        profile=_profile(cells),
        cells=len(cells),
        executed=sum(cell["execution_count"] is not None for cell in cells),
        commit=commit,
        when=when,
        changes=_changes(root, commit, told.get("started") or when, document, documents),
        started=told.get("started", ""),
        seconds=told.get("seconds"),
        environment=_environment(told),
    )


def _title(document: Mapping[str, Any]) -> str:
    lines = (x for cell in document["cells"] for x in "".join(cell["source"]).splitlines())
    return next(line for line in lines if line.startswith("# ")).removeprefix("# ")


def _profile(cells: Sequence[Mapping[str, Any]]) -> str:
    found = [
        line.partition("=")[2].strip().strip("\"'")
        for cell in cells
        if "parameters" in cell["metadata"].get("tags", [])
        for line in "".join(cell["source"]).splitlines()
        if line.replace(" ", "").startswith("profile=")
    ]
    return found[0] if found else ""


def _stored_by(root: Path, name: str, started: str) -> tuple[str, str]:
    """Commit that stored an execution, and its time; empty without git, or not committed yet.

    The execution is found by its start. Without one it is the last commit of the file, which may
    have changed its prose alone.
    """
    if started:
        found = _git(root, "log", "--reverse", "--format=%H %cI", f"-S{started}", "--", name)
        line = (found or "").partition("\n")[0] or _git(root, "log", "-1", "--format=%H %cI")
    else:
        line = _git(root, "log", "-1", "--format=%H %cI", "--", name)
    commit, _, when = (line or "").partition(" ")
    return commit, when


def _changes(
    root: Path,
    commit: str,
    since: str,
    document: Mapping[str, Any],
    records: Sequence[Document],
) -> tuple[str, ...] | None:
    """What is no longer as it was when a notebook was executed; None without git."""
    if not commit:
        return None
    differing = frozenset((_git(root, "diff", "--name-only", commit, "--") or "").splitlines())
    cells = ["".join(c["source"]) for c in document["cells"] if c["cell_type"] == "code"]
    told = document["metadata"].get("thesis", {}).get("cells")
    found = ["its own cells"] if told not in (None, cells_sha256(document["cells"])) else []
    used = _closure(_imported(cells))
    for path in used:
        name = path.relative_to(code.PACKAGE.parent).as_posix()
        if name in differing:
            then = _git(root, "show", f"{commit}:{name}")
            if then is None or not code.same_code(then, path.read_text(encoding="utf-8")):
                found.append(name.removesuffix(".py").replace("/", "."))
    if code.PACKAGE / "corpora/manifest.py" in used:
        found += sorted(name for name in differing if name.startswith("data_manifests/"))
    found += [LOCK_FILE] if LOCK_FILE in differing else []
    calls = _calls(cells)
    newer = sum(_is_newer(d, since, differing) for d in records if _asked_for(d, calls))
    return (*found, *([f"{newer} of the records that it reads are newer"] if newer else []))


def _is_newer(record: Document, since: str, differing: frozenset[str]) -> bool:
    """Whether a record came, or ended, after a moment in time (ISO 8601)."""
    if f"results/runs/{record['run_id']}.json" in differing:
        return True
    ended = datetime.fromisoformat(record["started"]) + timedelta(seconds=record["seconds"])
    return ended > datetime.fromisoformat(since)


def _asked_for(record: Document, calls: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of the calls of `read_records` reads a record."""
    return any(all(record.get(k) == value for k, value in call.items()) for call in calls)


def _calls(cells: Sequence[str]) -> list[dict[str, Any]]:
    """What each call of `read_records` asks for in so many words; names are left out."""
    return [
        {k.arg: k.value.value for k in node.keywords if k.arg and isinstance(k.value, ast.Constant)}
        for cell in cells
        for node in ast.walk(ast.parse(cell))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "read_records"
    ]


def _closure(modules: Sequence[str]) -> list[Path]:
    """Files that modules import, directly or not: records among them, which make the tables."""
    waiting = [code.PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py") for name in modules]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in seen and path.name not in ("config.py", "code.py"):
            seen.add(path)
            waiting.extend(code.imported_modules(path))
    return sorted(seen)


def _imported(cells: Sequence[str]) -> list[str]:
    """Modules of thesislib that cells name in their import statements."""
    found = set()
    for cell in cells:
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("thesislib"):
                names = [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
                found |= {name for name in names if _is_module(name)}
    return sorted(found)


def _is_module(name: str) -> bool:
    return code.PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py").is_file()


@cache
def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode("utf-8", errors="replace").rstrip("\n")
