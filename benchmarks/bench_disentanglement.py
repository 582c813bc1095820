"""Chapter 8: what caching the main branch saves, and how fast features are.

``python benchmarks/bench_disentanglement.py`` prints three ratios or times, each the median of a
few interleaved repeats: training steps without and with cached main features; hidden states of all
layers in one pass against a pass for each layer; and, where EmoDB is at hand, the features of all
its recordings. The encoder has the sizes of the speech encoder, its weights are random, since time
does not depend on them. ``--only emodb`` runs the last part alone.

Behind each number stands what it has to be on a quiet machine of two cores, and whether it is::

    step without cached features: … s
    step with cached features:    … s
    ratio:                        1.8 (at least 1.3: yes)
    a pass for each layer:        … s
    all layers in one pass:       … s
    ratio:                        5.0 (at least 4.0: yes)
    EmoDB, 535 files, last layer, the window alone: … s, CPU … s (at most 60: yes)
    EmoDB, 535 files, all layers, padded to 8 s: … s, CPU … s (at most 60: yes)
    (the last two on 2 threads)
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from thesislib.corpora.loading import load_corpus
from thesislib.errors import InputError
from thesislib.learning.auxiliary_training import Objective, ObjectiveConfig
from thesislib.learning.branch_data import branch_inputs, read_windows
from thesislib.learning.branch_features import spectrograms
from thesislib.learning.features import extract_features
from thesislib.models.dual_branch import DualBranch, DualBranchConfig
from thesislib.models.encoders import EncoderConfig, WhisperEncoder, freeze

LEAST_SAVED = 1.3  # note 30
MOST_SECONDS = 60.0  # for the features of all of EmoDB, on two cores
SIZES = EncoderConfig(n_mels=80, n_positions=400, width=384, heads=6, layers=4, ffn_width=1536)


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(repeats: int, **functions: Callable[[], object]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: statistics.median(values) for name, values in times.items()}


def training_steps(
    batch_size: int, window_s: float, decoder_width: int
) -> tuple[Callable[[], object], Callable[[], object]]:
    """One optimiser step without and with cached features."""
    generator = torch.Generator().manual_seed(0)
    choices = DualBranchConfig(n_frames=round(100 * window_s), decoder_width=decoder_width)
    branches = DualBranch(freeze(WhisperEncoder(SIZES)), choices, generator)
    objective = Objective(branches, ObjectiveConfig())
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-3, fused=True)
    waveforms = 0.1 * torch.randn(batch_size, round(16000 * window_s), generator=generator)
    inputs = spectrograms(branches.main, branches.grid, waveforms)
    cached = branches.main_features(inputs).half()
    noise = torch.rand(batch_size, branches.grid.n_tokens, generator=generator)

    def step(main: torch.Tensor | None) -> None:
        optimiser.zero_grad()
        objective(inputs, noise, main)["loss"].backward()
        optimiser.step()

    step(cached)  # warms up the optimiser
    return lambda: step(None), lambda: step(cached)


def layer_passes(batch_size: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Every layer's output: from a pass for each layer, and from one pass."""
    encoder = freeze(WhisperEncoder(SIZES))
    log_mel = torch.randn(batch_size, 80, 800, generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def one_layer(number: int) -> torch.Tensor:
        return encoder.hidden_states(log_mel)[number]

    @torch.inference_mode()
    def all_layers() -> tuple[torch.Tensor, ...]:
        return encoder.hidden_states(log_mel)

    return lambda: [one_layer(number) for number in range(SIZES.layers + 1)], all_layers


def held(measured: float, bound: float, *, at_most: bool = False) -> str:
    """What a number has to be, and whether it is."""
    fits = measured <= bound if at_most else measured >= bound
    return f"({'at most' if at_most else 'at least'} {bound:g}: {'yes' if fits else 'NO'})"


def bench_steps(arguments: argparse.Namespace) -> None:
    plain, cached = training_steps(
        arguments.batch_size, arguments.window_s, arguments.decoder_width
    )
    times = compare(arguments.repeats, plain=plain, cached=cached)
    ratio = times["plain"] / times["cached"]
    print(f"step without cached features: {times['plain']:.3f} s")
    print(f"step with cached features:    {times['cached']:.3f} s")
    print(f"ratio:                        {ratio:.2f} {held(ratio, LEAST_SAVED)}")


def bench_layers(arguments: argparse.Namespace) -> None:
    by_layer, at_once = layer_passes(arguments.batch_size)
    times = compare(max(arguments.repeats // 2, 1), by_layer=by_layer, at_once=at_once)
    ratio = times["by_layer"] / times["at_once"]
    print(f"a pass for each layer:        {times['by_layer']:.3f} s")
    print(f"all layers in one pass:       {times['at_once']:.3f} s")
    print(f"ratio:                        {ratio:.2f} {held(ratio, SIZES.layers)}")


def bench_emodb(arguments: argparse.Namespace) -> None:
    try:
        clips = load_corpus("emodb").clips
    except InputError as error:
        print(f"EmoDB: {error}")
        return
    torch.set_num_threads(arguments.emodb_threads)
    encoder = freeze(WhisperEncoder(SIZES))
    choices = DualBranchConfig(n_frames=round(100 * arguments.window_s))
    branches = DualBranch(encoder, choices, torch.Generator().manual_seed(0))

    def main_branch() -> None:
        windows = read_windows(clips, arguments.window_s)
        inputs = branch_inputs(windows, encoder, branches.grid)
        for part in inputs.split(arguments.batch_size):
            branches.main_features(part)

    parts = {
        "last layer, the window alone": main_branch,
        "all layers, padded to 8 s": lambda: extract_features(
            clips, encoder, window_s=arguments.window_s
        ),
    }
    for name, function in parts.items():
        used = time.process_time()
        took = seconds(function)
        used = time.process_time() - used
        bound = held(took, MOST_SECONDS, at_most=True)
        print(f"EmoDB, {len(clips)} files, {name}: {took:.1f} s, CPU {used:.1f} s {bound}")
    print(f"(the last two on {arguments.emodb_threads} threads)")


BENCHES = {"steps": bench_steps, "layers": bench_layers, "emodb": bench_emodb}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--window-s", type=float, default=2.0)
    parser.add_argument("--decoder-width", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--emodb-threads", type=int, default=2)
    parser.add_argument("--only", choices=list(BENCHES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.threads} thread(s), windows of {arguments.window_s:g} s")
    for name, bench in BENCHES.items():
        if arguments.only in (None, name):
            bench(arguments)


if __name__ == "__main__":
    main()
