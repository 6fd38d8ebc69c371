"""A file server for machines: one folder by NFS 4, at one address and a free port, by NFS-Ganesha."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port, listens
from tests.support.waiting import wait_until

# Nobody has anything to take back from a server that is new: it grants at once.
CONFIG = """
NFS_CORE_PARAM {{
    Bind_addr = {address}; NFS_Port = {port};
    Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false;
}}
NFSv4 {{ Graceless = true; Only_Numeric_Owners = true; RecoveryRoot = "{state}"; }}
EXPORT {{
    Export_Id = 1; Path = "{served}"; Pseudo = "/data";
    Protocols = 4; Transports = TCP; SecType = sys; Access_Type = RW; Squash = Root_Squash;
    FSAL {{ Name = VFS; }}
}}
LOG {{ Default_Log_Level = WARN; }}
"""


@contextmanager
def file_server(served: Path, state: Path, address: str) -> Iterator[dict[str, str]]:
    """Serve a folder; yield the share with which a machine mounts it at the same place."""
    state.mkdir()
    port = free_port()
    config, log = state / "ganesha.conf", state / "ganesha.log"
    config.write_text(CONFIG.format(address=address, port=port, served=served, state=state))
    command = ["ganesha.nfsd", "-F", "-f", str(config), "-L", str(log), "-p", str(state / "pid")]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def serves() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"the file server ended:\n{log.read_text()[-4000:]}")
        return listens(port, address)

    try:
        wait_until(serves, what="the file server listens")
        yield {
            "device": f"{address}:/data",
            "path": str(served),
            "options": f"nosuid,nodev,port={port}",
        }
    finally:
        process.terminate()
        process.wait(timeout=60)
