import dataclasses
import pickle
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn import functional

from thesislib.errors import InputError
from thesislib.models import ms_tcn
from thesislib.models.fusion import FUSION_LEVELS
from thesislib.models.lipreading_checkpoints import (
    build_ms_tcn,
    build_release,
    convert_lipreading_state,
    load_branch,
    match_colours,
    read_lipreading_checkpoint,
    time_first,
)
from thesislib.models.lsn_tcn import PRESETS, LsnTcn, preset
from thesislib.models.ms_tcn import MsTcn, MsTcnConfig

SMALL = {"width": 4, "tcn_width": 12, "blocks": 3, "classes": 3, "dropout": 0.0}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def branch(modality, **options):
    """A small model whose batch norms have seen something, so that zero is not a fixed point."""
    model = seeded(lambda: MsTcn(MsTcnConfig(modality, **{**SMALL, **options})))
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean = 0.3 * draw(module.num_features, seed=1)
            module.running_var = draw(module.num_features, seed=2).abs() + 0.5
            with torch.no_grad():
                module.bias += 0.3 * draw(module.num_features, seed=3)
    return model.eval()


def clips(modality, lengths, seed=0):
    """A padded batch, padding full of noise, and the clips by themselves."""
    longest = max(lengths)
    shape = (1, longest) if modality == "audio" else (1, longest, 24, 24)
    batch = draw(len(lengths), *shape, seed=seed)
    return batch, [batch[i : i + 1, :, :length] for i, length in enumerate(lengths)]


# Sizes


