"""Our detector beside the package that carries its weights.

The package pins an older torch; its code runs beside a newer one when it is installed without its
dependencies: ``pip install --no-deps facenet-pytorch``.
"""

import numpy as np
import pytest
import torch

from thesislib.corpora.twins.face import sample_identity
from thesislib.corpora.twins.face_motion import laugh
from thesislib.corpora.twins.face_render import render
from thesislib.files import weights_root
from thesislib.models.face_detector import load_face_detector

facenet = pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")


@pytest.fixture(scope="module")
def detector():
    if not (weights_root() / "face-detector" / "model.safetensors").is_file():
        pytest.skip("no pretrained weights: run `thesis weights get face-detector`")
    return load_face_detector()


@pytest.fixture(scope="module")
def theirs():
    return facenet.MTCNN(keep_all=True, min_face_size=28, thresholds=[0.6, 0.7, 0.7])


def test_networks(detector, theirs):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for ours, other, size in (
            (detector.pnet, theirs.pnet, 37),
            (detector.rnet, theirs.rnet, 24),
            (detector.onet, theirs.onet, 48),
        ):
            x = torch.rand(6, 3, size, size, generator=generator) * 2 - 1
            expected = other(x)  # correction, (points,) probability of no face and of a face
            found = ours(x)
            torch.testing.assert_close(found[0], expected[-1][:, 1])
            if size == 37:
                torch.testing.assert_close(found[1], expected[0].permute(0, 2, 3, 1))
            else:
                torch.testing.assert_close(found[1], expected[0])
            if size == 48:
                points = expected[1].view(6, 2, 5).transpose(1, 2)
                torch.testing.assert_close(found[2], points)


def compare(detector, theirs, frames):
    # Theirs searches from `min_face_size` pixels on, ours from a share of the shorter side.
    detector.smallest_share = theirs.min_face_size / min(frames.shape[1:3])
    found = detector.find_faces(frames)
    boxes, scores, points = theirs.detect(frames.numpy(), landmarks=True)
    assert sum(b is not None for b in boxes) > 0
    for index, faces in enumerate(zip(boxes, scores, points, strict=True)):
        ours = found.frame == index
        box, score, point = (np.array(part, np.float32) for part in faces)
        assert ours.sum() == len(box)
        order = np.argsort(-score)
        np.testing.assert_allclose(found.score[ours], score[order], atol=2e-3)
        np.testing.assert_allclose(found.box[ours], box[order], atol=0.5)
        # They count the corner of the first pixel as 0, we its centre.
        np.testing.assert_allclose(found.points[ours], point[order] - 0.5, atol=0.3)


def test_the_astronaut(detector, theirs):
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    compare(detector, theirs, torch.from_numpy(data.astronaut())[None])


@pytest.mark.parametrize("size", [224, (240, 320)])
def test_twins(detector, theirs, size):
    person = sample_identity("male", torch.Generator().manual_seed(3))
    motion = laugh(torch.linspace(0, 1, 12), torch.arange(12) / 25)
    frames = torch.cat(list(render(person, motion, size)))
    compare(detector, theirs, frames[::3])
