"""Frames a second of the face renderer, and how much faster than real time that is.

Run with ``OMP_NUM_THREADS=1 python benchmarks/bench_face.py [--threads 2]``. Prints the wall clock
of the best of several runs, the processor time for each frame, and the ratio to real time.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from thesislib.corpora.twins.face import sample_identity
from thesislib.corpora.twins.face_motion import laugh
from thesislib.corpora.twins.face_render import render


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    people = [sample_identity(sex, torch.Generator().manual_seed(4)) for sex in ("female", "male")]
    time_s = torch.arange(arguments.frames) / arguments.fps
    motion = laugh(torch.ones(arguments.frames), time_s)
    walls, busy = [], []
    for _ in range(arguments.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        for person in people:
            for _ in render(person, motion, arguments.size, arguments.chunk):
                pass
        walls.append(time.perf_counter() - wall)
        busy.append(time.process_time() - cpu)
    n_frames = len(people) * arguments.frames
    rate = n_frames / min(walls)
    print(
        f"{n_frames} frames of {arguments.size} x {arguments.size}, "
        f"{arguments.threads} thread(s), chunks of {arguments.chunk}"
    )
    print(f"frames a second:         {rate:.0f}")
    print(f"processor time a frame:  {1000 * min(busy) / n_frames:.2f} ms")
    print(f"ratio to real time:      {rate / arguments.fps:.1f} (at {arguments.fps:g} frames/s)")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"largest resident memory: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
