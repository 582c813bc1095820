import os

import av
import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter1d

from thesislib.corpora.manifest import load_manifest
from thesislib.corpora.twins.face import LANDMARKS, landmarks, sample_identity
from thesislib.corpora.twins.face_motion import laugh
from thesislib.corpora.twins.face_render import render
from thesislib.errors import InputError
from thesislib.files import weights_root
from thesislib.models.checkpoints import (
    convert_torch,
    list_weights,
    load_converted,
    load_encoder,
)
from thesislib.models.face_detector import load_face_detector
from thesislib.signals import face
from thesislib.signals.decoding import DecodingWorker
from thesislib.signals.face import (
    MEAN_FACE,
    FaceLandmarks,
    cached_region,
    crop_face,
    crop_mouth,
    fill_gaps,
    read_region,
    similarity,
    smooth,
)

# Read off a fourteenfold enlargement of the photograph by eye.
ASTRONAUT_EYES = ((203.1, 100.6), (246.3, 102.9))
ASTRONAUT_NOSE = (224.0, 127.0)
ASTRONAUT_MOUTH = ((202.3, 138.8), (244.3, 140.5))
TWIN_POINTS = [
    LANDMARKS.index(name)
    for name in ("left_pupil", "right_pupil", "nose_tip", "left_mouth_corner", "right_mouth_corner")
]


@pytest.fixture(scope="module")
def detector():
    if not (weights_root() / "face-detector" / "model.safetensors").is_file():
        pytest.skip("no pretrained weights: run `thesis weights get face-detector`")
    return load_face_detector()


@pytest.fixture(scope="module")
def astronaut():
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    return torch.from_numpy(data.astronaut())


@pytest.fixture(scope="module")
def twin():
    """A laughing twin: 24 frames of 224 x 224 and the five true landmarks."""
    person = sample_identity("female", torch.Generator().manual_seed(2))
    motion = laugh(torch.linspace(0, 1, 24), torch.arange(24) / 25)
    frames = torch.cat(list(render(person, motion, 224)))
    return frames, landmarks(person, motion, 224)[:, TWIN_POINTS]


def distance(a, b):
    return (a - torch.as_tensor(b)).norm(dim=-1)


def test_it_finds_the_astronaut(detector, astronaut):
    found = detector.detect(astronaut[None])
    assert found.score[0] > 0.95
    assert distance(found.landmarks[0, :2], ASTRONAUT_EYES).max() < 3
    assert distance(found.landmarks[0, 3:], ASTRONAUT_MOUTH).max() < 3
    assert distance(found.landmarks[0, 2], ASTRONAUT_NOSE) < 4


def test_it_finds_shifted_and_shrunken_astronauts(detector, astronaut):
    wide = torch.zeros(1, 512, 900, 3, dtype=torch.uint8)
    wide[0, :, 300:812] = astronaut
    expected = torch.tensor(ASTRONAUT_MOUTH) + torch.tensor([300.0, 0.0])
    assert distance(detector.detect(wide).landmarks[0, 3:], expected).max() < 3
    half = astronaut.unflatten(0, (256, 2)).unflatten(2, (256, 2)).float().mean((1, 3)).byte()
    small = detector.detect(half[None]).landmarks[0, 3:]
    assert distance(small, (torch.tensor(ASTRONAUT_MOUTH) - 0.5) / 2).max() < 3