def test_presets_have_the_sizes_of_the_text_and_of_the_release():
    thesis, release = preset("thesis"), preset("release")
    assert (thesis.frames, thesis.side, thesis.samples) == (60, 96, 19_200)
    assert (release.frames, release.side, release.samples) == (29, 88, 19_456)
    for config in (thesis, release):
        for side in (config.audio, config.video):
            assert (side.frame_width, side.tcn_width, side.kernels) == (512, 768, (3, 5, 7))
            assert (side.blocks, side.classes) == (4, 3)
        assert config.video.colours == 3
    model = LsnTcn(thesis)
    layers = [m for m in model.fusion.modules() if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == [(1536, 1024), (1024, 3)]
    assert model.fusion.dropout.p == 0.5
    model = LsnTcn(release)
    assert (model.fusion.hidden, model.fusion.head.in_features) == (None, 1536)
    assert model.audio.tcn is None


@pytest.mark.parametrize(("name", "steps"), [("thesis", 30), ("release", 29), ("small", 30)])
def test_the_audio_has_25_steps_a_second(name, steps):
    config = dataclasses.replace(preset(name).audio, width=2, tcn_width=6)
    features = MsTcn(config).eval().embed(torch.zeros(1, 1, preset(name).samples))
    assert features.steps.shape == (1, steps, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "touch"}, "modality"),
        ({"colours": 2}, "colours"),
        ({"kernels": (3, 4)}, "odd"),
        ({"tcn_width": 16}, "shared"),
        ({"dropout": 1.0}, "dropout"),
        ({"layout": "theirs"}, "layout"),
        ({"blocks": 0}, "at least 1"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MsTcnConfig(**{"modality": "video", **options})


def test_audio_visual_configurations_must_fit_together():
    config = preset("tiny")
    narrow = dataclasses.replace(config.audio, tcn_width=12)
    for change, message in (
        ({"audio": config.video}, "modalities"),
        ({"fusion": "magic"}, "fusion"),
        ({"shared_tcn": True, "audio": narrow}, "equal sizes"),
        ({"audio": dataclasses.replace(config.audio, classes=4)}, "same classes"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(config, **change)
    with pytest.raises(ValueError, match="preset"):
        preset("huge")


# Padding


@pytest.mark.parametrize("activation", ["relu", "prelu", "swish"])
@pytest.mark.parametrize(
    ("modality", "lengths"), [("video", [9, 6, 1]), ("audio", [6400, 5000, 641])]
)
def test_padding_does_not_change_a_clips_result(modality, lengths, activation):
    model = branch(modality, activation=activation).double()
    batch, alone = clips(modality, lengths)
    batch, alone = batch.double(), [clip.double() for clip in alone]
    with torch.no_grad():
        together = model.embed(batch, lengths)
        for row, clip in enumerate(alone):
            single = model.embed(clip)
            steps = single.steps.shape[1]
            assert together.mask[row].sum() == steps
            assert together.mask[row, :steps].all()
            torch.testing.assert_close(together.frames[row, :steps], single.frames[0])
            torch.testing.assert_close(together.steps[row, :steps], single.steps[0])
            torch.testing.assert_close(together.embedding[row], single.embedding[0])
            assert (together.steps[row, steps:] == 0).all()


@settings(max_examples=25, deadline=None)
@given(
    length=st.integers(680, 4000),
    padding=st.integers(0, 900),
    pool=st.sampled_from([(20, 0), (21, 1)]),
)
def test_padding_does_not_matter_at_any_length_of_audio(length, padding, pool):
    model = branch("audio", pool=pool, blocks=1).double()
    long = draw(1, 1, length + padding, seed=length).double()
    with torch.no_grad():
        torch.testing.assert_close(model(long, [length]), model(long[:, :, :length]))


@pytest.mark.parametrize(("modality", "length"), [("video", 5), ("audio", 5000)])
def test_training_ignores_padding_too(modality, length):
    """One padded clip: batch statistics, running statistics and gradients are those without."""
    padded, plain = (branch(modality).double().train() for _ in range(2))
    batch, _ = clips(modality, [length + 1500 if modality == "audio" else length + 4])
    batch = batch.double().requires_grad_()
    padded(batch, [length]).square().sum().backward()
    plain(batch.detach()[:, :, :length]).square().sum().backward()
    assert batch.grad[:, :, length:].abs().max() == 0
    assert batch.grad[:, :, :length].abs().max() > 0
    for (name, ours), (_, theirs) in zip(
        padded.state_dict().items(), plain.state_dict().items(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, msg=name)
    for ours, theirs in zip(padded.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-9)


def test_full_clips_give_the_same_with_and_without_lengths_and_in_either_layout():
    for modality, length in (("video", 7), ("audio", 2560)):
        model = branch(modality)
        official = branch(modality, layout="official")
        official.load_state_dict(model.state_dict())
        batch, _ = clips(modality, [length, length])
        torch.testing.assert_close(model(batch, [length, length]), model(batch))
        torch.testing.assert_close(official(batch), model(batch))


def test_the_official_layout_lets_padding_leak():
    """So the masks of the default layout are what keeps it out."""
    model = branch("video", layout="official")
    batch, alone = clips("video", [9, 4])
    assert not torch.allclose(model(batch, [9, 4])[1:], model(alone[1]), atol=1e-3)


# Odd input


@pytest.mark.parametrize("training", [True, False])
def test_a_silent_and_black_clip_gives_finite_numbers_and_gradients(training):
    """In training beside another clip: batch norm cannot learn from a batch that never varies."""
    model = seeded(lambda: LsnTcn(preset("tiny"))).train(training)
    voice, mouth = draw(2, 1, 10_240), draw(2, 3, 12, 32, 32)
    voice[0], mouth[0] = 0, 0
    logits = model(voice, mouth)
    logits.square().sum().backward()
    assert torch.isfinite(logits).all()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize(
    ("modality", "shape", "lengths", "message"),
    [
        ("audio", (2, 1, 639), None, "clip 0: 639 samples of 639, at least 640"),
        ("audio", (2, 1, 1280), [1280, 600], "clip 1: 600 samples"),
        ("audio", (2, 1, 1280), [1281, 640], "clip 0: 1281 samples of 1280"),
        ("audio", (2, 1280), None, r"shape \(2, 1280\)"),
        ("audio", (2, 1, 1280), [1280], "one length a clip"),
        ("video", (2, 1, 4, 24, 24), [4, 0], "clip 1: 0 frames"),
        ("video", (2, 3, 4, 24, 24), None, r"give \(B, 1, T, H, W\)"),
    ],
)
def test_bad_batches_are_named(modality, shape, lengths, message):
    with pytest.raises(InputError, match=message):
        branch(modality)(torch.zeros(shape), lengths)


# The audio-visual model


@pytest.mark.parametrize("name", sorted(FUSION_LEVELS))
def test_every_fusion_runs_end_to_end_and_every_used_weight_learns(name):
    config = dataclasses.replace(preset("tiny"), fusion=name)
    model = seeded(lambda: LsnTcn(config)).train()
    voice, mouth = draw(3, 1, 10_240), draw(3, 3, 12, 32, 32)
    logits = model(voice, mouth, [10_240, 8000, 5000], [12, 9, 5])
    functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    idle = {".".join(n.split(".")[:2]) for n, p in model.named_parameters() if p.grad is None}
    heads, tcns = {"audio.head", "video.head"}, {"audio.tcn", "video.tcn"}
    if name in ("vote", "maximum", "average"):
        assert idle == set()
    else:
        assert idle == (heads | tcns if name == "early" else heads)


def test_one_modality_alone_is_answered_by_its_branch():
    model = seeded(lambda: LsnTcn(preset("tiny"))).eval()
    voice, mouth = draw(2, 1, 10_240), draw(2, 3, 12, 32, 32)
    torch.testing.assert_close(model(voice, None), model.audio(voice))
    torch.testing.assert_close(model(None, mouth), model.video(mouth))
    cached = model.branches(voice, mouth)
    torch.testing.assert_close(model.fusion(*cached), model(voice, mouth))
    with pytest.raises(ValueError, match="both modalities"):
        model(None, None)


def test_the_release_shares_its_temporal_blocks():
    config = dataclasses.replace(preset("tiny"), shared_tcn=True, fusion="linear")
    model = seeded(lambda: LsnTcn(config))
    voice, mouth = draw(2, 1, 10_240), draw(2, 3, 12, 32, 32)
    assert not [name for name in model.state_dict() if name.startswith("audio.tcn")]
    before = model.eval()(voice, None)
    with torch.no_grad():
        model.video.tcn.blocks[0].shortcut.weight.mul_(2)
    assert not torch.allclose(model(voice, None), before)
    assert torch.isfinite(model(voice, mouth)).all()
    with pytest.raises(ValueError, match="temporal blocks"):
        model.audio(voice)


def test_weights_survive_safetensors_and_channels_last(tmp_path):
    model = seeded(lambda: LsnTcn(preset("tiny"))).eval()
    voice, mouth = draw(2, 1, 10_240), draw(2, 3, 12, 32, 32)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other = LsnTcn(preset("tiny")).eval()
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    torch.testing.assert_close(other(voice, mouth), model(voice, mouth), rtol=0, atol=0)
    strided = mouth.contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(model(voice, strided), model(voice, mouth))


@pytest.mark.parametrize("activation", ["relu", "prelu", "swish"])
def test_bfloat16_trains_close_to_float32(activation):
    model = branch("video", activation=activation)
    mouth, _ = clips("video", [8, 8])
    exact = model(mouth, [8, 5])
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(mouth, [8, 5])
        model.train()(mouth, [8, 5]).float().sum().backward()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 7), (2, 5, 4, 4), (2, 5, 3, 4, 4)])
def test_prelu_and_its_gradients_are_torchs(shape):
    ours, theirs = ms_tcn.activation("prelu", 5).double(), torch.nn.PReLU(5).double()
    slopes = draw(5).double()
    x = draw(*shape).double()
    x.flatten()[0] = 0.0
    for training in (True, False):
        results = []
        for layer in (ours.train(training), theirs):
            layer.load_state_dict({"weight": slopes})
            layer.weight.grad = None
            given = x.clone().requires_grad_()
            y = layer(given)
            (y * torch.arange(y.numel()).view_as(y)).sum().backward()
            results.append((y, given.grad, layer.weight.grad))
        torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("prelu", 0.3), ("prelu", -0.3)])
