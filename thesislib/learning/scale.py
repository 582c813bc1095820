"""What pre-training at the size of the thesis takes, before anyone rents a GPU for it.

``python -m thesislib.learning.scale`` prints parameters, memory of a GPU, operations of a step and
GPU-hours. Everything is a closed form of the sizes; tests hold it to what a small model is seen to
keep and to compute, `counted_flops` does so for any size, without computing anything.

Source: sections 7.4 and 7.5; notes 1 and 8.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from thesislib.errors import InputError
from thesislib.models.masked_autoencoder import (
    CAV_MAE,
    COLOURS,
    SOCIAL_MAE,
    MaskedAutoencoder,
    MaskedAutoencoderConfig,
)
from thesislib.models.transformer import visible_tokens

VOXCELEB2_HOURS, VOXCELEB2_UTTERANCES = 2442, 1_128_246
THESIS_HOURS = 70
"""Of VoxCeleb2, that the thesis had for training and validation (section 7.3)."""
PRECISIONS = {"32-true": 4, "bf16-mixed": 2}
"""Bytes of what matrix products read and write; states are 4 bytes in both."""
_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a run would take; memory in bytes, of one GPU.

    Attributes:
        parameters: Of the model.
        trained: Of those, the ones that the optimiser changes.
        weights: Memory of the parameters, with their copies in bfloat16 if there are such.
        gradients: Memory of their gradients.
        optimiser: Memory of Adam's two moments.
        activations: What a micro-batch keeps for its backward pass.
        data: Inputs, patches and predictions of a micro-batch.
        clip_flops: Floating-point operations of a clip, forward and backward; a multiplication
            and an addition are two.
        step_flops: Of a step, all GPUs together.
        hours: Hours of recordings to GPU-hours of training.
    """

    parameters: int
    trained: int
    weights: int
    gradients: int
    optimiser: int
    activations: int
    data: int
    clip_flops: int
    step_flops: int
    hours: dict[float, float]

    @property
    def memory(self) -> int:
        """Sum of the parts; a framework, kernels' working space and DDP's buckets come on top."""
        return self.weights + self.gradients + self.optimiser + self.activations + self.data


