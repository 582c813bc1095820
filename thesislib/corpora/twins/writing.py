"""What the writers of twins share: a folder that appears whole, ``twin.json``, and processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import torch

from thesislib import __version__
from thesislib.code import code_sha256
from thesislib.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
_POLL_S = 0.5


@contextmanager
def new_twin(out: Path, twin: str) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `out` when the block ends without an error.

    An older twin of the same corpus is replaced; any other folder that holds something is left
    alone. Nobody ever sees a part of a twin.

    Args:
        out: Folder of the twin.
        twin: Name of its corpus, as in ``twin.json``.

    Raises:
        InputError: as `check_target`, or the folder cannot be written.
    """
    check_target(out, twin)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part"))
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise InputError(out, problem, "choose another --out folder") from error
    try:
        folder = staging / "twin"  # made by mkdir, so with the permissions that folders have here
        folder.mkdir()
        yield folder
        check_target(out, twin)  # again: the folder may have changed meanwhile
        if out.exists():
            out.rename(staging / "old")
        folder.rename(out)
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise InputError(out, problem, "free space or choose another folder") from error
    finally:
        old = staging / "old"
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(staging, ignore_errors=True)


def check_target(out: Path, twin: str) -> None:
    """Refuse to replace anything but a twin of the same corpus, whole and unmixed, or nothing.

    Raises:
        InputError: `out` is no folder, holds something that is no twin of this corpus, or holds
            files that ``twin.json`` does not name.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(out, "is no folder", "choose another --out folder")
    if not out.exists() or not any(out.iterdir()):
        return
    try:
        description = json.loads((out / "twin.json").read_text(encoding="utf-8"))
        own = {str(record["file"]) for record in description["clips"]}
        own |= {str(name) for name in description.get("files", [])}
        is_twin = description["twin"] == twin
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        is_twin, own = False, set()
    if not is_twin:
        problem = f"exists and is no twin of {twin}"
        raise InputError(out, problem, "choose another --out folder or remove it")
    own.add("twin.json")
    own |= {str(parent) for name in own for parent in PurePosixPath(name).parents}
    for path in sorted(out.rglob("*")):
        if path.relative_to(out).as_posix() not in own:
            problem = "is not part of the twin and would be lost"
            raise InputError(path, problem, "move it elsewhere first")


def describe_twin(
    folder: Path,
    twin: str,
    *,
    module: str,
    seed: int,
    effects: Mapping[str, float],
    clips: Sequence[Mapping[str, Any]],
    **more: object,
) -> None:
    """Write ``twin.json``: what was planted, by which code, and what each recording holds.

    Every other file of the folder is listed under ``files``, so that `check_target` knows it.

    Args:
        folder: Of the twin, complete but for this file.
        twin: Name of the corpus.
        module: Of thesislib, whose code and imports made the twin.
        seed: Of the twin.
        effects: Strength of every effect, by name.
        clips: One record a recording, with its path under ``file``, relative to the folder.
        **more: Further entries, as JSON can hold them.

    Raises:
        ValueError: a recording is named that is not there.
    """
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    named = {str(record["file"]) for record in clips}
    if absent := sorted(named - present):
        raise ValueError(f"{absent[0]} is listed and was not written")
    description = {
        "twin": twin,
        "synthetic": True,
        "thesislib": __version__,
        "code_sha256": code_sha256([module]),
        "seed": seed,
        "effects": dict(effects),
        **more,
        "files": sorted(present - named),
    }
    head = json.dumps(description, indent=1).removesuffix("\n}")
    rows = ",\n  ".join(json.dumps(dict(record)) for record in clips)  # a line a recording
    text = f'{head},\n "clips": [\n  {rows}\n ]\n}}\n'
    (folder / "twin.json").write_text(text, encoding="utf-8")


def default_workers() -> int:
    """Processes that write a twin where nobody says how many: one a processor at our disposal."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_parallel(
    job: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Result]:
    """Call `job` on each item, in processes with one torch thread each, in order of the items.

    With one worker everything happens in this process. What a job returns does not depend on the
    number of workers as long as each draws its chances from its own item.

    Args:
        job: A function of a module; it calls `tick` as its work goes on.
        items: What it is called with; they must pickle.
        workers: Processes; None for `default_workers`, never more than items.
        progress: Called with the sum of all ticks so far.

    Returns:
        What the calls return, in order.

    Raises:
        InputError: a job raised it, or a process was killed.
    """
    jobs = list(items)
    workers = min(workers or default_workers(), len(jobs))
    if workers <= 1:
        return _run_here(job, jobs, progress)
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context(
        "forkserver" if "forkserver" in methods else "spawn"  # fork would copy locks of threads
    )
    if "forkserver" in methods:
        context.set_forkserver_preload(["thesislib.corpora.twins.film"])  # torch is slow to import
    counter = context.Value("q", 0)
    try:
        with ProcessPoolExecutor(
            workers, mp_context=context, initializer=_start, initargs=(counter,)
        ) as pool:
            futures = [pool.submit(_guarded, job, item) for item in jobs]
            try:
                _watch(futures, lambda: int(counter.value), progress)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            return [future.result()[1] for future in futures]
    except BrokenProcessPool as error:
        mend = "free memory, or write fewer at a time"
        raise InputError("twin", "a process that wrote it was killed", mend) from error


def tick(amount: int = 1) -> None:
    """Report progress from inside a job of `run_parallel`; outside of one it does nothing.

    Args:
        amount: What was done since the last call, in the unit of the caller.
    """
    if _count is not None:
        _count(amount)


_count: Callable[[int], None] | None = None  # of the process that runs jobs


def _start(counter: Any) -> None:  # noqa: ANN401 - a synchronised integer
    """Of each process: one thread, and a place to count."""
    global _count
    torch.set_num_threads(1)

    def count(amount: int) -> None:
        with counter.get_lock():
            counter.value += amount

    _count = count


def _guarded(job: Callable[[Item], Result], item: Item) -> tuple[tuple[Any, ...] | None, Any]:
    """Errors travel as their parts: an `InputError` does not unpickle by itself."""
    try:
        return None, job(item)
    except InputError as error:
        return (error.path, error.problem, error.mend, error.where), None


def _watch(
    futures: Sequence[Future[Any]], done: Callable[[], int], progress: Callable[[int], None] | None
) -> None:
    """Wait for all, report what changed, raise the first error."""
    waiting = set(futures)
    said = 0
    while waiting:
        finished, waiting = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        for future in finished:
            parts, _ = future.result()
            if parts is not None:
                path, problem, mend, where = parts
                raise InputError(path, problem, mend, where=where)
        if progress is not None and done() > said:
            said = done()
            progress(said)


def _run_here(
    job: Callable[[Item], Result], items: Sequence[Item], progress: Callable[[int], None] | None
) -> list[Result]:
    global _count
    threads, before, total = torch.get_num_threads(), _count, 0

    def count(amount: int) -> None:
        nonlocal total
        total += amount
        if progress is not None:
            progress(total)

    torch.set_num_threads(1)
    _count = count
    try:
        return [job(item) for item in items]
    finally:
        _count = before
        torch.set_num_threads(threads)
