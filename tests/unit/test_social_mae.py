"""Chapter 7 in parts; the whole of it runs in the notebook and at the smallest size below."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from thesislib.config import SocialMaeConfig, for_profile
from thesislib.corpora import shards
from thesislib.corpora.clip import Clip
from thesislib.corpora.shards import ShardSettings, write_shards
from thesislib.corpora.splits import PARTS
from thesislib.errors import InputError
from thesislib.evaluation.metrics import measure
from thesislib.learning import social_mae, social_mae_pretraining, social_mae_training
from thesislib.learning.social_mae import Data, predict
from thesislib.learning.social_mae_baselines import AUDIO_ONLY, functionals_of, make_baseline
from thesislib.learning.social_mae_data import View, Windows, ingest
from thesislib.learning.social_mae_inputs import front_end
from thesislib.learning.social_mae_pretraining import model_config, pretrain, pretrain_on
from thesislib.learning.social_mae_reconstruction import (
    draw,
    nearest_visible,
    original_colours,
    reconstruct,
)
from thesislib.learning.social_mae_regions import NAMES, _filmed, _plans, clip_regions, motion_of
from thesislib.learning.social_mae_source import of_shards
from thesislib.learning.social_mae_splits import fold_splits, make_splits
from thesislib.learning.social_mae_tasks import class_names, targets
from thesislib.learning.social_mae_training import train_task
from thesislib.learning.training import fit
from thesislib.models.masked_autoencoder import CAV_MAE, SOCIAL_MAE
from thesislib.models.transformer import Block
from thesislib.signals.audio_visual import Window

SMALLEST = {
    "image_size": 32, "audio_frames": 32, "candidates": 8, "width": 32, "depth": 1,
    "decoder_width": 32, "pretraining_epochs": 2, "pretraining_batch": 8, "epochs": 2,
}  # fmt: skip
EMOTIONS = ("anger", "fear")
MANIFESTS = Path(__file__).parents[2] / "data_manifests"


@pytest.fixture(autouse=True)
def no_group_is_left():
    """A run with a strategy leaves its process group, which others would inherit."""
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def config_of(**given):
    return for_profile(SocialMaeConfig, "tiny", **{**SMALLEST, **given})


def windows_of(n=24, *, video=True, corpus="crema-d", seed=0):
    """Two emotions, both of each person: a low tone in grey and a hiss in red."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.arange(n) % 2
    time = torch.arange(32 * 160) / 16000
    tones = 0.3 * torch.sin(2 * torch.pi * 300 * time) * (1 - kinds[:, None])
    hiss = (0.001 + 0.3 * kinds[:, None]) * torch.randn(n, len(time), generator=generator)
    frames = torch.randint(90, 110, (n, 8, 32, 32, 3), generator=generator, dtype=torch.uint8)
    frames[kinds == 1, ..., 0] += 100
    clips = [
        Clip(
            clip_id=f"c{i}", corpus=corpus, speaker=f"p{i // 2}", sex="female",
            duration_s=0.32, labels={"emotion": EMOTIONS[i % 2], "expression": "smile"},
            scores=dict.fromkeys(class_names("first-impressions", []), 0.2 + 0.5 * (i % 2)),
        )
        for i in range(n)
    ]  # fmt: skip
    return Windows(
        clips=clips, waveform=tones + hiss,
        length=torch.full((n,), len(time)), frames=frames if video else None, failures=[],
    )  # fmt: skip


def data_of(windows, corpus="crema-d"):
    names = class_names(corpus, windows.clips)

    class Stand:
        name = corpus

    return Data(Stand(), windows, names, targets(corpus, windows.clips, names))


# Inputs and targets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modes", "audio audio"), ("modes", ""), ("modes", "sight"), ("pretraining", "imagenet"),
        ("n_frames", 9), ("model", "resnet"), ("batch_size", 1), ("rates", "best"),
        ("learning_rate", 0.0), ("labelled_speakers", -1), ("strategy", "dp"), ("devices", 0),
        ("accumulate", 0), ("clip_norm", -1.0), ("checkpoint_every", -1), ("precision", "16-true"),
        ("head_width", 0),
    ],
)  # fmt: skip
def test_parameters_that_cannot_be_are_refused_by_name(name, value):
    with pytest.raises(InputError, match=f"parameter {name}"):
        config_of(**{name: value})


