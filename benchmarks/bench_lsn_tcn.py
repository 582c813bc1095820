"""How much faster the video branch of LSN-TCN trains and evaluates than written plainly.

Run with ``OMP_NUM_THREADS=1 python benchmarks/bench_lsn_tcn.py [--preset thesis] [--clips 8]``. The
plain implementation is the same network in float32 with pictures channels first; ours takes frames
channels last and bfloat16 where the processor has it. Also prints the clips a second of the whole
input pipeline at ``small`` (decode, find the face, cut the mouth) beside those of the model.
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
from thesislib.models.ms_tcn import MsTcn, VideoEncoder


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
    """A branch of the same weights with the plain encoder."""
    copy = MsTcn(branch.config)
    copy.encoder = PlainEncoder(branch.config)
    copy.load_state_dict(branch.state_dict())
    return copy


def seconds(step: Callable[[], None], repeats: int) -> float:
    """Processor time of the best of several runs, after one to warm up."""
    step()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        step()
        found.append(time.process_time() - start)
    return min(found)


def steps(model: MsTcn, frames: Tensor, *, low: bool) -> tuple[Callable[[], None], ...]:
    """A training step and an evaluation step."""
    optimiser = torch.optim.Adam(model.parameters(), 1e-4)
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


def has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16 itself; elsewhere it would be slower."""
    capability = torch.backends.cpu.get_cpu_capability()
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if capability else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def pipeline(repeats: int, clips: int) -> tuple[float, float]:
    """Clips a second of the input pipeline and of both branches in training, at ``small``."""
    config = for_profile(LaughConfig, "small")
    view = laugh_training.view_of(config)
    detector = load_face_detector()
    with tempfile.TemporaryDirectory() as folder:
        twin = write_twin("ndc-me", Path(folder) / "twin", dyads=1, duration_s=12.0, workers=1)
        windows = dyadic.load_clips(twin, "ndc-me", hop_s=0.61)[:clips]
        # Nothing that was cut out before may be found: caches go to the temporary folder.
        with patch("thesislib.files.project_root", lambda: Path(folder)):
            laugh_data.ingest(windows[:1], view, detector=detector)  # starts the decoder's process
            start = time.perf_counter()
            ingested = laugh_data.ingest(windows, view, detector=detector)
            rate = len(ingested) / (time.perf_counter() - start)
    sizes = laugh_training.model_config(config)
    branches = [MsTcn(sizes.audio), MsTcn(sizes.video)]
    parts = [
        laugh_training.as_input(stored[:16]) for stored in (ingested.waveform, ingested.frames)
    ]
    total = sum(
        seconds(steps(branch, part, low=False)[0], repeats) / len(part)
        for branch, part in zip(branches, parts, strict=True)
    )
    return rate, 1 / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="thesis")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = preset(arguments.preset)
    torch.manual_seed(0)
    branch = MsTcn(sizes.video)
    shape = (arguments.batch, sizes.frames, sizes.side, sizes.side, 3)
    stored = torch.randint(0, 256, shape, dtype=torch.uint8)
    fast = laugh_training.as_input(stored)
    slow = fast.contiguous()
    low = has_bfloat16()
    plain_branch = plain(branch)
    with torch.inference_mode():
        ours, theirs = branch.eval()(fast[:1]), plain_branch.eval()(slow[:1])
    difference = float((ours - theirs).abs().max())
    times = {
        "ours": [seconds(s, arguments.repeats) for s in steps(branch, fast, low=low)],
        "plain": [seconds(s, arguments.repeats) for s in steps(plain_branch, slow, low=False)],
    }
    print(
        f"video branch, {arguments.preset}: {arguments.batch} x {sizes.frames} x "
        f"{sizes.side} x {sizes.side}, {arguments.threads} thread(s), "
        f"{'bfloat16' if low else 'float32'}; logits differ by {difference:.1e} in float32"
    )
    for number, what in enumerate(("training step", "evaluation")):
        mine, other = times["ours"][number], times["plain"][number]
        print(
            f"{what + ':':15} {mine:.2f} s of processor time, plain {other:.2f} s, "
            f"ratio {other / mine:.1f}"
        )
    rate, model = pipeline(arguments.repeats, arguments.clips)
    print(
        f"small: input pipeline {rate:.1f} clips/s, training of both branches {model:.1f} clips/s"
    )


if __name__ == "__main__":
    main()
