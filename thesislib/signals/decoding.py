"""Decoding in a process of its own, which is ended when a broken file hangs or crashes it.

A damaged recording can make a codec loop or fault. In a worker that costs one recording: its name
and the reason are reported, a new worker takes over and the run goes on. The worker guards against
accidents; it is no sandbox against recordings made to take over a computer.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from thesislib.errors import InputError

T = TypeVar("T")
P = ParamSpec("P")
_START_LIMIT_S = 120.0  # importing torch takes long on a busy machine


class Decoded(NamedTuple, Generic[T]):
    """What `decode_all` returns.

    Attributes:
        results: One for each recording that could be used, in the order of the paths.
        failures: One error for each that could not.
        kept: Position in the input of each result.
    """

    results: list[T]
    failures: list[InputError]
    kept: list[int]


class DecodingWorker:
    """A process that decodes, one recording at a time; it starts when it is first needed.

    Use it as a context, so that the process ends with the block. Where processes are not forked
    (Windows), and in scripts, it needs the usual ``if __name__ == "__main__":``.

    Args:
        limit_s: Seconds that one answer may take: a whole result of `run`, one item of `stream`.
    """

    def __init__(self, limit_s: float = 60.0) -> None:
        self.limit_s = limit_s
        self._process: Any = None
        self._connection: Connection | None = None

    def __enter__(self) -> DecodingWorker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def run(
        self, function: Callable[..., T], path: str | Path, *args: object, **kwargs: object
    ) -> T:
        """Call ``function(path, *args, **kwargs)`` in the worker.

        Args:
            function: A function of a module, such as `thesislib.signals.video.read_frames`.
            path: The recording, which errors name.
            *args: Passed on.
            **kwargs: Passed on.

        Returns:
            What the function returns.

        Raises:
            InputError: the function raised it, the time limit passed, or the worker crashed.
        """
        self._ask(path, (function, False, (path, *args), kwargs))
        return self._answer(path)[1]

    def stream(
        self, function: Callable[..., Iterator[T]], path: str | Path, *args: object,
        **kwargs: object,
    ) -> Iterator[T]:  # fmt: skip
        """Yield what ``function(path, *args, **kwargs)`` yields in the worker, as it comes.

        Raises:
            InputError: as for `run`.
        """
        self._ask(path, (function, True, (path, *args), kwargs))
        finished = False
        try:
            while not finished:
                kind, value = self._answer(path)
                if kind == "end":
                    finished = True
                else:
                    yield value
        except InputError:
            finished = True  # the worker waits for its next job, or has been ended
            raise
        finally:
            if not finished:  # left early: the worker still produces
                self.close()

    def close(self) -> None:
        """End the process; the next call starts another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None

    def _ask(self, path: str | Path, job: tuple[Any, ...]) -> None:
        content = pickle.dumps(job)
        for attempt in (1, 2):  # a worker that was idle may have been ended by someone else
            if self._process is None:
                self._start(path)
            assert self._connection is not None
            try:
                self._connection.send_bytes(content)
                return
            except OSError:
                self.close()
                if attempt == 2:
                    raise

    def _start(self, path: str | Path) -> None:
        methods = multiprocessing.get_all_start_methods()
        # A fork server imports once and forks from a clean state; forking this process would copy
        # threads' locks.
        context: Any = multiprocessing.get_context(
            "forkserver" if "forkserver" in methods else "spawn"
        )
        if "forkserver" in methods:
            context.set_forkserver_preload(["thesislib.signals.video"])
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._answer(path, _START_LIMIT_S)

    def _answer(self, path: str | Path, limit_s: float | None = None) -> tuple[str, Any]:
        assert self._connection is not None
        limit_s = self.limit_s if limit_s is None else limit_s
        mend = "replace it with a good copy or leave it out"
        try:
            if not self._connection.poll(limit_s):
                self.close()
                raise InputError(path, f"did not decode within {limit_s:g} s", mend)
            kind, value, is_tensor = pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            self._process.join()
            reason = _reason(self._process.exitcode)
            self.close()
            raise InputError(path, f"crashed its decoder ({reason})", mend) from error
        if kind == "refused":
            file, problem, mend, where = value
            raise InputError(file, problem, mend, where=where)
        if kind == "raised":
            raise value
        return kind, torch.from_numpy(value) if is_tensor else value


def decode_all(
    function: Callable[..., T],
    paths: Sequence[str | Path],
    *args: object,
    limit_s: float = 60.0,
    on_error: Literal["raise", "quarantine"] = "raise",
    **kwargs: object,
) -> Decoded[T]:
    """Decode recordings one after the other in a worker; broken ones stop the run or are set aside.

    Args:
        function: Called as ``function(path, *args, **kwargs)`` in the worker.
        paths: The recordings.
        *args: Passed on.
        limit_s: Seconds for one recording.
        on_error: ``raise`` stops at the first broken recording; ``quarantine`` names it in
            `failures` and goes on.
        **kwargs: Passed on.

    Raises:
        InputError: a recording cannot be used and `on_error` is ``raise``.
        ValueError: `on_error` is neither of the two.
    """
    if on_error not in ("raise", "quarantine"):
        raise ValueError(f"on_error is 'raise' or 'quarantine', not {on_error!r}")
    decoded: Decoded[T] = Decoded([], [], [])
    with DecodingWorker(limit_s) as worker:
        for position, path in enumerate(paths):
            try:
                decoded.results.append(worker.run(function, path, *args, **kwargs))
                decoded.kept.append(position)
            except InputError as error:
                if on_error == "raise":
                    raise
                decoded.failures.append(error)
    return decoded


def _serve(connection: Connection) -> None:
    """The worker: answer jobs until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when it ends
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _send(connection, "ready", None)
        while True:
            function, streams, args, kwargs = pickle.loads(connection.recv_bytes())
            try:
                outcome = function(*args, **kwargs)
                if streams:
                    for item in outcome:
                        _send(connection, "item", item)
                    outcome = None
                kind, value = "end", outcome
            except InputError as error:  # its constructor has no single argument to pickle
                kind, value = "refused", (error.path, error.problem, error.mend, error.where)
            except MemoryError:
                mend = "replace it with a good copy or leave it out"
                kind, value = (
                    "refused",
                    (str(args[0]), "needs more memory than there is", mend, None),
                )
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:
                kind, value = "raised", error
            _send(connection, kind, value)


def _send(connection: Connection, kind: str, value: object) -> None:
    # Arrays, as torch would pass tensors through shared memory, which the end of a worker takes.
    is_tensor = isinstance(value, Tensor)
    packed = value.numpy() if isinstance(value, Tensor) else value
    connection.send_bytes(pickle.dumps((kind, packed, is_tensor), protocol=5))


def _reason(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with suppress(ValueError):
            return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"