def test_parameters_that_do_not_go_together_are_refused_by_name():
    for named, given in {
        "precision": {"strategy": "fsdp", "precision": "16-mixed"},
        "devices": {"devices": 2, "pretraining": "none"},
        "weights": {"weights": "social-mae.pth", "pretraining": "none"},
        "pretraining_batch": {"devices": 2, "accumulate": 3, "pretraining_batch": 8},
    }.items():
        with pytest.raises(InputError, match=f"parameter {named}"):
            config_of(**given)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"image_size": 40}, "image_size, patch_size"),
        ({"audio_frames": 40}, "audio_frames, patch_size"),
        ({"n_frames": 3}, "n_frames, tubelet_frames"),
        ({"width": 40, "head_width": 16}, None),
        ({"width": 65}, "width, n_heads"),
    ],
)
def test_sizes_that_do_not_divide_are_refused_by_name(given, named):
    config = config_of(**given)
    if named is None:
        assert model_config(config).n_heads == 2
        return
    with pytest.raises(InputError, match=named):
        model_config(config)


def test_one_frame_has_no_tubelets_and_several_have_two():
    assert model_config(config_of(n_frames=1)).tubelet_frames == 1
    assert model_config(config_of()).video_grid == (4, 2, 2)


@pytest.mark.parametrize(("n_frames", "expected"), [(8, SOCIAL_MAE), (1, CAV_MAE)])
def test_the_paper_profile_is_the_model_of_the_thesis(n_frames, expected):
    assert model_config(for_profile(SocialMaeConfig, "paper", n_frames=n_frames)) == expected


@pytest.mark.parametrize("profile", ["tiny", "small"])
def test_decoders_of_the_other_profiles_have_two_heads(profile):
    assert model_config(for_profile(SocialMaeConfig, profile)).decoder_heads == 2


def test_targets_follow_the_labels_and_a_missing_one_is_refused():
    clips = windows_of(4).clips
    assert targets("crema-d", clips, ["anger", "fear"]).tolist() == [0, 1, 0, 1]
    assert targets("ndc-me", clips, class_names("ndc-me", clips)).tolist() == [1] * 4
    traits = targets("first-impressions", clips, class_names("first-impressions", clips))
    assert traits.shape == (4, 5)
    assert traits[1].tolist() == pytest.approx([0.7] * 5)
    bare = [replace(clip, labels={}, scores={}) for clip in clips]
    for corpus in ("crema-d", "first-impressions"):
        with pytest.raises(InputError, match=corpus):
            targets(corpus, bare, ["anger", "openness"])


def test_no_clip_to_decode_is_refused():
    with pytest.raises(InputError, match="windows"):
        ingest([], View(audio_frames=32, candidates=8, size=32))


# Splits ------------------------------------------------------------------------------------------


def test_folds_test_everybody_once_and_never_the_people_of_training():
    clips = windows_of(40).clips
    splits = fold_splits(clips, 5, seed=3)
    assert sorted(np.concatenate([s.test for s in splits]).tolist()) == list(range(40))
    for split in splits:
        parts = [{clips[i].speaker for i in getattr(split, name)} for name in PARTS]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts))
    assert len({split.sha256 for split in splits}) == 5
    with pytest.raises(InputError, match="folds"):
        fold_splits(clips, 2, seed=0)


def test_few_shots_keep_the_test_part_and_nest():
    clips = windows_of(40).clips
    (whole,) = make_splits(config_of(), clips)
    (two,) = make_splits(config_of(labelled_speakers=2), clips)
    (four,) = make_splits(config_of(labelled_speakers=4), clips)
    assert whole.test.tolist() == two.test.tolist() == four.test.tolist()
    people = [{clips[i].speaker for i in split.train} for split in (two, four, whole)]
    assert [len(p) for p in people[:2]] == [2, 4]
    assert people[0] < people[1] < people[2]


def test_too_few_people_are_refused():
    with pytest.raises(InputError, match="groups of people"):
        make_splits(config_of(), windows_of(4).clips)


