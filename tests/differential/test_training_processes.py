"""Two processes against one: the same batches, losses, gradients, weights; and a kill between.

First with a small model, then with the masked autoencoder as chapter 7 pre-trains it.

The processes are forked and talk through gloo, as those of `torchrun` would.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket

import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from thesislib import files
from thesislib.config import SocialMaeConfig, for_profile
from thesislib.corpora.clip import Clip
from thesislib.corpora.splits import speaker_split
from thesislib.learning.losses import contrastive_loss
from thesislib.learning.processes import gather_with_gradient, shared_noise
from thesislib.learning.social_mae_data import Windows
from thesislib.learning.social_mae_inputs import SHARES
from thesislib.learning.social_mae_pretraining import model_config, pretrain_on
from thesislib.learning.training import TensorData, TrainingConfig, fit
from thesislib.models.masked_autoencoder import MaskedAutoencoder

FORKS = multiprocessing.get_context("forkserver")
TWO = {"strategy": "ddp", "devices": 2}
PATIENCE_S = 120


class Towers(nn.Module):
    """Two modalities to one width, the second one layer deeper."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 8)])
        self.audio, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        video = self.layers[1](self.layers[0](x).tanh())
        return self.audio(x.flip(-1)), video, self.head(video)


def towers():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Towers()


def data(n_samples=43):
    generator = torch.Generator().manual_seed(0)
    return TensorData(
        x=torch.randn(n_samples, 6, generator=generator),
        y=torch.randint(3, (n_samples,), generator=generator),
    )


def loss(model, batch, generator):
    """Masked input, cross-entropy, and a contrast within the batch of all processes."""
    x = batch["x"] * (shared_noise(*batch["x"].shape, generator=generator) > 0.2)
    audio, video, logits = model(x)
    contrast = contrastive_loss(
        gather_with_gradient(audio), gather_with_gradient(video), temperature=0.5
    )
    entropy = F.cross_entropy(logits, batch["y"])
    return {"loss": entropy + contrast.loss, "entropy": entropy, "contrast": contrast.loss}


def config(**changes):
    sizes = {"epochs": 3, "batch_size": 8, "learning_rate": 0.02, "clip_norm": 1.0}
    return TrainingConfig(**{**sizes, **changes})


