import json
import tarfile

import numpy as np
import pytest
import soundfile
import torch

from thesislib.corpora import shards
from thesislib.corpora.clip import Clip
from thesislib.corpora.sharded_clips import ShardedClips
from thesislib.corpora.shards import ShardSettings, write_shards
from thesislib.errors import InputError
from thesislib.learning.training import TrainingConfig, fit
from thesislib.signals.audio_visual import PRESETS, FrontEnd, Window

SETTINGS = ShardSettings(candidates=4, size=16, window_s=0.5)


def clips(n=5):
    return [
        Clip(clip_id=f"id{i}/video.{i}", corpus="c", speaker=f"s{i % 2}", labels={"emotion": "joy"})
        for i in range(n)
    ]


def window(index, audio=True, video=True):
    """Sound of index / 100, and frames of 20 index, 3 levels apart."""
    frames = torch.full((4, 16, 16, 3), 20 * index, dtype=torch.uint8)
    frames += 3 * torch.arange(4, dtype=torch.uint8)[:, None, None, None]
    waveform = torch.full((4000 + 10 * index,), index / 100)
    return Window(waveform if audio else None, frames if video else None, 0.25, 0.5)


@pytest.fixture
def decoded(monkeypatch):
    """Windows without a decoder; `decoded.broken` names the clips that do not decode."""

    class Decoded:
        def __init__(self):
            self.broken, self.options, self.stop_after = (), {}, 99

        def __call__(self, wanted, **options):
            self.options = options
            for number, clip in enumerate(wanted):
                if number >= self.stop_after:
                    raise KeyboardInterrupt
                index = int(clip.clip_id[2])
                if clip.clip_id in self.broken:
                    yield InputError("x.mp4", "is truncated", "copy it again")
                else:
                    mode = options["mode"]
                    yield window(index, audio=mode != "video", video=mode != "audio")

    stand_in = Decoded()
    monkeypatch.setattr(shards, "read_windows", stand_in)
    return stand_in


@pytest.fixture
def folder(decoded, tmp_path):
    write_shards(clips(), tmp_path / "shards", corpus="c", settings=SETTINGS, per_shard=2)
    return tmp_path / "shards"


