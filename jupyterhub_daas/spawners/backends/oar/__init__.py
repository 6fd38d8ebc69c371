"""Sessions as jobs of OAR."""

from jupyterhub_daas.spawners.backends.oar.backend import OarBackend

__all__ = ["OarBackend"]
