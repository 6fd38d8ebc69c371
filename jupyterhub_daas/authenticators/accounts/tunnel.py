"""TLS to a directory server, made and verified by Python, with a deadline.

The C library that python-ldap wraps waits for ever, on Debian 12 even with a whole processor, for a server
that accepts a connection and then says nothing. So it gets one end of a local pair of sockets, and the hub
carries what it says through a TLS connection that is its own: when the deadline is over both are closed, and
the library's thread ends with an error.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

_CHUNK = 64 * 1024


@contextlib.asynccontextmanager
async def tunnel(host: str, port: int, context: ssl.SSLContext) -> AsyncIterator[socket.socket]:
    """Connect to a server and yield a socket for plain text; OSError if that fails."""
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    near, far = socket.socketpair()
    far.settimeout(None)
    try:
        near_reader, near_writer = await asyncio.open_connection(sock=near)
        pumps = [
            asyncio.ensure_future(_pump(reader, near_writer)),
            asyncio.ensure_future(_pump(near_reader, writer)),
        ]
        try:
            yield far
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            _abort(near_writer)
    finally:
        far.close()
        _abort(writer)


def _abort(writer: asyncio.StreamWriter) -> None:
    # Python 3.11.2 fails where the server has ended the connection meanwhile.
    with contextlib.suppress(AttributeError):
        writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way until either side ends."""
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass  # the other side learns of it by the end of its own connection
    finally:
        writer.close()