def test_what_was_written_is_read_again(folder, decoded):
    assert sorted(path.name for path in folder.iterdir()) == [
        "c-000000.tar", "c-000001.tar", "c-000002.tar", "shards.json",
    ]  # fmt: skip
    assert decoded.options["window_s"] == 0.5
    data = ShardedClips(folder)
    assert (len(data), data.left_out, data.failures) == (5, 0, [])
    batch = data.__getitems__([3, 1])
    assert batch["row"].tolist() == [3, 1]
    assert batch["length"].tolist() == [4030, 4010]
    assert batch["waveform"].shape == (2, 4030)
    assert batch["waveform"][0, 5].item() == pytest.approx(0.03, abs=2e-5)
    assert bool((batch["waveform"][1, 4010:] == 0).all())
    assert batch["frames"].shape == (2, 4, 16, 16, 3)
    expected = torch.tensor([[60, 63, 66, 69], [20, 23, 26, 29]])
    assert (batch["frames"].float().mean(dim=(2, 3, 4)) - expected).abs().max() < 1.5
    about = data.about(3)
    assert about["clip_id"] == "id3/video.3"
    assert (about["speaker"], about["labels"]) == ("s1", {"emotion": "joy"})
    assert (about["start_s"], about["duration_s"]) == (0.25, 0.5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_them_too(folder):  # it leaves the closing of files to the collector
    webdataset = pytest.importorskip("webdataset")
    data = webdataset.WebDataset(str(folder / "c-000000.tar"), shardshuffle=False)
    samples = list(data.decode("rgb8"))
    assert [sample["__key__"] for sample in samples] == ["id0_video_0", "id1_video_1"]
    assert samples[1]["json"]["speaker"] == "s1"
    assert samples[1]["03.jpg"].shape == (16, 16, 3)
    assert set(samples[0]) >= {"flac", "00.jpg", "01.jpg", "02.jpg", "03.jpg"}


def test_the_same_clips_make_the_same_bytes(folder, decoded, tmp_path):
    write_shards(clips(), tmp_path / "again", corpus="c", settings=SETTINGS, per_shard=2)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_clips_that_do_not_decode_are_left_out_by_name(decoded, tmp_path):
    decoded.broken = ("id1/video.1",)
    done = []
    failures = write_shards(
        clips(3), tmp_path, corpus="c", settings=SETTINGS, per_shard=2, progress=done.append
    )
    assert failures == ["id1/video.1: x.mp4: is truncated; copy it again"]
    assert done == [0, 1, 2, 3]
    assert [ShardedClips(tmp_path).about(i)["clip_id"] for i in (0, 1)] == [
        "id0/video.0",
        "id2/video.2",
    ]
    # A second run has nothing to do, and still says what is missing.
    decoded.stop_after = 0
    assert write_shards(clips(3), tmp_path, corpus="c", settings=SETTINGS, per_shard=2) == failures


def test_a_run_that_was_stopped_goes_on(decoded, folder, tmp_path):
    decoded.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        write_shards(clips(), tmp_path / "b", corpus="c", settings=SETTINGS, per_shard=2)
    assert [path.name for path in (tmp_path / "b").glob("*.tar")] == ["c-000000.tar"]
    decoded.stop_after = 99
    done = []
    write_shards(
        clips(), tmp_path / "b", corpus="c", settings=SETTINGS, per_shard=2, progress=done.append
    )
    assert done == [2, 3, 4, 5]
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_stopped_in_the_first_shard_it_goes_on_too(decoded, tmp_path):
    decoded.stop_after = 1
    with pytest.raises(KeyboardInterrupt):
        write_shards(clips(), tmp_path, corpus="c", settings=SETTINGS)
    decoded.stop_after = 99
    write_shards(clips(), tmp_path, corpus="c", settings=SETTINGS)
    assert len(ShardedClips(tmp_path)) == 5


def test_other_shards_are_not_mixed_in(folder, decoded, tmp_path):
    with pytest.raises(InputError, match=r"shards.json: holds shards with other window_s"):
        write_shards(clips(), folder, corpus="c", per_shard=2,
                     settings=ShardSettings(candidates=4, size=16))  # fmt: skip
    with pytest.raises(InputError, match="other clips"):
        write_shards(clips(4), folder, corpus="c", settings=SETTINGS, per_shard=2)
    (folder / "shards.json").unlink()
    with pytest.raises(InputError, match="tar files of another make"):
        write_shards(clips(), folder, corpus="c", settings=SETTINGS, per_shard=2)
    (folder / "shards.json").write_text("[")
    with pytest.raises(InputError, match="no list of shards"):
        ShardedClips(folder)


@pytest.mark.parametrize(
    ("wanted", "options", "message"),
    [
        ([], {}, "has no clip"),
        (clips(1) * 2, {}, "two clips called id0_video_0"),
        (clips(), {"per_shard": 0}, "shard size: 0"),
        (clips(), {"settings": ShardSettings(faces=True)}, "faces: need a detector"),
    ],
)
def test_what_cannot_be_written_is_refused(decoded, tmp_path, wanted, options, message):
    with pytest.raises(InputError, match=message):
        write_shards(wanted, tmp_path, corpus="c", **options)


def test_no_usable_clip_at_all_is_an_error(decoded, tmp_path):
    decoded.broken = tuple(clip.clip_id for clip in clips())
    with pytest.raises(InputError, match="no usable clip of 5"):
        write_shards(clips(), tmp_path, corpus="c", settings=SETTINGS)


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"candidates": 0}, "candidates"), ({"size": 0}, "size"), ({"quality": 101}, "quality"),
     ({"window_s": 0.0}, "window_s"), ({"mode": "smell"}, "mode")],
)  # fmt: skip
def test_settings_are_checked(changes, field):
    with pytest.raises(InputError, match=field):
        ShardSettings(**changes)