def test_pooling_before_the_activation_changes_nothing(activation, slope, monkeypatch):
    """Where it would, as with a slope below zero, the activation goes first."""
    model = branch("video", activation=activation).double().train()
    if activation == "prelu":
        torch.nn.init.constant_(model.encoder.activation.weight, slope)
    assert ms_tcn.rises(model.encoder.activation) == (slope >= 0)
    mouth = clips("video", [6])[0].double()
    results = []
    for first in (True, False):
        if not first:
            monkeypatch.setattr(ms_tcn, "rises", lambda layer: False)
        model.zero_grad()
        y = model(mouth)
        y.square().sum().backward()
        results.append([y, *(p.grad for p in model.parameters())])
    torch.testing.assert_close(results[0], results[1])


def test_evaluation_computes_no_position_that_is_chopped(monkeypatch):
    """In evaluation no convolution of the temporal blocks is wider than the clip."""
    widths = []
    real = functional.conv1d

    def spy(x, *args, **kwargs):
        y = real(x, *args, **kwargs)
        widths.append(y.shape[2])
        return y

    model, (mouth, _) = branch("video"), clips("video", [6, 6])
    for module in (torch.nn.modules.conv.F, ms_tcn.F):
        monkeypatch.setattr(module, "conv1d", spy)
    model(mouth)
    assert widths == [6] * (3 * 7)
    widths.clear()
    model.train()(mouth)
    assert max(widths) == 6 + 6 * 4  # kernel 7, dilation 4: its margins enter batch norm


