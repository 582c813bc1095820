"""Normalisation of chapter 7's inputs: presets, statistics of one's own, and what NDC-ME has."""

import json
from dataclasses import replace

import pytest

from thesislib.config import SocialMaeConfig, for_profile
from thesislib.errors import InputError
from thesislib.learning.social_mae_inputs import (
    front_end,
    preset_of,
    read_statistics,
    write_statistics,
)
from thesislib.signals.audio_visual import PRESETS, AudioVisualPreset

OWN = AudioVisualPreset(
    log_mel=replace(PRESETS["social-mae"].log_mel, mean=-7.25, std=3.5),
    frame_mean=(0.25, 0.5, 0.75),
    frame_std=(0.125, 0.25, 0.375),
)


def config(**given):
    return for_profile(SocialMaeConfig, "tiny", **given)


def test_statistics_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "own.json"
    write_statistics(OWN, path)
    assert read_statistics(path) == OWN
    assert preset_of(config(normalisation=str(path))) == OWN


def test_presets_are_taken_by_name():
    assert preset_of(config(normalisation="social-mae")) == PRESETS["social-mae"]
    assert front_end(config(normalisation="cav-mae")).preset == PRESETS["cav-mae"]


def test_the_thesis_normalises_the_pictures_of_ndc_me_apart():
    given = {"corpus": "ndc-me", "normalisation": "social-mae"}
    assert front_end(config(**given)).preset == PRESETS["ndc-me"]
    twin = front_end(config(**given | {"corpus": "ndc-me-twin"}))
    assert twin.preset == PRESETS["social-mae"]
    assert front_end(config(corpus="ndc-me", normalisation="cav-mae")).preset == PRESETS["cav-mae"]


def test_the_profile_of_the_thesis_has_its_numbers():
    paper = for_profile(SocialMaeConfig, "paper")
    assert (paper.normalisation, paper.attention_start) == ("social-mae", "random")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"log_mel": {"gain": 2}, "frame_mean": [0, 0, 0], "frame_std": [1]}']
)
def test_another_file_is_refused_and_the_mend_named(text, tmp_path):
    path = tmp_path / "own.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"own\.json.*thesis data statistics"):
        read_statistics(path)


def test_a_deviation_of_zero_is_refused(tmp_path):
    path = tmp_path / "own.json"
    write_statistics(OWN, path)
    told = json.loads(path.read_text()) | {"frame_std": [0.0, 1.0, 1.0]}
    path.write_text(json.dumps(told))
    with pytest.raises(InputError, match="above 0"):
        read_statistics(path)


def test_a_name_that_is_neither_is_refused_before_anything_is_decoded():
    with pytest.raises(InputError, match=r"normalisation.*thesis data statistics"):
        config(normalisation="own.json")
