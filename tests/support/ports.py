"""Ports for what tests start."""

import secrets
import socket
from contextlib import suppress

# Below those that the system gives to connections and to whoever asks for any, so that it never gives ours
# away between our choice and the start of what we chose it for.
PORTS = range(12_000, 30_000)


def free_port() -> int:
    """Return a port that nobody listens on now, and that the system itself gives to nobody."""
    while True:
        port = PORTS[secrets.randbelow(len(PORTS))]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listens(port: int, address: str = "127.0.0.1") -> bool:
    """Tell whether somebody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
