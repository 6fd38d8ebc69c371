"""Sessions as jobs of Slurm."""

from jupyterhub_daas.spawners.backends.slurm.backend import SlurmBackend

__all__ = ["SlurmBackend"]
