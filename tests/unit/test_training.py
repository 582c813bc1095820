"""What the training loop promises, each in a run of a second."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import Dataset, Subset

from thesislib.errors import InputError
from thesislib.learning.datasets import batches, epoch_order, seeded, step_shares, steps_per_epoch
from thesislib.learning.processes import checkpoint_activations
from thesislib.learning.training import (
    DivergenceError,
    TensorData,
    TrainingConfig,
    class_weights,
    fit,
    mixup,
    rate_factor,
)

FORKS = multiprocessing.get_context("forkserver")


def data(n_samples=30):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n_samples, 5, generator=generator)
    return TensorData(x=x, y=(x[:, 0] > 0).long())


def network(*, dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 2))


def loss(model, batch, generator):
    noise = torch.randn(batch["x"].shape, generator=generator)
    return {"loss": F.cross_entropy(model(batch["x"] + 0.1 * noise), batch["y"])}


def plain_loss(model, batch, generator):
    return {"loss": F.cross_entropy(model(batch["x"]), batch["y"])}


def accuracy(model):
    batch = data(40).tensors
    return {"accuracy": float((model(batch["x"]).argmax(1) == batch["y"]).float().mean())}


def config(**changes):
    return TrainingConfig(**{"epochs": 4, "batch_size": 8, "learning_rate": 0.05, **changes})


def train(model=None, loss=loss, samples=None, *, folder=None, key="", **settings):
    extra = {k: settings.pop(k) for k in ("validate", "sample_weights", "parameter_groups")
             if k in settings}  # fmt: skip
    return fit(
        network() if model is None else model, loss, data() if samples is None else samples,
        config=config(**settings), folder=folder, key=key, progress=False, **extra,
    )  # fmt: skip


def weights(fitted):
    return torch.cat([p.detach().flatten() for p in fitted.model.parameters()])


def assert_identical(first, second):
    assert torch.equal(weights(first), weights(second))
    assert first.history.equals(second.history)
    assert (first.best_epoch, first.steps) == (second.best_epoch, second.steps)


# ----------------------------------------------------------------------------------------- resume

KILLED = {"epochs": 3, "checkpoint_every": 2, "validate": accuracy,
          "monitor": "accuracy", "mode": "max"}  # fmt: skip


def run_until(kill, at, folder):
    """A run that is gone at the n-th loss, or the n-th sync, renaming or removal of a file."""
    torch.set_num_threads(1)
    calls = 0

    def deadly(function):
        def called(*arguments):
            nonlocal calls
            calls += 1
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return called

    watched = loss
    if kill == "loss":
        watched = deadly(loss)
    elif kill == "sync":
        os.fsync = deadly(os.fsync)
    elif kill == "rename":
        Path.replace = deadly(Path.replace)
    elif kill == "remove":
        Path.unlink = deadly(Path.unlink)
    train(network(dropout=0.3), watched, folder=folder, **KILLED)


def killed(kill, at, folder):
    process = FORKS.Process(target=run_until, args=(kill, at, folder))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return train(network(dropout=0.3), folder=folder, **KILLED)


@pytest.mark.parametrize(
    "kills",
    [
        [("loss", 1)],
        [("loss", 4), ("loss", 1), ("loss", 3)],
        [("sync", 1), ("sync", 8), ("sync", 9)],
        [("rename", 2), ("rename", 3), ("rename", 4), ("rename", 5)],
        [("remove", 8), ("remove", 10)],
    ],
)
def test_a_run_killed_anywhere_ends_with_the_same_bits(undisturbed, tmp_path, kills):
    for kill, at in kills:
        killed(kill, at, tmp_path / "run")
    resumed = train(network(dropout=0.3), folder=tmp_path / "run", **KILLED)
    assert_identical(resumed, undisturbed)
    assert not list((tmp_path / "run").glob(".*"))


def test_without_a_folder_the_bits_are_the_same(undisturbed):
    assert_identical(train(network(dropout=0.3), **KILLED), undisturbed)


def test_the_callers_random_numbers_neither_matter_nor_change(undisturbed):
    torch.rand(7)
    before = torch.get_rng_state()
    assert_identical(train(network(dropout=0.3), **KILLED), undisturbed)
    assert torch.equal(before, torch.get_rng_state())


def test_another_seed_is_another_run(undisturbed):
    other = train(network(dropout=0.3), **KILLED, seed=1)
    assert not torch.equal(weights(other), weights(undisturbed))


def test_a_finished_folder_is_loaded_and_nothing_trained(tmp_path):
    def refuse(*_):
        raise AssertionError("trained")

    first = train(folder=tmp_path, validate=accuracy, monitor="accuracy", mode="max")
    assert_identical(
        train(nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Dropout(), nn.Linear(6, 2)), refuse,
              folder=tmp_path, validate=refuse, monitor="accuracy", mode="max"),
        first,
    )  # fmt: skip
    (scalars,) = (tmp_path / "tensorboard").iterdir()
    for name in b"epoch/train_loss", b"epoch/accuracy", b"step/gradient_norm":
        assert name in scalars.read_bytes()


def test_a_damaged_last_checkpoint_costs_steps_only(undisturbed, tmp_path):
    killed("loss", 8, tmp_path)
    newest = max(tmp_path.glob("state-*.pt"))
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.warns(UserWarning, match="is damaged"):
        resumed = train(network(dropout=0.3), folder=tmp_path, **KILLED)
    assert_identical(resumed, undisturbed)


def test_another_run_in_the_folder_is_refused(tmp_path):
    train(folder=tmp_path, key="smiles", epochs=1)
    with pytest.raises(InputError, match="another run"):
        train(folder=tmp_path, key="laughs", epochs=1)
    with pytest.raises(InputError, match=r"learning_rate 0\.05, not 0\.1"):
        train(folder=tmp_path, key="smiles", epochs=1, learning_rate=0.1)
    with pytest.raises(InputError, match="30 samples, not 20"):
        train(folder=tmp_path, key="smiles", epochs=1, samples=data(20))
    assert train(folder=tmp_path, key="smiles", epochs=1, accumulate=2).steps == 4


# ---------------------------------------------------------------------------- samples and batches


def test_an_epoch_visits_every_sample_once_in_an_order_of_its_own():
    orders = [epoch_order(50, seed=s, epoch=e) for s, e in ((0, 0), (0, 1), (1, 0))]
    assert all(order.sort().values.equal(torch.arange(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 3


def test_weighted_draws_follow_the_weights():
    weights = torch.tensor([0.0, 1.0, 2.0, 5.0])
    drawn = torch.cat([
        epoch_order(4, seed=0, epoch=epoch, sample_weights=weights) for epoch in range(3000)
    ])  # fmt: skip
    share = np.bincount(drawn.numpy(), minlength=4) / len(drawn)
    expected = np.array([0, 1, 2, 5]) / 8
    deviation = np.sqrt(expected * (1 - expected) / len(drawn))
    assert share[0] == 0
    assert (np.abs(share - expected) <= 4 * deviation).all()


def test_fit_draws_in_proportion_to_the_weights():
    seen = []

    def watched(model, batch, generator):
        seen.append(batch["y"])
        return plain_loss(model, batch, generator)

    samples = TensorData(x=torch.randn(200, 5), y=(torch.arange(200) < 10).long())
    balance = class_weights(samples.tensors["y"], ["none", "laugh"])
    train(None, watched, samples, sample_weights=balance, epochs=5, batch_size=50)
    share = float(torch.cat(seen).float().mean())
    assert abs(share - 0.5) < 4 * 0.5 / math.sqrt(1000)


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2, 5])
@pytest.mark.parametrize("n_samples", [40, 43, 47, 58])
def test_shares_make_up_the_same_batches(n_samples, accumulate, processes):
    order = epoch_order(n_samples, seed=0, epoch=0)
    for batch in range(steps_per_epoch(n_samples, 20, processes)):
        shares = [
            share
            for rank in range(processes)
            for share in step_shares(order, batch, batch_size=20, accumulate=accumulate,
                                     rank=rank, processes=processes)
        ]  # fmt: skip
        expected = order[batch * 20 : (batch + 1) * 20]
        assert (
            torch.cat([share.indices for share in shares])
            .sort()
            .values.equal(expected.sort().values)
        )
        assert sum(share.weight for share in shares) == pytest.approx(1)
        assert all(len(share.indices) for share in shares)


def test_a_last_batch_of_one_is_left_out():
    assert [steps_per_epoch(n, 8) for n in (15, 16, 17, 18)] == [2, 2, 2, 3]
    assert steps_per_epoch(3, 1) == 3


class OneByOne(Dataset):
    """A data set that knows nothing of batches."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return {"x": torch.full((2,), float(index))}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_from_any_data_set_in_order(workers):
    indices = [torch.tensor([4, 1]), torch.tensor([0, 5])]
    tensors = TensorData(x=torch.arange(6.0).unsqueeze(1).expand(6, 2))
    for dataset in (OneByOne(), tensors, Subset(tensors, range(6))):
        got = [batch["x"][:, 0].tolist() for batch in batches(dataset, indices, workers=workers)]
        assert got == [[4.0, 1.0], [0.0, 5.0]]