# Copying -----------------------------------------------------------------------------------------


def test_copying_prefers_the_same_place_at_the_nearest_time():
    generator = torch.Generator().manual_seed(0)
    grid = (4, 3, 3)
    hidden = torch.rand(8, 36, generator=generator) < 0.75
    hidden[:, 0] = False
    near = nearest_visible(hidden, grid, time_axis=0)
    places = np.stack(np.unravel_index(np.arange(36), grid), axis=1)
    for row in range(8):
        visible = np.flatnonzero(~hidden[row].numpy())
        for patch in range(36):
            chosen = int(near[row, patch])
            assert not hidden[row, chosen]
            if not hidden[row, patch]:
                assert chosen == patch
            away = abs(places[visible] - places[patch])
            best = min(map(tuple, np.stack([away[:, 1:].sum(1), away[:, 0]], axis=1)))
            own = abs(places[chosen] - places[patch])
            assert (own[1:].sum(), own[0]) == best


# Training ----------------------------------------------------------------------------------------


def test_pretraining_lowers_the_loss_is_cached_and_draws_what_it_hides(project):
    config = config_of(pretraining_epochs=12, pretraining_rate=3e-3)
    windows = windows_of()
    first = pretrain_on(config, model_config(config), windows)
    assert first.history["loss"].min() < 0.7 * first.history["loss"].iloc[0]
    kept = {path: path.stat().st_mtime_ns for path in project.rglob("*.safetensors")}
    again = pretrain_on(config, model_config(config), windows)
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*.safetensors")} == kept
    for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
    found = reconstruct(
        first.model, windows, torch.arange(6), front_end(config), seed=0,
        regions=torch.randint(0, 2, (6, 8, 32, 32)), names=("left", "right"),
    )  # fmt: skip
    mae = found["mae"].set_index(["clip_id", "modality", "region"])
    whole, parts = (
        mae.loc[(slice(None), "video", names), ["squared_error", "n"]].sum()
        for names in (["all"], ["left", "right"])
    )
    assert whole.to_numpy() == pytest.approx(parts.to_numpy())
    hidden = 0.75 * 3 * 8 * 32 * 32
    assert whole["n"] == 6 * hidden
    # Colours do not change in time and hardly in space: copying must be nearly perfect.
    metrics = {n: measure("reconstruction", f, replicates=9, seed=0) for n, f in found.items()}
    assert metrics["copy"]["mse_video_all"].value < 0.2
    assert metrics["mae"]["mse_video_all"].value < 3


def steps_of(monkeypatch, **given):
    """The `TrainingConfig` that pre-training hands to the loop, and its outcome."""
    seen = []

    def watched(*inputs, config, **options):
        seen.append(config)
        return fit(*inputs, config=config, **options)

    monkeypatch.setattr(social_mae_pretraining, "fit", watched)
    config = config_of(**given)
    return seen, pretrain_on(config, model_config(config), windows_of())


def test_flags_reach_the_loop(project, monkeypatch):
    given = {"accumulate": 2, "clip_norm": 0.5, "checkpoint_every": 2, "strategy": "ddp"}
    (loop,), _ = steps_of(monkeypatch, **given)
    assert {name: getattr(loop, name) for name in given} == given


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accumulate", 2),
        ("clip_norm", 1e-3),
        ("precision", "16-mixed"),
        ("precision", "bf16-mixed"),
    ],
)
def test_flags_that_change_the_outcome_have_a_run_of_their_own(project, monkeypatch, name, value):
    _, plain = steps_of(monkeypatch)
    _, other = steps_of(monkeypatch, **{name: value})
    assert other.history["train_loss"].iloc[-1] != plain.history["train_loss"].iloc[-1]
    assert other.history["train_loss"].iloc[-1] == pytest.approx(
        plain.history["train_loss"].iloc[-1], rel=0.2
    )


