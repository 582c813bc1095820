"""Writing filmed conversations: speed as a ratio to real time, and memory over the length.

Run with ``OMP_NUM_THREADS=1 python benchmarks/bench_twins.py``. Drawing, sound and encoding count
together. *Media* are seconds of recordings, two for each second of a conversation. The ratio by
processor time is that of one core; two processes on two free cores double it, and the ratio by the
clock is what two processes reach on this machine, with whatever else runs on it. ``reference`` is
the twin of CCDB at 224 x 224 and 25 fps.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from thesislib.corpora.twins import conversations
from thesislib.corpora.twins.film import Camera


def measure(corpus: str, seconds: float, dyads: int, workers: int) -> dict[str, float]:
    """One twin written in this process and its workers."""
    if corpus == "reference":
        corpus = "ccdb"
        conversations.CAMERAS = {**conversations.CAMERAS, "ccdb": Camera(fps=25, size=224)}
    with tempfile.TemporaryDirectory() as folder:
        clock, processor = time.perf_counter(), time.process_time()
        conversations.write_twin(
            corpus, Path(folder) / "twin", dyads=dyads, duration_s=seconds, workers=workers
        )
        media = 2 * dyads * seconds
        return {
            "by the clock": round(media / (time.perf_counter() - clock), 2),
            "by processor time": round(media / (time.process_time() - processor), 2),
            "peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }


def fresh(corpus: str, seconds: float, dyads: int, workers: int) -> dict[str, float]:
    """The same in a process of its own, so that peaks do not carry over."""
    sizes = [str(value) for value in (seconds, dyads, workers)]
    command = [sys.executable, __file__, "--one", corpus, *sizes]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=4, help="corpus, seconds, dyads, workers")
    parser.add_argument("--seconds", type=float, default=40.0, help="length of a conversation")
    options = parser.parse_args()
    if options.one:
        corpus, seconds, dyads, workers = options.one
        print(json.dumps(measure(corpus, float(seconds), int(dyads), int(workers))))
        return
    length = options.seconds
    for corpus in ("reference", "ndc-me", "ifadv", "ccdb"):
        alone = fresh(corpus, length, 1, 1)
        line = f"{corpus}: {alone['by processor time']} times real time a core"
        if corpus != "reference":  # a changed camera does not reach other processes
            line += f"; two processes by the clock {fresh(corpus, length, 2, 2)['by the clock']}"
        print(line, flush=True)
    peaks = [fresh("ifadv", factor * length, 1, 1)["peak MiB"] for factor in (3, 12)]
    print(f"peak memory, MiB: {peaks[0]} for {3 * length:g} s, {peaks[1]} for {12 * length:g} s")


if __name__ == "__main__":
    main()
