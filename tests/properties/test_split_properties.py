"""Splits under hypothesis: they divide the clips, keep people apart and stay what they are."""

import networkx
import numpy as np
import pytest
import soundfile
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from thesislib.corpora import emodb
from thesislib.corpora.clip import Clip
from thesislib.corpora.splits import (
    SHARES,
    leaked_share,
    published_split,
    random_split,
    speaker_groups,
    speaker_split,
)


def clip(number, speaker, partner=None, partition="train"):
    labels = {"partition": partition} | ({} if partner is None else {"partner": partner})
    return Clip(clip_id=f"c{number}", corpus="x", speaker=speaker, labels=labels)


people = st.integers(0, 11).map("p{}".format)
clip_lists = st.lists(st.tuples(people, st.none() | people), min_size=1, max_size=40).map(
    lambda rows: [clip(number, *row) for number, row in enumerate(rows)]
)


def parts(split):
    return split.train, split.validation, split.test


def graph_groups(clips):
    """Groups by an independent way: connected components of who met whom."""
    graph = networkx.Graph()
    for c in clips:
        graph.add_edge(c.speaker, c.labels.get("partner", c.speaker))
    names = {
        person: min(group) for group in networkx.connected_components(graph) for person in group
    }
    return [names[c.speaker] for c in clips]


@given(clip_lists)
@settings(deadline=None)
def test_groups_are_connected_components(clips):
    assert speaker_groups(clips) == graph_groups(clips)


@given(clip_lists, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_speaker_split_divides_the_clips_and_keeps_people_apart(clips, seed):
    groups = graph_groups(clips)
    if len(set(groups)) < 3:
        with pytest.raises(ValueError, match="three groups of people or more"):
            speaker_split(clips, seed=seed)
        return
    split = speaker_split(clips, seed=seed)
    assert sorted(np.concatenate(parts(split)).tolist()) == list(range(len(clips)))
    seen = [{groups[i] for i in part} for part in parts(split)]
    assert all(seen)
    assert sum(map(len, seen)) == len(set(groups))
    for person in {c.speaker for c in clips} | {c.labels.get("partner") for c in clips} - {None}:
        present = [
            any(person in (clips[i].speaker, clips[i].labels.get("partner")) for i in part)
            for part in parts(split)
        ]
        assert sum(present) == 1
    assert leaked_share(clips, split) == 0


@given(clip_lists, st.integers(0, 3), st.randoms())
@settings(max_examples=60, deadline=None)
def test_a_split_does_not_depend_on_the_order_of_the_clips(clips, seed, random):
    assume(len(set(graph_groups(clips))) >= 3)
    shuffled = random.sample(clips, len(clips))
    for make in (speaker_split, random_split):
        first, second = make(clips, seed=seed), make(shuffled, seed=seed)
        assert first.sha256 == second.sha256
        for a, b in zip(parts(first), parts(second), strict=True):
            assert {clips[i].clip_id for i in a} == {shuffled[i].clip_id for i in b}
            assert a.tolist() == sorted(a)


@given(st.integers(3, 200), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_random_split_has_its_shares_to_the_clip(n, seed):
    split = random_split([clip(i, "one") for i in range(n)], seed=seed)
    sizes = [len(part) for part in parts(split)]
    assert sum(sizes) == n
    assert min(sizes) >= 1
    if n >= 20:
        assert all(abs(size - share * n) <= 1 for size, share in zip(sizes, SHARES, strict=True))


def test_the_hash_changes_with_the_seed_and_with_one_clip():
    clips = [clip(i, f"p{i // 4}") for i in range(60)]
    for make in (speaker_split, random_split):
        hashes = {make(clips, seed=seed).sha256 for seed in range(5)}
        assert len(hashes) == 5
        assert make(clips[:-1]).sha256 not in hashes
    moved = [clip(0, "a", partition="train"), clip(1, "b", partition="test")]
    back = [clip(0, "a", partition="test"), clip(1, "b", partition="train")]
    names = {"train": "train", "test": "test"}
    assert published_split(moved, names).sha256 != published_split(back, names).sha256


def test_the_split_of_a_seed_is_the_same_on_every_machine():
    clips = [clip(i, f"p{i // 4}") for i in range(60)]
    assert speaker_split(clips).sha256[:16] == "19098da225718f4d"
    assert random_split(clips).sha256[:16] == "ca0c5dc3c7accf32"


@pytest.mark.parametrize("seed", range(6))
def test_twenty_speakers_of_unequal_size_are_balanced_to_a_percent(seed):
    sizes = np.random.default_rng(seed).geometric(0.02, size=20)
    speakers = np.repeat(np.arange(20), sizes)
    clips = [clip(i, f"p{s}") for i, s in enumerate(speakers)]
    split = speaker_split(clips, seed=seed)
    shares = [len(part) / len(clips) for part in parts(split)]
    assert shares == pytest.approx(SHARES, abs=0.01)


def test_one_huge_speaker_leaves_something_for_the_other_parts():
    clips = [clip(i, "huge") for i in range(97)] + [clip(97 + i, f"p{i}") for i in range(2)]
    for seed in range(5):
        assert min(map(len, parts(speaker_split(clips, seed=seed)))) == 1


def test_a_random_split_leaks_nearly_every_speaker_and_the_leak_is_measured():
    clips = [clip(i, f"p{i % 10}") for i in range(200)]
    assert leaked_share(clips, random_split(clips)) == 1
    own = [clip(i, f"p{i}") for i in range(200)]
    assert leaked_share(own, random_split(own)) == 0
    half = [clip(0, "a"), clip(1, "a", partition="test"), clip(2, "b", partition="test")]
    split = published_split(half, {"train": "train", "test": "test"})
    assert leaked_share(half, split) == 0.5
    with pytest.raises(ValueError, match="the test part is empty"):
        leaked_share(half, published_split(half, {"train": "train", "test": "train"}))


def test_what_cannot_be_split_is_refused():
    clips = [clip(i, f"p{i}") for i in range(6)]
    for shares in ((0.5, 0.5, 0.5), (1.0, 0.0, 0.0), (0.5, 0.5)):
        for make in (speaker_split, random_split):
            with pytest.raises(ValueError, match="shares are three positive numbers"):
                make(clips, shares=shares)
    for make in (speaker_split, random_split):
        with pytest.raises(ValueError, match="with the same id"):
            make([*clips, clips[0]])
    with pytest.raises(ValueError, match="three clips or more"):
        random_split(clips[:2])
    with pytest.raises(ValueError, match=r"no part is given for \['train'\]"):
        published_split(clips, {"dev": "train"})
    with pytest.raises(ValueError, match="no part is given for"):
        published_split(clips, {"train": "elsewhere"})


def test_emodb_splits_by_speaker_too(tmp_path):
    (tmp_path / "wav").mkdir()
    for speaker in ("03", "08", "09", "10", "11", "12", "13"):
        for emotion in "WLN":
            soundfile.write(tmp_path / "wav" / f"{speaker}a01{emotion}a.wav", np.zeros(8), 16000)
    clips = emodb.load_clips(tmp_path)
    split = speaker_split(clips)
    seen = [{clips[i].speaker for i in part} for part in parts(split)]
    assert all(seen)
    assert sum(map(len, seen)) == len(set.union(*seen)) == 7
