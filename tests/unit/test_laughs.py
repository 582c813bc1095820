"""Chapter 6 from windows to records, and the refusals before anything is trained."""

import dataclasses
import shutil
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from thesislib import config as configurations
from thesislib.config import LaughConfig, for_profile
from thesislib.corpora import dyadic, loading
from thesislib.corpora.clip import Clip
from thesislib.corpora.loading import Corpus
from thesislib.corpora.manifest import load_manifest
from thesislib.corpora.splits import leaked_share, random_split
from thesislib.corpora.twins.conversations import write_twin
from thesislib.errors import InputError
from thesislib.evaluation.metrics import measure
from thesislib.learning import laugh_analyses, laugh_data, laugh_training, laughs
from thesislib.learning.laugh_data import View, Windows, balanced_split, choose, ingest, targets
from thesislib.models.fusion import FUSION_LEVELS
from thesislib.models.lsn_tcn import CLASSES, LsnTcn
from thesislib.records.record import read_records
from thesislib.signals.face import FaceLandmarks

EXPRESSIONS = ("laugh", "smile", "none")
LEVEL_OF = {"laugh": "low", "smile": "subtle", "none": "none"}
LEVEL = {"laugh": ("low", "medium", "high"), "smile": ("subtle", "low", "medium", "high")}


class CentreDetector:
    """Landmarks of a face that fills the middle of the picture, whatever is there."""

    identity = "centre"

    def detect(self, frames):
        height, width = frames.shape[1:3]
        points = torch.tensor([[0.35, 0.4], [0.65, 0.4], [0.5, 0.55], [0.4, 0.7], [0.6, 0.7]])
        landmarks = (points * torch.tensor([width, height])).expand(len(frames), 5, 2)
        return FaceLandmarks(landmarks.contiguous(), torch.ones(len(frames)))


