"""Conversations of the twins: what holds always, and that each planted effect is there."""

from itertools import pairwise

import numpy as np
import pytest

from thesislib.corpora.annotation import pair_participants
from thesislib.corpora.twins import dyads as module
from thesislib.corpora.twins.dyads import (
    BACKCHANNELS_PER_MIN,
    EFFECTS,
    FLAVOURS,
    MIMICRY,
    MIMICRY_LAG_S,
    ROLE_RATIO,
    TURN_END_MS,
    TURN_END_RATIO,
    Event,
    intensity_curve,
    recording_name,
    simulate_dyad,
)
from thesislib.errors import InputError


def people(corpus="ifadv", n=6, seed=0, duration_s=300, **effects):
    dyads = [
        simulate_dyad(corpus, number, seed=seed, duration_s=duration_s, effects=effects)
        for number in range(1, n + 1)
    ]
    return [(dyad, person) for dyad in dyads for person in dyad.participants]


@pytest.mark.parametrize("corpus", FLAVOURS)
def test_a_conversation_is_well_formed(corpus):
    kinds = set()
    for dyad, person in people(corpus, seed=3):
        other = dyad.participants[1 - "AB".index(person.seat)]
        for a, b in pairwise(person.events):
            assert b.start_ms - a.end_ms >= module.GAP_MS
        for e in person.events:
            assert 0 <= e.start_ms < e.apex_ms <= e.release_ms < e.end_ms <= dyad.duration_ms
            assert 0 <= e.intensity <= 1
            assert e.shown == pytest.approx(e.intensity)
            kinds.add(e.kind)
        assert all(a.end_ms <= b.start_ms for a, b in pairwise(person.roles))
        assert person.roles[-1].end_ms <= dyad.duration_ms
        spoken = [s for s in other.roles if s.value == "spk"]
        heard = [s for s in person.roles if s.value == "lsn"]
        for s in heard:
            assert any(t.start_ms <= s.start_ms and s.end_ms <= t.end_ms for t in spoken)
        for s in person.backchannels:
            assert any(t.start_ms <= s.start_ms and s.end_ms <= t.end_ms for t in heard)
    assert kinds == {"smile", "laugh"}


def test_a_short_conversation_may_be_silent():
    dyads = [simulate_dyad("ccdb", 1, seed=seed, duration_s=5) for seed in range(1500)]
    silent = [d for d in dyads if not any(person.roles for person in d.participants)]
    assert silent
    assert all(0 <= e.start_ms < 5000 for d in silent for p in d.participants for e in p.events)


def test_a_dyad_depends_on_its_number_and_seed_alone():
    again = [simulate_dyad("ccdb", 4, seed=2) for _ in range(2)]
    assert again[0] == again[1]
    assert again[0] != simulate_dyad("ccdb", 4, seed=3)
    assert (
        again[0].participants[0].events != simulate_dyad("ccdb", 5, seed=2).participants[0].events
    )
    assert again[0].duration_ms == 300_000


@pytest.mark.parametrize("corpus", FLAVOURS)
def test_names_are_those_of_the_corpus_and_pair_up(corpus):
    names = [
        [f"{recording_name(corpus, n, person, 'female')}.eaf" for person in (0, 1)]
        for n in range(1, 41)
    ]
    pairs, rest = pair_participants(name for both in names for name in both)
    assert rest == []
    assert sorted(sorted(p.name for p in both) for both in pairs) == sorted(map(sorted, names))


def test_corpora_differ_in_turns_and_overlaps():
    def turn_s(corpus):
        return np.median(
            [s.duration_s for _, p in people(corpus) for s in p.roles if s.value == "spk"]
        )

    def overlap(corpus):
        total = 0
        for dyad, person in people(corpus)[::2]:
            other = dyad.participants[1]
            total += sum(
                max(0, min(a.end_ms, b.end_ms) - max(a.start_ms, b.start_ms))
                for a in person.roles
                for b in other.roles
                if a.value == b.value == "spk"
            )
        return total

    assert turn_s("ndc-me") > turn_s("ccdb") > turn_s("ifadv")
    assert overlap("ifadv") > overlap("ccdb") > overlap("ndc-me")


