"""OpenID Connect as a relying party: discovery, sign-in, refresh and logout, with every check of the
standard."""

from jupyterhub_daas.authenticators.openid.provider import GRANT_ENDED, OpenIDProvider, SignIn, Tokens
from jupyterhub_daas.authenticators.openid.settings import ProviderSettings

__all__ = ["GRANT_ENDED", "OpenIDProvider", "ProviderSettings", "SignIn", "Tokens"]