# Published checkpoints


def published(model, *, outer_head=False):
    """A branch's state under the published names, spelt out independently of the reader."""
    state, video = {}, model.config.modality == "video"
    front = {"conv": "0", "norm": "1", "activation": "2"}
    voice = {"conv": "conv1", "norm": "bn1", "activation": "relu"}
    parts = {"norm1": "bn1", "norm2": "bn2", "activation1": "relu1", "activation2": "relu2"}
    parts |= {"shortcut": "downsample.0", "shortcut_norm": "downsample.1"}
    temporal = {"norm": "batchnorm", "activation": "non_lin"}
    for name, value in model.state_dict().items():
        area, *rest, leaf = name.split(".")
        if area == "head":
            new = f"tcn.tcn_output.{leaf}"
        elif area == "encoder" and rest[0] == "resnet":
            stage, block = divmod(int(rest[1]), 2)
            new = f"trunk.layer{stage + 1}.{block}.{parts.get(rest[2], rest[2])}.{leaf}"
        elif area == "encoder":
            new = f"frontend3D.{front[rest[0]]}" if video else f"trunk.{voice[rest[0]]}"
            new += f".{leaf}"
        else:
            _, block, *where = rest
            if where[0] in ("first", "second"):
                pair = ("first", "second").index(where[0])
                inner = f"cbcr{pair}_{where[1]}.{temporal.get(where[2], where[2])}"
            else:
                inner = {"shortcut": "downsample", "activation": "relu_final"}[where[0]]
            new = f"tcn.mb_ms_tcn.network.{block}.{inner}.{leaf}"
        state[new] = value
    if outer_head:
        for leaf in ("weight", "bias"):
            state[f"tcn_output.{leaf}"] = state[f"tcn.tcn_output.{leaf}"]
            state[f"tcn.tcn_output.{leaf}"] = torch.zeros(1)
    return state


@pytest.mark.parametrize(("activation", "keys"), [("relu", 298), ("swish", 298), ("prelu", 343)])
@pytest.mark.parametrize("modality", ["video", "audio"])
def test_every_published_key_is_read_and_none_is_left(modality, activation, keys):
    source = branch(modality, activation=activation, blocks=4)
    checkpoint = convert_lipreading_state(published(source))
    assert (checkpoint.keys, checkpoint.modality, checkpoint.family) == (
        keys, modality, "lipreading",
    )  # fmt: skip
    assert checkpoint.prelu is (activation == "prelu")
    target = MsTcn(source.config)
    load_branch(target, checkpoint)
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