def test_the_curve_agrees_with_one_written_out_at_length():
    def value(t_ms):
        for e in person.events:
            if e.start_ms <= t_ms < e.end_ms:
                if t_ms < e.apex_ms:
                    share = (t_ms - e.start_ms) / (e.apex_ms - e.start_ms)
                elif t_ms > e.release_ms:
                    share = (e.end_ms - t_ms) / (e.end_ms - e.release_ms)
                else:
                    share = 1.0
                return e.shown * (1 - np.cos(np.pi * share)) / 2
        return 0.0

    _, person = people("ccdb", 1, duration_s=60)[0]
    times = np.arange(0, 60, 0.04).reshape(2, -1)
    curve = intensity_curve(person.events, times)
    expected = [[value(1000 * t) for t in row] for row in times]
    np.testing.assert_allclose(curve, expected, atol=1e-12)
    assert curve.max() > 0.3
    parts = [intensity_curve(person.events, times, kind) for kind in ("smile", "laugh")]
    np.testing.assert_array_equal(parts[0] + parts[1], curve)
    assert (parts[0] * parts[1] == 0).all()
    assert intensity_curve([], [0.0, 1.0]).tolist() == [0.0, 0.0]
    assert intensity_curve(person.events, 0.001).shape == ()


def test_intensity_shows_as_far_as_its_switch_says():
    for kind in ("smile", "laugh"):
        shown = {}
        for strength in (0, 0.5, 1, 2):
            chosen = [
                e
                for _, p in people(**{f"{kind}_intensity": strength})
                for e in p.events
                if e.kind == kind
            ]
            hidden = np.array([e.intensity for e in chosen])
            shown[strength] = np.array([e.shown for e in chosen])
            expected = np.clip(0.5 + strength * (hidden - 0.5), 0, 1)
            np.testing.assert_allclose(shown[strength], expected)
        assert np.ptp(shown[0]) == 0
        assert shown[2].std() > 1.5 * shown[1].std()


def test_effects_leave_turns_and_chances_alone():
    plain = simulate_dyad("ifadv", 2)
    for name in EFFECTS:
        other = simulate_dyad("ifadv", 2, effects={name: 0})
        changed = False
        for p, q in zip(plain.participants, other.participants, strict=True):
            assert (p.roles, p.name, p.sex) == (q.roles, q.name, q.sex)
            changed |= p != q
        assert changed, name


def background(**effects):
    """Events without answers, so that rates are the planted ones."""
    return people(n=40, duration_s=600, mimicry=0, expressiveness=0, **effects)


def onset_rate(everyone, kind, inside):
    """Onsets a minute at moments that satisfy `inside`, over a grid of 50 ms."""
    time = onsets = 0
    for dyad, person in everyone:
        grid = np.arange(0, dyad.duration_ms, 50)
        busy = intensity_curve(person.events, grid / 1000) > 0
        time += (inside(dyad, person, grid) & ~busy).sum() * 50 / 60_000
        starts = np.array([e.start_ms for e in person.events if e.kind == kind])
        onsets += inside(dyad, person, starts).sum()
    return onsets / time


def in_role(role):
    def inside(_, person, times):
        found = np.zeros(len(times), bool)
        for s in person.roles:
            if s.value == role:
                found |= (times >= s.start_ms) & (times < s.end_ms)
        return found

    return inside


def near_turn_end(dyad, _, times):
    ends = np.array([s.end_ms for p in dyad.participants for s in p.roles if s.value == "spk"])
    return np.abs(times[:, None] - ends).min(1) <= TURN_END_MS


@pytest.mark.parametrize(("kind", "strength"), [("smile", 1), ("laugh", 1), ("smile", 0)])
def test_rates_by_role_have_the_planted_ratio(kind, strength):
    everyone = background(role=strength, turn_end=0)
    ratio = onset_rate(everyone, kind, in_role("lsn")) / onset_rate(everyone, kind, in_role("spk"))
    _, speaker, listener = ROLE_RATIO[kind]
    assert ratio == pytest.approx((listener / speaker) ** strength, rel=0.2)


