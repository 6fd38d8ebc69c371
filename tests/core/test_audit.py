"""The chain of the audit trail: whatever is done to its rows, it is found, and at the right place."""

import hashlib
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jupyterhub_daas.core.audit import (
    COLUMNS,
    Actor,
    ActorKind,
    AuditAction,
    AuditEvent,
    AuditObject,
    Head,
    ObjectKind,
    canonical,
    record_of,
    request_id_of,
    row_of,
    shown,
    stamp,
    verify,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
HUB = Actor(kind=ActorKind.SERVICE, name="daas-hub")
texts = st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=20)
events = st.builds(
    AuditEvent,
    event_id=st.text("0123456789abcdef", min_size=32, max_size=32),
    time=st.datetimes(
        datetime(2000, 1, 1),
        datetime(2100, 1, 1),
        timezones=st.just(timezone.utc),
    ),
    actor=st.builds(Actor, kind=st.sampled_from(ActorKind), name=texts),
    on_behalf_of=st.none() | st.sampled_from(["amara", "bruno"]),
    action=st.sampled_from(AuditAction),
    object=st.builds(AuditObject, kind=st.sampled_from(ObjectKind), key=texts),
    proposal=st.none() | st.just("20180301"),
    request_id=st.none() | st.just("r-1"),
    details=st.dictionaries(st.sampled_from(["role", "cause"]), texts),
)

Rows = list[dict[str, Any]]


def chain(kept: list[AuditEvent]) -> tuple[Rows, Head]:
    """Return the rows of these events, and the head."""
    rows: Rows = []
    head = Head()
    for event in kept:
        rows.append(row_of(event, head=head, recorded_by=HUB, now=NOW))
        head = Head(len(rows), str(rows[-1]["hash"]))
    return rows, head


def event(**given_: Any) -> AuditEvent:
    values = {
        "time": NOW,
        "actor": {"kind": "person", "name": "amara"},
        "action": "login",
        "object": {"kind": "portal", "key": "hub"},
    }
    return AuditEvent.model_validate({**values, **given_})


chains = st.lists(events, min_size=1, max_size=8).map(chain)


@given(chains)
def test_an_untouched_chain_holds(made: tuple[Rows, Head]) -> None:
    assert verify(*made) is None


def test_an_empty_trail_holds() -> None:
    assert verify([], Head()) is None


@given(chains, st.data())
def test_finds_any_removed_rows(made: tuple[Rows, Head], data: st.DataObject) -> None:
    rows, head = made
    first = data.draw(st.integers(0, len(rows) - 1))
    last = data.draw(st.integers(first, len(rows) - 1))
    broken = verify(rows[:first] + rows[last + 1 :], head)
    assert broken is not None
    assert broken.number == first + 1


@given(chains, st.data())
def test_finds_any_changed_column(made: tuple[Rows, Head], data: st.DataObject) -> None:
    rows, head = made
    place = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from([*COLUMNS, "previous", "hash"]))
    value = data.draw(st.none() | st.booleans() | st.integers() | st.binary() | texts | st.floats())
    former = rows[place][column]
    if type(former) is type(value) and former == value:
        return
    rows[place] = {**rows[place], column: value}
    broken = verify(rows, head)
    assert broken is not None
    assert broken.number == place + 1


@given(chains, st.data())
def test_finds_values_that_changed_places(made: tuple[Rows, Head], data: st.DataObject) -> None:
    rows, head = made
    place = data.draw(st.integers(0, len(rows) - 1))
    one, other = data.draw(st.lists(st.sampled_from(COLUMNS), min_size=2, max_size=2, unique=True))
    row = rows[place]
    if row[one] == row[other]:
        return
    rows[place] = {**row, one: row[other], other: row[one]}
    assert verify(rows, head) is not None


@given(st.lists(events, min_size=2, max_size=8).map(chain), st.data())
def test_finds_any_other_order(made: tuple[Rows, Head], data: st.DataObject) -> None:
    rows, head = made
    moved = data.draw(st.permutations(rows))
    if moved == rows:
        return
    broken = verify(moved, head)
    assert broken is not None
    assert rows[broken.number - 1] != moved[broken.number - 1]