def score(model):
    batch = data(16).tensors
    with torch.no_grad():
        return {"loss": float(F.cross_entropy(model(batch["x"])[2], batch["y"]))}


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def worker(rank, port, settings, folder, results, killed_at):
    """One of two processes; with `killed_at`, the second one is gone in the middle of a step."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"NODE_RANK": "0", "LOCAL_RANK": str(rank), "GLOO_SOCKET_IFNAME": "lo"}
    calls = 0

    def watched(model, batch, generator):
        nonlocal calls
        calls += 1
        if rank == 1 and calls == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(model, batch, generator)

    fitted = fit(
        towers(), watched, data(), config=config(**settings), validate=score,
        folder=folder, progress=False,
    )  # fmt: skip
    if settings["strategy"] == "ddp":
        torch.save([fitted.history.to_dict("list"), fitted.model.state_dict()], f"{results}{rank}")
    else:  # every process holds a part: a finished folder has the whole
        torch.save([fitted.history.to_dict("list"), {}], f"{results}{rank}")


def in_two_processes(settings, folder, results, killed_at=0, target=worker):
    """Histories and weights of both; with `killed_at`, none: the second one is killed there."""
    port = free_port()
    processes = [
        FORKS.Process(target=target, args=(rank, port, settings, folder, results, killed_at))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(PATIENCE_S)
            assert process.exitcode is not None, "a process hangs"
    finally:
        for process in processes:
            process.kill()
    codes = [process.exitcode for process in processes]
    if killed_at:
        assert codes[1] == -signal.SIGKILL
        assert codes[0] > 0, "the first one went on alone, or hung"
        return []
    assert codes == [0, 0]
    return [torch.load(f"{results}{rank}") for rank in range(2)]


@pytest.fixture(scope="module")
def alone():
    """The run of one process, whose process group nobody has started."""
    return fit(towers(), loss, data(), config=config(), validate=score, progress=False)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    return in_two_processes(TWO, None, tmp_path_factory.mktemp("together") / "rank")


def assert_same_curve(history, expected, tolerance=1e-5):
    history = pd.DataFrame(history)
    assert list(history.columns) == list(expected.columns)
    torch.testing.assert_close(
        torch.tensor(history.to_numpy(float)), torch.tensor(expected.to_numpy(float)),
        atol=tolerance, rtol=tolerance,
    )  # fmt: skip


def test_two_processes_have_the_loss_curve_of_one(alone, together):
    # 43 samples in batches of 8: the last one gives a process two rows and the other one.
    for history, _ in together:
        assert_same_curve(history, alone.history)


def test_two_processes_end_with_the_weights_of_one(alone, together):
    # The same gradients, those through the gathered contrast among them: else Adam, which
    # follows their direction, would have led elsewhere within 18 steps.
    (_, first), (_, second) = together
    for name, weight in alone.model.state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], weight, atol=2e-5, rtol=1e-4)


def test_accumulated_steps_of_two_processes_are_those_of_one(tmp_path):
    # Micro-batches of four, and at the end three rows in one piece: two for a process, one for the
    # other. The contrast is within a micro-batch, however many processes share it.
    expected = fit(
        towers(), loss, data(), config=config(accumulate=2), validate=score, progress=False
    )
    found = in_two_processes({**TWO, "accumulate": 2}, None, tmp_path / "rank")
    for history, weights in found:
        assert_same_curve(history, expected.history)
        for name, weight in expected.model.state_dict().items():
            torch.testing.assert_close(weights[name], weight, atol=2e-5, rtol=1e-4)


def test_a_killed_process_changes_nothing_after_a_relaunch(together, tmp_path):
    settings = {**TWO, "checkpoint_every": 4}
    in_two_processes(settings, tmp_path / "run", tmp_path / "rank", killed_at=11)
    resumed = in_two_processes(settings, tmp_path / "run", tmp_path / "rank")
    for (history, weights), (expected_history, expected_weights) in zip(
        resumed, together, strict=True
    ):
        assert history == expected_history
        assert all(torch.equal(weights[name], expected_weights[name]) for name in weights)


def test_a_run_of_two_processes_is_gone_on_with_by_one(alone, tmp_path):
    settings = {**TWO, "checkpoint_every": 4}
    in_two_processes(settings, tmp_path / "run", tmp_path / "rank", killed_at=11)
    fitted = fit(
        towers(), loss, data(), config=config(), validate=score,
        folder=tmp_path / "run", progress=False,
    )  # fmt: skip
    assert_same_curve(fitted.history, alone.history)


def test_sharded_weights_have_the_loss_curve_of_one_process(alone, tmp_path):
    settings = {"strategy": "fsdp", "devices": 2, "checkpoint_every": 4, "accumulate": 1}
    (history, _), _ = in_two_processes(settings, tmp_path / "run", tmp_path / "rank")
    assert_same_curve(history, alone.history)
    whole = fit(
        towers(), loss, data(), config=config(), folder=tmp_path / "run", progress=False
    ).model.state_dict()
    for name, weight in alone.model.state_dict().items():
        torch.testing.assert_close(whole[name], weight, atol=2e-5, rtol=1e-4)


# Pre-training of chapter 7 -----------------------------------------------------------------------


def windows():
    """45 windows of 15 people: 39 to train on, so that the last batch of 8 has seven."""
    generator = torch.Generator().manual_seed(5)
    clips = [Clip(clip_id=f"c{i}", corpus="voxceleb2", speaker=f"p{i // 3}") for i in range(45)]
    level = torch.rand(45, 1, generator=generator)
    frames = torch.randint(0, 256, (45, 16, 32, 32, 3), generator=generator, dtype=torch.uint8)
    return Windows(
        clips=clips, waveform=level * torch.randn(45, 5120, generator=generator),
        length=torch.randint(2000, 5121, (45,), generator=generator), frames=frames, failures=[],
    )  # fmt: skip


def pretraining(**given):
    sizes = {
        "image_size": 32, "audio_frames": 32, "candidates": 16, "width": 32, "depth": 1,
        "decoder_width": 32, "pretraining_epochs": 2, "pretraining_batch": 8,
    }  # fmt: skip
    return for_profile(SocialMaeConfig, "tiny", **sizes, **given)


def pretrainer(rank, port, settings, folder, results, killed_at):
    """As `worker`, for what chapter 7 runs; the folder is that of the project."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"NODE_RANK": "0", "LOCAL_RANK": str(rank), "GLOO_SOCKET_IFNAME": "lo"}
    files.project_root = lambda: folder
    torch.cuda.is_available = lambda: False  # as where it is alone
    forward, steps = MaskedAutoencoder.forward, 0

    def watched(self, *inputs, **options):
        nonlocal steps
        steps += self.training
        if rank == 1 and self.training and steps == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(self, *inputs, **options)

    MaskedAutoencoder.forward = watched
    config = pretraining(**settings)
    found = pretrain_on(config, model_config(config), windows())
    torch.save([found.history.to_dict("list"), found.model.state_dict()], f"{results}{rank}")


def pretrained_alone(folder, monkeypatch, **given):
    monkeypatch.setattr("thesislib.files.project_root", lambda: folder)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = pretraining(**given)
    return pretrain_on(config, model_config(config), windows())


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_pretrain_as_one_does(tmp_path, monkeypatch, strategy):
    # Frames and masks of every step: also after the last, uneven batch of the first epoch.
    assert len(speaker_split(windows().clips, shares=SHARES).train) == 39
    alone = pretrained_alone(tmp_path / "one", monkeypatch)
    settings = {"devices": 2, "strategy": strategy}
    both = in_two_processes(settings, tmp_path / "two", tmp_path / "rank", target=pretrainer)
    for history, weights in both:
        assert_same_curve(history, alone.history)
        for name, weight in alone.model.state_dict().items():
            if not name.endswith("qkv.bias"):  # keys' has no gradient; Adam follows its rounding
                torch.testing.assert_close(weights[name], weight, atol=1e-4, rtol=1e-3)


def test_pretraining_goes_on_after_a_process_was_killed(tmp_path, monkeypatch):
    alone = pretrained_alone(tmp_path / "one", monkeypatch, clip_norm=1.0)
    settings = {"devices": 2, "strategy": "ddp", "clip_norm": 1.0, "checkpoint_every": 2}
    where = {"folder": tmp_path / "two", "results": tmp_path / "rank", "target": pretrainer}
    in_two_processes(settings, killed_at=9, **where)
    assert list((tmp_path / "two").rglob("checkpoint-*.json")), "a step inside the first epoch"
    for history, _ in in_two_processes(settings, **where):
        assert_same_curve(history, alone.history)
