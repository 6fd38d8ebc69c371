"""The authenticator of the portal: OpenID providers and facility accounts on one login page, behind one gate.

Whoever gets in was resolved by the gate to a Person, at the login and again at every refresh. A name, a
claim or an entry of the hub's database lets nobody in and makes nobody an administrator.
"""

import asyncio
from importlib import import_module
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler
from traitlets import Bool, Callable, Dict, Float, Instance, Integer, List, Unicode, default

from jupyterhub_daas.authenticators import proofs
from jupyterhub_daas.authenticators.accounts.settings import read_sources
from jupyterhub_daas.authenticators.announcing import Announcer
from jupyterhub_daas.authenticators.asking import PER_NETWORK, WINDOW_SECONDS, may_ask
from jupyterhub_daas.authenticators.attempts import AttemptLimit, Attempts
from jupyterhub_daas.authenticators.entry import Arrival, PasswordGiven, auth_model
from jupyterhub_daas.authenticators.gate import MONITORING, Gate
from jupyterhub_daas.authenticators.handlers import SignInRefusedError, handlers_for
from jupyterhub_daas.authenticators.openid.state import UsedStates
from jupyterhub_daas.authenticators.passwords import Passwords
from jupyterhub_daas.authenticators.proofs import proof_of
from jupyterhub_daas.authenticators.refresh import Refresher
from jupyterhub_daas.authenticators.settings import (
    DEMANDED,
    FORBIDDEN,
    check_services,
    check_traits,
    read_providers,
)
from jupyterhub_daas.authenticators.trail import SignInTrail
from jupyterhub_daas.clients.accounts import AccountsClient
from jupyterhub_daas.clients.proposals import ProposalsClient
from jupyterhub_daas.clients.recorder import AuditRecorder
from jupyterhub_daas.core.entitlements import EntitlementSource
from jupyterhub_daas.core.names import USERNAME, matches
from jupyterhub_daas.core.origins import origin_of
from jupyterhub_daas.errors import DaasError

LOOK_SECONDS = 1.0