def test_a_transform_changes_batches_by_the_steps_generator():
    def shift(batch, generator):
        return {**batch, "x": batch["x"] + torch.rand((), generator=generator)}

    samples = TensorData(transform=shift, **data().tensors)
    moved = train(None, plain_loss, samples)
    assert_identical(moved, train(None, plain_loss, samples))
    assert not torch.equal(weights(moved), weights(train(None, plain_loss)))


# -------------------------------------------------------------------------------------- the update


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_schedules_are_those_of_torch(schedule):
    settings = config(schedule=schedule, epochs=7, step_epochs=2, step_factor=0.3)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    oracle = {
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 7 * 3),
        "step": lambda: torch.optim.lr_scheduler.StepLR(optimiser, 2 * 3, 0.3),
        "constant": lambda: torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0),
    }[schedule]()
    for step in range(7 * 3):
        assert rate_factor(settings, step, 3) == pytest.approx(oracle.get_last_lr()[0], abs=1e-9)
        optimiser.step()
        oracle.step()


def test_a_run_is_adam_with_decay_clipping_and_rates_of_its_groups():
    """Against the same run, written out with torch alone."""
    model = network()
    groups = [{"params": model[0].parameters()}, {"params": model[3].parameters(), "lr": 0.01}]
    fitted = train(model, plain_loss, parameter_groups=groups, weight_decay=0.1,
                   clip_norm=0.2, betas=(0.8, 0.99), schedule="step", step_epochs=1)  # fmt: skip

    oracle, samples = network(), data()
    optimiser = torch.optim.Adam(
        [{"params": oracle[0].parameters()}, {"params": oracle[3].parameters(), "lr": 0.01}],
        lr=0.05, weight_decay=0.1, betas=(0.8, 0.99), foreach=False,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 1, 0.5)
    for epoch in range(4):
        for rows in epoch_order(30, seed=0, epoch=epoch).split(8):
            optimiser.zero_grad()
            plain_loss(oracle, samples.__getitems__(rows.tolist()), None)["loss"].backward()
            torch.nn.utils.clip_grad_norm_(oracle.parameters(), 0.2)
            optimiser.step()
        schedule.step()
    for mine, theirs in zip(fitted.model.parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_accumulated_micro_batches_are_one_big_batch():
    whole = train(None, plain_loss)
    parts = train(None, plain_loss, accumulate=3)
    torch.testing.assert_close(weights(parts), weights(whole), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        torch.tensor(parts.history.to_numpy(float)), torch.tensor(whole.history.to_numpy(float))
    )


def test_parameters_left_out_stay_and_frozen_parts_keep_evaluation_mode():
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 6), nn.Linear(6, 2))
    model[0].requires_grad_(False)
    model[1].requires_grad_(True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fitted = train(model, plain_loss, parameter_groups=[{"params": model[2].parameters()}])
    after = fitted.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"2.weight", "2.bias"}


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_is_near_full_precision(precision):
    seen = []

    def watched(model, batch, generator):
        logits = model(batch["x"])
        seen.append(batch["x"].dtype)
        return {"loss": F.cross_entropy(logits.float(), batch["y"])}

    full, mixed = train(None, plain_loss), train(None, watched, precision=precision)
    assert set(seen) == {torch.float32}
    assert not torch.equal(weights(mixed), weights(full))
    for mine, theirs in zip(mixed.history["train_loss"], full.history["train_loss"], strict=True):
        assert mine == pytest.approx(theirs, abs=0.02)


