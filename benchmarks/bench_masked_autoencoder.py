"""Social-MAE at full size against a plain implementation of the same architecture.

``python benchmarks/bench_masked_autoencoder.py`` prints, for one thread, the time of a pre-training
step and of inference, their ratios, the share of the machine's measured matrix-multiplication peak,
and the memory of a step. Each variant runs in a process of its own, which gives it a peak of memory
of its own. Times are of the processor, not of the clock, so that other work on the machine disturbs
them less; ratios of a busy machine are still rough.

The plain variant follows the structure of the authors' public code: softmax attention written out,
all patches embedded before three quarters of them are dropped, float32, one optimiser kernel a
parameter and operation. Its patches are embedded by a matrix product, where the authors have a
convolution, which is to its advantage. It computes the same loss, which is checked. The variant
``compiled`` goes through `torch.compile`, and also says how long it took to compile.
The variant ``eight`` is inference in eight bits (`thesislib.models.eight_bit`), with attention in
bfloat16; how far its outputs are from those in float32 is printed and checked. Its share is that of
a product of eight bits, and its memory that of building the model and asking it.

At full size it exits with an error where a ratio is below `WANTED`; those of bfloat16 and of eight
bits are asked only of a processor that multiplies in them. Inference that is 2.7 times as fast
takes eight bits: in bfloat16 the matrix products alone take longer.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from thesislib.learning.scale import step_flops
from thesislib.memory import keep_memory
from thesislib.models import masked_autoencoder, transformer
from thesislib.models.eight_bit import to_eight_bits
from thesislib.models.masked_autoencoder import (
    SOCIAL_MAE,
    FineTunedModel,
    MaskedAutoencoder,
    MaskedAutoencoderConfig,
)
from thesislib.models.transformer import take

VARIANTS = {
    "plain": "plain, float32",
    "kept": "plain, kept memory",
    "float32": "thesislib, float32",
    "bfloat16": "thesislib, bfloat16",
    "compiled": "the same, compiled",
    "eight": "thesislib, eight bits",
}
WANTED = {
    ("float32", "step"): 1.4,
    ("bfloat16", "step"): 3.3,
    ("bfloat16", "inference"): 2.0,
    ("eight", "inference"): 2.7,
}
FAR = 0.03
"""Norm of what eight bits may change of the outputs, over the norm of these."""
SMALL = MaskedAutoencoderConfig(
    image_size=64, n_mels=64, audio_frames=256, width=96, n_heads=4, modality_depth=2,
    decoder_width=64, decoder_depth=2, decoder_heads=4,
)  # fmt: skip


def plain_attention(query, key, value):
    scores = (query @ key.transpose(-2, -1)) * query.shape[-1] ** -0.5
    return scores.softmax(dim=-1) @ value


def plain_encoder(self, patches, visible=None):
    tokens = self.embed(patches) + self.positions + self.modality
    if visible is not None:
        tokens = take(tokens, visible)
    for block in self.blocks:
        tokens = block(tokens)
    return tokens


def timed(function, repeats):
    """Processor seconds of each call but the first two, by which kept memory has been fetched."""
    function()
    function()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return seconds


def matmul_peak(dtype, size=2048):
    """Best observed operations a second of a large square matrix product."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator) * 30 for _ in range(2))
    a, b = (values.clamp(-127, 127).to(dtype) for values in (a, b))
    product = torch._int_mm if dtype == torch.int8 else torch.mm
    return 2 * size**3 / min(timed(lambda: product(a, b), 4))


def inference_flops(config, batch):
    """Operations of the matrix products of inference, counted on tensors without content."""
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        tuned = FineTunedModel(config, 6)
        audio = torch.empty(batch, config.audio_frames, config.n_mels)
        side = config.image_size
        video = torch.empty(batch, 3, config.n_frames, side, side)
        with FlopCounterMode(display=False) as counter:
            tuned(audio, video)
    return counter.get_total_flops()