@pytest.mark.parametrize("strength", [0, 1])
def test_laughs_gather_at_turn_ends_as_planted(strength):
    everyone = background(role=0, turn_end=strength)
    near = onset_rate(everyone, "laugh", near_turn_end)
    far = onset_rate(everyone, "laugh", lambda *a: ~near_turn_end(*a))
    assert near / far == pytest.approx(TURN_END_RATIO**strength, rel=0.25)


@pytest.mark.parametrize("kind", ["smile", "laugh"])
def test_answers_come_as_often_and_as_late_as_planted(kind):
    answered, lags = [], []
    for dyad, person in people(n=40, duration_s=600):
        other = dyad.participants[1 - "AB".index(person.seat)]
        starts = [(e.start_ms, e.mimics) for e in other.events if e.kind == kind]
        first = [e for e in person.events if e.kind == kind and not e.mimics]
        for event in first:
            after = [t for t, mimics in starts if mimics and 0 < t - event.start_ms <= 4000]
            answered.append(bool(after))
            lags += after[:1] and [(after[0] - event.start_ms) / 1000]
    # some answers meet a person who is at it already, some belong to another smile nearby
    assert 0.7 * MIMICRY[kind] < np.mean(answered) < 1.1 * MIMICRY[kind]
    assert np.median(lags) == pytest.approx(MIMICRY_LAG_S, rel=0.15)
    assert not any(e.mimics for _, p in people(mimicry=0) for e in p.events)


def test_mimicry_has_a_dose():
    share = [
        np.mean([e.mimics for _, p in people(mimicry=s) for e in p.events]) for s in (0, 0.5, 1, 2)
    ]
    assert share[0] == 0
    assert share[1] < 0.8 * share[2] < 0.64 * share[3]


def test_backchannels_have_the_planted_rate():
    for strength in (0, 1, 2):
        everyone = people(n=20, backchannels=strength)
        listened = sum(s.duration_s for _, p in everyone for s in p.roles if s.value == "lsn") / 60
        rate = sum(len(p.backchannels) for _, p in everyone) / listened
        # fewer than drawn: those that would reach beyond the stretch, or follow too soon
        assert 0.65 * strength <= rate / BACKCHANNELS_PER_MIN <= 1.0 * strength


def test_expressiveness_is_a_person_s_own():
    assert {p.expressiveness for _, p in people(expressiveness=0)} == {1.0}
    spread = [np.std([np.log(p.expressiveness) for _, p in people(n=60, expressiveness=s)])
              for s in (1, 2)]  # fmt: skip
    assert spread[0] == pytest.approx(module.EXPRESSIVENESS_SPREAD, rel=0.2)
    assert spread[1] == pytest.approx(2 * spread[0])


def test_a_laugh_cuts_a_smile_short():
    cut = [
        (a, b)
        for _, p in people(n=20)
        for a, b in pairwise(p.events)
        if a.kind == "smile" and b.kind == "laugh" and b.start_ms - a.end_ms == module.GAP_MS
    ]
    assert len(cut) > 10
    smile = Event(start_ms=0, apex_ms=200, release_ms=700, end_ms=1000, kind="smile",
                  intensity=0.5, shown=0.5, mimics=False)  # fmt: skip
    half = module._cut(smile, 500)
    assert (half.start_ms, half.apex_ms, half.release_ms, half.end_ms) == (0, 100, 350, 500)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("emodb", 1), {}),
        (("ccdb", 0), {}),
        (("ccdb", 1), {"seed": -1}),
        (("ccdb", 1), {"duration_s": 1}),
        (("ccdb", 1), {"effects": {"smiles": 0}}),
        (("ccdb", 1), {"effects": {"mimicry": -1}}),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, options):
    with pytest.raises(InputError):
        simulate_dyad(*arguments, **options)


def test_short_recordings_work():
    for number in range(1, 30):
        for corpus in FLAVOURS:
            assert simulate_dyad(corpus, number, duration_s=5).duration_ms == 5000
