"""What a machine is given when it is made: where to ask for its session, with which code, trusting whom.

Nothing of a session is in it. Pure.
"""

import json
from ipaddress import ip_address
from urllib.parse import urlsplit

from jupyterhub_daas.errors import ConfigurationError

# Where the agent looks for it; on a file system that is gone after a restart of the machine.
PLACE = "/run/daas/bootstrap.json"
AGENT = "daas-agent.service"
# What Nova takes, encoded.
MOST_BYTES = 48_000


def check_hub_url(url: str, place: str) -> str:
    """Return the hub's address as machines reach it, with ``/hub/`` at its end; refuse one without TLS.

    Plain HTTP is for machines that are processes of the hub's own computer only.
    """
    parts = urlsplit(url)
    if not parts.hostname or not parts.path.endswith("/hub/") or parts.query or parts.fragment:
        raise ConfigurationError(f"{place}: name the hub as https://host/hub/.", field=place)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise ConfigurationError(
            f"{place}: machines fetch the tokens of their sessions there. Use https.", field=place
        )
    return url


def is_loopback(address: str) -> bool:
    """Tell whether an address is of this computer itself."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def build_user_data(*, hub_url: str, session_id: str, code: str, ca: str = "") -> str:
    """Return the user data of a session's machine, for cloud-init.

    `ca` is the text of the certificates to trust there, in PEM; empty for those of the image.
    """
    given = {"url": f"{hub_url}daas/machines/{session_id}/", "code": code, "ca": ca}
    # JSON is YAML, too, without any doubt about quotes.
    config = {
        "write_files": [
            {"path": PLACE, "owner": "root:root", "permissions": "0600", "content": json.dumps(given)}
        ],
        "runcmd": [["systemctl", "start", "--no-block", AGENT]],
    }
    text = "#cloud-config\n" + json.dumps(config, indent=1) + "\n"
    if len(text.encode()) > MOST_BYTES:
        raise ConfigurationError("The certificates for machines are too long for their user data.")
    return text
