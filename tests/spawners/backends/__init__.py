"""The backends that the suite of named failures runs over: each joins by one line here."""

from tests.spawners.backends.base import BackendUnderTest
from tests.spawners.backends.kubernetes import Kubernetes
from tests.spawners.backends.local import Local
from tests.spawners.backends.podman import Podman
from tests.spawners.backends.slurm import Slurm

BACKENDS: tuple[type[BackendUnderTest], ...] = (Local, Podman, Kubernetes, Slurm)

__all__ = ["BACKENDS", "BackendUnderTest"]