def test_no_face(detector):
    noise = torch.randint(0, 256, (3, 96, 128, 3), generator=torch.Generator().manual_seed(0))
    found = detector.detect(noise.byte())
    assert found.landmarks.isnan().all()
    assert (found.score == 0).all()
    tiny = detector.detect(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    assert tiny.landmarks.isnan().all()
    assert detector.detect(noise[:0].byte()).landmarks.shape == (0, 5, 2)
    with pytest.raises(ValueError, match="expected"):
        detector.detect(noise.float())


def test_it_finds_the_twin(detector, twin):
    frames, true = twin
    found = detector.detect(frames)
    assert (found.score > 0.8).all()
    between_eyes = distance(true[:, 0], true[:, 1]).mean()
    error = distance(found.landmarks, true) / between_eyes
    assert error.mean() < 0.07
    assert error[:, 3:].mean() < 0.10
    # A batch gives what single frames give.
    torch.testing.assert_close(
        detector.detect(frames[5:6]).landmarks, found.landmarks[5:6], atol=1e-3, rtol=0
    )


def test_of_several_faces_the_largest(detector, astronaut):
    part = astronaut[20:212, 128:320]
    half = part.unflatten(0, (96, 2)).unflatten(2, (96, 2)).float().mean((1, 3)).byte()
    both = torch.full((1, 192, 320, 3), 128, dtype=torch.uint8)
    both[0, :, :192], both[0, 48:144, 208:304] = part, half
    assert len(detector.find_faces(both).score) == 2
    expected = torch.tensor(ASTRONAUT_MOUTH) - torch.tensor([128.0, 20.0])
    assert distance(detector.detect(both).landmarks[0, 3:], expected).max() < 3
    assert detector.detect(both.flip(2)).landmarks[0, :, 0].min() > 128


def test_gaps():
    track = torch.full((9, 5, 2), torch.nan)
    track[[1, 2, 6]] = torch.tensor([2.0, 4.0, 12.0])[:, None, None]
    assert fill_gaps(track)[:, 3, 1].tolist() == [2, 2, 4, 6, 8, 10, 12, 12, 12]
    whole = torch.rand(7, 5, 2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(fill_gaps(whole), whole)
    with pytest.raises(ValueError, match="no frame has a face"):
        fill_gaps(track[3:5])


def test_smoothing_is_a_moving_average():
    track = torch.rand(40, 5, 2, generator=torch.Generator().manual_seed(1))
    expected = uniform_filter1d(track.double().numpy(), 12, axis=0)
    torch.testing.assert_close(smooth(track)[6:-6], torch.from_numpy(expected).float()[6:-6])
    torch.testing.assert_close(smooth(track)[0], track[:6].mean(0))
    torch.testing.assert_close(smooth(track)[-1], track[-7:].mean(0))
    assert torch.equal(smooth(track[:3], 1), track[:3])


def test_similarity_is_that_of_scikit_image():
    transform = pytest.importorskip("skimage.transform", reason="scikit-image is not installed")
    generator = np.random.default_rng(3)
    source, target = generator.normal(0, 50, (2, 5, 2))
    a, b = similarity(torch.tensor(source)[None], torch.tensor(target))
    theirs = transform.SimilarityTransform.from_estimate(source, target)
    assert a.abs().item() == pytest.approx(theirs.scale)
    assert a.angle().item() == pytest.approx(theirs.rotation)
    np.testing.assert_allclose([b.real.item(), b.imag.item()], theirs.translation)


def coordinates(height, width):
    """A picture whose red is the column and whose green is the row."""
    picture = torch.zeros(height, width, 3, dtype=torch.uint8)
    picture[..., 0] = torch.arange(width)
    picture[..., 1] = torch.arange(height)[:, None]
    return picture


def test_crops_look_where_they_should():
    """A face turned, shrunken and shifted by a known similarity, on a picture of coordinates."""
    a, b = 0.5 * np.exp(0.2j), 30 + 40j
    mean_face = torch.tensor(MEAN_FACE)
    points = torch.view_as_complex(mean_face) * a + b
    track = torch.view_as_real(points).expand(3, -1, -1)
    frames = coordinates(250, 250).expand(3, -1, -1, -1)
    for crop, centre in (
        (crop_mouth(frames, track), mean_face[3:].mean(0)),
        (crop_face(frames, track), torch.tensor([127.5, 127.5])),
    ):
        size = crop.shape[1]
        assert crop.dtype == torch.uint8
        row, column = 20, size - 30
        offset = complex(column + 0.5 - size / 2, row + 0.5 - size / 2)
        expected = (complex(*centre.tolist()) + offset) * a + b
        assert abs(crop[1, row, column, 0].item() - expected.real) < 1
        assert abs(crop[1, row, column, 1].item() - expected.imag) < 1
    assert crop_mouth(frames, track).shape == (3, 96, 96, 3)
    assert crop_face(frames, track).shape == (3, 224, 224, 3)


def test_a_large_face_is_averaged():
    """Stripes of one pixel become grey where a pixel of the crop covers four of them."""
    frames = torch.zeros(1, 900, 900, 3, dtype=torch.uint8)
    frames[:, :, ::2] = 200
    crop = crop_mouth(frames, torch.tensor(MEAN_FACE)[None] * 4 - 100)
    assert (crop[0, 8:-8, 8:-8].float() - 100).abs().max() < 12


def test_the_mouth_stays_in_the_middle(detector, twin):
    frames, true = twin
    found = detector.detect(frames).landmarks
    found[4:7] = torch.nan  # a hand before the face
    filled = fill_gaps(found)
    scale = similarity(smooth(filled)[:, :3], torch.tensor(MEAN_FACE)[:3])[0].abs()
    off = distance(filled[:, 3:].mean(1), true[:, 3:].mean(1)) * scale
    assert off.max() < 12  # of 96
    width = distance(true[:, 3], true[:, 4]) * scale
    assert 30 < width.min() < width.max() < 80


class Counting:
    """A detector of fixed landmarks that counts the frames it sees."""

    identity = "fixed"

    def __init__(self, seen=True):
        self.n, self.seen = 0, seen

    def detect(self, frames):
        self.n += len(frames)
        points = torch.tensor(MEAN_FACE) / 256 * frames.shape[1]
        if not self.seen:
            points = points * torch.nan
        return FaceLandmarks(points.expand(len(frames), 5, 2), torch.ones(len(frames)))


@pytest.fixture(scope="module")
def worker():
    with DecodingWorker() as worker:
        yield worker


@pytest.fixture
def recording(tmp_path, twin):
    path = tmp_path / "twin.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 224
        stream.pix_fmt = "yuv420p"
        for frame in twin[0]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.numpy(), format="rgb24")))
        container.mux(stream.encode())
    return path


