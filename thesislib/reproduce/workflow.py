"""The jobs of a grid as a Snakemake workflow: several at once, tried again, here or on a cluster.

What is left to do is found out before Snakemake starts (`thesislib.reproduce.jobs.state_of`), from
the records themselves. It is given just those jobs, and needs no memory of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import sleep

from thesislib import files
from thesislib.caching import cache_key
from thesislib.config import EXPERIMENTS
from thesislib.locking import exclusive
from thesislib.reproduce.grids import Job
from thesislib.reproduce.jobs import PLAN, State, done_file, log_file, state_of
from thesislib.reproduce.preloaded import CLI, preloaded
from thesislib.reproduce.staleness import read_documents

POLL_S = 0.3
SNAKEFILE = """\
# Written by `thesis reproduce`; the jobs stand in plan.json.
import json

with open("plan.json", encoding="utf-8") as stream:
    PLAN = json.load(stream)


localrules:
    all,


rule all:
    input:
        expand("jobs/{name}.json", name=PLAN["jobs"]),


rule job:
    output:
        "jobs/{name}.json",
    log:
        "logs/{name}.log",
    params:
        python=PLAN["python"],
    threads: lambda wildcards: PLAN["jobs"][wildcards.name]["threads"]
    resources:
        mem_mb=lambda wildcards: PLAN["jobs"][wildcards.name]["memory_mb"],
    retries: 2
    shell:
        "{params.python:q} -m thesislib.reproduce.jobs {wildcards.name:q} > {log:q} 2>&1"
"""


def work_folder(out: Path) -> Path:
    """Where the workflow of a results folder keeps its plan, logs and finished jobs."""
    out = out.resolve()
    return files.resolve("data/reproduce") / f"{out.name}-{cache_key(out=str(out))[:8]}"


def states(jobs: Sequence[Job], *, out: Path) -> dict[str, State]:
    """What is left to do for each job, by its name, in order.

    Raises:
        InputError: a record in `out` cannot be read.
    """
    records, work = read_documents(out), work_folder(out)
    return {job.name: state_of(job, records, out=out, work=work) for job in jobs}


def reproduce(
    jobs: Sequence[Job],
    *,
    out: Path,
    cores: int,
    snakemake_profile: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Run what is left to do of some jobs.

    Args:
        jobs: From `thesislib.reproduce.grids.load_jobs`.
        out: Folder of results; its records decide what is left, and new ones are written there.
        cores: Threads of all jobs together; with a profile, the most jobs at once.
        snakemake_profile: Folder with a ``config.yaml`` of Snakemake, such as one for a cluster.
        say: Called with a line when a job has ended.
        progress: Called with the number of jobs that are done.

    Returns:
        Names of the jobs that failed, in order.

    Raises:
        InputError: a record in `out` cannot be read, or a folder cannot be written.
    """
    work = work_folder(out)
    busy = f"another `thesis reproduce` is at work on {out}; waiting for its end"
    with exclusive(work / "lock", lambda: say(busy)) as lock:
        found = states(jobs, out=out)
        left = {job.name: job for job in jobs if found[job.name] in (State.RUN, State.MEASURE)}
        if not left:
            return []
        here = [] if snakemake_profile else list(left.values())
        modules, threads = _shared(here)
        with (
            preloaded(modules, threads=threads, log=work / "preloaded.log") as server,
            (work / "snakemake.log").open("wb") as log,
        ):
            _prepare(left, out=out, work=work, address=server.address)
            workflow = subprocess.Popen(
                _command(work, cores, snakemake_profile),
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Should this process be killed, its successor waits for that one.
                pass_fds=(lock, *server.held),
            )
            failed = _follow(workflow, left, work, say, progress)
    for name in failed:
        log_path = log_file(work, name)
        say(f"{name}: failed; see {log_path if log_path.is_file() else work / 'snakemake.log'}")
    return failed


def _shared(jobs: Sequence[Job]) -> tuple[list[str], int]:
    """What the jobs import, where they can be forks of one process, and the threads of each."""
    forked = [job for job in jobs if job.command[1 : 1 + len(CLI)] == CLI]
    if len({job.threads for job in forked}) != 1:  # torch asks for its threads as it is imported
        return [], 1
    chapters = {job.chapter for job in forked}
    runs = {kind.RUN for kind in EXPERIMENTS if kind.CHAPTER in chapters and kind.RUN}
    return ["lightning_fabric", "thesislib.cli", *sorted(runs)], forked[0].threads


def _prepare(left: Mapping[str, Job], *, out: Path, work: Path, address: str) -> None:
    """Write plan and Snakefile; take away what earlier ends of these jobs left."""
    plan = {
        "python": sys.executable,
        "out": str(out.resolve()),
        "preloaded": address,
        "jobs": {name: asdict(job) for name, job in left.items()},
    }
    for path, text in ((PLAN, json.dumps(plan, indent=1)), ("Snakefile", SNAKEFILE)):
        with files.atomic_write(work / path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    for name in left:
        log_file(work, name).unlink(missing_ok=True)
        done_file(work, name).unlink(missing_ok=True)


def _command(work: Path, cores: int, snakemake_profile: Path | None) -> list[str]:
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(work / "Snakefile")),
        *("--directory", str(work), "--keep-going", "--rerun-incomplete", "--nocolor"),
        # The states were found by other means: a lock of this process, and the records.
        *("--nolock", "--rerun-triggers", "mtime"),
    ]
    if snakemake_profile is not None:
        return [*command, "--profile", str(snakemake_profile.resolve()), "--jobs", str(cores)]
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000
    return [*command, "--cores", str(cores), "--resources", f"mem_mb={memory_mb}"]


def _follow(
    workflow: subprocess.Popen[bytes],
    left: Mapping[str, Job],
    work: Path,
    say: Callable[[str], None],
    progress: Callable[[int], None],
) -> list[str]:
    """Tell of jobs as they end; the names of those that did not."""
    waiting = list(left)
    ended = False
    while waiting and not ended:
        ended = workflow.poll() is not None
        for name in [name for name in waiting if done_file(work, name).is_file()]:
            document = json.loads(done_file(work, name).read_text(encoding="utf-8"))
            waiting.remove(name)
            number = len(left) - len(waiting)
            say(
                f"{number} of {len(left)}: {name}: {len(document['records'])} records "
                f"in {document['seconds']:.0f} s"
            )
            progress(number)
        if not ended:
            sleep(POLL_S)
    workflow.wait()
    return waiting