def dry_run(
    config: MaskedAutoencoderConfig = SOCIAL_MAE,
    *,
    batch_size: int = 36,
    devices: int = 1,
    accumulate: int = 1,
    precision: str = "bf16-mixed",
    sharded: bool = False,
    checkpointed: bool = False,
    epochs: int = 25,
    peak_tflops: float = 312.0,
    utilisation: float = 0.4,
    hours: Sequence[float] = (THESIS_HOURS, VOXCELEB2_HOURS),
) -> DryRun:
    """Sizes, memory, operations and time of pre-training.

    Args:
        config: Sizes of the model.
        batch_size: Clips of a step, all GPUs together; 36 in the authors' recipe (note 8).
        devices: GPUs.
        accumulate: Micro-batches of a step.
        precision: A key of `PRECISIONS`.
        sharded: Parameters, gradients and moments are divided among the GPUs (FSDP).
        checkpointed: `thesislib.learning.processes.checkpoint_activations` on every ``Block``.
        epochs: Passes over the recordings.
        peak_tflops: Of a GPU in this precision; 312 is an A100 in bfloat16.
        utilisation: Share of it that training reaches, in (0, 1]; an assumption.
        hours: Amounts of recordings to estimate for.

    Raises:
        InputError: An argument is not possible.
    """
    _check(precision, utilisation, peak_tflops, batch_size, devices * accumulate, epochs)
    compute = PRECISIONS[precision]
    with torch.device("meta"):
        model = MaskedAutoencoder(config)
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parts = devices if sharded else 1
    clips = -(-batch_size // (devices * accumulate))
    copies = compute * parameters if compute < 4 else 0
    clip_flops = step_flops(config, batch_size, checkpointed=checkpointed) // batch_size
    clips_an_hour = VOXCELEB2_UTTERANCES / VOXCELEB2_HOURS
    seconds = clip_flops / (peak_tflops * 1e12 * utilisation)
    return DryRun(
        parameters=parameters,
        trained=trained,
        weights=4 * parameters // parts + copies,
        gradients=4 * trained // parts,
        optimiser=8 * trained // parts,
        activations=activation_bytes(config, clips, precision, checkpointed=checkpointed),
        data=clips * _data_bytes(config, compute),
        clip_flops=clip_flops,
        step_flops=clip_flops * batch_size,
        hours={amount: amount * clips_an_hour * epochs * seconds / 3600 for amount in hours},
    )


def _check(
    precision: str,
    utilisation: float,
    peak_tflops: float,
    batch_size: int,
    micro_batches: int,
    epochs: int,
) -> None:
    if precision not in PRECISIONS:
        problem = f"{precision!r} is unknown"
        raise InputError("precision", problem, f"use {' or '.join(PRECISIONS)}")
    if not 0 < utilisation <= 1 or not peak_tflops > 0:
        problem = f"{utilisation} and {peak_tflops} are no share and no speed"
        raise InputError("utilisation, peak_tflops", problem, "try 0.4 and 312")
    if micro_batches < 1 or epochs < 1 or batch_size < 2 * micro_batches:
        problem = f"{batch_size} clips do not give each of {micro_batches} micro-batches two"
        raise InputError("batch_size", problem, "raise it, or lower devices or accumulate")


# ------------------------------------------------------------------------------------ operations


@dataclass(frozen=True, slots=True)
class _Stack:
    """Layers of one width that a clip goes through with so many tokens."""

    layers: int
    tokens: int
    width: int
    heads: int
    joint: bool = False

    def flops(self, ratio: int) -> int:
        """Forward, of one clip: six products with weights, two in attention."""
        n, w = self.tokens, self.width
        return self.layers * (2 * n * w * w * (4 + 2 * ratio) + 4 * n * n * w)

    def layer_bytes(self, ratio: int, compute: int) -> int:
        """What one layer keeps of one clip for its backward pass, with fused attention.

        In the type of the residual stream (4 bytes) the inputs of both layer norms; in that of the
        products the inputs of four linear layers, query, key and value, and the GELU's input. The
        output of attention is the third linear layer's input.
        """
        stream, products = 8, compute * (1 + 3 + 1 + 1 + 2 * ratio)
        statistics = 4 * (4 + self.heads)  # two layer norms, and a sum for each head
        return self.tokens * (self.width * (stream + products) + statistics)


def _stacks(config: MaskedAutoencoderConfig) -> list[_Stack]:
    audio, video = _visible(config)
    width, heads = config.width, config.n_heads
    every = config.n_audio_tokens + config.n_video_tokens
    return [
        _Stack(config.modality_depth, audio, width, heads),
        _Stack(config.modality_depth, video, width, heads),
        *(_Stack(config.joint_depth, n, width, heads, True) for n in (audio + video, audio, video)),
        _Stack(config.decoder_depth, every, config.decoder_width, config.decoder_heads),
    ]


def _visible(config: MaskedAutoencoderConfig) -> tuple[int, int]:
    tokens = (config.n_audio_tokens, config.n_video_tokens)
    audio, video = (visible_tokens(n, config.mask_ratio) for n in tokens)
    return audio, video


def _patch_values(config: MaskedAutoencoderConfig) -> int:
    """Values of all patches of a clip."""
    audio = config.n_audio_tokens * config.audio_patch_values
    return audio + config.n_video_tokens * config.video_patch_values


def step_flops(
    config: MaskedAutoencoderConfig, batch_size: int, *, checkpointed: bool = False
) -> int:
    """Floating-point operations of the matrix products of a step, forward and backward.

    A product's backward pass is two products, but for the embeddings of patches, whose inputs need
    no gradient. With `checkpointed`, the layers outside the joint encoder run forward twice.

    >>> round(step_flops(SOCIAL_MAE, 36) / 36e9)  # GFLOP a clip
    470
    """
    audio, video = _visible(config)
    ratio, width, inner = config.mlp_ratio, config.width, config.decoder_width
    embed = audio * config.audio_patch_values + video * config.video_patch_values
    forward = 2 * embed * width
    forward += 2 * (audio + video) * width * inner + 2 * _patch_values(config) * inner
    forward += sum(stack.flops(ratio) for stack in _stacks(config))
    total = 3 * forward - 2 * embed * width
    if checkpointed:
        total += sum(stack.flops(ratio) for stack in _stacks(config) if not stack.joint)
    if config.contrastive_weight > 0:
        return batch_size * total + 3 * 2 * batch_size**2 * width
    # The passes of single modalities still run forward, but no gradient comes back through them.
    alone = [stack for stack in _stacks(config) if stack.joint][1:]
    return batch_size * (total - 2 * sum(stack.flops(ratio) for stack in alone))


def counted_flops(config: MaskedAutoencoderConfig, batch_size: int) -> int:
    """The same as `step_flops`, counted by torch while a step runs on tensors without content."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    # The plain kernel, since torch does not count the fused one of a CPU.
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        model = MaskedAutoencoder(config)
        audio = torch.empty(batch_size, config.audio_frames, config.n_mels)
        side = config.image_size
        video = torch.empty(batch_size, COLOURS, config.n_frames, side, side)
        with FlopCounterMode(display=False) as counter:
            model(audio, video).loss.backward()
    return int(counter.get_total_flops())


# ---------------------------------------------------------------------------------------- memory


def activation_bytes(
    config: MaskedAutoencoderConfig, clips: int, precision: str, *, checkpointed: bool = False
) -> int:
    """What a micro-batch keeps for its backward pass, in bytes, with fused attention.

    With `checkpointed`, a layer keeps its input only, and one layer at a time is computed again.
    """
    compute, ratio = PRECISIONS[precision], config.mlp_ratio
    audio, video = _visible(config)
    stacks = _stacks(config)
    kept = 0
    for stack in stacks:
        whole = stack.layers * stack.layer_bytes(ratio, compute)
        inputs_only = stack.layers * stack.tokens * stack.width * 4
        kept += inputs_only if checkpointed and not stack.joint else whole
    if checkpointed:
        kept += max(stack.layer_bytes(ratio, compute) for stack in stacks if not stack.joint)
    embed = audio * config.audio_patch_values + video * config.video_patch_values
    kept += compute * embed
    kept += 2 * (audio + video) * (4 * config.width + 8)  # norms on top of the three passes
    kept += compute * (audio + video) * config.width  # input of the decoder's embedding
    every = config.n_audio_tokens + config.n_video_tokens
    kept += every * (config.decoder_width * (4 + compute) + 8)  # its norm, inputs of predictions
    kept += 8 * every  # where mask tokens go
    kept += 4 * (_patch_values(config) + every)  # differences that are squared, masks
    return clips * kept


def _data_bytes(config: MaskedAutoencoderConfig, compute: int) -> int:
    values = _patch_values(config)
    return values * (4 + 4 + compute)  # inputs and patches, predictions


# ----------------------------------------------------------------------------------------- print


def report(run: DryRun) -> list[str]:
    """Lines for a terminal."""
    parts = ("weights", "gradients", "optimiser", "activations", "data")
    lines = [
        f"parameters      {run.parameters / 1e6:.1f} M, {run.trained / 1e6:.1f} M trained",
        f"memory a GPU    {run.memory / _GIB:.1f} GiB",
        *(f"  {name:<14}{getattr(run, name) / _GIB:.2f} GiB" for name in parts),
        f"operations      {run.clip_flops / 1e9:.0f} GFLOP a clip, "
        f"{run.step_flops / 1e12:.1f} TFLOP a step",
    ]
    return lines + [f"{name:g} h of recordings: {h:.1f} GPU-hours" for name, h in run.hours.items()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the dry runs of both models of chapter 7."""
    parser = argparse.ArgumentParser(prog="python -m thesislib.learning.scale", description=__doc__)
    parser.add_argument("--batch-size", type=int, default=36, help="clips of a step, all GPUs")
    parser.add_argument("--devices", type=int, default=1, help="GPUs")
    parser.add_argument("--accumulate", type=int, default=1, help="micro-batches of a step")
    parser.add_argument("--precision", default="bf16-mixed", help=" or ".join(PRECISIONS))
    parser.add_argument("--sharded", action="store_true", help="FSDP")
    parser.add_argument("--checkpointed", action="store_true", help="recompute activations")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--peak-tflops", type=float, default=312.0, help="of a GPU")
    parser.add_argument("--utilisation", type=float, default=0.4, help="share of it reached")
    parser.add_argument("--count", action="store_true", help="count a step too, in seconds")
    given = vars(parser.parse_args(arguments))
    count = given.pop("count")
    try:
        for name, config in (("Social-MAE", SOCIAL_MAE), ("CAV-MAE", CAV_MAE)):
            run = dry_run(config, **given)
            print(f"{name}, batch {given['batch_size']}, {given['devices']} GPU")
            print("\n".join(f"  {line}" for line in report(run)))
            if count:
                both = [f(replace(config), 2) for f in (step_flops, counted_flops)]
                print("  step of two clips: {:,} operations by formula, {:,} counted".format(*both))
    except InputError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