# ---------------------------------------------------------------------------------------- damage


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def end_of_members(path):
    with tarfile.open(path) as tar:
        return max(member.offset_data + -(-member.size // 512) * 512 for member in tar)


@pytest.mark.parametrize("where", ["in a member", "in a header", "between members", "at the end"])
def test_a_truncated_shard_is_named_and_the_others_are_read(folder, where):
    path = folder / "c-000001.tar"
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    cut(path, {
        "in a member": members[3].offset_data + 100,
        "in a header": members[3].offset + 100,
        "between members": members[6].offset,
        "at the end": end_of_members(path),
    }[where])  # fmt: skip
    data = ShardedClips(folder)
    assert len(data) == 3
    assert [failure.path for failure in data.failures] == [str(path)]
    assert "truncated" in str(data.failures[0])
    assert data.about(2)["clip_id"] == "id4/video.4"
    with pytest.raises(InputError, match=r"c-000001.tar: is truncated"):
        ShardedClips(folder, on_error="raise")


def test_a_shard_cut_anywhere_loses_no_sample_without_a_word(folder, tmp_path):
    content = (folder / "c-000000.tar").read_bytes()
    end = end_of_members(folder / "c-000000.tar")
    path = tmp_path / "cut.tar"
    for size in [*range(1, len(content), 397), *range(512, len(content), 512)]:
        path.write_bytes(content[:size])
        if size >= end + 1024:  # all members and the mark of the end are there
            assert len(ShardedClips(path)) == 2
            continue
        with pytest.raises(InputError, match=r"cut\.tar: (is truncated|holds no sample)"):
            ShardedClips(path, on_error="raise")


def test_empty_and_missing_shards_are_named(folder):
    (folder / "c-000000.tar").write_bytes(b"")
    (folder / "c-000001.tar").unlink()
    data = ShardedClips(folder)
    assert len(data) == 1
    assert "c-000000.tar: is empty (0 bytes)" in str(data.failures[0])
    assert "c-000001.tar: does not exist" in str(data.failures[1])
    with tarfile.open(folder / "c-000001.tar", "w"):
        pass
    assert "c-000001.tar: holds no sample" in str(ShardedClips(folder).failures[1])


def test_with_no_shard_left_there_is_an_error(folder, tmp_path):
    for path in folder.glob("*.tar"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"hold no sample that can be used \(.*is empty"):
        ShardedClips(folder)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="holds no shard"):
        ShardedClips(tmp_path / "nothing")


def test_a_sample_that_does_not_decode_is_named(folder):
    path = folder / "c-000000.tar"
    with tarfile.open(path) as tar:
        member = tar.getmember("id1_video_1.02.jpg")
        first = tar.getmember("id1_video_1.json").offset
    content = bytearray(path.read_bytes())
    content[member.offset_data : member.offset_data + member.size] = bytes(member.size)
    path.write_bytes(content)
    data = ShardedClips(folder)
    with pytest.raises(InputError, match=rf"c-000000.tar: sample at byte {first}: has frames that"):
        data.__getitems__([0, 1])
    assert len(data.__getitems__([0, 2])["row"]) == 2


def test_samples_that_lack_what_the_mode_needs_are_counted(decoded, tmp_path):
    write_shards(clips(2), tmp_path / "a", corpus="a",
                 settings=ShardSettings(candidates=4, size=16, mode="audio"))  # fmt: skip
    write_shards(clips(3), tmp_path / "b", corpus="b", settings=SETTINGS)
    paths = [tmp_path / "a" / "a-000000.tar", tmp_path / "b" / "b-000000.tar"]
    both = ShardedClips(paths)
    assert (len(both), both.left_out) == (3, 2)
    audio = ShardedClips(paths, mode="missing_video")
    assert len(audio) == 5
    assert set(audio.__getitems__([0, 4])) == {"row", "length", "waveform"}
    with pytest.raises(InputError, match="none has what 'video' needs"):
        ShardedClips(paths[:1], mode="video")


def test_samples_of_other_sizes_do_not_go_into_one_batch(decoded, tmp_path):
    write_shards(clips(2), tmp_path, corpus="a", settings=SETTINGS)
    path = tmp_path / "a-000000.tar"
    with tarfile.open(path) as tar:
        kept = [(m, tar.extractfile(m)) for m in tar if m.name != "id1_video_1.03.jpg"]
        with tarfile.open(tmp_path / "b.tar", "w") as other:
            for member, content in kept:
                other.addfile(member, content)
    with pytest.raises(InputError, match=r"has frames \(3, 16, 16, 3\), others \(4, 16, 16, 3\)"):
        ShardedClips(tmp_path / "b.tar").__getitems__([0, 1])


def test_a_model_trains_on_them_and_resumes(folder, tmp_path):
    front = FrontEnd(preset=PRESETS["social-mae"], audio_frames=16, n_frames=2, image_size=16)
    data = ShardedClips(folder, transform=front)

    def loss(model, batch, generator):
        assert batch["audio"].shape[1:] == (16, 128)
        inputs = torch.cat([batch["audio"].mean(dim=1), batch["video"].flatten(1)[:, :2]], dim=1)
        return {"loss": model(inputs).square().mean()}

    def trained(folder, **changes):
        model = torch.nn.Linear(130, 1)
        torch.nn.init.ones_(model.weight)
        torch.nn.init.zeros_(model.bias)
        config = TrainingConfig(epochs=2, batch_size=2, learning_rate=0.01, **changes)
        return fit(model, loss, data, config=config, folder=folder, progress=False)

    here = trained(tmp_path / "here")
    assert here.steps == 4  # an epoch of five clips in batches of two leaves one out
    workers = trained(tmp_path / "workers", workers=1)
    assert torch.equal(here.model.weight, workers.model.weight)


def test_the_command_writes_a_corpus_as_shards(tmp_path, monkeypatch, capsys):
    import thesislib.cli as cli
    from thesislib.corpora import loading

    path = tmp_path / "a.wav"
    soundfile.write(path, 0.1 * np.ones(16000, np.float32), 16000)
    wanted = [Clip(clip_id=f"id{i}", corpus="c", speaker="s", audio_path=path) for i in (0, 1)]
    wanted.append(Clip(clip_id="id2", corpus="c", speaker="s"))

    class Found:
        clips = wanted

    monkeypatch.setattr(loading, "load_corpus", lambda name, **_: Found)
    arguments = ["data", "shard", "librispeech", "--out", str(tmp_path / "out"), "--mode", "audio"]
    monkeypatch.setattr("sys.argv", ["thesis", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    said = capsys.readouterr()
    assert "2 clips written" in said.out
    assert "left out: id2: id2: has no audio" in said.err
    assert len(ShardedClips(tmp_path / "out", mode="audio")) == 2
    index = json.loads((tmp_path / "out" / "shards.json").read_text())
    assert index["shards"][0]["samples"] == 2