class DaasAuthenticator(Authenticator):  # type: ignore[misc] # jupyterhub ships no types
    """Sign people in by OpenID providers or facility accounts, and let in whom the facility's gate admits."""

    providers = List(
        Dict(),
        config=True,
        help="""OpenID providers, in the order of the login page. Each is a mapping:

        ``key`` (part of the callback path), ``title``, ``issuer`` (exact; everything else is discovered),
        ``client_id``, one of ``client_secret`` and ``client_secret_file``; optional: ``description``,
        ``logo``, ``scope`` (default ``openid profile email``), ``client_authentication`` (``post``, the
        default, ``basic`` or ``none``), ``callback_url`` (default: ``/hub/auth/<key>/oauth_callback`` of the
        address that the browser used). Default: none. Example::

            c.DaasAuthenticator.providers = [{
                "key": "umbrella", "title": "UmbrellaID", "issuer": "https://idp.example.org",
                "client_id": "portal", "client_secret_file": "/etc/daas/umbrella.secret",
            }]

        .. versionadded:: 0.1
        """,
    )
    accounts_file = Unicode(
        "",
        config=True,
        help="""Path of a YAML file with facility accounts and scrypt hashes; empty (the default) for none.

        Short for a first entry of `account_sources` with the key ``accounts``. Made by
        ``python -m jupyterhub_daas.authenticators.accounts FILE USERNAME``, read again when it changes.
        Example: ``/etc/daas/accounts.yaml``.

        .. versionadded:: 0.1
        """,
    )
    accounts_title = Unicode(
        "Facility account",
        config=True,
        help="""What the login page calls the accounts of the facility. Example: ``ESRF account``.

        .. versionadded:: 0.1
        """,
    )
    account_sources = List(
        Dict(),
        config=True,
        help="""Sources of accounts with a password, in the order of the login page. Each is a mapping:

        ``kind`` (``file``, ``pam`` or ``ldap``), ``key``, ``title``; optional: ``description`` and
        ``person``: ``username`` (the default: the account's name is the person's username) or ``link`` (an
        account enters only if the facility linked its identity to a person). A ``file`` has a ``path``; a
        ``pam`` source a ``service`` (a file of that name in ``/etc/pam.d``) and optionally ``lowest_uid``
        (default 1000); an ``ldap`` source ``url`` (``ldaps://…``), ``base``, ``bind_dn`` and
        ``bind_password_file``, optionally ``ca_file``, ``username_attribute`` (default ``uid``) and
        ``filter`` (default ``(objectClass=*)``). The issuer of their identities is ``file:<name of the file
        without its ending>``, ``pam:<service>`` and ``ldap:<base>``. Default: none. Example::

            c.DaasAuthenticator.account_sources = [{
                "kind": "ldap", "key": "directory", "title": "Facility account",
                "url": "ldaps://ldap.example.org", "base": "ou=people,dc=example,dc=org",
                "bind_dn": "cn=portal,dc=example,dc=org", "bind_password_file": "/etc/daas/ldap.secret",
            }]

        .. versionadded:: 0.1
        """,
    )
    sources_name_the_same_people = Bool(
        False,
        config=True,
        help="""Whether one username in several sources is one person. Without it at most one source may say
        who a person is by the username (``person: username``). Default: False. Example: True where PAM and
        LDAP know the same accounts.

        .. versionadded:: 0.1
        """,
    )
    accounts_first = Bool(
        False,
        config=True,
        help="""Whether the login page shows the form for accounts above the providers. Default: False.

        .. versionadded:: 0.1
        """,
    )
    service_urls = Dict(
        Unicode(),
        config=True,
        help="""Base URL of each service that the gate asks; ``proposals`` and ``accounts`` are required.

        Example: ``{"proposals": "http://127.0.0.1:8101/services/proposals/", "accounts": …}``. Set by
        ``configure``.

        .. versionadded:: 0.1
        """,
    )
    service_token = Unicode(
        "",
        config=True,
        help="""Token with which the hub asks the services; made at each start and set by ``configure``.

        .. versionadded:: 0.1
        """,
    )
    hub_handlers = Unicode(
        "",
        config=True,
        help="""Module with further handlers for the hub: its ``handlers_for(app)`` returns a list of
        (path, handler class), paths below ``/hub``.

        Set by ``configure``. Default: none. Example: ``jupyterhub_daas.hub_handlers``.

        .. versionadded:: 0.1
        """,
    )
    denied_subjects = List(
        Unicode(),
        default_value=list(MONITORING),
        config=True,
        help="""Subjects that never may sign in, letter case ignored. Default: eduTEAMS' monitoring accounts.

        .. versionadded:: 0.1
        """,
    )
    entitlements = List(
        Instance(EntitlementSource),
        config=True,
        help="""Whose entitlements by AARC-G069 count, and what they give.

        Set by ``configure`` from ``identities.entitlements`` of the settings file, where they belong.

        .. versionadded:: 0.1
        """,
    )
    outage_grace = Float(
        28800.0,
        min=0.0,
        config=True,
        help="""Seconds that a login goes on while a service or its provider is away, since the gate last
        admitted it. A refusal by the gate ends it at once all the same. When the provider's grant is over,
        browsers sign in again at once, and API tokens (with which running sessions report) go on for as
        long. Default: 28800 (8 hours).

        .. versionadded:: 0.1
        """,
    )
    failures_per_account = Integer(
        10,
        min=1,
        config=True,
        help="""Wrong passwords for one account within `failure_window` before it has to wait. Default: 10.

        .. versionadded:: 0.1
        """,
    )
    failures_per_address = Integer(
        100,
        min=1,
        config=True,
        help="""Wrong passwords from one address within `failure_window` before it has to wait. Default: 100.

        .. versionadded:: 0.1
        """,
    )
    access_request_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""Called with each request for access that comes in, and once more when it was answered.

        It gets an ``AccessRequest`` of ``jupyterhub_daas.core.access_requests``: ``id``, ``state``
        (``pending``, ``accepted`` or ``declined``), ``name``, ``email``, ``message``, ``answer``, …; all of
        it is what people typed. A function runs in a thread, a coroutine function on the hub's loop. If it
        raises, or takes more than 30 seconds, it is called again later: it may be called twice for the same.
        Default: none; requests are on the page *Access requests* in any case. Example::

            def tell_staff(request):
                if request.state == "pending":
                    send_mail("user-office@example.org", f"Request {request.id} of {request.name!r}")
            c.DaasAuthenticator.access_request_hook = tell_staff

        .. versionadded:: 0.1
        """,
    )
    failure_window = Float(
        900.0,
        min=1.0,
        config=True,
        help="""Seconds for which a wrong password counts. Default: 900.

        .. versionadded:: 0.1
        """,
    )

    @default("enable_auth_state")
    def _keep_auth_state(self) -> bool:
        return True

    @default("manage_groups")
    def _manage_groups(self) -> bool:
        return True

    @default("auth_refresh_strict")
    def _refresh_tokens_too(self) -> bool:
        return True

    @default("any_allow_config")
    def _gate_allows(self) -> bool:
        return True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_traits({name: getattr(self, name) for name in (*DEMANDED, *FORBIDDEN, "auth_refresh_age")})
        check_services(self.service_urls)
        self.by_key = read_providers(self.providers)
        self.passwords = Passwords(
            read_sources(self._sources(), same_people=self.sources_name_the_same_people),
            Attempts(
                AttemptLimit(self.failures_per_account, self.failure_window),
                AttemptLimit(self.failures_per_address, self.failure_window),
            ),
        )
        self.accounts = AccountsClient(self.service_urls["accounts"], self.service_token)
        self.gate = Gate(
            ProposalsClient(self.service_urls["proposals"], self.service_token),
            self.accounts,
            denied=self.denied_subjects,
            entitlements=self.entitlements,
        )
        self.trail = SignInTrail(
            AuditRecorder(AccountsClient(self.service_urls["accounts"], self.service_token))
        )
        self.used_states = UsedStates()
        self.announcer = Announcer(self.access_request_hook)
        self.requests_per_network = AttemptLimit(PER_NETWORK, WINDOW_SECONDS)
        self._refresher = Refresher(
            gate=self.gate,
            providers=self.by_key,
            sources=self.passwords.sources,
            grace=self.outage_grace,
            log=self.log,
        )

    def get_handlers(self, app: Any) -> list[tuple[str, type[Any]]]:
        """Return the handlers of the login and those that `configure` adds."""
        # JupyterHub 6.1.1 reads this attribute where it may not be set yet (a refresh refused on a page).
        if not hasattr(BaseHandler, "_token_authenticated"):
            BaseHandler._token_authenticated = False
        found = handlers_for(self.by_key)
        if self.hub_handlers:
            # By name, because the module is the spawners': neither package imports the other.
            found += import_module(self.hub_handlers).handlers_for(app)
        return found

    def normalize_username(self, username: str) -> str:
        """Leave names as they are: folding letters would merge two people."""
        return username

    def validate_username(self, username: str) -> bool:
        """Accept what may be the username of a Person."""
        return matches(USERNAME, username)

    def check_allowed(self, username: str, authentication: dict[str, Any] | None = None) -> bool:
        """Allow whom the gate admitted: nothing else makes an auth model of ours."""
        kept = (authentication or {}).get("auth_state") or {}
        return bool(kept.get("username") == username)

    def is_admin(self, handler: Any, authentication: dict[str, Any]) -> bool:
        """Make nobody an administrator here: the role's group carries the scopes."""
        return False

    async def add_user(self, user: Any) -> None:
        """Let others have their turn: what the hub writes at a first sign-in would be one long step."""
        super().add_user(user)
        await asyncio.sleep(0)

    async def authenticate(self, handler: Any, data: Any) -> dict[str, Any] | None:
        """Return the auth model of an arrival that the gate admits; SignInRefusedError says why not."""
        identity, provider, names_person, claims = None, "", False, dict[str, Any]()
        try:
            if isinstance(data, Arrival):  # only our callback handler makes one, no form and no JSON body
                identity, provider = data.sign_in.identity, data.provider
                claims = data.sign_in.claims
                self.gate.check_denied(claims)
                admission = await self.gate.resolve(identity, claims=claims)
                self.trail.login(admission.person.username, identity, provider, handler)
                proofs.keep(handler, proof_of(identity, provider=provider, claims=claims, fresh=False))
                return auth_model(admission, identity, provider=provider, tokens=data.sign_in.tokens)
            proven = await self.passwords.check(PasswordGiven.parse(data), origin_of(handler.request)[0])
            identity, names_person = proven
            admission = await self.gate.resolve(identity, facility_account=names_person)
            self.trail.login(admission.person.username, identity, provider, handler)
            proofs.keep(handler, proof_of(identity, provider="", claims={}, fresh=True))
            return auth_model(admission, identity, provider="", tokens=None)
        except DaasError as error:
            self.log.warning(
                "Sign-in refused: code=%s cause=%s issuer=%s subject=%s",
                error.code,
                error.details.get("cause") or error.details.get("service") or "-",
                identity.issuer if identity else "-",
                identity.subject[:80] if identity else "-",
            )
            if identity is not None and may_ask(error):
                proofs.keep(handler, proof_of(identity, provider=provider, claims=claims, fresh=not provider))
            self.trail.denial(error, identity, provider, handler, names_person=names_person)
            raise SignInRefusedError(error, identity) from error

    def _sources(self) -> list[Any]:
        short = {"kind": "file", "key": "accounts", "title": self.accounts_title, "path": self.accounts_file}
        return [*([short] if self.accounts_file else []), *self.account_sources]

    async def look_at_providers(self) -> None:
        """Find out which providers are there; one that is slow to answer counts as there."""
        if self.by_key:
            looking = [asyncio.ensure_future(provider.look()) for provider in self.by_key.values()]
            await asyncio.wait(looking, timeout=LOOK_SECONDS)

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> bool | dict[str, Any]:
        """Walk the gate again; False ends the login, True keeps it as it is."""
        return await self._refresher.refresh(user, handler)
