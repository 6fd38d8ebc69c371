"""The front spawner and the backends behind it."""

from jupyterhub_daas.spawners.daas import DaasSpawner

__all__ = ["DaasSpawner"]
