"""Chapter 3's spectrograms, flow and gradients, synchrony, and ways of fusing."""

import numpy as np
import pytest
import torch
from skimage.feature import hog as reference_hog

from thesislib.errors import InputError
from thesislib.figures import plt
from thesislib.figures import signals as figures
from thesislib.models.fusion import Branch
from thesislib.teaching import fusing, signals, synchrony


def blobs(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, height // 6, width // 6, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0, 0]


class TestSpectrogram:
    def test_equals_torch_stft_below_its_peak(self):
        generator = torch.Generator().manual_seed(0)
        sound = torch.randn(2, 4000, generator=generator, dtype=torch.float64)
        ours = signals.spectrogram(sound, window_ms=25, shift_ms=10, n_fft=512, range_db=60)
        window = torch.hann_window(400, dtype=torch.float64)
        padded = torch.nn.functional.pad(window, (0, 112))  # stft would centre the window
        theirs = torch.stft(
            sound, 512, 160, 512, padded, center=False, onesided=True, return_complex=True
        )
        level = 20 * theirs.abs().log10()
        level = (level - level.amax((1, 2), keepdim=True)).clamp(min=-60)
        torch.testing.assert_close(ours[..., : level.shape[2]], level)

    def test_the_window_must_fit(self):
        with pytest.raises(InputError, match="200 ms every 10 ms"):
            signals.spectrogram(torch.ones(1, 16000), window_ms=200, shift_ms=10)
        with pytest.raises(ValueError, match="at least 400"):
            signals.spectrogram(torch.ones(1, 399), window_ms=25, shift_ms=10)


class TestFlow:
    @pytest.mark.parametrize("shift", [(1, 0), (0, -1), (2, 1)])
    def test_finds_a_whole_picture_that_moves(self, shift):
        right, down = shift
        wide = blobs(132, 132)
        first = wide[18:114, 18:114]
        second = wide[18 - down : 114 - down, 18 - right : 114 - right]
        found = signals.lucas_kanade(torch.stack([first, second])).shift[0, 20:76, 20:76]
        mean = found.mean((0, 1))
        torch.testing.assert_close(mean, torch.tensor([right, down]).float(), atol=0.05, rtol=0)

    def test_an_edge_leaves_the_motion_along_it_open(self):
        stripes = torch.sin(torch.arange(64) / 3.0).expand(64, 64).clone()
        textured = signals.lucas_kanade(torch.stack([blobs(64, 64)] * 2)).texture[0, 20:44, 20:44]
        plain = signals.lucas_kanade(torch.stack([stripes] * 2)).texture[0, 20:44, 20:44]
        assert plain.max() < 1e-3 * textured.mean()

    def test_what_is_no_film_is_refused(self):
        with pytest.raises(InputError, match="T > 1"):
            signals.lucas_kanade(torch.rand(1, 32, 32))
        with pytest.raises(InputError, match="uint8"):
            signals.lucas_kanade(torch.zeros(2, 32, 32, dtype=torch.uint8))


class TestHog:
    @pytest.mark.parametrize(("cell", "bins", "block"), [(8, 9, 2), (6, 8, 3), (8, 9, 1)])
    def test_agrees_with_scikit_image(self, cell, bins, block):
        pictures = torch.stack([blobs(48, 72, seed) for seed in range(2)]).double()
        ours = signals.hog(pictures, cell=cell, bins=bins, block=block)
        for picture, found in zip(pictures, ours, strict=True):
            wanted = reference_hog(
                picture.numpy(),
                orientations=bins,
                pixels_per_cell=(cell, cell),
                cells_per_block=(block, block),
                feature_vector=False,
            )
            np.testing.assert_allclose(found.numpy(), wanted, atol=1e-6)

    def test_does_not_mind_the_light(self):
        picture = blobs(48, 48)[None]
        torch.testing.assert_close(
            signals.hog(picture), signals.hog(0.4 * picture + 0.2), atol=1e-3, rtol=0
        )

    def test_too_small_a_picture_is_refused(self):
        with pytest.raises(InputError, match="no block of 16"):
            signals.hog(torch.rand(1, 15, 40))


class TestSynchrony:
    def test_correlation_over_shifts_equals_numpy(self):
        rng = np.random.default_rng(0)
        first, second = rng.normal(size=(2, 3, 50))
        shifts = [-4, 0, 3]
        found = synchrony.correlation_over_shifts(
            torch.from_numpy(first), torch.from_numpy(second), shifts
        )
        for person in range(3):
            for column, shift in enumerate(shifts):
                # The second, delayed by `shift`, shows at t what it had at t - shift.
                later = second[person, 4 - shift : 46 - shift]
                wanted = np.corrcoef(first[person, 4:46], later)[0, 1]
                assert found[person, column] == pytest.approx(wanted)

    def test_a_delayed_track_has_its_peak_where_it_is_brought_back(self):
        track = torch.randn(1, 80, generator=torch.Generator().manual_seed(1))
        found = synchrony.correlation_over_shifts(track, track.roll(3, 1), range(-5, 6))
        assert found[0].argmax() == 2  # delayed by -3

    def test_own_voice_is_found_where_lips_follow_it_and_not_where_they_rest(self):
        lips, voices = synchrony.lips_and_voices(4, duration_s=10.0, seed=0)
        assert lips.shape == voices.shape == (4, 250)
        options = {"window": 50, "reach": 12}
        in_time = synchrony.find_the_voice(lips, voices, delay=0, **options)
        late = synchrony.find_the_voice(lips, voices, delay=12, **options)
        assert in_time.shape == (4, 4)
        assert in_time.mean() > 0.8 > late.mean() + 0.2
        still, _ = synchrony.lips_and_voices(4, duration_s=10.0, seed=0, effects={"lips": 0.0})
        null = synchrony.correlation_over_shifts(still, voices, range(-10, 11))
        assert null.abs().max() < 0.2

    def test_impossible_requests_are_refused(self):
        track = torch.zeros(2, 40)
        with pytest.raises(InputError, match="of 20 frames"):
            synchrony.correlation_over_shifts(track, track, [20])
        with pytest.raises(InputError, match="longer tracks"):
            synchrony.find_the_voice(track, track, delay=5, window=10, reach=4)
        with pytest.raises(InputError, match="0 and 25"):
            synchrony.lips_and_voices(0, duration_s=1.0)


class TestFusing:
    def test_classes_are_what_the_cues_say(self):
        world = fusing.draw_world(0)
        torch.testing.assert_close(world.sound.norm(dim=1), torch.ones(3))
        for task in ("agreement", "conflict"):
            clips = fusing.encounters(world, 4000, task=task, noise=0.0, seed=1)
            assert (clips.label.bincount() / 4000 - 1 / 3).abs().max() < 0.04
            # The mean over steps lies nearest to the prototype of the cue in most clips.
            heard, seen = (
                torch.cdist(features.mean(1), cues).argmin(1)
                for features, cues in ((clips.sound, world.sound), (clips.look, world.look))
            )
            if task == "agreement":
                assert ((heard == clips.label).float().mean()) > 0.7
            else:
                mixed = clips.label == 2
                decided = (heard < 2) & (seen < 2)
                differ = (heard != seen)[decided]
                assert differ[mixed[decided]].float().mean() > 0.7
                assert differ[~mixed[decided]].float().mean() < 0.3

    def test_noise_is_on_the_sound_and_only_there(self):
        world = fusing.draw_world(0)
        clean, noisy = (
            fusing.encounters(world, 500, task="agreement", noise=x, seed=2) for x in (0.0, 3.0)
        )
        assert torch.equal(clean.look, noisy.look)
        assert float((noisy.sound - clean.sound).std()) == pytest.approx(3, rel=0.05)
        with pytest.raises(InputError, match="irony"):
            fusing.encounters(world, 5, task="irony", noise=0.0, seed=0)

    def test_meeting_in_the_middle_beats_a_rule_where_the_cues_conflict(self):
        world = fusing.draw_world(3)
        train = fusing.encounters(world, 1600, task="conflict", noise=None, seed=1)
        test = fusing.encounters(world, 1000, task="conflict", noise=0.0, seed=2)
        before = torch.random.get_rng_state()
        score = {
            method: fusing.accuracy(fusing.fit(method, train, seed=0), test)
            for method in ("look alone", "late: average", "late: trained", "mid: gating")
        }
        assert torch.equal(before, torch.random.get_rng_state())
        assert score["mid: gating"] > score["late: average"] + 0.05
        assert score["late: trained"] > score["look alone"]
        with pytest.raises(InputError, match="telepathy"):
            fusing.fit("telepathy", train, seed=0)

    def test_a_gate_is_the_mid_fusion_that_fit_trains(self):
        world = fusing.draw_world(0)
        train = fusing.encounters(world, 300, task="agreement", noise=None, seed=1)
        gate, model = fusing.train_gate(train, seed=5), fusing.fit("mid: gating", train, seed=5)
        branches = [Branch(fusing.pooled(x)) for x in (train.sound, train.look)]
        torch.testing.assert_close(gate(*branches).detach(), model(train.sound, train.look))


def test_figures_draw_what_they_are_given():
    x = np.arange(5)
    curve = (x, x / 5, x / 6, x / 4)
    drawn = [
        figures.steps({"a": ("ms", {"": (x, x)}), "b": ("ms", {"p": (x, x), "q": (x, -x)})}),
        figures.over_time({"w": np.zeros(50), "s": np.eye(4)}, duration_s=1.0),
        figures.choices({"a": np.eye(3), "b": np.eye(4)}, duration_s=1.0),
        figures.orientations(np.zeros((16, 16)), np.full((2, 2, 9), 0.5)),
        figures.tracks({"a": x, "b": -x}, rate_hz=25),
        figures.bands({"one": {"m": curve, "n": curve}}, xlabel="x", ylabel="y", guess=0.2),
        figures.schemes(["early", "late", "mid", "all layers", "bottleneck", "late bottleneck"]),
    ]
    assert all(figure.get_figwidth() <= 4.8 for figure in drawn)
    stars = drawn[3].axes[1].lines
    assert len(stars) == 2 * 2 * 9
    directions = [np.diff(line.get_xydata(), axis=0)[0] for line in stars[:9]]
    first = np.rad2deg(np.arctan2(*directions[0][::-1])) % 180
    assert first == pytest.approx(100)  # gradients of 0 to 20 degrees belong to upright edges
    shift = np.full((20, 20, 2), np.nan)
    shift[:, 10:] = 1.0
    arrows = figures.motion({"m": (np.zeros((20, 20)), shift)}, every=10).axes[0].collections[0]
    assert arrows.get_offsets()[:, 0].tolist() == [15, 15]
    plt.close("all")