def peak_memory():
    """Largest resident size so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def one_variant(variant, config, batch, repeats):
    plain = variant in ("plain", "kept")
    if variant != "plain":
        keep_memory()
    if plain:
        transformer.attention = plain_attention
        masked_autoencoder.ModalityEncoder.forward = plain_encoder
    low = variant in ("bfloat16", "compiled", "eight")
    kinds = {"bfloat16": torch.bfloat16, "compiled": torch.bfloat16, "eight": torch.int8}
    peak = matmul_peak(kinds.get(variant, torch.float32))
    start = time.process_time()

    def precision():
        return torch.autocast("cpu", torch.bfloat16) if low else nullcontext()

    generator = torch.Generator().manual_seed(0)
    audio = torch.randn(batch, config.audio_frames, config.n_mels, generator=generator)
    side = config.image_size
    video = torch.randn(batch, 3, config.n_frames, side, side, generator=generator)
    noise = tuple(
        torch.rand(batch, n, generator=generator)
        for n in (config.n_audio_tokens, config.n_video_tokens)
    )

    def inference_times():
        tuned = FineTunedModel(config, 6, generator=torch.Generator().manual_seed(1)).eval()
        if variant == "compiled":
            tuned.compile()
        if variant == "eight":
            to_eight_bits(tuned)
        with torch.no_grad() if plain else torch.inference_mode(), precision():
            return timed(lambda: tuned(audio, video), repeats), tuned(audio, video)

    inference, outputs = inference_times()
    if variant == "eight":  # which is not for training
        rest, memory = time.process_time() - start - sum(inference), peak_memory()
        tuned = FineTunedModel(config, 6, generator=torch.Generator().manual_seed(1)).eval()
        with torch.inference_mode():
            exact = tuned(audio, video)
        return {
            "inference": statistics.median(inference), "peak": peak, "memory": memory,
            "off": float((outputs - exact).norm() / exact.norm()), "rest": rest,
        }  # fmt: skip
    model = MaskedAutoencoder(config, torch.Generator().manual_seed(2))
    if variant == "compiled":
        model.compile()
    trained = [p for p in model.parameters() if p.requires_grad]
    kernels = {"foreach": False} if plain else {"fused": True}
    optimiser = torch.optim.Adam(trained, 1e-4, (0.95, 0.999), weight_decay=5e-7, **kernels)
    losses = []

    def step():
        optimiser.zero_grad()
        with precision():
            loss = model(audio, video, noise=noise).loss
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

    steps = timed(step, repeats)
    rest = time.process_time() - start - sum(steps) - sum(inference)
    return {
        "step": statistics.median(steps), "inference": statistics.median(inference),
        "peak": peak, "loss": losses[0], "memory": peak_memory(), "rest": rest,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="a small model, to try this out")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    config = SMALL if given.small else SOCIAL_MAE
    if given.one:
        torch.set_num_threads(given.threads)
        print(json.dumps(one_variant(given.one, config, given.batch, given.repeats)))
        return
    flags = [f"--batch={given.batch}", f"--repeats={given.repeats}", f"--threads={given.threads}"]
    flags += ["--small"] * given.small
    print(f"batch {given.batch}, {given.threads} thread(s), {given.repeats} repeats")
    found = {}
    for variant in given.variants:
        command = [sys.executable, __file__, *flags, "--one", variant]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[variant] = result = json.loads(done.stdout)
        print(f"{VARIANTS[variant]:<22}{described(result, config, given.batch)}", flush=True)
    if "plain" not in found:
        return
    short = []
    for variant, result in found.items():
        if variant == "plain":
            continue
        if variant == "eight":
            assert result["off"] < FAR, "eight bits say something else"
            continue
        tolerance = 1e-4 if variant in ("kept", "float32") else 2e-2
        same = math.isclose(result["loss"], found["plain"]["loss"], rel_tol=tolerance)
        assert same, "the variants compute different losses"
    for variant, result in found.items():
        told = []
        for what in ("step", "inference"):
            if what not in result:
                continue
            ratio = found["plain"][what] / result[what]
            beside = ""
            if "kept" in found and variant not in ("plain", "kept"):
                beside = f" ({found['kept'][what] / result[what]:.2f} beside kept memory)"
            told.append(f"{what} {ratio:.2f} times{beside}")
            wanted = WANTED.get((variant, what), 0)
            if ratio < wanted and multiplies_in(variant):
                short.append(f"{VARIANTS[variant]}, {what}: {ratio:.2f} times, wanted {wanted}")
        print(f"{VARIANTS[variant]:<22}{', '.join(told)}")
    if short and not given.small:
        sys.exit("too slow: " + "; ".join(short))


def described(result, config, batch):
    """A variant's own numbers in words."""
    told = []
    unit = "Gop/s" if "off" in result else "GFLOP/s"
    peak = f"the {result['peak'] / 1e9:.0f} {unit} of a large matrix product"
    for what, flops in (("step", step_flops), ("inference", inference_flops)):
        if what in result:
            share = flops(config, batch) / result[what] / result["peak"]
            told.append(f"{what} {result[what]:.2f} s, {share:.0%} of {peak}")
            peak = "it"
    if "off" in result:
        told.append(f"outputs {result['off']:.1%} off those in float32")
    told.append(f"peak memory {result['memory'] / 2**30:.2f} GiB")
    return f"{'; '.join(told)}; building, warming up and compiling {result['rest']:.0f} s"


def multiplies_in(variant):
    """Whether the processor has instructions for the variant's matrix products."""
    needed = {"bfloat16": ("avx512_bf16", "amx_bf16"), "eight": ("avx512_vnni", "amx_int8")}
    able = torch.cpu.get_capabilities()
    return variant not in needed or any(able.get(name) for name in needed[variant])


if __name__ == "__main__":
    main()
