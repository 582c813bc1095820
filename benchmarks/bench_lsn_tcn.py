"""How much faster the video branch of LSN-TCN trains and evaluates than written plainly.

Run with ``OMP_NUM_THREADS=1 python benchmarks/bench_lsn_tcn.py [--rounds 3]`` on a machine that
does nothing else. The plain implementation is the same network in float32 with pictures channels
first, torch's own PReLU and plain Adam, and computes the steps that are chopped; ours takes frames
channels last, in bfloat16 where the processor has it, and computes in evaluation the kept steps
alone. Both do the same step in turn, round by round, and the fastest of each counts: processor
time, so that another program costs both little. Also prints the clips a second of the whole input
pipeline at ``small`` beside those of the model, in the precision of its configuration: from the mp4
(decode, find the face, cut the mouth and the voice) and, from the second epoch on, from what was
cut out before.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

from thesislib.config import LaughConfig, for_profile
from thesislib.corpora import dyadic
from thesislib.corpora.twins.conversations import write_twin
from thesislib.learning import laugh_data, laugh_training
from thesislib.models.face_detector import load_face_detector
from thesislib.models.lsn_tcn import preset
from thesislib.models.ms_tcn import MsTcn, TemporalConv, VideoEncoder

Step = Callable[[], object]


class Here:
    """Decodes in this process, whose time is taken, instead of in one that can be killed."""

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *failure: object) -> None:
        return None

    def run(self, function: Callable[..., object], *args: object, **options: object) -> object:
        """The call itself; `stream` differs for a process alone."""
        return function(*args, **options)

    stream = run


class PlainTemporalConv(TemporalConv):
    """Pads a whole receptive field on both sides, normalises, and chops, as published."""

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """One scale, (B, C, T) to (B, out, T); all clips are full."""
        wide = nn.functional.conv1d(
            x,
            self.conv.weight,
            self.conv.bias,
            padding=2 * self.margin,
            dilation=self.conv.dilation,
        )
        y = self.activation(self.norm(wide))
        return y[:, :, self.margin : self.margin + x.shape[2]].contiguous()


class PlainEncoder(VideoEncoder):
    """The same layers in the default memory order, every frame of the batch one after the other."""

    def forward(self, frames: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Features (B, T, 8 * width), from frames (B, colours, T, H, W); all clips are full."""
        maps = self.conv(frames.contiguous())
        pictures = maps.transpose(1, 2).flatten(0, 1).contiguous()
        pictures = self.pool(self.activation(self.norm(pictures)))
        vectors = self.resnet(pictures).mean(dim=(2, 3))
        return vectors.unflatten(0, (len(frames), frames.shape[2])), None


def plain(branch: MsTcn) -> MsTcn:
    """A branch of the same weights with plain encoder, temporal convolutions and activations."""
    copy = MsTcn(branch.config)
    copy.encoder = PlainEncoder(branch.config)
    for part in copy.modules():
        if isinstance(part, TemporalConv):
            part.__class__ = PlainTemporalConv  # no weights of its own
        elif isinstance(part, nn.PReLU):
            part.__class__ = nn.PReLU
    copy.load_state_dict(branch.state_dict())
    return copy


