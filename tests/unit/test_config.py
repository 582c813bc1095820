import dataclasses

import pytest

from thesislib.config import (
    EXPERIMENTS,
    PROFILES,
    AgreementConfig,
    DisentanglementConfig,
    MainBranchConfig,
    for_profile,
)
from thesislib.errors import InputError
from thesislib.files import project_root


@pytest.mark.parametrize("kind", EXPERIMENTS)
def test_every_experiment_has_the_three_profiles(kind):
    assert set(kind.SIZES) == set(PROFILES)
    for profile in PROFILES:
        config = for_profile(kind, profile)
        assert config.profile == profile
        assert {f.name for f in dataclasses.fields(kind)} > kind.SIZES[profile].keys()


def test_what_is_given_wins_over_the_profile():
    assert for_profile(MainBranchConfig, "small", clips=7).clips == 7
    assert for_profile(MainBranchConfig, "small").clips == 0


def test_an_unknown_parameter_lists_the_known_ones():
    with pytest.raises(InputError, match=r"parameter sed: .*the parameters are .*seed"):
        for_profile(MainBranchConfig, "tiny", sed=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("corpus", "crema-d"), ("seed", -1), ("clips", -1), ("replicates", 0),
        ("window_s", 0.0), ("regularisation_c", 0.0), ("threads", 0),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_names_its_parameter(name, value):
    with pytest.raises(InputError, match=f"parameter {name}: cannot be"):
        for_profile(MainBranchConfig, "tiny", **{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("seed", "abc"), ("seed", 1.5), ("encoder", 5), ("seed", True)]
)
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(InputError, match=f"parameter {name}: cannot be .*; give a value of type"):
        for_profile(MainBranchConfig, "tiny", **{name: value})


def test_none_keeps_the_profiles_value():
    assert for_profile(MainBranchConfig, "small", clips=None, window_s=1).clips == 0


CHAPTERS = {path.stem[:2] for path in (project_root() / "notebooks").glob("*.ipynb")}


def test_a_notebooks_parameters_are_the_fields():
    import nbformat

    from thesislib.config import from_notebook
    from thesislib.notebooks import find_notebook

    for chapter in {kind.CHAPTER for kind in EXPERIMENTS} & CHAPTERS:
        cells = nbformat.read(find_notebook(chapter), as_version=4).cells
        (source,) = (c.source for c in cells if "parameters" in c.metadata.get("tags", []))
        namespace = {}
        exec(source, namespace)
        page = "\n".join(c.source for c in cells)
        (kind,) = (k for k in EXPERIMENTS if f"from_notebook({k.__name__}, globals())" in page)
        assert chapter == kind.CHAPTER
        assert from_notebook(kind, namespace) == for_profile(kind, "tiny")


def test_an_unknown_profile_is_refused():
    with pytest.raises(InputError, match="tiny, small, paper"):
        for_profile(MainBranchConfig, "huge")


def test_the_command_names_what_differs_from_the_profile():
    config = for_profile(AgreementConfig, "small", corpus="ifadv", seed=1, out="elsewhere")
    assert config.command() == "thesis run 05 -p corpus ifadv -p seed 1 --profile small"
    assert for_profile(AgreementConfig, "tiny").command() == "thesis run 05 --profile tiny"


def test_the_command_names_an_experiment_that_is_not_its_chapters_first():
    first = for_profile(DisentanglementConfig, "tiny", seed=1)
    assert first.command() == "thesis train 08 -p seed 1 --profile tiny"
    second = for_profile(MainBranchConfig, "small", corpus="emodb")
    assert second.command() == (
        "thesis train 08 --experiment main_branch -p corpus emodb --profile small"
    )
