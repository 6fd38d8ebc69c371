"""A job's ticket: one fetch for one process, then one port from that process."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from jupyterhub_daas.errors import ConflictError, NotFoundError
from jupyterhub_daas.spawners.backends.ticket import LaunchCall, PortCall, Ticket

SECRET, OTHER = "a" * 64, "b" * 64


def test_a_launch_is_fetched_by_one_process() -> None:
    ticket, code = Ticket.issue()
    with pytest.raises(NotFoundError):
        ticket.redeemed(OTHER, SECRET)
    with pytest.raises(NotFoundError):
        Ticket().redeemed("", SECRET)
    fetched = ticket.redeemed(code, SECRET)
    # Its answer may have got lost on the way: the same process may ask again.
    assert fetched.redeemed(code, SECRET) == fetched
    with pytest.raises(ConflictError):
        fetched.redeemed(code, OTHER)


def test_a_port_is_reported_once_and_only_by_that_process() -> None:
    ticket, code = Ticket.issue()
    for foreign in ("", code, OTHER):
        with pytest.raises(NotFoundError):
            ticket.redeemed(code, SECRET).reported(foreign, 4000)
    with pytest.raises(NotFoundError):
        ticket.reported(code, 4000)
    known = ticket.redeemed(code, SECRET).reported(SECRET, 4000)
    assert known.port == 4000
    for port in (4000, 4001):
        with pytest.raises(ConflictError):
            known.reported(SECRET, port)


def test_neither_code_nor_secret_is_kept() -> None:
    ticket, code = Ticket.issue()
    kept = ticket.redeemed(code, SECRET).model_dump_json()
    assert code not in kept
    assert SECRET not in kept


WRONG_PORTS: dict[str, Any] = {
    "a system port": {"port": 80},
    "beyond": {"port": 65536},
    "negative": {"port": -8888},
    "text": {"port": "8888"},
    "a fraction": {"port": 8888.5},
    "a boolean": {"port": True},
    "nothing": {},
    "null": {"port": None},
    "a list": [8888],
    "a number alone": 8888,
    "a list in it": {"port": [8888]},
    "another key": {"port": 8888, "ip": "10.0.0.1"},
    "another key alone": {"ip": "10.0.0.1"},
    "an attribute of the spawner": {"port": 8888, "cmd": ["/bin/sh"]},
}


@pytest.mark.parametrize("body", WRONG_PORTS.values(), ids=WRONG_PORTS.keys())
def test_refuses_anything_but_one_port(body: object) -> None:
    with pytest.raises(ValidationError):
        PortCall.model_validate_json(json.dumps(body))


@pytest.mark.parametrize("port", [1024, 8888, 65535])
def test_takes_a_port(port: int) -> None:
    assert PortCall.model_validate_json(json.dumps({"port": port})).port == port


@pytest.mark.parametrize("secret", ["", "a" * 63, "A" * 64, "a" * 64 + "\n", "g" * 64, 7, None])
def test_refuses_a_secret_of_another_form(secret: object) -> None:
    with pytest.raises(ValidationError):
        LaunchCall.model_validate({"secret": secret})
