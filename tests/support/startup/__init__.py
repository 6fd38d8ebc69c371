"""How tests start hubs and services, some hundred of them in each run: with what makes that quick."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def python_variables() -> dict[str, str]:
    """Return the environment of a Python that runs the package: the built one, where there is one."""
    package = os.environ.get("DAAS_TEST_PYTHONPATH", str(ROOT))
    return {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), package]),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Nothing here is vouched for by a public authority, and to read them all takes each process a while.
        "SSL_CERT_FILE": os.devnull,
    }
