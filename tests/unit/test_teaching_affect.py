"""Chapter 4's expressions, observers, rates and drawings."""

import numpy as np
import pandas as pd
import pytest
import scipy.signal
import torch

from thesislib.corpora.twins.face_motion import ACTION_UNITS, emotion
from thesislib.errors import InputError
from thesislib.figures import affect as figures
from thesislib.figures import plt
from thesislib.teaching import affect


def test_every_unit_of_the_face_has_a_name():
    assert tuple(affect.UNIT_NAMES) == ACTION_UNITS
    units = affect.unit_strengths(emotion("happiness", torch.ones(1))[0])
    assert sorted(units) == [6, 12, 25]
    assert units[12] == pytest.approx(0.85)


def test_places_of_emotions_lie_in_their_ranges_and_part_anger_from_fear():
    places = np.array(list(affect.PAD.values()))
    assert np.abs(places).max() <= 1
    anger, fear = np.array(affect.PAD["anger"]), np.array(affect.PAD["fear"])
    assert np.linalg.norm((anger - fear)[:2]) < 0.2 < 0.5 < anger[2] - fear[2]
    angles = list(affect.CIRCUMPLEX.values())
    assert angles == sorted(angles)
    assert affect.CIRCUMPLEX["tired"] == pytest.approx(270, abs=5)


class TestObservers:
    def test_a_gallery_names_who_shows_what(self):
        persons = affect.people(2, seed=0)
        shown = affect.gallery(persons, ["anger", "neutral"], 0.8, size=64)
        assert shown.shown.tolist() == ["anger", "neutral"] * 2
        assert shown.person.tolist() == [0, 0, 1, 1]
        assert len(shown.features) == 4
        again = affect.gallery(persons, ["anger", "neutral"], 0.8, size=64)
        assert np.array_equal(shown.features, again.features)
        second = affect.part(shown, [1])
        assert np.array_equal(second.features, shown.features[2:])
        with pytest.raises(InputError, match="none"):
            affect.gallery([], ["anger"], 0.5)

    def test_at_no_intensity_all_emotions_look_alike(self):
        persons = affect.people(1, seed=0)
        rest = affect.gallery(persons, ["anger", "surprise"], 0.0, size=64).features
        full = affect.gallery(persons, ["anger", "surprise"], 1.0, size=64).features
        assert np.array_equal(rest[0], rest[1])
        assert np.abs(full[0] - full[1]).max() > 0.1

    def test_strong_expressions_of_strangers_are_read_and_hints_are_not(self):
        names = ["happiness", "neutral", "surprise"]
        known = affect.gallery(affect.people(6, seed=0), names, 0.9, size=64)
        reader = affect.observer(known)
        score = {}
        for strength in (0.05, 1.0):
            new = affect.gallery(affect.people(6, seed=50), names, strength, size=64)
            score[strength] = np.mean(reader.predict(new.features) == new.shown)
        assert score[1.0] > 0.7 > score[0.05]

    def test_people_take_turns_and_can_be_of_one_sex(self):
        assert affect.people(3, seed=4)[:2] == affect.people(2, seed=4)
        women = affect.people(8, sex="female", seed=4)
        assert all(woman.beard == 0 for woman in women)


class TestRates:
    def test_means_are_those_of_pandas_and_intervals_hold_them(self):
        rng = np.random.default_rng(0)
        frame = pd.DataFrame(
            {
                "speaker": rng.integers(6, size=200),
                "emotion": rng.choice(["a", "b"], size=200),
                "right": rng.random(200),
            }
        )
        frame.loc[::7, "right"] = np.nan
        options = {"by": "emotion", "group": "speaker", "replicates": 500, "seed": 0}
        found = affect.rates(frame, "right", **options)
        wanted = frame.groupby("emotion")["right"].mean()
        np.testing.assert_allclose(found["value"], wanted)
        assert (found["low"] < found["value"]).all()
        assert (found["value"] < found["high"]).all()

    def test_the_interval_is_over_groups_not_rows(self):
        frame = pd.DataFrame({"who": [0, 1] * 50, "what": "x", "right": [0.0, 1.0] * 50})
        options = {"by": "what", "group": "who", "replicates": 500, "seed": 0}
        found = affect.rates(frame, "right", **options)
        assert found.loc["x"].tolist() == [0.5, 0.0, 1.0]

    def test_a_name_that_only_one_group_has_is_no_error(self):
        frame = pd.DataFrame({"who": [0, 1, 1], "what": ["x", "x", "y"], "right": [0.0, 1.0, 1.0]})
        options = {"by": "what", "group": "who", "replicates": 200, "seed": 0}
        assert affect.rates(frame, "right", **options).loc["y"].tolist() == [1.0, 1.0, 1.0]


class TestSkinConductance:
    def test_a_response_comes_late_and_has_its_height(self):
        times, signal = affect.skin_conductance([5.0], [1.5], duration_s=60, rate_hz=100)
        _, level = affect.skin_conductance([], [], duration_s=60, rate_hz=100)
        response = signal - level
        assert np.all(response[times < 6.5] == 0)
        assert response.max() == pytest.approx(1.5, rel=1e-3)
        assert 7 < times[response.argmax()] < 9
        assert response[-1] < 0.01

    def test_each_stimulus_needs_an_amplitude(self):
        with pytest.raises(InputError, match="give 2"):
            affect.skin_conductance([1.0, 2.0], [1.0], duration_s=5)