@given(chains, events, st.data())
def test_finds_any_inserted_row(made: tuple[Rows, Head], new: AuditEvent, data: st.DataObject) -> None:
    rows, head = made
    place = data.draw(st.integers(0, len(rows)))
    before = Head(place, rows[place - 1]["hash"]) if place else Head()
    # The forger chains the new row well, and may renumber the rows after it.
    forged = row_of(new, head=before, recorded_by=HUB, now=NOW)
    rest = [{**row, "number": int(row["number"]) + 1} for row in rows[place:]]
    for after in (rows[place:], rest):
        broken = verify([*rows[:place], forged, *after], head)
        assert broken is not None
        assert broken.number in (place + 1, place + 2)


@given(chains, st.data())
def test_finds_a_rewritten_chain_by_a_head_noted_before(made: tuple[Rows, Head], data: st.DataObject) -> None:
    rows, head = made
    records = [record_of(row) for row in rows]
    place = data.draw(st.integers(0, len(rows) - 1))
    plain = [
        AuditEvent.model_validate(each.model_dump(include=set(AuditEvent.model_fields))) for each in records
    ]
    plain[place] = plain[place].model_copy(update={"event_id": "f" * 32, "reason": "forged"})
    rewritten, new_head = chain(plain)
    assert verify(rewritten, new_head) is None
    assert verify(rewritten, head) is not None


@given(events)
def test_a_row_keeps_the_whole_event(kept: AuditEvent) -> None:
    row = row_of(kept, head=Head(), recorded_by=HUB, now=NOW)
    record = record_of(row)
    assert AuditEvent.model_validate(record.model_dump(include=set(AuditEvent.model_fields))) == kept
    assert (record.number, record.recorded_by, record.recorded_at) == (1, HUB, NOW)


def test_the_canonical_form_stays_as_it_is() -> None:
    kept = event(event_id="a" * 32, details={"b": "2", "a": "ü"}, proposal="20180301")
    row = row_of(kept, head=Head(), recorded_by=HUB, now=NOW)
    # Changing this would break the trail of every facility.
    assert canonical(row) == (
        b'[1,"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","2026-03-01T12:00:00.000000Z","person","amara",null,"login",'
        b'"portal","hub","done",null,"20180301",null,"{\\"a\\":\\"\\\\u00fc\\",\\"b\\":\\"2\\"}",'
        b'"2026-03-01T12:00:00.000000Z","service","daas-hub"]'
    )
    assert row["hash"] == hashlib.sha256(b"0" * 64 + b"\n" + canonical(row)).hexdigest()
    assert str(row["hash"]).startswith("acd5a6567bd7")


def test_stamps_are_in_the_order_of_time() -> None:
    moments = [NOW, NOW + timedelta(microseconds=1), NOW + timedelta(days=400)]
    elsewhere = timezone(timedelta(hours=-9))
    stamps = [stamp(each.astimezone(elsewhere)) for each in moments]
    assert stamps == sorted(stamps)
    assert {len(each) for each in stamps} == {27}


@pytest.mark.parametrize(
    "wrong",
    [
        {"time": "2026-03-01T12:00:00"},
        {"actor": {"kind": "person", "name": ""}},
        {"actor": {"kind": "person", "name": "a\nb"}},
        {"actor": {"kind": "king", "name": "a"}},
        {"object": {"kind": "session", "key": "x" * 601}},
        {"on_behalf_of": "No Body"},
        {"action": "hack"},
        {"reason": "Free text."},
        {"request_id": "a b"},
        {"details": {"a": "x" * 501}},
        {"details": {"a": "x\x00"}},
        {"details": {"A b": "x"}},
        {"details": {"a": {"b": "c"}}},
        {"details": {f"n{number}": "x" for number in range(21)}},
        {"event_id": "A" * 32},
        {"hash": "0" * 64},
    ],
)
def test_refuses_events_of_another_form(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        event(**wrong)


@given(st.text(max_size=700))
def test_any_text_can_be_shown(text: str) -> None:
    kept = event(details={"cause": shown(text)})
    assert len(kept.details["cause"]) <= 500
    json.dumps(kept.details)


@pytest.mark.parametrize("header", [None, "", "a b", "x" * 65, "a\n", "ä"])
def test_takes_no_strange_request_id(header: str | None) -> None:
    assert request_id_of(header) not in (header, "")
    assert request_id_of("req-1.2_3") == "req-1.2_3"
