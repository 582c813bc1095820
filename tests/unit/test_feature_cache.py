"""The cache of main-branch features: found by key, refused by key, bounded, and done without."""

import os
import warnings

import pytest
import torch
from safetensors import safe_open

from thesislib.caching import cache_folder
from thesislib.errors import InputError
from thesislib.learning import feature_cache
from thesislib.learning.feature_cache import (
    cached_features,
    evict,
    features_key,
    open_features,
)
from thesislib.models.encoders import EncoderConfig, WhisperEncoder, freeze

KEY = "a" * 64


class Counter:
    """Doubles its windows, and counts them."""

    def __init__(self):
        self.windows = 0

    def __call__(self, windows):
        self.windows += len(windows)
        return 2 * windows


def windows(n=5):
    return torch.randn(n, 4, 3, generator=torch.Generator().manual_seed(0))


def encoder(seed=0, layers=1):
    sizes = EncoderConfig(n_mels=16, n_positions=4, width=8, heads=2, layers=layers, ffn_width=8)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return freeze(WhisperEncoder(sizes))


def test_features_are_computed_once_and_read_back_in_half_precision(project):
    compute = Counter()
    first = cached_features(compute, windows(), KEY, batch_size=2)
    second = cached_features(compute, windows(), KEY, batch_size=2)
    assert compute.windows == 5
    assert first.dtype == torch.float16
    assert torch.equal(first, second)
    assert torch.equal(first, (2 * windows()).half())


def test_the_file_is_plain_safetensors(project):
    cached_features(Counter(), windows(), KEY)
    path = cache_folder("main-features", KEY) / "features.safetensors"
    with safe_open(path, "pt") as file:
        assert list(file.keys()) == ["features"]
        assert file.metadata() == {"key": KEY}
        assert file.get_slice("features").get_shape() == [5, 4, 3]
    assert [p.name for p in path.parent.iterdir()] == [path.name], "nothing temporary is left"


def test_another_encoder_version_or_window_has_another_key(monkeypatch):
    base = features_key(encoder(), windows(), n_tokens=4)
    assert features_key(encoder(), windows(), n_tokens=4) == base
    others = [
        features_key(encoder(seed=1), windows(), n_tokens=4),
        features_key(encoder(layers=2), windows(), n_tokens=4),
        features_key(encoder(), windows() + 1e-6, n_tokens=4),
        features_key(encoder(), windows(), n_tokens=3),
    ]
    monkeypatch.setattr(feature_cache, "code_sha256", lambda modules: "another version")
    others.append(features_key(encoder(), windows(), n_tokens=4))
    assert len({base, *others}) == 6


def test_a_file_under_a_wrong_name_is_refused(project):
    cached_features(Counter(), windows(), KEY)
    other = "b" * 64
    cache_folder("main-features", KEY).rename(cache_folder("main-features", other))
    with pytest.raises(InputError, match="features of another encoder, version or corpus"):
        cached_features(Counter(), windows(), other)


def test_a_damaged_file_is_refused(project):
    cached_features(Counter(), windows(), KEY)
    path = cache_folder("main-features", KEY) / "features.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match="is damaged"):
        open_features(path, KEY)


def test_a_full_disk_leaves_the_run_uncached_with_one_warning(project, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_cache, "atomic_write", full)
    with pytest.warns(UserWarning, match="not cached .No space left on device") as caught:
        assert cached_features(Counter(), windows(), KEY) is None
    assert len(caught) == 1
    assert not cache_folder("main-features", KEY).exists()


def test_a_disk_that_fills_while_writing_leaves_nothing_behind(project):
    class Failing(Counter):
        def __call__(self, part):
            if self.windows >= 2:
                raise OSError(28, "No space left on device")
            return super().__call__(part)

    with pytest.warns(UserWarning, match="No space left"):
        assert cached_features(Failing(), windows(), KEY, batch_size=2) is None
    assert not list(project.rglob("*.safetensors"))


def test_features_larger_than_the_bound_are_not_cached(project):
    with pytest.warns(UserWarning, match="exceed the bound"):
        assert cached_features(Counter(), windows(), KEY, limit_bytes=100) is None


def test_what_was_used_longest_ago_makes_room(project):
    many = windows(500)
    size = 2 * many.numel() + feature_cache.HEAD_BYTES
    keys = [letter * 64 for letter in "abc"]
    for age, key in zip((300, 200), keys[:2], strict=True):
        cached_features(Counter(), many, key)
        path = cache_folder("main-features", key) / "features.safetensors"
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    cached_features(Counter(), many, keys[0])  # used now, so the second is the oldest
    cached_features(Counter(), many, keys[2], limit_bytes=2 * size + 100)
    there = [key for key in keys if cache_folder("main-features", key).is_dir()]
    assert there == [keys[0], keys[2]]


def test_features_in_use_survive_their_eviction(project):
    features = cached_features(Counter(), windows(), KEY)
    assert evict(cache_folder("main-features", KEY).parent, 0)
    assert torch.equal(features, (2 * windows()).half())


def test_features_beyond_half_precision_are_not_cached(project):
    with pytest.warns(UserWarning, match="exceed half precision"):
        assert cached_features(lambda rows: 1e6 * rows.abs() + 1e6, windows(), KEY) is None


def test_no_warning_where_there_is_room(project):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cached_features(Counter(), windows(), KEY) is not None
