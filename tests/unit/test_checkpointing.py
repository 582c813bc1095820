"""What a checkpoint keeps, what damages it, and what happens then."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from thesislib.errors import InputError
from thesislib.learning.checkpointing import (
    contained_randomness,
    discard_damaged,
    load_checkpoint,
    random_states,
    save_checkpoint,
    set_random_states,
)


def save(folder, step, *, key="a", best_step=None, finished=False, **weights):
    tensors = {name: torch.full((2,), float(value)) for name, value in weights.items()}
    record = {"step": step, "key": key, "finished": finished}
    state = {"optimiser": {"momentum": tensors}, "random": [random_states()]}
    save_checkpoint(folder, record, tensors, state, best_step=best_step)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    save(tmp_path, 3, w=1.5, best_step=3)
    checkpoint = load_checkpoint(tmp_path, "a")
    assert checkpoint.record["step"] == 3
    assert torch.equal(checkpoint.weights["w"], torch.full((2,), 1.5))
    assert torch.equal(checkpoint.best["w"], checkpoint.weights["w"])
    assert torch.equal(checkpoint.state["optimiser"]["momentum"]["w"], checkpoint.weights["w"])


def test_an_empty_or_missing_folder_has_none(tmp_path):
    assert load_checkpoint(tmp_path, "a") is None
    assert load_checkpoint(tmp_path / "missing", "a") is None


def test_the_two_newest_are_kept_with_the_best(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step, w=step, best_step=1)
    assert names(tmp_path) == [
        "checkpoint-00000003.json",
        "checkpoint-00000004.json",
        "state-00000003.pt",
        "state-00000004.pt",
        "weights-00000001.safetensors",
        "weights-00000003.safetensors",
        "weights-00000004.safetensors",
    ]
    checkpoint = load_checkpoint(tmp_path, "a")
    assert (float(checkpoint.weights["w"][0]), float(checkpoint.best["w"][0])) == (4.0, 1.0)


def test_a_finished_run_keeps_its_best_weights_alone(tmp_path):
    save(tmp_path, 1, w=1, best_step=1)
    save(tmp_path, 2, w=2, best_step=1, finished=True)
    assert names(tmp_path) == ["checkpoint-00000002.json", "weights-00000001.safetensors"]
    checkpoint = load_checkpoint(tmp_path, "a")
    assert float(checkpoint.best["w"][0]) == 1.0
    assert checkpoint.record["finished"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def not_an_object(path):
    path.write_text("[1, 2]")


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("checkpoint-00000002.json", cut),
        ("checkpoint-00000002.json", not_an_object),
        ("weights-00000002.safetensors", cut),
        ("weights-00000002.safetensors", flip),
        ("state-00000002.pt", flip),
        ("state-00000002.pt", lambda path: path.unlink()),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(tmp_path, name, harm):
    save(tmp_path, 1, w=1)
    save(tmp_path, 2, w=2)
    harm(tmp_path / name)
    with pytest.warns(UserWarning, match=r"checkpoint-00000002\.json: is damaged"):
        checkpoint = load_checkpoint(tmp_path, "a")
    assert checkpoint.record["step"] == 1
    assert float(checkpoint.weights["w"][0]) == 1.0


def test_with_all_of_them_damaged_there_is_none(tmp_path):
    save(tmp_path, 1, w=1)
    cut(tmp_path / "checkpoint-00000001.json")
    with pytest.warns(UserWarning, match="or from the start"):
        assert load_checkpoint(tmp_path, "a") is None


def test_another_key_is_refused(tmp_path):
    save(tmp_path, 1, w=1, key="emodb-1")
    with pytest.raises(InputError, match=r"another run.*'emodb-1', not 'emodb-2'"):
        load_checkpoint(tmp_path, "emodb-2")


def test_what_a_kill_left_behind_is_removed(tmp_path):
    save(tmp_path, 1, w=1)
    save(tmp_path, 2, w=2)
    (tmp_path / ".weights-00000003.part-x1.safetensors").write_bytes(b"half")
    discard_damaged(tmp_path, 1)
    assert "checkpoint-00000001.json" in names(tmp_path)
    assert "checkpoint-00000002.json" not in names(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_tied_weights_are_written(tmp_path):
    tied = torch.arange(3.0)
    save_checkpoint(tmp_path, {"step": 1, "key": "a"}, {"a": tied, "b": tied}, {})
    weights = load_checkpoint(tmp_path, "a").weights
    assert torch.equal(weights["a"], tied)
    assert torch.equal(weights["b"], tied)


def test_the_record_is_plain_json_with_hashes(tmp_path):
    save(tmp_path, 1, w=1)
    record = json.loads((tmp_path / "checkpoint-00000001.json").read_text())
    assert set(record["files"]) == {"weights", "state"}
    assert all(len(digest) == 64 for _, digest in record["files"].values())


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_random_states_bring_back_the_same_draws(tmp_path):
    with contained_randomness(0):
        save(tmp_path, 1, w=1)
        expected = draws()
    states = load_checkpoint(tmp_path, "a").state["random"][0]
    with contained_randomness(1):
        assert draws() != expected
        set_random_states(states)
        assert draws() == expected


def draw_and_fail():
    with contained_randomness(6):
        draws()
        raise RuntimeError("inside")


def test_the_callers_random_states_are_left_alone():
    with contained_randomness(5):  # as a caller with states of its own
        before = random_states()
        with pytest.raises(RuntimeError, match="inside"):
            draw_and_fail()
        after = random_states()
        assert before["python"] == after["python"]
        assert torch.equal(before["numpy"][1], after["numpy"][1])
        assert before["numpy"][2] == after["numpy"][2]
        assert torch.equal(before["torch"], after["torch"])
