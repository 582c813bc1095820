"""One job of a grid: done already, measured again, or run; always safe to start again.

A job is done when its records are there and fresh. Snakemake only decides what runs when, and is
satisfied by a small file that is written last. So a job that was killed is simply started again,
and records that came from elsewhere, such as `thesis run`, count as well.

Run by the workflow as ``python -m thesislib.reproduce.jobs NAME`` in its folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import Any

from thesislib import files
from thesislib.locking import exclusive
from thesislib.reproduce.grids import Job
from thesislib.reproduce.preloaded import ask
from thesislib.reproduce.staleness import Document, read_documents

PLAN = "plan.json"
MADE_BY = ("manifest_sha256", "training_sha256")


class State(StrEnum):
    """What is left to do for a job."""

    DONE = "done"
    MEASURE = "to measure again"  # the predictions stand, the code that measures them is another
    RUN = "to run"
    MISSING = "not attempted"


def state_of(job: Job, records: Sequence[Document], *, out: Path, work: Path) -> State:
    """What is left to do for a job.

    Args:
        job: The job.
        records: All that lie in `out`, from `read_documents`.
        out: Folder of results.
        work: Folder of the workflow.
    """
    own = made_today(job, records, out=out)
    if job.records:
        whole = len(own) >= job.records
    else:  # only the job itself knows how many it writes
        done = _read(whole_file(out, job.name))
        as_then = all(done.get(name) == job.hashes[name] for name in MADE_BY)
        whole = as_then and set(done.get("records", [])) <= {record["run_id"] for record in own}
    if not whole:
        return State.MISSING if job.missing else State.RUN
    fresh = all(r["evaluation_sha256"] == job.hashes["evaluation_sha256"] for r in own)
    return State.DONE if fresh else State.MEASURE


def made_today(job: Job, records: Sequence[Document], *, out: Path) -> list[Document]:
    """Records of a job whose predictions today's code, parameters and manifest would make."""
    return [
        record
        for record in records
        if record["chapter"] == job.chapter
        and record["config"] == job.config
        and all(record[name] == job.hashes[name] for name in MADE_BY)
        and (out / record["predictions"]).is_file()
    ]


def done_file(work: Path, name: str) -> Path:
    """The file that says to the workflow that a job is done."""
    return work / "jobs" / f"{name}.json"


def whole_file(out: Path, name: str) -> Path:
    """Which records a job left when it ran; beside them, so that they can be told to be all."""
    return out / "jobs" / f"{name}.json"


def log_file(work: Path, name: str) -> Path:
    """What the last attempt at a job said."""
    return work / "logs" / f"{name}.log"


def do(job: Job, *, out: Path, work: Path, preloaded: str = "") -> int:
    """Do what is left of a job, then say so in its file.

    Args:
        job: The job.
        out: Folder of results.
        work: Folder of the workflow.
        preloaded: Address of a process that forks for jobs; empty for none.

    Returns:
        Exit code: 0, or that of its command, or 1 where its records are not what was planned.
    """
    started = perf_counter()
    with exclusive(work / "locks" / job.name) as lock:  # an earlier start may have left it running
        state = state_of(job, read_documents(out), out=out, work=work)
        if state is State.RUN:
            code = ask(preloaded, job.command, lock)
            if code is None:
                code = subprocess.run(
                    job.command,
                    cwd=files.project_root(),
                    env=os.environ | {"OMP_NUM_THREADS": str(job.threads)},
                    pass_fds=(lock,),
                    check=False,
                ).returncode
            if code:
                return code if code > 0 else 1
        own = made_today(job, read_documents(out), out=out)
        if len(own) < max(job.records, 1):
            print(
                f"{job.name}: left {len(own)} records of today's code and parameters, not "
                f"{job.records or 'one or more'}; did the code change meanwhile?",
                file=sys.stderr,
            )
            return 1
        for record in own:
            if record["evaluation_sha256"] != job.hashes["evaluation_sha256"]:
                measure_again(record["run_id"], job.hashes["evaluation_sha256"], out)
        seconds = round(perf_counter() - started, 2)
        if state is not State.RUN:  # what the run took is still what it took
            seconds = _read(whole_file(out, job.name)).get("seconds", seconds)
        document = {
            "records": [record["run_id"] for record in own],
            **job.hashes,
            "state": str(state),
            "seconds": seconds,
        }
        text = json.dumps(document, indent=1) + "\n"
        for path in (whole_file(out, job.name), done_file(work, job.name)):
            with files.atomic_write(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    return 0


def measure_again(run_id: str, evaluation_sha256: str, out: Path) -> None:
    """Write a record anew with the metrics that today's code finds in its predictions.

    All else stays, commit and duration among it: they tell of the run that made the predictions.

    Raises:
        InputError: the predictions are missing or damaged.
    """
    from thesislib.records.record import read_record  # here, since it brings every metric with it

    record = read_record(out / "runs" / f"{run_id}.json")
    metrics = record.measure_again(out)
    replace(record, metrics=metrics, evaluation_sha256=evaluation_sha256).write(out)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def main(name: str) -> int:
    """Do one job of the plan in the current folder."""
    plan = json.loads(Path(PLAN).read_text(encoding="utf-8"))
    job = Job(**plan["jobs"][name])
    return do(job, out=Path(plan["out"]), work=Path.cwd(), preloaded=plan["preloaded"])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
