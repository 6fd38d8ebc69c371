"""Signing in: OpenID providers and facility accounts on one page, and the one gate behind them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyterhub_daas.authenticators.daas import DaasAuthenticator

__all__ = ["DaasAuthenticator"]


def __getattr__(name: str) -> Any:
    # Imported at first use: ``python -m jupyterhub_daas.authenticators.accounts`` needs no hub.
    if name == "DaasAuthenticator":
        from jupyterhub_daas.authenticators import daas

        return daas.DaasAuthenticator
    raise AttributeError(name)