def test_three_class_checkpoints_use_the_outer_head():
    source = branch("audio", activation="prelu", blocks=4)
    checkpoint = convert_lipreading_state(published(source, outer_head=True))
    assert (checkpoint.family, checkpoint.keys, checkpoint.classes) == ("three-class", 345, 3)
    assert len(checkpoint.dropped) == 2
    assert torch.equal(checkpoint.tensors["head.weight"], source.head.weight)


@pytest.mark.parametrize("suffix", [".pth.tar", ".safetensors"])
def test_files_wrapped_prefixed_and_stored_time_last(tmp_path, suffix):
    source = branch("video")
    state = {f"module.{name}": value for name, value in published(source).items()}
    kernel = "module.frontend3D.0.weight"
    state[kernel] = state[kernel].permute(0, 1, 3, 4, 2).contiguous()
    assert state[kernel].shape[2:] == (7, 7, 5)
    path = tmp_path / f"model{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"model_state_dict": state, "epoch_idx": 3, "optimizer_state_dict": {}}, path)
    target = MsTcn(source.config).eval()
    load_branch(target, read_lipreading_checkpoint(path))
    mouth, _ = clips("video", [5])
    torch.testing.assert_close(target(mouth), source(mouth), rtol=0, atol=0)


def test_grey_weights_see_a_grey_picture_the_same_in_colour():
    grey = branch("video")
    colour = MsTcn(dataclasses.replace(grey.config, colours=3)).eval()
    load_branch(colour, convert_lipreading_state(published(grey)))
    mouth, _ = clips("video", [5])
    torch.testing.assert_close(colour(mouth.expand(-1, 3, -1, -1, -1)), grey(mouth))
    rgb = draw(2, 3, 5, 7, 7)
    assert torch.equal(match_colours(rgb, 3), rgb)
    torch.testing.assert_close(match_colours(match_colours(rgb[:, :1], 3), 1), rgb[:, :1])


def test_other_classes_leave_the_head_out():
    source = branch("audio", classes=500)
    target = branch("audio", classes=3)
    head = target.head.weight.clone()
    load_branch(target, convert_lipreading_state(published(source)), ("encoder", "tcn"))
    assert torch.equal(target.head.weight, head)
    assert torch.equal(target.tcn.blocks[2].shortcut.weight, source.tcn.blocks[2].shortcut.weight)


def test_checkpoints_that_do_not_fit_name_file_and_keys_and_load_nothing(tmp_path):
    state = published(branch("audio"))
    short = {name: value for name, value in state.items() if "network.2.cbcr1_0" not in name}
    wide = published(branch("audio", tcn_width=24))
    cases = [
        (published(branch("video")), r"is a checkpoint for video, the model is for audio"),
        (published(branch("audio", activation="prelu")), r"has PReLU weights"),
        (short, r"lacks tcn\.blocks\.2\.second\.0\.conv\.weight"),
        (wide, r"tcn\.blocks\.0\.first\.0\.conv\.weight \(8, 32, 3\) for \(4, 32, 3\)"),
        (published(branch("audio", blocks=4)), r"has too many tcn\.blocks\.3"),
    ]
    for tensors, message in cases:
        path = tmp_path / "theirs.pth"
        torch.save(tensors, path)
        target = branch("audio")
        before = {name: value.clone() for name, value in target.state_dict().items()}
        with pytest.raises(InputError, match=r"theirs\.pth.*" + message):
            load_branch(target, read_lipreading_checkpoint(path))
        assert all(torch.equal(value, before[n]) for n, value in target.state_dict().items())


class Harmful:
    def __reduce__(self):
        return print, ("code in a checkpoint ran",)


