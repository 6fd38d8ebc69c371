"""Sessions as processes of the hub's own machine, each under the person's Unix account."""

from jupyterhub_daas.spawners.backends.local.backend import LocalBackend

__all__ = ["LocalBackend"]