def test_activations_that_are_computed_again_change_nothing(project, monkeypatch):
    _, plain = steps_of(monkeypatch)
    shutil.rmtree(project / "data")  # else the run would be found, being the same
    calls = []
    again = Block.forward

    def counted(self, tokens):
        calls.append(torch.is_grad_enabled())
        return again(self, tokens)

    monkeypatch.setattr(Block, "forward", counted)
    _, other = steps_of(monkeypatch, checkpointed=True)
    assert_same_weights(plain.model, other.model)
    n_blocks = sum(isinstance(module, Block) for module in other.model.modules())
    steps = 2 * 3
    assert sum(calls) == 2 * n_blocks * steps  # forwards, and again for the gradients


def test_a_compiled_run_has_the_same_curve(project, monkeypatch):
    _, plain = steps_of(monkeypatch, pretraining_epochs=1)
    shutil.rmtree(project / "data")
    # Traced and split into graphs as always, but without minutes of a C++ compiler.
    monkeypatch.setattr("torch.compile", partial(torch.compile, backend="eager"))
    (loop,), compiled = steps_of(monkeypatch, pretraining_epochs=1, compile=True)
    assert loop.compile
    losses = [found.history["train_loss"].to_list() for found in (plain, compiled)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_several_devices_pretrain_and_leave_the_rest_to_one(monkeypatch):
    monkeypatch.setattr(social_mae, "pretrain", lambda config, say: say("pre-trained"))
    monkeypatch.setattr(social_mae, "load", lambda *_, **__: pytest.fail("decodes the task"))
    lines = []
    assert social_mae.run(config_of(devices=2), say=lines.append) == []
    assert lines == ["pre-trained", "no record yet: run the same with devices 1"]


def assert_same_weights(model, expected):
    for a, b in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a, b)


# Shards ------------------------------------------------------------------------------------------


def sharded(monkeypatch, folder, windows, **settings):
    """Windows as shards, as `thesis data shard voxceleb2-twin` would have written them."""
    rows = {clip.clip_id: row for row, clip in enumerate(windows.clips)}

    def decoded(clips, **_):
        for clip in clips:
            row = rows[clip.clip_id]
            yield Window(windows.waveform[row], windows.frames[row], 0.0, 0.32)

    monkeypatch.setattr(shards, "read_windows", decoded)
    made = ShardSettings(**{"window_s": 0.32, "candidates": 8, "size": 32, **settings})
    write_shards(
        windows.clips, folder, corpus="voxceleb2-twin", settings=made, per_shard=5
    )  # fmt: skip
    return folder


def test_shards_pretrain_as_folders_do(project, monkeypatch):
    windows = windows_of()
    folder = sharded(monkeypatch, project / "shards", windows)
    monkeypatch.setattr(
        social_mae_pretraining, "load_pretraining", lambda *_, **__: pytest.fail("decodes")
    )
    config = config_of(shards=str(folder))
    expected = pretrain_on(config, model_config(config), windows).history
    found = pretrain(config).history
    # But for 16 bit of sound and the losses of JPEG, the same windows in the same order.
    for name in ("train_loss", "train_audio", "train_video", "loss"):
        assert found[name].to_numpy() == pytest.approx(expected[name].to_numpy(), rel=0.05)
    assert found["loss"].iloc[-1] < found["loss"].iloc[0]
    assert not (project / "data/cache/windows").exists()


def test_shards_are_split_by_the_speakers_that_they_name(project, monkeypatch):
    windows = windows_of()
    source = of_shards(config_of(shards=str(sharded(monkeypatch, project / "a", windows))))
    pairs = [(clip.clip_id, clip.speaker) for clip in source.clips]
    assert pairs == [(clip.clip_id, clip.speaker) for clip in windows.clips]
    part = of_shards(config_of(shards=str(project / "a" / "*-00000[12].tar")))
    assert [clip.clip_id for clip in part.clips] == [f"c{i}" for i in range(5, 15)]
    assert part.sha256 != source.sha256


def test_a_damaged_shard_is_left_out_by_name(project, monkeypatch):
    folder = sharded(monkeypatch, project / "a", windows_of())
    whole = of_shards(config_of(shards=str(folder)))
    (damaged,) = folder.glob("*-000002.tar")
    damaged.write_bytes(damaged.read_bytes()[:5000])
    lines = []
    source = of_shards(config_of(shards=str(folder)), say=lines.append)
    assert len(source.clips) == 19
    assert source.sha256 != whole.sha256
    assert len(lines) == 1
    assert "000002.tar" in lines[0]