def test_files_that_are_no_checkpoint_are_refused(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    resnet = {"layer1.0.conv1.weight": torch.zeros(1), "fc.weight": torch.zeros(1)}
    contents = [
        (lambda: torch.save(resnet, path), r"unknown keys layer1\.0\.conv1\.weight, fc\.weight"),
        (lambda: torch.save({"trunk.bn1.weight": torch.zeros(1)}, path), "no key of a head"),
        (lambda: torch.save([1, 2], path), "holds no weights by name"),
        (lambda: torch.save({"a": 1}, path), "other than tensors"),
        (lambda: path.write_bytes(b"not a checkpoint"), "cannot be opened"),
        (lambda: path.write_bytes(b""), "cannot be opened"),
        (lambda: path.write_bytes(pickle.dumps({"a": Harmful()})), "cannot be opened"),
        (path.unlink, "is not there"),
    ]
    for prepare, message in contents:
        prepare()
        with pytest.raises(InputError, match=r"weights\.pth.*" + message):
            read_lipreading_checkpoint(path)
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(InputError, match="cannot be opened"):
        read_lipreading_checkpoint(tmp_path / "cut.safetensors")
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match="video kernel"):
        time_first(torch.zeros(4, 3, 3, 3, 3))


@pytest.fixture(scope="module")
def release_state():
    """The release's 482 keys from our model of it: one head, and the inherited one, unused."""
    model = seeded(lambda: LsnTcn(preset("release", "official"))).eval()
    state = {}
    for modality in ("audio", "video"):
        side = getattr(model, modality)
        for name, value in published(side).items():
            if not name.startswith("tcn.tcn_output"):
                state[re.sub(r"^trunk\.", f"{modality}_trunk.", name)] = value
    kernel = "frontend3D.0.weight"
    state[kernel] = state[kernel].permute(0, 1, 3, 4, 2).contiguous()
    state |= {"tcn.tcn_output.weight": torch.zeros(3, 768), "tcn.tcn_output.bias": torch.zeros(3)}
    state |= {f"tcn_output.{n}": v for n, v in model.fusion.head.state_dict().items()}
    return model, state


def test_the_release_is_read(release_state):
    model, state = release_state
    checkpoint = convert_lipreading_state(state)
    assert (checkpoint.keys, checkpoint.family, checkpoint.colours) == (482, "release", 3)
    assert len(checkpoint.dropped) == 2
    built = build_release(checkpoint).eval()
    voice, mouth = draw(1, 1, 1300), draw(1, 3, 3, 32, 32)
    torch.testing.assert_close(built(voice, mouth), model(voice, mouth), rtol=0, atol=0)
    with pytest.raises(InputError, match="does not fit the model"):
        build_release(checkpoint, "video")
    with pytest.raises(InputError, match="build_release"):
        build_ms_tcn(checkpoint)
    with pytest.raises(InputError, match="not an LSN-TCN release"):
        build_release(dataclasses.replace(checkpoint, family="lipreading"))


def test_the_release_mixes_up_frames_and_the_default_layout_does_not(release_state):
    shape = (1, 29, 64, 22, 22)
    frame = torch.arange(29).view(1, 29, 1, 1, 1).expand(shape)
    mixed = ms_tcn._mix_up_axes(frame)
    in_their_frame = (mixed == frame.flatten(0, 1)).float().mean().item()
    assert in_their_frame == pytest.approx(1 / 29, rel=0.01)  # no better than by chance
    assert torch.equal(mixed.flatten().sort().values, frame.flatten().sort().values)

    _, state = release_state
    mouth = draw(1, 3, 9, 32, 32)
    changed = mouth.clone()
    changed[:, :, 8] += 1.0  # the front end looks two frames back: only the last three may see it
    for layout, reach in (("official", 9), ("default", 3)):
        model = build_release(convert_lipreading_state(state), layout=layout).eval().video
        with torch.no_grad():
            difference = model.embed(changed).frames - model.embed(mouth).frames
        assert int((difference.abs().amax(dim=(0, 2)) > 1e-6).sum()) == reach


def test_all_presets_build_and_answer():
    for name in ("tiny", "small"):
        config = PRESETS[name]
        model = seeded(lambda config=config: LsnTcn(config)).eval()
        voice = draw(1, 1, config.samples)
        mouth = draw(1, 3, config.frames, config.side, config.side)
        assert model(voice, mouth).shape == (1, 3)
