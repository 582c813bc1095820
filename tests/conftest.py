"""What several test files need: real recordings and weights where they are, and one thread."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import torch

from thesislib.files import find_corpus, weights_root

# Tests that train in another process fork it from a server that has only imported: a fork of this
# one cannot train once a test has here, where torch has a GPU or `FakeTensorMode` pretends so.
multiprocessing.set_forkserver_preload(
    ["lightning_fabric", "thesislib.learning.social_mae_pretraining"]
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


@pytest.fixture(scope="session")
def emodb_root() -> Path:
    """The real recordings of EmoDB."""
    root = find_corpus("emodb")
    if root is None:
        pytest.skip("EmoDB is not at hand: set THESISLIB_DATA_ROOT or run `thesis data get emodb`")
    return root


@pytest.fixture(scope="session")
def speech_encoder_weights() -> Path:
    """The converted weights of the speech encoder."""
    path = weights_root() / "speech-encoder" / "model.safetensors"
    if not path.is_file():
        pytest.skip("no pretrained weights: run `thesis weights get speech-encoder`")
    return path


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A throw-away project folder, so that nothing is written into the checkout."""
    monkeypatch.setattr("thesislib.files.project_root", lambda: tmp_path)
    return tmp_path
