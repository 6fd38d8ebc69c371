"""Configuration of the portal, as scripts/demo runs it: copy it and put your facility's values in.

What is particular to the demo (free ports, a person's folder) comes from environment variables; a facility
writes its own addresses and paths instead.
"""

import os
from pathlib import Path

from jupyterhub_daas.configure import configure

c = get_config()  # type: ignore[name-defined] # noqa: F821  JupyterHub provides it

state = Path(os.environ["DAAS_STATE"])

# Where people reach the portal, and where the hub listens behind the proxy.
c.JupyterHub.bind_url = f"http://127.0.0.1:{os.environ['DAAS_PORT']}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{os.environ['DAAS_HUB_PORT']}"

# The proxy runs apart from the hub, so that a restart of the hub cuts nobody's desktop. Both know the same
# token: it is in the variable CONFIGPROXY_AUTH_TOKEN.
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{os.environ['DAAS_PROXY_API_PORT']}"

# What the hub keeps.
c.JupyterHub.db_url = f"sqlite:///{state}/hub/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = str(state / "hub" / "cookie-secret")

# The portal: services, roles, pages, authenticator and spawner. Environments, flavours, profiles, quotas,
# lifetimes and texts are in the settings file.
configure(c, state / "daas.yaml", state=state / "services")

# Who can prove who they are. Who of them may enter is in the facility directory: a proposal or a role is
# needed.
c.DaasAuthenticator.providers = [
    {
        "key": "umbrella",
        "title": "UmbrellaID",
        "issuer": os.environ["DAAS_ISSUER"],
        "client_id": "hub",
        "client_secret_file": str(state / "secrets" / "client_secret"),
        "scope": ["openid", "offline_access", "profile", "email"],
    }
]
c.DaasAuthenticator.accounts_file = str(state / "accounts.yaml")

# Only for a demo: hub and sessions share the account of the person who tries it, and sessions end with the
# hub. A facility runs the hub as root, so that each session runs as the person's own account, and leaves
# them running while the hub restarts (cleanup_servers = False).
c.DaasSpawner.shared_account = True
c.DaasSpawner.backends = {"local": {"homes": str(state / "homes")}}
c.JupyterHub.cleanup_servers = True