def test_float16_skips_an_overflow_and_goes_on():
    def steep(model, batch, generator):
        return {"loss": 1e-3 * F.cross_entropy(model(batch["x"]).float() * 1e4, batch["y"])}

    fitted = train(None, steep, precision="16-mixed")
    assert torch.isfinite(weights(fitted)).all()
    start = torch.nn.utils.parameters_to_vector(network().parameters())
    assert not torch.equal(weights(fitted), start)


def test_activation_checkpointing_changes_no_gradient():
    first, second = network(dropout=0.5), network(dropout=0.5)
    assert checkpoint_activations(second, nn.Linear) == 2
    names = list(second.state_dict())
    assert_identical(train(first, plain_loss), train(second, plain_loss))
    assert names == list(first.state_dict())


# ----------------------------------------------------------------------------- best epoch, stopping


def scripted(values):
    """Scores as given, and the weights that were scored."""
    left, scored = list(values), []

    def validate(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        scored.append(torch.nn.utils.parameters_to_vector(model.parameters()).clone())
        return {"uar": left.pop(0)}

    return validate, scored


@pytest.mark.parametrize("kept", ["in memory", "in a folder"])
@pytest.mark.parametrize(("mode", "best"), [("max", 3), ("min", 2)])
def test_the_weights_of_the_best_epoch_come_back(mode, best, kept, tmp_path):
    validate, scored = scripted([0.5, 0.2, 0.9, 0.4])
    folder = tmp_path if kept == "in a folder" else None
    fitted = train(validate=validate, monitor="uar", mode=mode, folder=folder)
    assert fitted.best_epoch == best
    assert torch.equal(weights(fitted), scored[best - 1])
    assert fitted.history["uar"].tolist() == [0.5, 0.2, 0.9, 0.4]


def test_an_undefined_score_gives_way_to_any_other():
    validate, _ = scripted([math.nan, 0.1, math.nan, 0.05])
    assert train(validate=validate, monitor="uar", mode="max").best_epoch == 2


def test_training_stops_when_patience_is_over():
    validate, _ = scripted([0.5, 0.6, 0.6, 0.1, 0.9])
    fitted = train(validate=validate, monitor="uar", mode="max", patience=2, epochs=5)
    assert (len(fitted.history), fitted.best_epoch) == (4, 2)


def test_the_logged_loss_is_the_mean_over_samples():
    def constant(model, batch, generator):
        extra = batch["y"].float().mean()
        return {"loss": plain_loss(model, batch, generator)["loss"], "share": extra}

    history = train(None, constant).history
    expected = float(data().tensors["y"].float().mean())
    assert history["train_share"].tolist() == pytest.approx([expected] * 4)


# -------------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("fault", ["loss", "gradient"])
@pytest.mark.parametrize(("accumulate", "precision"), [(1, "32-true"), (2, "bf16-mixed")])
def test_divergence_stops_with_the_step_and_the_last_good_checkpoint(
    tmp_path, fault, accumulate, precision
):
    calls = 0

    def breaking(model, batch, generator):
        nonlocal calls
        calls += 1
        value = F.cross_entropy(model(batch["x"]).float(), batch["y"])
        if calls == 6 * accumulate:  # the last micro-batch of step 6
            fault_value = next(model.parameters()).sum() * 0
            value = value + (fault_value + math.nan if fault == "loss" else fault_value.sqrt())
        return {"loss": value}

    settings = {"folder": tmp_path, "checkpoint_every": 1, "accumulate": accumulate,
                "precision": precision}  # fmt: skip
    with pytest.raises(DivergenceError, match=r"step 6 \(epoch 2\): the .*nan.*is kept") as error:
        train(None, breaking, **settings)
    assert error.value.step == 6
    assert max(tmp_path.glob("checkpoint-*.json")).name == "checkpoint-00000005.json"
    # With a sound loss the run goes on from there.
    assert train(None, plain_loss, **settings).steps == 16


def test_a_weight_that_overflows_is_not_saved(tmp_path):
    model = network()
    steep = [{"params": model.parameters(), "lr": 1e39}]  # beyond float32, unlike the gradient
    with pytest.raises(DivergenceError, match=r"step 1 \(epoch 1\): a weight is no longer finite$"):
        train(model, plain_loss, folder=tmp_path, checkpoint_every=1, parameter_groups=steep)
    assert not list(tmp_path.glob("checkpoint-*"))


# -------------------------------------------------------------------------------- mixing, balance


def test_mixup_mixes_inputs_and_targets_by_one_share():
    batch = {"x": torch.eye(64), "target": torch.eye(64)}
    mixed = mixup(batch, 0.4, seeded(3))
    assert torch.equal(mixed["x"], mixed["target"])
    assert torch.allclose(mixed["x"].sum(1), torch.ones(64))
    assert len(set(mixed["x"].diagonal()[mixed["x"].diagonal() < 1].tolist())) == 1


def test_the_shares_of_mixup_follow_a_beta_distribution():
    pair = {"x": torch.tensor([[0.0], [1.0]])}
    shares = []
    for step in range(1500):
        x = mixup(pair, 0.4, seeded(step))["x"].flatten()
        if float(x[0]) > 0:  # mixed with each other, not with themselves
            shares.append(1 - float(x[0]))
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)
    assert np.var(shares) == pytest.approx(1 / (4 * 1.8), abs=0.02)


