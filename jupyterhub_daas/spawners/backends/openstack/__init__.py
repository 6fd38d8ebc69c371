"""The OpenStack backend: a session is a server of its own. The only package that knows OpenStack's SDK."""

from jupyterhub_daas.spawners.backends.openstack.backend import OpenStackBackend

__all__ = ["OpenStackBackend"]
