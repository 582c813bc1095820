"""A process that has imported what jobs import, and forks for each of them.

Importing torch, SciPy and Fabric takes a job five seconds, and a grid has a hundred jobs or more.
So a workflow on this machine starts this process beside Snakemake. A job sends it a command over a
socket, with its own output and its lock; a fork, which has everything in memory, does the work, and
the job is told the exit code. A fork ends with the job that asked for it, the process with the
workflow. Once a file of the library has changed, nothing is forked any more: a record would be
hashed by the new code and made by the old.

Run by the workflow as ``python -m thesislib.reproduce.preloaded LISTENER OWNER MODULE...``, where
the first two are open files: a socket that listens, and a pipe that closes with the workflow.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NamedTuple

from thesislib import code, files

CLI = ("-m", "thesislib.cli", "train")
"""How commands go on, after the interpreter, that a fork can do."""
_LONGEST = 2**16
_CHANGED = b"changed"


class Preloaded(NamedTuple):
    """A process that jobs may ask.

    Attributes:
        address: Path of its socket; empty where there is none, and jobs start by themselves.
        held: Open files; it ends when all who hold them have.
    """

    address: str = ""
    held: tuple[int, ...] = ()


@contextmanager
def preloaded(modules: Sequence[str], *, threads: int, log: Path) -> Iterator[Preloaded]:
    """Start the process; it serves as long as this block, or another that holds its files, lasts.

    Args:
        modules: What it imports; without any it is not started.
        threads: Of each job.
        log: What it says, other than its jobs.
    """
    if not modules or "fork" not in multiprocessing.get_all_start_methods():
        yield Preloaded()
        return
    with (
        tempfile.TemporaryDirectory(prefix="thesis-") as folder,  # short, as paths of sockets are
        socket.socket(socket.AF_UNIX) as listener,
        log.open("wb") as said,
    ):
        address = str(Path(folder) / "jobs")
        listener.bind(address)
        listener.listen()
        owner, held = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(listener.fileno()), str(owner), *modules],
                cwd=files.project_root(),
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                pass_fds=(listener.fileno(), owner),
            )
            listener.close()  # should it die, jobs are refused rather than left to wait
            yield Preloaded(address, (held,))
        finally:
            os.close(owner)
            os.close(held)
        process.wait()


def ask(address: str, command: Sequence[str], lock: int) -> int | None:
    """Have a command done by a fork.

    Args:
        address: Of the process.
        command: Interpreter, `CLI` and its arguments.
        lock: An open file, which the fork holds too.

    Returns:
        Its exit code, negative after a signal; 1 where the process died over it; None where none
        is there, the command is of another kind or the code has changed, so that nothing was done.
    """
    if not address or tuple(command[1 : 1 + len(CLI)]) != CLI:
        return None
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(address)
        except OSError:
            return None
        sys.stdout.flush()
        words = json.dumps(command[len(CLI) :]).encode()
        answer = b""
        with suppress(OSError):
            socket.send_fds(link, [words], [1, 2, lock])
            answer = link.recv(_LONGEST)
    if answer == _CHANGED:
        return None
    return int(answer) if answer else 1


def serve(listener: socket.socket, owner: int, imported: frozenset[tuple[str, int, int]]) -> None:
    """Fork for everyone who asks, until the owner is gone and the last fork has ended.

    Args:
        listener: Where they ask.
        owner: A pipe that closes with the owner.
        imported: The code in memory, from `_files_of_code`.
    """
    context = multiprocessing.get_context("fork")
    forks: dict[int, ForkProcess] = {}
    links: dict[socket.socket, int] = {}
    doors: list[socket.socket | int] = [listener, owner]
    while doors or forks:
        for ready in wait([*doors, *forks, *links]):
            if ready is listener and doors:
                link, _ = listener.accept()
                words, passed, _, _ = socket.recv_fds(link, _LONGEST, 3)
                if words and _files_of_code() != imported:
                    with suppress(OSError):
                        link.sendall(_CHANGED)
                    link.close()
                elif words:
                    others = [listener, link, *links]
                    fork = context.Process(target=_work, args=(json.loads(words), passed, others))
                    fork.start()
                    forks[fork.sentinel] = fork
                    links[link] = fork.sentinel
                for number in passed:
                    os.close(number)
            elif isinstance(ready, socket.socket):
                if ready in links:  # the job is dead: nobody waits for its fork
                    forks[links.pop(ready)].terminate()
                    ready.close()
            elif ready == owner:
                doors.clear()
                listener.close()
            else:
                assert isinstance(ready, int)
                fork = forks.pop(ready)
                fork.join()
                for link in [link for link, sentinel in links.items() if sentinel == ready]:
                    with suppress(OSError):
                        link.sendall(str(fork.exitcode).encode())
                    del links[link]
                    link.close()


def _work(words: Sequence[str], passed: Sequence[int], others: Sequence[socket.socket]) -> None:
    """In a fork: the command line, with the job's output in place of one's own."""
    from thesislib.cli import main  # here, since nothing but a fork needs it

    for other in others:
        other.close()
    for number, own in zip(passed[:2], (1, 2), strict=True):
        os.dup2(number, own)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv = ["thesis", *words]
    main()


def _files_of_code() -> frozenset[tuple[str, int, int]]:
    """Path, time of the last change and size of every file of the library."""
    stats = {str(path): path.stat() for path in code.PACKAGE.rglob("*.py")}
    return frozenset((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats.items())


def run(listener: int, owner: int, modules: Sequence[str]) -> None:
    """Import, then serve."""
    imported = _files_of_code()  # first: what changes during the imports has changed, too
    for module in modules:
        importlib.import_module(module)
    with suppress(KeyboardInterrupt), socket.socket(fileno=listener) as opened:
        serve(opened, owner, imported)


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
