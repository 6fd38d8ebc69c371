"""Signing in: OpenID providers and facility accounts on one page, and the one gate behind them."""

from jupyterhub_daas.authenticators.daas import DaasAuthenticator

__all__ = ["DaasAuthenticator"]
