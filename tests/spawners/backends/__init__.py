"""The backends that the suite of named failures runs over: each joins by one line here."""

import os

from tests.spawners.backends.base import BackendUnderTest
from tests.spawners.backends.kubernetes import Kubernetes
from tests.spawners.backends.local import Local
from tests.spawners.backends.oar import Oar
from tests.spawners.backends.podman import Podman
from tests.spawners.backends.slurm import Slurm

BACKENDS: tuple[type[BackendUnderTest], ...] = (Local, Podman, Kubernetes, Slurm, Oar)

# It builds a cloud first, and takes long: a part of its own, see scripts/test.
if "DAAS_TEST_OPENSTACK" in os.environ:
    from tests.spawners.backends.openstack import OpenStack

    BACKENDS += (OpenStack,)

__all__ = ["BACKENDS", "BackendUnderTest"]