def steps(model: MsTcn, frames: Tensor, *, low: bool, fused: bool = True) -> tuple[Step, Step]:
    """A training step and an evaluation step; the training loop's optimiser is fused."""
    optimiser = torch.optim.Adam(model.parameters(), 1e-4, fused=fused)
    target = torch.arange(len(frames)) % model.config.classes

    def train() -> None:
        model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            logits = model(frames)
        loss = nn.functional.cross_entropy(logits.float(), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def evaluate() -> None:
        model.eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            model(frames)

    return train, evaluate


def in_turn(ours: Step, theirs: Step, rounds: int) -> tuple[float, float]:
    """Fastest processor time of either in `rounds` rounds in which they take turns."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for step, times in zip((ours, theirs), found, strict=True):
            times.append(processor_seconds(step))
    return min(found[0]), min(found[1])


def processor_seconds(step: Step) -> float:
    """Processor time of one call."""
    start = time.process_time()
    step()
    return time.process_time() - start


def has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16 itself; elsewhere it would be slower."""
    flags = Path("/proc/cpuinfo")
    told = flags.read_text(encoding="utf-8") if flags.is_file() else ""
    return "avx512_bf16" in told or "amx_bf16" in told


def compare(name: str, *, batch: int, rounds: int) -> None:
    """Print the times of the video branch of a preset."""
    sizes = preset(name)
    torch.manual_seed(0)
    branch = MsTcn(sizes.video)
    shape = (batch, sizes.frames, sizes.side, sizes.side, 3)
    fast = laugh_training.as_input(torch.randint(0, 256, shape, dtype=torch.uint8))
    slow = fast.contiguous()
    low, plain_branch = has_bfloat16(), plain(branch)
    with torch.inference_mode():
        difference = branch.eval()(fast[:1]) - plain_branch.eval()(slow[:1])
    # Two clips first: what is allocated and compiled once is no part of a step.
    for step in (
        *steps(branch, fast[:2], low=low),
        *steps(plain_branch, slow[:2], low=False, fused=False),
    ):
        step()
    print(
        f"video branch, {name}: {batch} x {sizes.frames} x {sizes.side} x {sizes.side}, "
        f"{torch.get_num_threads()} thread(s), {'bfloat16' if low else 'float32'}; "
        f"logits differ by {float(difference.abs().max()):.1e} in float32"
    )
    own, theirs = steps(branch, fast, low=low), steps(plain_branch, slow, low=False, fused=False)
    for number, (what, wanted) in enumerate((("training step", 2.3), ("evaluation", 2.0))):
        mine, other = in_turn(own[number], theirs[number], rounds)
        print(
            f"{what + ':':15} {mine:.2f} s of processor time, plain {other:.2f} s, "
            f"ratio {other / mine:.2f} (wanted {wanted})"
        )


def pipeline(seconds: float, rounds: int) -> dict[str, float]:
    """Clips a second at ``small``: of the input from mp4 and again, and of the model.

    Processor time all of it, the decoder's included: one thread each.
    """
    config = for_profile(LaughConfig, "small")
    view = laugh_training.view_of(config)
    detector = load_face_detector()
    with tempfile.TemporaryDirectory() as folder:
        twin = write_twin("ndc-me", Path(folder) / "twin", dyads=1, duration_s=seconds, workers=1)
        windows = dyadic.load_clips(twin, "ndc-me", hop_s=config.hop_s)
        # Nothing that was cut out before may be found: caches go to the temporary folder.
        with (
            patch("thesislib.files.project_root", lambda: Path(folder)),
            patch("thesislib.learning.laugh_data.DecodingWorker", Here),
        ):
            laugh_data.ingest(windows[:1], view, detector=detector)
            found = {}
            for what in ("from mp4", "again"):
                start = time.process_time()
                ingested = laugh_data.ingest(windows, view, detector=detector)
                found[what] = len(ingested) / (time.process_time() - start)
    sizes = laugh_training.model_config(config)
    inputs = (ingested.waveform[: config.batch_size], ingested.frames[: config.batch_size])
    costs = {"training": 0.0, "evaluation": 0.0}
    for branch, stored in zip((MsTcn(sizes.audio), MsTcn(sizes.video)), inputs, strict=True):
        part = laugh_training.as_input(stored)
        for what, step in zip(
            costs, steps(branch, part, low=config.precision != "32-true"), strict=True
        ):
            step()
            costs[what] += min(processor_seconds(step) for _ in range(rounds)) / len(part)
    return found | {what: 1 / cost for what, cost in costs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="thesis")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of the filmed conversation")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    compare(arguments.preset, batch=arguments.batch, rounds=arguments.rounds)
    rates = pipeline(arguments.seconds, arguments.rounds)
    print("small, clips/s: " + ", ".join(f"{what} {rate:.1f}" for what, rate in rates.items()))


if __name__ == "__main__":
    main()
