"""HTTP clients of our services and of the hub's REST API."""

from jupyterhub_daas.clients.accounts import AccountsClient
from jupyterhub_daas.clients.base import ServiceClient
from jupyterhub_daas.clients.hub import HubClient
from jupyterhub_daas.clients.lifecycle import LifecycleClient
from jupyterhub_daas.clients.proposals import ProposalsClient
from jupyterhub_daas.clients.quotas import QuotasClient

__all__ = [
    "AccountsClient",
    "HubClient",
    "LifecycleClient",
    "ProposalsClient",
    "QuotasClient",
    "ServiceClient",
]