def test_from_file_to_mouth(detector, worker, recording, twin):
    region = read_region(recording, "mouth", detector, worker, duration_s=0.96, fps=25)
    assert region.frames.shape == (24, 96, 96, 3)
    assert distance(region.landmarks, twin[1]).mean() < 4
    direct = crop_mouth(twin[0], region.landmarks)
    assert (region.frames.float() - direct.float()).abs().mean() < 6  # but for the codec
    faces = read_region(recording, "face", detector, worker, start_s=0.4, duration_s=0.4, fps=50)
    assert faces.frames.shape == (20, 224, 224, 3)
    # 25 pictures a second, shown at 50: only the smoothed crop moves between the two.
    assert (faces.frames[0].float() - faces.frames[1].float()).abs().mean() < 2


def test_between_frames_that_are_searched_landmarks_are_interpolated(worker, recording, detector):
    counting = Counting()
    read_region(recording, "mouth", counting, worker, duration_s=0.4, fps=25, every=4)
    assert counting.n == 4  # frames 0, 4, 8 and the last, 9
    every = read_region(recording, "mouth", detector, worker, duration_s=0.4, fps=25)
    fourth = read_region(recording, "mouth", detector, worker, duration_s=0.4, fps=25, every=4)
    assert fourth.score.nonzero().flatten().tolist() == [0, 4, 8, 9]
    assert torch.equal(fourth.landmarks[[0, 4, 8, 9]], every.landmarks[[0, 4, 8, 9]])
    middle = (fourth.landmarks[0] + fourth.landmarks[4]) / 2
    torch.testing.assert_close(fourth.landmarks[2], middle)


def test_a_second_call_does_not_decode(recording, worker, tmp_path, monkeypatch):
    counting = Counting()
    settings = {"duration_s": 0.4, "fps": 25, "cache": tmp_path / "cache"}
    first = cached_region(recording, "mouth", counting, worker, **settings)
    assert counting.n == 10
    other = cached_region(recording, "mouth", counting, worker, start_s=0.2, **settings)
    assert counting.n == 20
    assert not torch.equal(other.frames, first.frames)

    moved = recording.rename(tmp_path / "renamed.mp4")  # by content, not by name
    monkeypatch.setattr(face, "read_region", None)
    for a, b in zip(cached_region(moved, "mouth", counting, None, **settings), first, strict=True):
        assert torch.equal(a, b)
    with pytest.raises(TypeError):
        cached_region(moved, "face", counting, None, **settings)


