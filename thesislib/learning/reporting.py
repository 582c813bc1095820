"""What a training run says while it goes: TensorBoard scalars, and a bar or plain lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID, TimeRemainingColumn

LOGGED_EVERY = 10
"""Steps between the scalars of single steps."""


class Reporter:
    """Writes scalars to a folder and progress to standard error.

    Args:
        folder: Of the TensorBoard files; None writes none.
        progress: Show a bar on a terminal, and print a line an epoch elsewhere.
        total_steps: Of the run.
        done_steps: Where this process starts; later scalars of an earlier process are dropped.
    """

    def __init__(
        self, folder: Path | None, *, progress: bool, total_steps: int, done_steps: int
    ) -> None:
        self.folder, self.progress = folder, progress
        self.total_steps, self.done_steps = total_steps, done_steps
        self.writer: Any = None
        self.bar: Progress | None = None
        self.task = TaskID(0)
        self.stack = ExitStack()

    def __enter__(self) -> Reporter:
        if self.folder is not None:
            from torch.utils.tensorboard import SummaryWriter  # imported late: it takes seconds

            self.writer = SummaryWriter(str(self.folder), purge_step=self.done_steps)
            self.stack.callback(self.writer.close)
        console = Console(stderr=True)
        if self.progress and console.is_terminal:
            columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn())
            self.bar = self.stack.enter_context(Progress(*columns, console=console))
            self.task = self.bar.add_task(
                "training", total=self.total_steps, completed=self.done_steps
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stack.close()

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Report an optimiser step; `step` counts those done."""
        if self.bar is not None:
            self.bar.update(self.task, completed=step)
        if self.writer is not None and step % LOGGED_EVERY == 0:
            for name, value in values.items():
                self.writer.add_scalar(f"step/{name}", value, step)

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        """Report an epoch: a row of the history."""
        step, shown = int(row["step"]), dict(row)
        if self.writer is not None:
            for name, value in row.items():
                self.writer.add_scalar(f"epoch/{name}", value, step)
            self.writer.flush()
        if not self.progress:
            return
        head = f"epoch {shown.pop('epoch')}/{epochs}, step {shown.pop('step')}"
        line = "  ".join([head, *(f"{name} {value:.4g}" for name, value in shown.items())])
        if self.bar is not None:
            self.bar.console.print(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)
