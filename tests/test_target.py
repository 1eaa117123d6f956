"""Targets: what is written is read, in any unit; the best of the candidates is what a plain search over them finds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egokeras import target
from egokeras.errors import InputError
from egokeras.target import Condition, best, parse, undominated


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latency<10ms", [("latency", "<", 10.0)]),
        (" latency <= .5 s , accuracy > -1 ", [("latency", "<=", 500.0), ("accuracy", ">", -1.0)]),
        ("size<2MB,agreement>=98", [("size", "<", 2.0), ("agreement", ">=", 98.0)]),
        ("size<1500kB,memory<104.8576MB", [("size", "<", 1.5), ("memory", "<", 100.0)]),
        ("accuracy>-0.5points,agreement>99%,size<1e1", [("accuracy", ">", -0.5), ("agreement", ">", 99.0), ("size", "<", 10.0)]),
    ],
)
def test_what_is_written_is_read(text, expected):
    found = parse(text)
    assert [(each.quantity, each.sign) for each in found] == [each[:2] for each in expected]
    assert [each.limit for each in found] == pytest.approx([each[2] for each in expected])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a limit such as latency<10ms; give one of latency, size"),
        ("latency<10ms,", "target '' is not a limit"),
        ("speed<10", "target 'speed<10' is not a limit"),
        ("latency=10", "is not a limit"),
        ("latency<ten", "is not a limit"),
        ("latency>10ms", "of latency, less is better; write latency<10"),
        ("accuracy<-1", "of accuracy, more is better; write accuracy>-1"),
        ("latency<10MB", "latency has no unit 'MB'; give ms or s"),
        ("size<1MB,size<2MB", "limits size twice"),
        ("memory<0", "nothing has memory < 0"),
        ("latency<1e999", "nothing has latency < 1e999"),
    ],
)
def test_what_cannot_be_read_is_named(text, said):
    with pytest.raises(InputError) as error:
        parse(text)
    assert said in str(error.value) and len(str(error.value).splitlines()) == 1


LIMITS = st.one_of(
    st.builds(
        Condition, quantity=st.sampled_from(["latency", "size", "memory"]), sign=st.sampled_from(["<", "<="]), limit=st.floats(1e-6, 1e6)
    ),
    st.builds(
        Condition, quantity=st.sampled_from(target.MORE), sign=st.sampled_from([">", ">="]), limit=st.floats(-1e6, 1e6)
    ),
)  # fmt: skip
TARGETS = st.lists(LIMITS, min_size=1, max_size=5, unique_by=lambda each: each.quantity)


@given(TARGETS)
def test_what_is_printed_is_read_again(conditions):
    assert parse(",".join(map(str, conditions))) == tuple(conditions)


@given(st.text(alphabet="latencysize<>=-+.0123456789eMBk%, "))
def test_any_text_is_read_or_refused(text):
    try:
        assert parse(text)
    except InputError as error:
        assert len(str(error).splitlines()) == 1


VALUES = st.none() | st.integers(0, 4).map(float)
FIGURES = st.fixed_dictionaries(dict.fromkeys(target.UNITS, VALUES) | {"size": st.integers(1, 4).map(float)})
CANDIDATES = st.dictionaries(st.sampled_from("abcdef"), FIGURES, max_size=6)
SMALL = st.builds(
    lambda quantity, limit: Condition(quantity=quantity, sign=">=" if quantity in target.MORE else "<=", limit=float(limit)),
    st.sampled_from(list(target.UNITS)),
    st.integers(1, 4),
)


@given(CANDIDATES, st.lists(SMALL, min_size=1, unique_by=lambda each: each.quantity))
def test_the_best_is_among_the_undominated_and_fulfils_the_target(candidates, conditions):
    found, nearest = best(candidates, conditions)

    def fulfils(figures):
        values = [(each, figures[each.quantity]) for each in conditions]
        return all(v is not None and (v >= each.limit if each.quantity in target.MORE else v <= each.limit) for each, v in values)

    fitting = {name: figures for name, figures in candidates.items() if fulfils(figures)}
    assert (found is None) == (not fitting) and (nearest is None) == (not candidates)
    if found:
        mine = candidates[found]
        assert found in fitting and nearest == found
        for figures in fitting.values():
            known = [-math.inf if each["accuracy"] is None else each["accuracy"] for each in (figures, mine)]
            assert known[0] < known[1] or (known[0] == known[1] and figures["size"] >= mine["size"])
        front = undominated(candidates)
        ranks = {(candidates[name]["accuracy"], candidates[name]["size"]) for name in front if name in fitting}
        assert (mine["accuracy"], mine["size"]) in ranks


@given(CANDIDATES)
def test_every_other_is_bettered_by_one_that_is_not(candidates):
    front = undominated(candidates)
    assert bool(front) == bool(candidates)
    signs = {name: -1 if name in target.MORE else 1 for name in target.UNITS}

    def losses(name):
        return [math.inf if value is None else signs[quantity] * value for quantity, value in sorted(candidates[name].items())]

    for name in candidates:
        bettered = [
            other for other in front if losses(other) != losses(name) and all(map(lambda a, b: a <= b, losses(other), losses(name)))
        ]
        assert bool(bettered) == (name not in front)


def test_the_nearest_is_beyond_the_limits_by_least():
    figures = {"size": 1.0, "memory": None, "agreement": 99.0}
    candidates = {
        "slow": {**figures, "latency": 13.0, "accuracy": 0.0},  # 30% too slow
        "wrong": {**figures, "latency": 9.0, "accuracy": -21.0},  # 20 points too many
        "unknown": {**figures, "latency": None, "accuracy": 0.0},
    }
    assert best(candidates, parse("latency<10ms,accuracy>-1")) == (None, "wrong")
    assert best(candidates, parse("latency<11ms,accuracy>-1")) == (None, "slow")
    assert best(candidates, parse("latency<=13,accuracy>=0")) == ("slow", "slow")
