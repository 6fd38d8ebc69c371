"""What may be shown of a session: its events as far as they are understood, its log without secrets."""

import pytest

from jupyterhub_daas.core.details import MAX_LOG_BYTES, MAX_LOG_LINES, REMOVED, events_of, fit_to_show

SECRET = "0123456789abcdef0123456789abcdef"


def test_understands_what_a_start_told() -> None:
    told = {"progress": 5, "message": "Checking", "time": "2026-11-26T01:02:03+00:00", "html_message": "<b>"}
    (event,) = events_of([told])
    assert (event.progress, event.message, event.code) == (5, "Checking", "")
    assert event.time is not None


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        pytest.param({"message": "x", "progress": 900}, ["x"], id="impossible progress"),
        pytest.param({"message": "x", "time": "yesterday"}, ["x"], id="no moment"),
        pytest.param({"message": "x" * 9000}, ["x" * 2000], id="long"),
        pytest.param({"progress": 3}, [], id="no words"),
        pytest.param({"message": 3}, [], id="a number"),
        pytest.param("words", [], id="no object"),
        pytest.param(None, [], id="nothing"),
    ],
)
def test_shows_of_foreign_events_what_can_be_understood(told: object, shown: list[str]) -> None:
    assert [event.message for event in events_of([told])] == shown


@pytest.mark.parametrize(
    "line",
    [
        f"http://127.0.0.1:8888/lab?token={SECRET}",
        f"Authorization: token {SECRET}",
        f"authorization: Bearer {SECRET}",
        f"'Authorization': 'Bearer {SECRET}'",
        f'{{"password": "{SECRET}"}}',
        f"JPY_API_TOKEN={SECRET}",
        f"the key is {SECRET}.",
    ],
)
def test_takes_secrets_out(line: str) -> None:
    shown = fit_to_show(f"before\n{line}\nafter", lines=10, secrets=[SECRET, ""])
    assert SECRET not in shown
    assert REMOVED in shown
    assert shown.splitlines()[0] == "before"
    assert shown.splitlines()[-1] == "after"


@pytest.mark.parametrize(
    "line",
    [
        f"http://127.0.0.1:8888/lab?token={SECRET}",
        f"Authorization: token {SECRET}",
        f"X-Api-Key: {SECRET}",
    ],
)
def test_takes_out_what_reads_like_a_secret(line: str) -> None:
    assert SECRET not in fit_to_show(line, lines=10)


def test_leaves_ordinary_lines_as_they_are() -> None:
    line = "[I 2026-11-26 ServerApp] 302 GET /user/amara/calm-bragg/ (@127.0.0.1) 0.61ms"
    assert fit_to_show(line, lines=10) == line


def test_shows_the_end_within_bounds() -> None:
    log = "\n".join(f"line {number}" for number in range(5000))
    assert fit_to_show(log, lines=2) == "line 4998\nline 4999"
    assert len(fit_to_show(log, lines=10**9).splitlines()) == MAX_LOG_LINES
    assert len(fit_to_show("€" * MAX_LOG_BYTES, lines=10).encode()) <= MAX_LOG_BYTES
    assert fit_to_show("", lines=10) == ""
