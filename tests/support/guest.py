"""A machine's guest for tests: do with user data what cloud-init would, and be the agent.

Usage: python guest.py USER_DATA ADDRESS [ARGUMENT OF THE AGENT ...]
"""

import json
import os
import sys
from pathlib import Path

AGENT = Path(__file__).resolve().parents[2] / "images" / "vm" / "daas_agent.py"


def main(user_data: str, address: str, *more: str) -> None:
    """Write the file that the user data names, and become the agent."""
    first, text = Path(user_data).read_text().split("\n", 1)
    if first != "#cloud-config":
        raise SystemExit("the user data is none of cloud-init's")
    (file,) = json.loads(text)["write_files"]
    place = Path(user_data).with_name("bootstrap.json")
    place.touch(mode=int(file["permissions"], 8))
    place.write_text(file["content"])
    command = [sys.executable, str(AGENT), "--bootstrap", str(place), "--address", address, *more]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    main(*sys.argv[1:])
