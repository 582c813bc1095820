"""Batched Kaldi log-mel against torchaudio's, called a clip at a time.

``python benchmarks/bench_log_mel.py`` prints the median time of each over a few
interleaved repeats, and their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torchaudio.compliance.kaldi import fbank

from thesislib.signals import kaldi_log_mel


def one_at_a_time(waveforms: torch.Tensor) -> torch.Tensor:
    return torch.stack(
        [
            fbank(row[None], num_mel_bins=128, window_type="hanning", htk_compat=True, dither=0.0)
            for row in waveforms
        ]
    )


def seconds(function, waveforms: torch.Tensor) -> float:
    start = time.perf_counter()
    function(waveforms)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    waveforms = 0.1 * torch.randn(
        arguments.clips, round(16000 * arguments.seconds), generator=generator
    )
    difference = (kaldi_log_mel(waveforms) - one_at_a_time(waveforms)).abs().max()
    times = [
        (seconds(one_at_a_time, waveforms), seconds(kaldi_log_mel, waveforms))
        for _ in range(arguments.repeats)
    ]
    loop, batch = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"{arguments.clips} clips of {arguments.seconds:g} s, {arguments.threads} thread(s), "
        f"largest difference {difference:.1e}"
    )
    print(f"torchaudio, a clip at a time: {loop:.3f} s")
    print(f"thesislib, one batch:         {batch:.3f} s")
    print(f"ratio:                        {loop / batch:.2f}")


if __name__ == "__main__":
    main()