def test_a_changed_recording_and_a_damaged_cache_are_read_anew(recording, worker, tmp_path):
    counting = Counting()
    settings = {"duration_s": 0.4, "fps": 25, "cache": tmp_path / "cache"}
    first = cached_region(recording, "mouth", counting, worker, **settings)
    (stored,) = (tmp_path / "cache").glob("*/*")
    stored.write_bytes(stored.read_bytes()[:-50])
    again = cached_region(recording, "mouth", counting, worker, **settings)
    assert counting.n == 20
    assert torch.equal(first.frames, again.frames)
    content = recording.read_bytes()
    recording.write_bytes(content + struct_free(8))
    cached_region(recording, "mouth", counting, worker, **settings)
    assert counting.n == 30


def struct_free(length):
    """An empty box at the end of an MP4 file."""
    return length.to_bytes(4, "big") + b"free"


def test_the_cache_forgets_what_was_used_longest_ago(tmp_path):
    for age in range(3):
        file = tmp_path / "ab" / f"{age}.safetensors"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(100))
        os.utime(file, (1000 - age, 1000 - age))
    face._prune(tmp_path, 250)
    assert sorted(file.stem for file in tmp_path.glob("*/*")) == ["0", "1"]


def test_what_cannot_be_cropped(recording, worker, tmp_path):
    with pytest.raises(InputError, match=r"twin\.mp4: 0\.2 s to 0\.4 s: no frame has a face"):
        read_region(
            recording, "mouth", Counting(seen=False), worker, start_s=0.2, duration_s=0.2, fps=25
        )
    with pytest.raises(InputError, match="cannot be read"):
        cached_region(tmp_path / "no.mp4", "mouth", Counting(), worker, duration_s=1, fps=25)
    with pytest.raises(InputError, match="ends at"):
        read_region(recording, "mouth", Counting(), worker, duration_s=3, fps=25)


def test_weights_without_code_and_complete(tmp_path, monkeypatch, detector):
    whole = {name: tensor.clone() for name, tensor in detector.rnet.body.state_dict().items()}
    torch.save(whole, tmp_path / "rnet.pt")
    state = convert_torch({"rnet": tmp_path / "rnet.pt"})
    assert state.keys() == {f"rnet.{name}" for name in whole}
    assert all(torch.equal(state[f"rnet.{name}"], whole[name]) for name in whole)

    torch.save({"conv1.weight": os.getcwd}, tmp_path / "rnet.pt")  # a function to be called
    with pytest.raises(InputError, match=r"rnet\.pt: holds no parameters"):
        convert_torch({"rnet": tmp_path / "rnet.pt"})
    (tmp_path / "rnet.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"rnet\.pt: holds no parameters"):
        convert_torch({"rnet": tmp_path / "rnet.pt"})
    monkeypatch.setattr("thesislib.models.face_detector.load_converted", lambda name: ({}, state))
    with pytest.raises(InputError, match="holds other parameters"):
        load_face_detector()


def test_the_manifest_names_what_is_stored(detector):
    config, state = load_converted("face-detector")
    assert config == {}
    assert len(state) == len(detector.state_dict())
    with pytest.raises(InputError, match="holds no speech encoder"):
        load_encoder("face-detector")
    listed = next(weights for weights in list_weights() if weights.name == "face-detector")
    assert (listed.state, listed.licence) == ("present", "MIT")
    before = torch.random.get_rng_state()
    load_face_detector()
    assert torch.equal(torch.random.get_rng_state(), before)  # no generator was used up


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
def test_the_manifest_is_valid_croissant():
    import mlcroissant

    manifest = load_manifest("face-detector")
    dataset = mlcroissant.Dataset(jsonld=manifest.path)
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    wheel, *parts = dataset.metadata.distribution
    assert [part.name for part in parts] == ["pnet", "rnet", "onet"]
    assert all(part.contained_in == [wheel.name] for part in parts)
    package = manifest.about("package")
    assert wheel.content_url.startswith(f"facenet_pytorch-{package['version']}-")
    assert manifest.about("forbiddenUse")
