"""The one error that bad input raises; the command line turns it into one line and exit code 2."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Input that cannot be used, in one line: which file, where in it, what is wrong, the mend.

    Args:
        path: The file, folder, corpus or parameter at fault.
        problem: What is wrong with it.
        mend: What the user can do about it.
        where: The place inside it, such as a line, a tier or a time.

    >>> str(InputError("03a01Fa.wav", "holds no samples", "record it again", where="header"))
    '03a01Fa.wav: header: holds no samples; record it again'
    """

    def __init__(
        self, path: str | Path, problem: str, mend: str, *, where: str | None = None
    ) -> None:
        self.path, self.problem, self.mend, self.where = str(path), problem, mend, where
        place = f"{path}: {where}" if where else f"{path}"
        super().__init__(" ".join(f"{place}: {problem}; {mend}".split()))
