"""Where a request came from, whoever may have written its headers."""

from ipaddress import ip_address
from typing import Any

from jupyterhub_daas.core.audit import shown

# The proxy on the hub's own computer.
OWN_PROXY = ("127.0.0.1", "::1")


def origin_of(request: Any) -> tuple[str, bool]:
    """Return the address from which a request came, and whether it was encrypted on its way.

    A header counts only as far as a proxy that we trust wrote it: of what it adds to, the last entry that is
    not such a proxy's own. Tornado's own `remote_ip` takes a header that any client can send.
    """
    context = request.connection.context
    peer = context.address[0] if isinstance(context.address, tuple) else "127.0.0.1"
    trusted = {*OWN_PROXY, *context.trusted_downstream}
    protocol = "http"
    hops = _entries(request.headers, "X-Forwarded-For")
    protocols = _entries(request.headers, "X-Forwarded-Proto")
    while hops and peer in trusted:
        peer = hops.pop()
        protocol = protocols.pop() if protocols else "http"
    try:
        return str(ip_address(peer.removeprefix("::ffff:"))), protocol == "https"
    except ValueError:
        return shown(peer, 64), False


def _entries(headers: Any, name: str) -> list[str]:
    return [each.strip() for value in headers.get_list(name) for each in value.split(",") if each.strip()]
