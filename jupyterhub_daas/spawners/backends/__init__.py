"""Where sessions run: one narrow class per backend."""

from jupyterhub_daas.spawners.backends.base import Backend

__all__ = ["Backend"]
