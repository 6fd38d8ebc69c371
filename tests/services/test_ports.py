"""A service's port is nobody else's from the moment when the hub chose it."""

import socket
from urllib.parse import urlsplit

import pytest
from traitlets.config import Config


@pytest.fixture
def ports(hub_config: Config) -> list[int]:
    """The ports of the services of a hub that is about to start."""
    return [urlsplit(each["url"]).port or 0 for each in hub_config.JupyterHub.services if each.get("url")]


def test_nobody_else_can_take_a_port_before_its_service_is_up(ports: list[int]) -> None:
    assert len(set(ports)) == 5
    for port in ports:
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                thief.bind(("127.0.0.1", port))


def test_the_service_itself_can(ports: list[int]) -> None:
    for port in ports:
        with socket.socket() as service:
            service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            service.bind(("127.0.0.1", port))
            service.listen()
            with socket.create_connection(("127.0.0.1", port), 5):
                pass
