"""The queue's order: fair between people, between proposals, and without end for nobody."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_daas.core.queue import Line, Waiter, lacking, next_to_start, sessions_that_fit
from jupyterhub_daas.core.resources import Limits, Resources

ONE = Resources(machines=1, cpus=1)
GPU = Resources(machines=1, cpus=1, gpus=1)


def waiter(text: str, number: int = 0, resources: Resources = ONE) -> Waiter:
    """Return a start from ``person/proposal``."""
    person, _, proposal = text.partition("/")
    return Waiter(f"{text}#{number}", person, proposal or "p", "small", resources)


def line_of(*texts: str) -> Line:
    """Return a line that these joined one after the other."""
    line = Line()
    for number, text in enumerate(texts):
        line.join(waiter(text, number))
    return line


def names(line: Line) -> list[str]:
    """Return who waits, in order, without the numbers."""
    return [each.session_id.partition("#")[0] for each in line.order()]


def serve(line: Line) -> Waiter:
    """Give the first its turn."""
    first = line.order()[0]
    line.serve(first.session_id)
    return first


@pytest.mark.parametrize(
    ("joined", "expected"),
    [
        pytest.param(["a/1", "b/2", "c/3"], ["a/1", "b/2", "c/3"], id="as they came"),
        pytest.param(["a/1", "a/1", "a/1", "b/1"], ["a/1", "b/1", "a/1", "a/1"], id="people take turns"),
        pytest.param(["a/1", "b/1", "c/1", "d/2"], ["a/1", "d/2", "b/1", "c/1"], id="proposals take turns"),
        pytest.param(
            ["a/1", "a/2", "b/1", "b/2"], ["a/1", "b/1", "a/2", "b/2"], id="a person's own stay in order"
        ),
    ],
)
def test_the_order_is_fair(joined: list[str], expected: list[str]) -> None:
    assert names(line_of(*joined)) == expected


def test_the_order_stays_fair_when_the_first_has_gone() -> None:
    line = line_of("a/1", "a/1", "b/1")
    served = [serve(line).person for _ in range(3)]
    # The oldest that waits would now be a's second: it was a's turn already.
    assert served == ["a", "b", "a"]


def test_proposals_take_turns_when_the_first_has_gone() -> None:
    line = line_of("a/1", "b/1", "c/1", "d/2", "e/2")
    assert [serve(line).person for _ in range(5)] == ["a", "d", "b", "e", "c"]


def test_whoever_leaves_lets_the_others_up() -> None:
    line = line_of("a/1", "a/1", "b/1")
    line.leave("a/1#0")
    assert names(line) == ["a/1", "b/1"]
    line.leave("unknown")
    assert len(line) == 2


def test_joining_twice_changes_nothing() -> None:
    line = line_of("a/1", "b/1")
    line.join(waiter("a/1", 0))
    assert len(line) == 2


def test_an_empty_line_remembers_nobody() -> None:
    line = line_of("a/1")
    serve(line)
    line.join(waiter("a/1", 1))
    line.join(waiter("b/1", 2))
    assert names(line) == ["a/1", "b/1"]


arrivals = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("123")).map("/".join),
        st.just("serve"),
        st.just("leave"),
    ),
    max_size=60,
)


@given(arrivals)
def test_all_are_served_once_and_each_person_in_the_order_of_arrival(events: list[str]) -> None:
    line, joined, gone = Line(), [], []
    for number, event in enumerate(events):
        if event == "serve" and len(line):
            gone.append(serve(line).session_id)
        elif event == "leave" and len(line):
            last = line.order()[-1].session_id
            joined.remove(last)
            line.leave(last)
        elif "/" in event:
            line.join(waiter(event, number))
            joined.append(f"{event}#{number}")
    while len(line):
        gone.append(serve(line).session_id)
    assert sorted(gone) == sorted(joined)
    for person in "abcd":
        own = [each for each in gone if each[0] == person]
        assert own == [each for each in joined if each[0] == person]


@given(st.lists(st.sampled_from(["a/1", "b/1", "c/2", "d/3"]), max_size=80), st.data())
def test_nobody_is_passed_over_without_end(comers: list[str], data: st.DataObject) -> None:
    line = line_of("a/1", "b/1")
    line.join(waiter("x/1", 1000))
    turns: Counter[str] = Counter()
    for number, comer in enumerate(comers):
        line.join(waiter(comer, number + 10))
        if data.draw(st.booleans()):
            served = serve(line)
            if served.person == "x":
                return
            turns[served.person] += 1
            # However many come, nobody else has a third turn while x waits for its first.
            assert turns[served.person] <= 2
    for _ in range(2 * 5):
        if serve(line).person == "x":
            return
    pytest.fail("x never had a turn")


def short_of(**capacity: float) -> Limits:
    """Return a capacity."""
    return Limits.model_validate(capacity)


def test_what_waits_for_a_gpu_keeps_back_only_those_that_need_one() -> None:
    capacity, used = short_of(gpus=1), Resources(gpus=1)
    order = [waiter("a", 0, GPU), waiter("b", 1, GPU), waiter("c", 2, ONE)]
    found = next_to_start(order, lambda each: lacking(each.resources, used, capacity))
    assert found is order[2]


def test_what_waits_for_a_place_keeps_back_everybody() -> None:
    big = Resources(machines=1, cpus=4)
    order = [waiter("a", 0, big), waiter("b", 1, ONE)]
    capacity, used = short_of(cpus=4), Resources(cpus=1)
    assert next_to_start(order, lambda each: lacking(each.resources, used, capacity)) is None


@pytest.mark.parametrize(
    ("asked", "used", "capacity", "expected"),
    [
        (ONE, Resources(), Limits(), None),
        (ONE, Resources(machines=2), short_of(machines=5), 3),
        (Resources(machines=1, cpus=0.1), Resources(), short_of(cpus=0.3), 3),
        (GPU, Resources(gpus=1), short_of(machines=9, gpus=1), 0),
        (ONE, Resources(machines=9), short_of(machines=5), 0),
    ],
)
def test_counts_what_fits(asked: Resources, used: Resources, capacity: Limits, expected: int | None) -> None:
    assert sessions_that_fit(asked, used, capacity) == expected


@given(st.integers(0, 20), st.integers(0, 20))
def test_what_fits_once_lacks_nothing(used: int, bound: int) -> None:
    held, capacity = Resources(machines=used), short_of(machines=bound)
    assert bool(sessions_that_fit(ONE, held, capacity)) is not bool(lacking(ONE, held, capacity))