def test_fit_mixes_where_it_is_asked_to():
    seen = []

    def watched(model, batch, generator):
        seen.append(batch["y"])
        return {"loss": F.cross_entropy(model(batch["x"]), batch["y"])}

    tensors = data().tensors
    soft = TensorData(x=tensors["x"], y=F.one_hot(tensors["y"], 2).float())
    train(None, watched, soft, mixup=1.0)
    mixed = torch.cat(seen)
    assert ((mixed > 0) & (mixed < 1)).any()
    assert torch.allclose(mixed.sum(1), torch.ones(len(mixed)))
    with pytest.raises(InputError, match="y cannot be mixed"):
        train(None, plain_loss, mixup=1.0)


def test_class_weights_name_the_class_without_a_sample():
    with pytest.raises(InputError, match="no sample of class laugh"):
        class_weights(torch.tensor([0, 1, 1]), ["none", "smile", "laugh"])
    with pytest.raises(InputError, match="leave 0 to 1"):
        class_weights(torch.tensor([0, 2]), ["none", "smile"])


# --------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": data(0)}, "is empty"),
        ({"samples": data(1)}, "1 samples, fewer than the 2"),
        ({"sample_weights": torch.ones(29)}, "does not fit 30 samples"),
        ({"sample_weights": torch.full((30,), -1.0)}, "negative"),
        ({"sample_weights": torch.full((30,), math.nan)}, "NaN"),
        ({"sample_weights": torch.zeros(30)}, "all zero"),
        ({"parameter_groups": [{"params": [nn.Parameter(torch.ones(1))]}]}, "not the model's"),
        ({"model": network().requires_grad_(False)}, "no parameter to train"),
        ({"precision": "8-bit"}, "8-bit.*unknown"),
        ({"strategy": "dp"}, "'dp' is unknown"),
        ({"accelerator": "tpu"}, "'tpu' is unknown"),
        ({"schedule": "warm"}, "'warm' is unknown"),
        ({"epochs": 0}, "epochs: 0"),
        ({"learning_rate": math.nan}, "learning_rate: nan"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"accumulate": 9}, "batch_size: 8"),
        ({"monitor": "uar"}, "'uar' is not measured"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_said(changes, message):
    with pytest.raises(InputError, match=message):
        train(**changes)


def test_a_loss_that_is_no_scalar_is_said():
    with pytest.raises(InputError, match="scalar 'loss'"):
        train(None, lambda model, batch, generator: {"loss": model(batch["x"])})


def test_lines_on_standard_error_are_asked_for(capsys):
    fit(network(), loss, data(), config=config(epochs=2))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    train(epochs=2)
    assert capsys.readouterr() == ("", "")