@pytest.mark.parametrize(
    ("settings", "given", "problem"),
    [
        ({}, {"pretraining": "librispeech-twin"}, "pretraining is librispeech-twin"),
        ({"window_s": 0.5}, {}, "longer than audio_frames"),
        ({"candidates": 7}, {}, "fewer than n_frames"),
        ({"mode": "video"}, {}, "'video'"),
    ],
)
def test_shards_that_do_not_fit_are_refused(project, monkeypatch, settings, given, problem):
    folder = sharded(monkeypatch, project / "a", windows_of(8), **settings)
    with pytest.raises(InputError, match=f"shards.*{problem}"):
        of_shards(config_of(shards=str(folder), **given))


def test_shards_that_are_not_there_are_refused(project):
    with pytest.raises(InputError, match="is no list of shards"):
        of_shards(config_of(shards=str(project / "none")))


def test_drawings_keep_masks_and_colours(project):
    config = config_of(norm_pix_loss=True, n_frames=1, pretraining_epochs=1)
    windows = windows_of()
    model = pretrain_on(config, model_config(config), windows).model
    front = front_end(config)
    batch = front({name: values[:4] for name, values in windows.tensors().items()})
    drawn = draw(model, batch, torch.Generator().manual_seed(1))
    seen = ~drawn.copy.video_hidden.bool()
    assert torch.equal(drawn.copy.video[seen], drawn.video[seen])
    assert 0.7 < drawn.mae.video_hidden.float().mean() < 0.8
    colours = original_colours(drawn.video, front)
    raw = windows.frames[:4, 3].permute(0, 3, 1, 2).float() / 255  # the middle candidate
    assert (colours[:, :, 0] - raw).abs().max() < 0.01


@pytest.mark.parametrize("mode", ["audio", "video", "both"])
def test_a_task_is_learnt_from_each_modality(project, mode):
    config = config_of(epochs=10, learning_rate=2e-3, head_rate=5e-3, modes=mode)
    data = data_of(windows_of(48))
    splits = make_splits(config, data.windows.clips)
    found = predict(config, data, splits, None)
    extra = {("mae", "missing_audio"), ("mae", "missing_video")} if mode == "both" else set()
    assert set(found) == {("mae", mode)} | extra
    metrics = measure("classification", found["mae", mode], replicates=20, seed=0)
    assert metrics["uar"].value > 0.8


def test_a_probe_leaves_the_encoder_as_it_was(project):
    config = config_of(scope="probe")
    data = data_of(windows_of())
    (split,) = make_splits(config, data.windows.clips)
    start = pretrain_on(config, model_config(config), data.windows).model
    model = train_task(config, data.windows, split, data.target, data.names, "both", start).model
    for a, b in zip(model.encoder.parameters(), start.encoder.parameters(), strict=True):
        assert torch.equal(a, b)
    changed = train_task(
        replace(config, scope="full"), data.windows, split, data.target, data.names, "both", start
    ).model
    blocks = [m.encoder.audio.blocks.parameters() for m in (changed, start)]
    pairs = zip(*blocks, strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("corpus", "encoder", "head"),
    [("crema-d", 1e-4, 1e-5), ("first-impressions", 1e-4, 1e-5), ("ndc-me", 1e-5, 1e-4)],
)
def test_rates_as_the_thesis_prints_them_and_flags_reach_fine_tuning(
    project, monkeypatch, corpus, encoder, head
):
    seen = {}

    def noted(model, *others, config, parameter_groups, **more):
        seen.update(config=config, layers=[m for m in model.modules() if isinstance(m, Block)])
        seen["rates"] = {group["lr"]: len(group["params"]) for group in parameter_groups}
        return fit(model, *others, config=config, parameter_groups=parameter_groups, **more)

    monkeypatch.setattr(social_mae_training, "fit", noted)
    data = data_of(windows_of())
    (split,) = make_splits(config_of(), data.windows.clips)
    traits = torch.rand(24, 5, generator=torch.Generator().manual_seed(0))
    target = traits if corpus == "first-impressions" else data.target
    names = list("abcde") if corpus == "first-impressions" else data.names
    config = config_of(
        corpus=f"{corpus}-twin", rates="thesis", clip_norm=0.5, precision="bf16-mixed",
        checkpointed=True, epochs=1,
    )  # fmt: skip
    model = train_task(config, data.windows, split, target, names, "both", None).model
    assert list(seen["rates"]) == [head, encoder]
    assert seen["rates"][head] == len(list(model.head.parameters()))
    assert seen["rates"][encoder] == len(list(model.encoder.parameters()))
    assert (seen["config"].clip_norm, seen["config"].precision) == (0.5, "bf16-mixed")
    assert seen["layers"]
    assert all("forward" in vars(layer) for layer in seen["layers"])


