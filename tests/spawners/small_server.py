"""A single-user server for tests: up in a moment, and it does in the session what a test asks it to.

Usage: python small_server.py MODE. Modes: works, slow (listens after a while), never (never listens), dies
(at once). Below its prefix, POST run executes a shell command and answers its output; POST leave ends the
server.
"""

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_SECONDS = 4.0


class Handler(BaseHTTPRequestHandler):
    """Answer below the session's prefix."""

    prefix = "/"

    def do_GET(self) -> None:
        """Answer anything: the hub only wants to see that somebody is there."""
        self._answer({"path": self.path})

    def do_POST(self) -> None:
        """Run a command, or leave."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.path == self.prefix + "run":
            done = subprocess.run(
                ["/bin/sh", "-c", body], capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            self._answer({"status": done.returncode, "output": done.stdout, "error": done.stderr})
        else:
            self._answer({})
            self.wfile.flush()
            os._exit(7)

    def _answer(self, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-JupyterHub-Version", os.environ.get("DAAS_TEST_HUB_VERSION", ""))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *values: object) -> None:  # noqa: A002 - the base class calls it so
        """Keep quiet."""


def main(mode: str) -> int:
    """Serve, in the way that the mode says."""
    # As the first process of a container it would not be ended by the signal otherwise.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if mode == "dies":
        return 3
    while mode == "never":
        time.sleep(60)
    if mode == "slow":
        time.sleep(SLOW_SECONDS)
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    Handler.prefix = url.path
    ThreadingHTTPServer((url.hostname or "127.0.0.1", url.port or 80), Handler).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
