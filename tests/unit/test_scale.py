from dataclasses import replace

import pytest
import torch

from thesislib.errors import InputError
from thesislib.learning import scale
from thesislib.learning.processes import checkpoint_activations
from thesislib.learning.scale import (
    activation_bytes,
    counted_flops,
    dry_run,
    main,
    report,
    step_flops,
)
from thesislib.models import transformer
from thesislib.models.masked_autoencoder import (
    CAV_MAE,
    SOCIAL_MAE,
    MaskedAutoencoder,
    MaskedAutoencoderConfig,
)
from thesislib.models.transformer import Block

SMALL = MaskedAutoencoderConfig(
    image_size=64, n_frames=4, n_mels=64, audio_frames=256, width=96, n_heads=4,
    modality_depth=3, joint_depth=2, decoder_width=64, decoder_depth=2, decoder_heads=4,
)  # fmt: skip
ONE_FRAME = replace(SMALL, n_frames=1, tubelet_frames=1, joint_depth=1, mask_ratio=0.5)


@pytest.mark.parametrize("config", [SMALL, ONE_FRAME, replace(SMALL, contrastive_weight=0.0)])
@pytest.mark.parametrize("batch_size", [2, 5])
def test_operations_are_those_that_torch_counts(config, batch_size):
    assert step_flops(config, batch_size) == counted_flops(config, batch_size)


def kept_bytes(config, clips, *, autocast=False, checkpointed=False):
    """Bytes that autograd keeps for the backward pass, each storage once, without weights."""
    model = MaskedAutoencoder(config, torch.Generator().manual_seed(0))
    if checkpointed:
        checkpoint_activations(model, Block)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    generator = torch.Generator().manual_seed(1)
    audio = torch.randn(clips, config.audio_frames, config.n_mels, generator=generator)
    side = config.image_size
    video = torch.randn(clips, 3, config.n_frames, side, side, generator=generator)
    storages = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
    ):
        # The output stays alive, so that no storage is used a second time.
        output = model(audio, video, generator=generator)
    assert output.loss.requires_grad
    linear = {m for m in model.modules() if isinstance(m, torch.nn.Linear)}
    # Patches need no gradient, so that the weights of their embeddings are not kept.
    linear -= {model.encoder.audio.embed, model.encoder.video.embed}
    copies = sum(2 * m.weight.numel() for m in linear) if autocast else 0
    return sum(storages.values()) - copies


@pytest.mark.parametrize("config", [SMALL, ONE_FRAME])
def test_memory_is_what_autograd_is_seen_to_keep(config):
    for clips in (2, 6):
        measured = kept_bytes(config, clips)
        assert activation_bytes(config, clips, "32-true") == pytest.approx(measured, rel=0.02)


def test_memory_in_mixed_precision_is_what_autograd_is_seen_to_keep(monkeypatch):
    # A GPU has the fused kernel at every length; on a CPU bfloat16 takes others.
    monkeypatch.setattr(transformer, "kernel_for", lambda key: "fused")
    measured = kept_bytes(SMALL, 4, autocast=True)
    assert activation_bytes(SMALL, 4, "bf16-mixed") == pytest.approx(measured, rel=0.03)
    assert measured < 0.75 * kept_bytes(SMALL, 4)


def test_memory_with_checkpoints_is_what_is_kept_and_one_layer():
    measured = kept_bytes(SMALL, 4, checkpointed=True)
    formula = activation_bytes(SMALL, 4, "32-true", checkpointed=True)
    layer = max(
        stack.layer_bytes(4, 4) for stack in scale._stacks(SMALL) if not stack.joint
    )  # computed again during the backward pass, so not seen here
    assert formula - 4 * layer == pytest.approx(measured, rel=0.03)
    assert formula < 0.7 * activation_bytes(SMALL, 4, "32-true")


def test_sizes_of_the_thesis():
    run = dry_run()
    assert run.parameters == pytest.approx(192e6, rel=0.01)
    assert run.optimiser == 2 * run.gradients == 8 * run.trained
    assert run.weights == 6 * run.parameters
    assert run.memory == sum(
        getattr(run, name) for name in ("weights", "gradients", "optimiser", "activations", "data")
    )
    assert run.step_flops == pytest.approx(36 * run.clip_flops)
    one = dry_run(CAV_MAE)
    assert one.clip_flops < run.clip_flops
    assert one.activations < run.activations


def test_what_saves_memory_does_so():
    plain = dry_run(devices=4)
    sharded = dry_run(devices=4, sharded=True)
    assert sharded.optimiser == plain.optimiser // 4
    assert sharded.activations == plain.activations
    assert dry_run(devices=4, accumulate=3).activations * 3 == plain.activations
    spared = dry_run(devices=4, checkpointed=True)
    assert spared.activations < 0.3 * plain.activations
    assert 1.2 < spared.clip_flops / plain.clip_flops < 4 / 3
    assert dry_run(devices=4, precision="32-true").activations > plain.activations


def test_hours_follow_from_operations():
    run = dry_run(hours=(10.0,), epochs=2, peak_tflops=100.0, utilisation=0.5)
    clips = 10 * scale.VOXCELEB2_UTTERANCES / scale.VOXCELEB2_HOURS
    assert run.hours[10.0] == pytest.approx(2 * clips * run.clip_flops / 5e13 / 3600)
    whole = dry_run()
    assert whole.hours[2442] / whole.hours[70] == pytest.approx(2442 / 70)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"precision": "8"}, "precision: '8' is unknown"),
        ({"utilisation": 0.0}, "utilisation"),
        ({"utilisation": 40.0}, "utilisation"),
        ({"peak_tflops": 0.0}, "peak_tflops"),
        ({"batch_size": 1}, "batch_size: 1 clips"),
        ({"batch_size": 7, "devices": 4}, "batch_size: 7 clips do not give each of 4"),
    ],
)
def test_impossible_runs_are_refused(options, field):
    with pytest.raises(InputError, match=field):
        dry_run(**options)


def test_the_command_prints_both_models(capsys):
    main(["--batch-size", "64", "--devices", "8", "--sharded"])
    said = capsys.readouterr().out
    assert "Social-MAE, batch 64, 8 GPU" in said
    assert "CAV-MAE" in said
    for line in report(dry_run(SOCIAL_MAE, batch_size=64, devices=8, sharded=True)):
        assert line in said
    with pytest.raises(SystemExit) as stopped:
        main(["--precision", "8"])
    assert stopped.value.code == 2
    assert "precision" in capsys.readouterr().err
