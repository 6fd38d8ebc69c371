"""The added time of a start: ours against the bare LocalProcessSpawner, same command, same run.

    python -m benchmarks.start [--starts 20]

Two hubs run side by side, ours with all services and one that is as JupyterHub comes. Both start the same
small web server, in turn, so that what else the machine does falls on both. Traffic goes to loopback only.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import requests

from benchmarks.measuring import median, report
from tests.support.stack import Stack
from tests.support.waiting import wait_until

PERSON = "amara"
OURS, BARE = "brave-curie", "bare"

SERVER = '''"""Answer as a single-user server would, at once."""
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", os.environ.get("JUPYTERHUB_VERSION", ""))
        self.end_headers()

    def log_message(self, *given):
        pass


place = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
HTTPServer((place.hostname, place.port), Answer).serve_forever()
'''

BARE_CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = given["folder"] + "/homes/{{username}}"
c.Spawner.cmd = {command!r}
c.JupyterHub.template_paths = []
c.JupyterHub.named_server_limit_per_user = 0
"""


def _start_and_stop(stack: Stack, token: str, name: str, body: dict[str, object]) -> float:
    headers = {"Authorization": f"token {token}"}
    url = f"{stack.api}/users/{PERSON}/servers/{name}"
    begin = time.perf_counter()
    requests.post(url, headers=headers, json=body, timeout=60).raise_for_status()

    def ready() -> bool:
        servers = requests.get(f"{stack.api}/users/{PERSON}", headers=headers, timeout=60).json()["servers"]
        return bool(servers.get(name, {}).get("ready"))

    wait_until(ready, 60, what=f"{name} is ready")
    seconds = time.perf_counter() - begin
    stopped = requests.delete(url, headers=headers, timeout=60)
    stopped.raise_for_status()
    wait_until(lambda: not ready(), 60, what=f"{name} has stopped")
    return 1000 * seconds


def _bare_token(stack: Stack) -> str:
    stack.admin("POST", f"/users/{PERSON}").raise_for_status()
    answer = stack.admin("POST", f"/users/{PERSON}/tokens", json={"note": "benchmark"})
    answer.raise_for_status()
    return str(answer.json()["token"])


def main() -> None:
    """Start and stop in turn on both hubs and print the difference of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="daas-start-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        script = folder / "server.py"
        script.write_text(SERVER)
        command = [str(Path(sys.prefix).resolve() / "bin" / "python"), str(script)]
        options = {"command": command}
        profile = {"environment": "jupyter", "backend": "local", "flavours": ["small"], "options": options}
        ours = Stack(folder / "ours", settings={"profiles": {"jupyter": profile}})
        bare = Stack(folder / "bare", configure={"services": []}, extra=BARE_CONFIG.format(command=command))
        try:
            ours.start()
            bare.start()
            ours.accept_conditions(PERSON)
            tokens = ours.token(PERSON), _bare_token(bare)
            options_of_start = {"user_options": {"proposal": "20180301", "environment": "jupyter"}}
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(given.starts + 2):
                times[0].append(_start_and_stop(ours, tokens[0], OURS, options_of_start))
                times[1].append(_start_and_stop(bare, tokens[1], BARE, {}))
        finally:
            ours.stop()
            bare.stop()
    # The first two of each warm the hubs up.
    own, peer = median(times[0][2:]), median(times[1][2:])
    report(
        "start",
        f"a start takes {own} ms, with the bare LocalProcessSpawner {peer} ms: {own - peer:.0f} ms added",
        {"ours_ms": own, "bare_ms": peer, "added_ms": round(own - peer, 1), "ratio": round(own / peer, 3)},
    )


if __name__ == "__main__":
    main()