def test_traits_are_regressed_and_stand_beside_their_mean(project):
    config = config_of(corpus="first-impressions-twin", modes="video", epochs=8)
    windows = windows_of(40)
    data = data_of(windows, "first-impressions")
    marked = [
        replace(clip, labels={"partition": ("train", "train", "val", "test")[i // 2 % 4]})
        for i, clip in enumerate(windows.clips)
    ]
    found = predict(config, data, make_splits(config, marked), None)
    scores = {
        name: measure("regression", frame, replicates=9, seed=0)["accuracy"].value
        for (name, _), frame in found.items()
    }
    assert scores["mae"] > scores["constant"]


def test_pretraining_on_sound_alone_hands_on_norms_that_it_trained(project):
    """A task of sound goes through norms of their own, which nothing asks for without pictures."""
    config = config_of(pretraining_epochs=1)
    joint = pretrain_on(config, model_config(config), windows_of(video=False)).model.encoder.joint
    for norms in (joint.norm, joint.blocks[0].norm1, joint.blocks[0].norm2):
        assert not torch.equal(norms["both"].weight, torch.ones(config.width))
        assert torch.equal(norms["audio"].weight, norms["both"].weight)
        assert torch.equal(norms["audio"].bias, norms["both"].bias)
    joint = pretrain_on(config, model_config(config), windows_of()).model.encoder.joint
    assert not torch.equal(joint.norm["audio"].weight, joint.norm["both"].weight)


def test_sound_alone_pretrains_and_is_told(project):
    config = config_of(corpus="emodb-twin", modes="audio", epochs=4, folds=3)
    data = data_of(windows_of(video=False), "emodb")
    pretrained = pretrain_on(config, model_config(config), data.windows)
    found = reconstruct(pretrained.model, data.windows, torch.arange(4), front_end(config), seed=0)
    assert set(found["mae"]["modality"]) == {"audio"}
    frames = predict(config, data, make_splits(config, data.windows.clips), pretrained)
    frame = frames["mae", "audio"]
    assert len(frame) == 24
    assert frame["fold"].nunique() == 3


@pytest.mark.parametrize(
    "name", ["auxformer", "uavm", "vavl", "resnet", "lstm", "average", "functionals", "egemaps"]
)
def test_every_baseline_goes_the_same_way(project, name):
    if name == "egemaps":
        pytest.importorskip("opensmile")
    modes = "audio" if name in AUDIO_ONLY else "both"
    config = config_of(model=name, pretraining="none", modes=modes, epochs=1)
    data = data_of(windows_of())
    found = predict(config, data, make_splits(config, data.windows.clips), None)
    (frame,) = found.values()
    assert np.allclose(frame[["p_anger", "p_fear"]].sum(axis=1), 1)
    assert sum(p.numel() for p in make_baseline(name, 2, width=32, depth=1).parameters()) > 0


def test_a_linear_model_of_functionals_tells_a_tone_from_a_hiss(project):
    config = config_of(model="functionals", pretraining="none", modes="audio", head_rate=1e-2)
    data = data_of(windows_of(48))
    found = predict(config, data, make_splits(config, data.windows.clips), None)
    (frame,) = found.values()
    assert measure("classification", frame, replicates=9, seed=0)["uar"].value > 0.9


def test_functionals_leave_the_padding_out(project):
    """A window that is padded has the eGeMAPS of its sound alone."""
    pytest.importorskip("opensmile")
    config, windows = config_of(model="egemaps", pretraining="none", modes="audio"), windows_of(4)
    whole = functionals_of(config, windows)
    silence = torch.zeros(4, 8000)
    padded = replace(windows, waveform=torch.cat([windows.waveform, silence], dim=1))
    assert torch.equal(functionals_of(config, padded), whole)
    assert whole.shape == (4, 88)


# Regions -----------------------------------------------------------------------------------------


def test_regions_are_those_of_the_filmed_face(project):
    """The face that is drawn again is the one on film: its mouth lies where the film shows it."""
    from thesislib.corpora.loading import load_corpus
    from thesislib.corpora.twins.face_render import render
    from thesislib.signals.audio_visual import sample_frames

    shutil.copytree(MANIFESTS, project / "data_manifests")
    config = config_of(clips=2, image_size=64)
    corpus = load_corpus("crema-d-twin", clips=2, workers=1)
    windows = ingest(corpus.clips, View(audio_frames=32, candidates=8, size=64))
    found = clip_regions(config, corpus, windows.clips)
    assert found.shape == (2, 8, 64, 64)
    for name in ("eyes", "mouth", "skin", "background"):
        assert (found == NAMES.index(name)).any()
    plans = _plans(config)
    for row, clip in enumerate(windows.clips):
        plan, scales = plans[clip.video_path.relative_to(corpus.root).as_posix()]
        identity, motion = motion_of(plan, scales)
        picked = sample_frames(8, 8, 1)[0]
        times = clip.start_s + (picked + 0.5) * clip.duration_s / 8
        drawn = next(iter(render(identity, motion[int(times[4] * 25) :][:1], 240)))[0].float()
        small = torch.nn.functional.interpolate(
            drawn.permute(2, 0, 1)[None], (64, 64), mode="area"
        )[0].permute(1, 2, 0)
        filmed = windows.frames[row, 4].float()
        pair = torch.stack([small.flatten(), filmed.flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.97
    assert torch.equal(found, clip_regions(config, corpus, windows.clips))


def test_regions_of_a_conversation_are_those_of_the_filmed_face(project):
    from thesislib.corpora.loading import load_corpus
    from thesislib.corpora.twins.face_render import render
    from thesislib.signals.audio_visual import sample_frames

    shutil.copytree(MANIFESTS, project / "data_manifests")
    config = config_of(corpus="ndc-me-twin", dyads=1, duration_s=5.0, image_size=64)
    corpus = load_corpus("ndc-me-twin", dyads=1, duration_s=5.0, workers=1)
    clips = [
        Clip(
            clip_id=f"{path.stem}@{start}", corpus="ndc-me", speaker=path.stem,
            audio_path=path, video_path=path, start_s=float(start), duration_s=1.22,
        )
        for path in sorted(corpus.root.glob("*.mp4"))
        for start in (0, 3)
    ]  # fmt: skip
    windows = ingest(clips, View(audio_frames=32, candidates=8, size=64))
    found = clip_regions(config, corpus, windows.clips)
    assert found.shape == (4, 8, 64, 64)
    assert not torch.equal(found[0], found[1])  # the face moves
    filmed = _filmed(config, {clip.video_path.name for clip in clips})
    picked = sample_frames(8, 8, 1)[0]
    for row, clip in enumerate(windows.clips):
        identity, motion, camera = filmed[clip.video_path.name]
        assert len(motion) == 5 * camera.fps
        time_s = float(clip.start_s + (picked[4] + 0.5) * clip.duration_s / 8)
        drawn = next(iter(render(identity, motion[int(time_s * 50) :][:1], 224)))[0].float()
        small = torch.nn.functional.interpolate(
            drawn.permute(2, 0, 1)[None], (64, 64), mode="area"
        )[0].permute(1, 2, 0)
        face = (found[row, 4] != NAMES.index("background"))[..., None].expand_as(small)
        alike = [
            torch.corrcoef(torch.stack([small[face], windows.frames[other, 4].float()[face]]))[0, 1]
            for other in (row, (row + 2) % 4, row ^ 1)  # then of the other person, another time
        ]
        assert alike[0] > 0.97
        assert alike[0] > max(alike[1:])
