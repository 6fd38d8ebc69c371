"""The Podman backend: a session is a container on one machine."""

from jupyterhub_daas.spawners.backends.podman.backend import PodmanBackend

__all__ = ["PodmanBackend"]