class TestHeart:
    def test_the_beats_are_the_peaks_of_the_signal(self):
        options = {"beats_per_minute": 80, "breathing": 0.05, "duration_s": 30}
        times, signal, beats = affect.electrocardiogram(**options)
        peaks, _ = scipy.signal.find_peaks(signal, height=0.7)
        assert times[peaks] == pytest.approx(beats, abs=0.01)
        assert 0.9 < signal.max() < 1.1
        assert 0 <= beats.min() < beats.max() < 30

    @pytest.mark.parametrize("wave", affect.HEART_WAVES, ids="PQRST")
    def test_every_wave_is_where_it_belongs(self, wave):
        angle, height, _ = wave
        options = {"beats_per_minute": 60, "breathing": 0, "jitter": 0, "duration_s": 3}
        times, signal, beats = affect.electrocardiogram(**options)
        for beat in beats:
            at = np.abs(times - (beat + angle / 360)).argmin()
            assert signal[at] == pytest.approx(height, abs=0.06)

    def test_breathing_is_what_varies_and_the_rate_is_the_one_asked_for(self):
        found = {}
        for depth in (0.0, 0.1):
            options = {"beats_per_minute": 60, "breathing": depth, "jitter": 0, "duration_s": 120}
            *_, beats = affect.electrocardiogram(**options)
            rate, found[depth] = affect.heart_rate(beats)
            assert rate == pytest.approx(60, rel=0.01)
        assert found[0.0] < 1e-6
        # Differences of a sine of depth 0.1 s, four beats a breath: at most 0.1 * sqrt(2) s each.
        assert 80 < found[0.1] < 142

    def test_a_seed_gives_the_same_heart(self):
        first, second, other = (
            affect.electrocardiogram(beats_per_minute=70, breathing=0, seed=seed)[2]
            for seed in (0, 0, 1)
        )
        assert np.array_equal(first, second)
        assert not np.array_equal(first, other[: len(first)])

    @pytest.mark.parametrize("rate", [50, 95])
    def test_the_mean_rate_does_not_depend_on_the_breath(self, rate):
        *_, beats = affect.electrocardiogram(
            beats_per_minute=rate, breathing=0.1, duration_s=300, seed=2
        )
        assert affect.heart_rate(beats)[0] == pytest.approx(rate, rel=0.02)

    @pytest.mark.parametrize(
        ("given", "limit"),
        [({"beats_per_minute": 0}, "30 to 220"), ({"breathing": 1}, "0 to 0.5"),
         ({"jitter": 0.5}, "0 to 0.1")],
    )  # fmt: skip
    def test_a_heart_that_nobody_has_is_refused(self, given, limit):
        with pytest.raises(InputError, match=limit):
            affect.electrocardiogram(**{"beats_per_minute": 60, "breathing": 0, **given})

    def test_two_beats_are_no_variability(self):
        with pytest.raises(InputError, match="at least three"):
            affect.heart_rate(np.array([0.0, 1.0]))


class TestFigures:
    def test_the_wheel_names_every_emotion_once(self):
        wheel = figures.plutchik_wheel()
        words = [text.get_text() for text in wheel.axes[0].texts]
        wanted = [name for petal in figures.PLUTCHIK for name in petal] + list(figures.DYADS)
        assert sorted(words) == sorted(wanted)
        place = {text.get_text(): np.array(text.get_position()) for text in wheel.axes[0].texts}
        for first, second in (("joy", "sadness"), ("trust", "disgust"), ("fear", "anger")):
            np.testing.assert_allclose(place[first], -place[second], atol=1e-9)
        np.testing.assert_allclose(place["surprise"], -place["anticipation"], atol=1e-9)
        love = place["love"] @ place["joy"], place["love"] @ place["trust"]
        assert love[0] == pytest.approx(love[1])
        assert love[0] > 0
        plt.close(wheel)

    def test_a_vector_drawing_is_the_same_every_time(self):
        first, second = (figures.vector(figures.circumplex(affect.CIRCUMPLEX)) for _ in range(2))
        assert first.data == second.data
        assert first.data.count("<svg") == 1
        assert plt.get_fignums() == []

    def test_pleasant_words_stand_right_and_aroused_ones_above(self):
        drawn = figures.circumplex(affect.CIRCUMPLEX)
        place = {text.get_text(): text.get_position() for text in drawn.axes[0].texts}
        assert place["happy"][0] > 1 > -1 > place["miserable"][0]
        assert place["tense"][1] > 1 > -1 > place["tired"][1]
        plt.close(drawn)

    def test_the_others_draw_what_they_are_given(self):
        table = pd.DataFrame(np.eye(2), index=["a", "b"], columns=["a", "b"])
        rates = pd.DataFrame({"value": [0.5], "low": [0.4], "high": [0.7]}, index=["a"])
        drawn = [
            figures.pad_planes(affect.PAD, left=["fear"]),
            figures.reading(table),
            figures.rows_with_intervals({"x": rates, "y": rates}, xlabel="share", guess=0.2),
            figures.cues({"x": table, "y": table}),
            figures.responses(np.arange(5.0), np.arange(5.0), [2.0]),
            figures.hearts(
                {"a": affect.electrocardiogram(beats_per_minute=60, breathing=0)}, shown_s=5
            ),
        ]
        assert all(figure.get_figwidth() <= 4.8 for figure in drawn)
        cells = [text.get_text() for text in drawn[1].axes[0].texts]
        assert cells == ["100", "0", "0", "100"]
        plt.close("all")
