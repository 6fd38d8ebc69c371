"""What all backends of whole machines share: how a machine gets its session, and what is in it."""

from jupyterhub_daas.spawners.backends.machines.alarms import Misuse, MisuseError
from jupyterhub_daas.spawners.backends.machines.backend import BankedProfile, MachineBackend
from jupyterhub_daas.spawners.backends.machines.bootstrap import Bootstrap, Ended
from jupyterhub_daas.spawners.backends.machines.order import MachineOrder, MachineSoftware, build_order
from jupyterhub_daas.spawners.backends.machines.user_data import build_user_data, check_hub_url

__all__ = [
    "BankedProfile",
    "Bootstrap",
    "Ended",
    "MachineBackend",
    "MachineOrder",
    "MachineSoftware",
    "Misuse",
    "MisuseError",
    "build_order",
    "build_user_data",
    "check_hub_url",
]
