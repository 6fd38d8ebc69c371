"""The Kubernetes backend: a session is a pod. The only package that knows the Kubernetes client."""

from jupyterhub_daas.spawners.backends.kubernetes.backend import KubernetesBackend

__all__ = ["KubernetesBackend"]