def clips_of(n=72, pairs=6):
    """Windows of `pairs` dyads with every class in each."""
    clips = []
    for i in range(n):
        expression = EXPRESSIONS[i % 3]
        pair, seat = (i // 3) % pairs, (i // 3 // pairs) % 2
        levels = LEVEL.get(expression, ("none",))
        clips.append(
            Clip(
                clip_id=f"w{i}", corpus="ndc-me", speaker=f"{pair}{'AB'[seat]}",
                sex=("female", "male")[seat],
                labels={
                    "expression": expression, "intensity": levels[i // 3 % len(levels)],
                    "role": "spk", "dyad": str(pair), "partner": f"{pair}{'BA'[seat]}",
                },
            )
        )  # fmt: skip
    return clips


def windows_of(clips, config):
    """Bright pictures for smiles and laughs, loud sound for laughs: easy to tell."""
    view = laugh_training.view_of(config)
    generator = torch.Generator().manual_seed(0)
    shape = (len(clips), view.frames, view.side, view.side, 3)
    frames = torch.randint(0, 80, shape, generator=generator, dtype=torch.uint8)
    waveform = 0.01 * torch.randn(len(clips), view.samples, generator=generator)
    for row, clip in enumerate(clips):
        if clip.labels["expression"] != "none":
            frames[row, :, view.side // 2 :] += 120
        if clip.labels["expression"] == "laugh":
            waveform[row] *= 30
    return Windows(clips=clips, frames=frames, waveform=waveform, failures=[])


@pytest.fixture
def tiny(tmp_path):
    return for_profile(
        LaughConfig,
        "tiny",
        out=str(tmp_path / "results"),
        epochs=1,
        fusion_epochs=1,
        replicates=20,
    )


@pytest.fixture
def no_corpora(monkeypatch, tmp_path):
    """Windows in place of media; what is cached goes to a throw-away folder."""

    def load(config, name, *, say=lambda line: None):
        manifest = load_manifest(name)
        clips = [dataclasses.replace(c, corpus=manifest.name) for c in clips_of(36)]
        corpus = Corpus(manifest.name, tmp_path, "twin", True, clips, manifest)
        return laughs.Data(corpus, windows_of(clips, config))

    monkeypatch.setattr(laughs, "load", load)
    monkeypatch.setattr("thesislib.caching.files.resolve", lambda path: tmp_path / path)


def test_a_job_leaves_a_record_a_model_and_corpus(tiny, no_corpora):
    """One epoch on 36 windows: which records a job leaves, not whether anything is learnt."""
    records = laughs.run(dataclasses.replace(tiny, end_to_end=True, analyses=True), say=no_say)
    models = {(r.configuration["model"], r.configuration["tested"]) for r in records}
    names = {"audio", "video", *FUSION_LEVELS, "cross-attention-end-to-end"}
    wanted = {(name, corpus) for name in names for corpus in ("ndc-me", "ifadv")}
    wanted |= {(n, "ndc-me") for n in ("audio-map", "video-map", "occlusion", "bands")}
    assert models == wanted
    assert len({r.run_id for r in records}) == len(records) == len(wanted)
    stored = read_records(tiny_results(tiny), experiment="laughs", tested="ndc-me", model="mlp")
    again = stored[0].measure_again(tiny_results(tiny))
    assert stored[0].metrics["f1_harmonic"] == again["f1_harmonic"]
    assert stored[0].metrics["calibration_error"] == again["calibration_error"]
    assert load_manifest("ndc-me").sha256 == records[-1].manifest_sha256
    quick = laughs.run(dataclasses.replace(tiny, zero_shot="none", fusions="mlp"), say=no_say)
    found = {r.configuration["model"]: r.metrics["uar"] for r in quick}
    tested = {r.configuration["model"]: r for r in records if r.configuration["tested"] == "ndc-me"}
    assert found == {name: tested[name].metrics["uar"] for name in ("audio", "video", "mlp")}


def no_say(line):
    pass


def tiny_results(config):
    return Path(config.out)


def test_scopes_train_what_they_say(tiny, no_corpora):
    config = dataclasses.replace(tiny, start="pretrained", epochs=1)
    windows = windows_of(clips_of(), config)
    split = laughs.make_split(config, windows.clips)
    start = LsnTcn(laugh_training.model_config(config))
    weights = {
        modality: {
            name: value.clone()
            for name, value in getattr(start, modality).state_dict().items()
            if not name.startswith("head.")
        }
        for modality in ("audio", "video")
    }
    moved = {}
    for scope in ("chapter", "full", "head"):
        trained, _ = laugh_training.train_branches(
            dataclasses.replace(config, scope=scope), windows, split, pretrained=weights
        )
        for modality in ("audio", "video"):
            state = getattr(trained, modality).state_dict()
            moved[scope, modality] = {
                name.split(".")[0]
                for name, value in weights[modality].items()
                if "num_batches" not in name and not torch.equal(value, state[name])
            }
    assert moved["chapter", "audio"] == {"tcn"}, "note 37: of the voice, the temporal blocks"
    assert moved["chapter", "video"] == moved["full", "audio"] == {"encoder", "tcn"}
    assert moved["head", "audio"] == moved["head", "video"] == set()


def test_pretrained_weights_reach_both_branches(tiny, no_corpora):
    clips = [
        dataclasses.replace(clip, labels={"sentence": "ABC"[number % 3]})
        for number, clip in enumerate(clips_of(48))
    ]
    config = dataclasses.replace(tiny, pretext_epochs=1)
    windows = windows_of(clips_of(48), config)
    windows = dataclasses.replace(windows, clips=clips)
    split = laughs.speaker_split(clips)
    weights, logits = laugh_training.pretrain(config, windows, ["A", "B", "C"], split)
    for modality in ("audio", "video"):
        assert not any(name.startswith("head.") for name in weights[modality])
        assert logits[modality].shape == (48, 3)
    branch = LsnTcn(laugh_training.model_config(config)).audio
    missing = branch.load_state_dict(weights["audio"], strict=False)
    assert {name.split(".")[0] for name in missing.missing_keys} == {"head"}
    assert not missing.unexpected_keys


def test_splits_keep_people_apart_and_hold_every_class():
    clips = clips_of()
    splits = {seed: balanced_split("ndc-me", clips, seed=seed) for seed in range(6)}
    for split in splits.values():
        assert leaked_share(clips, split) == 0
        for part in (split.train, split.test):
            assert {clips[i].labels["expression"] for i in part} == set(EXPRESSIONS)
        everything = np.concatenate([split.train, split.validation, split.test])
        assert sorted(everything) == list(range(len(clips)))
    assert len({split.sha256 for split in splits.values()}) > 1


def test_a_class_without_a_sample_is_named():
    clips = [c for c in clips_of() if c.labels["expression"] != "laugh"]
    with pytest.raises(InputError, match="train part: has no window of class Laughs"):
        balanced_split("ndc-me", clips, seed=0)


def test_one_speaker_and_too_few_pairs_are_named():
    alone = [c for c in clips_of() if c.speaker == "0A"]
    with pytest.raises(InputError, match="one speaker only, 0A"):
        balanced_split("ndc-me", alone, seed=0)
    with pytest.raises(InputError, match="2 groups of people"):
        balanced_split("ndc-me", clips_of(pairs=2), seed=0)


def test_nothing_is_trained_before_a_refusal(tiny, no_corpora, monkeypatch):
    """What is no laugh, and people who are one, are said before a branch or the pretext starts."""
    whole = laughs.load

    def lacking(keep):
        def load(config, name, *, say=no_say):
            corpus, windows = whole(config, name)
            rows = [n for n, clip in enumerate(windows.clips) if keep(clip)]
            parts = {"frames": windows.frames[rows], "waveform": windows.waveform[rows]}
            clips = [windows.clips[n] for n in rows]
            return laughs.Data(corpus, dataclasses.replace(windows, clips=clips, **parts))

        return load

    for name in ("train", "pretext_weights"):
        monkeypatch.setattr(laughs, name, lambda *args, **options: pytest.fail("was trained"))
    job = dataclasses.replace(tiny, start="pretrained")
    monkeypatch.setattr(laughs, "load", lacking(lambda c: c.labels["expression"] != "laugh"))
    with pytest.raises(InputError, match="no window of class Laughs"):
        laughs.run(job, say=no_say)
    monkeypatch.setattr(laughs, "load", lacking(lambda c: c.speaker == "0A"))
    with pytest.raises(InputError, match="one speaker only"):
        laughs.run(job, say=no_say)


def test_a_choice_is_balanced_and_does_not_hang_on_the_order():
    clips = clips_of()
    chosen = choose(clips, 5)
    assert len(chosen) == 15
    assert {c.clip_id for c in choose(clips[::-1], 5)} == {c.clip_id for c in chosen}
    assert choose(clips, 0) == clips


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twins") / "ndc-me"
    return write_twin("ndc-me", folder, dyads=1, duration_s=5.0, workers=1)


def test_a_fresh_twin_goes_from_mp4_to_logits(twin, monkeypatch, tmp_path):
    monkeypatch.setattr("thesislib.caching.files.resolve", lambda path: tmp_path / path)
    clips = dyadic.load_clips(twin, "ndc-me", hop_s=1.22)[:2]
    config = LaughConfig()
    view = laugh_training.view_of(config)
    lines = []
    windows = ingest(clips, view, detector=CentreDetector(), say=lines.append)
    assert windows.frames.shape == (len(clips), view.frames, view.side, view.side, 3)
    assert windows.frames.dtype == torch.uint8
    assert windows.waveform.shape == (len(clips), view.samples)
    assert windows.failures == []
    model = LsnTcn(laugh_training.model_config(config)).eval()
    with torch.no_grad():
        logits = model(
            laugh_training.as_input(windows.waveform), laugh_training.as_input(windows.frames)
        )
    assert logits.shape == (len(clips), 3)
    assert logits.isfinite().all()
    frame = laugh_training.predictions_frame(windows.clips, logits, "test")
    assert frame[[f"p_{name}" for name in CLASSES]].sum(axis=1).tolist() == pytest.approx(
        [1.0] * len(clips)
    )
    before = sorted(tmp_path.rglob("*.safetensors"))
    monkeypatch.setattr(laugh_data, "_cut", lambda *args: pytest.fail("was cut out before"))
    again = ingest(clips, view, detector=CentreDetector())
    assert torch.equal(again.frames, windows.frames)
    assert sorted(tmp_path.rglob("*.safetensors")) == before


def test_a_job_goes_from_mp4_to_records(twin, tiny, monkeypatch, tmp_path):
    """Classes are dealt out, so that each part holds all: the path is tested, not learning."""
    monkeypatch.setattr("thesislib.caching.files.resolve", lambda path: tmp_path / path)
    read = dyadic.load_clips

    def dealt(*args, **options):
        clips = read(*args, **options)
        split = random_split(clips, seed=tiny.seed)
        names = np.empty(len(clips), dtype=object)
        for part in (split.train, split.validation, split.test):
            names[part] = np.resize(EXPRESSIONS, len(part))
        return [
            dataclasses.replace(
                c, labels={**c.labels, "expression": name, "intensity": LEVEL_OF[name]}
            )
            for c, name in zip(clips, names, strict=True)
        ]

    corpus = Corpus("ndc-me", twin, "twin", True, [], load_manifest("ndc-me"))
    monkeypatch.setattr(laughs, "load_corpus", lambda *args, **options: corpus)
    monkeypatch.setattr(dyadic, "load_clips", dealt)
    monkeypatch.setattr(laugh_data, "load_face_detector", CentreDetector)
    job = dataclasses.replace(tiny, zero_shot="none", split="random", fusions="mlp", clips=0)
    records = laughs.run(job, say=no_say)
    assert [r.configuration["model"] for r in records] == ["audio", "video", "mlp"]
    stored = read_records(tiny_results(tiny))
    assert [r.run_id for r in stored] == sorted(r.run_id for r in records)
    frame = records[-1].load_predictions(tiny_results(tiny))
    split = random_split(dealt(twin, "ndc-me", hop_s=tiny.hop_s), seed=tiny.seed)
    assert len(frame) == len(split.test)
    assert set(frame["target"]) == set(CLASSES)
    assert frame["clip_id"].str.contains("@").all()


def test_a_checkpoint_of_another_architecture_is_refused(tiny, no_corpora, tmp_path):
    windows = windows_of(clips_of(36), tiny)
    split = laughs.make_split(tiny, windows.clips)
    laugh_training.train_branches(tiny, windows, split)
    voice, face = sorted((tmp_path / "data/cache/laughs").iterdir())
    shutil.rmtree(voice)
    shutil.copytree(face, voice)
    with pytest.raises(InputError, match="holds another run"):
        laugh_training.train_branches(tiny, windows, split)


@pytest.fixture
def film(tmp_path):
    """Writes two seconds of one grey and of one tone, and returns a window of them."""

    def write(name, grey, amplitude):
        picture, sound = tmp_path / f"{name}.mp4", tmp_path / f"{name}.wav"
        with av.open(str(picture), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            for _ in range(50):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), grey, np.uint8))
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        tone = amplitude * np.sin(np.arange(32_000) / 5)
        soundfile.write(sound, tone.astype("float32"), 16_000)
        return dataclasses.replace(
            clips_of(1)[0],
            clip_id=f"{name}@400",
            audio_path=sound,
            video_path=picture,
            start_s=0.4,
            duration_s=1.22,
        )

    return write


@pytest.fixture
def here(monkeypatch, tmp_path):
    monkeypatch.setattr("thesislib.caching.files.resolve", lambda path: tmp_path / path)


@pytest.mark.usefixtures("here")
def test_silent_and_black_windows_are_left_out_by_name(film):
    good, silent, black = film("good", 128, 0.1), film("silent", 128, 0), film("black", 0, 0.1)
    view = View(frames=4, side=32, samples=10_240)
    for clip, problem in ((silent, "is silent"), (black, "shows black frames only")):
        with pytest.raises(InputError, match=f"has no usable window of 1; .*{problem}"):
            ingest([clip], view, detector=CentreDetector())
    windows = ingest([good, silent, black], view, detector=CentreDetector())
    assert [clip.clip_id for clip in windows.clips] == ["good@400"]
    assert [Path(failure.path).name for failure in windows.failures] == ["silent.wav", "black.mp4"]
    assert "0.4 s" in str(windows.failures[0])


@pytest.mark.usefixtures("here")
def test_windows_of_a_stretch_are_those_cut_one_by_one(twin, monkeypatch):
    clips = dyadic.load_clips(twin, "ndc-me", hop_s=0.3)
    path = clips[0].video_path
    clips = [clip for clip in clips if clip.video_path == path]
    view = View(frames=24, side=32, samples=10_240, detect_every_s=0.3)
    together = ingest(clips, view, detector=CentreDetector())
    monkeypatch.setattr(laugh_data, "STRETCH_S", 0.0)
    assert [len(part) for part in laugh_data.stretches(clips)] == [1] * len(clips)
    monkeypatch.setattr(laugh_data, "cache_folder", lambda *args: path.parent / "other")
    alone = ingest(clips, view, detector=CentreDetector())
    assert len(together) == len(alone) == len(clips) > 8
    assert torch.equal(together.frames, alone.frames)
    apart = (together.waveform - alone.waveform).abs()  # begins are rounded to a sample
    assert float(apart.max()) < 0.02
    assert float(apart.mean()) < 0.01 * float(alone.waveform.abs().mean())


@pytest.mark.usefixtures("here")
def test_damage_costs_the_windows_that_it_lies_in(film):
    whole = film("short", 128, 0.1)  # pictures end after 2 s
    starts = [0.0, 0.3, 0.6, 0.9, 1.2, 1.5]
    clips = [
        dataclasses.replace(whole, clip_id=f"short@{start}", start_s=start) for start in starts
    ]
    assert [len(part) for part in laugh_data.stretches(clips)] == [6]
    view = View(frames=12, side=32, samples=10_240)
    windows = ingest(clips, view, detector=CentreDetector())
    assert [clip.start_s for clip in windows.clips] == [0.0, 0.3, 0.6, 0.9]
    assert len(windows.failures) == 2
    assert all(Path(failure.path).name == "short.mp4" for failure in windows.failures)


@pytest.mark.usefixtures("here")
def test_a_window_without_a_face_is_left_out_of_a_stretch_with_one(film):
    class Fleeting(CentreDetector):
        """Sees a face in the first frame that it is asked about, and never again."""

        identity = "fleeting"

        def detect(self, frames):
            found = super().detect(frames)
            found.landmarks[1:], found.score[1:] = torch.nan, 0.0
            return found

    first = film("face", 128, 0.1)
    second = dataclasses.replace(first, clip_id="face@750", start_s=0.75)
    view = View(frames=12, side=32, samples=10_240, detect_every_s=0.3)
    windows = ingest([first, second], view, detector=Fleeting())
    assert [clip.clip_id for clip in windows.clips] == ["face@400"]
    assert "shows no face" in str(windows.failures[0])


@pytest.mark.usefixtures("here")
def test_windows_that_are_too_short_or_lack_media_are_named(film):
    clip = film("good", 128, 0.1)
    view = View(frames=4, side=32, samples=10_240)

    def refused(change, view=view):
        with pytest.raises(InputError) as error:
            ingest([dataclasses.replace(clip, **change)], view, detector=CentreDetector())
        return str(error.value)

    assert "lasts 0.5 s only" in refused({"duration_s": 0.5})
    assert "shorter than a kernel" in refused({}, View(frames=4, side=32, samples=300))
    assert "no recording with frames" in refused({"video_path": None})
    assert "no recording with sound" in refused({"audio_path": None})
    with pytest.raises(InputError, match="windows: are none"):
        ingest([], view, detector=CentreDetector())


def test_occlusion_and_bands_find_what_a_model_goes_by(tiny):
    """A branch that reads one corner, or one tone, is found out by hiding it."""
    windows = windows_of(clips_of(12), tiny)
    side = windows.frames.shape[2]

    class Corner(torch.nn.Module):
        def forward(self, frames):
            level = frames[:, 0, :, : side // 6, : side // 6].mean(dim=(1, 2, 3))
            return torch.stack([8 * level, torch.zeros_like(level), -8 * level], dim=1)

    frames = windows.frames.clone()
    frames[targets(windows.clips) == 0, :, : side // 6, : side // 6] = 255
    frame = laugh_analyses.occlusion_drops(
        Corner(), dataclasses.replace(windows, frames=frames), list(range(12))
    )
    mean = frame.loc[frame["target"] == "Laughs", [f"drop_{i}" for i in range(36)]].mean()
    assert mean.idxmax() == "drop_0"
    assert mean["drop_0"] > 0.2

    class Tone(torch.nn.Module):
        def forward(self, waveform):
            power = torch.fft.rfft(waveform[:, 0]).abs()[:, 600:680].amax(dim=1)
            return torch.stack([power / 100, torch.zeros_like(power), -power / 100], dim=1)

    n = windows.waveform.shape[1]
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(n) / 16_000)
    waveform = torch.where((targets(windows.clips) == 0)[:, None], tone, windows.waveform)
    frame = laugh_analyses.band_drops(
        Tone(), dataclasses.replace(windows, waveform=waveform), list(range(12))
    )
    mean = frame.loc[frame["target"] == "Laughs", [f"drop_{i}" for i in range(6)]].mean()
    assert mean.idxmax() == "drop_2", "800 to 1500 Hz holds the tone"


def test_maps_are_measured(tiny):
    windows = windows_of(clips_of(60), tiny)
    rank = torch.tensor([{"none": 0.0, "smile": 5.0, "laugh": 9.0}[c.labels["expression"]]
                         for c in windows.clips])  # fmt: skip
    embeddings = rank[:, None] + 0.1 * torch.randn(
        60, 8, generator=torch.Generator().manual_seed(1)
    )
    frame = laugh_analyses.embedding_frame(windows, list(range(60)), embeddings, seed=0)
    metrics = measure("embedding", frame, replicates=20, seed=0)
    assert metrics["silhouette"].value > 0.9
    assert metrics["trustworthiness"].value > 0.8
    assert 0 <= metrics["axis_order"].value <= 1
    assert isinstance(frame, pd.DataFrame)


def test_a_wrong_parameter_is_named():
    with pytest.raises(InputError, match="parameter scope"):
        LaughConfig(scope="none of it")
    with pytest.raises(InputError, match="parameter zero_shot"):
        LaughConfig(zero_shot="ndc-me-twin")


def test_the_chapter_runs_on_a_licensed_copy_without_a_change():
    command = LaughConfig(corpus="ndc-me", zero_shot="ifadv").command()
    assert command.startswith("thesis train 06 -p corpus ndc-me -p zero_shot ifadv")
    assert "ndc-me" in loading.READERS
    assert configurations.LaughConfig.CHAPTER == "06"
