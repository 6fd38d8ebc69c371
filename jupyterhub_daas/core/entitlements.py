"""Entitlements by AARC-G069, and the roles and groups that a facility gives for the ones it names.

``<namespace>:group:<group>[:<subgroup>]*[:role=<role>][#<authority>]``, each part percent-encoded. One counts
only if a rule names its issuer, namespace, whole path of groups, role and authority: a member of a subgroup
is none of its parent. Whatever else there is, or does not parse, gives nothing.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple
from urllib.parse import unquote_to_bytes

from pydantic import Field, model_validator
from typing_extensions import Self

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Slug
from jupyterhub_daas.core.people import GROUP_PREFIX, Role, RoleGrant

# What a role is that is not said.
MEMBER = "member"
# Claims in which providers send them: the older and the newer name.
CLAIMS = ("eduperson_entitlement", "entitlements")
MAX_LENGTH = 1024
MOST = 1000

# RFC 8141: urn, namespace identifier, and what a namespace-specific string may be made of, colons apart.
_PART = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=@/]|%[0-9A-Fa-f]{2})+"
_URN = re.compile(rf"[Uu][Rr][Nn]:[A-Za-z0-9][A-Za-z0-9-]{{0,30}}[A-Za-z0-9](?::{_PART})+", re.ASCII)
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})+", re.ASCII)
_ROLE = "role="
_GROUP = "group"
NAMESPACE = r"^urn:[A-Za-z0-9][A-Za-z0-9-]{0,30}[A-Za-z0-9](:[A-Za-z0-9\-._~!$&'()*+,;=@/%]+)+$"


class Entitlement(NamedTuple):
    """What one says: `groups` is the path from the top; without an authority it is empty."""

    namespace: str
    groups: tuple[str, ...]
    role: str = MEMBER
    authority: str = ""


def parse(text: object, namespace: str) -> Entitlement | None:
    """Return an entitlement of this namespace, or None for everything else."""
    if not isinstance(text, str) or len(text) > MAX_LENGTH or not text.isascii():
        return None
    urn, marked, authority = text.partition("#")
    if not _URN.fullmatch(urn) or (marked and not _AUTHORITY.fullmatch(authority)):
        return None
    head = _folded(namespace) + f":{_GROUP}:"
    if not _folded(urn).startswith(head):
        return None
    parts = urn[len(head) :].split(":")
    role = parts.pop()[len(_ROLE) :] if parts[-1].startswith(_ROLE) else None
    # A role stands at the end and nowhere else.
    if not parts or any(each.startswith(_ROLE) for each in parts):
        return None
    decoded = [_decoded(each) for each in (*parts, MEMBER if role is None else role, authority)]
    texts = [each for each in decoded if each is not None]
    if len(texts) < len(decoded) or not all(texts[:-1]):
        return None
    return Entitlement(namespace, tuple(texts[: len(parts)]), texts[-2], texts[-1])


def _folded(urn: str) -> str:
    """Return a URN with scheme and identifier, whose letter case means nothing (RFC 8141), in lower case."""
    scheme, identifier, rest = urn.split(":", 2)
    return f"{scheme.lower()}:{identifier.lower()}:{rest}"


def _decoded(part: str) -> str | None:
    try:
        text = unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def values_of(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts that a provider sent as entitlements, whether they are any or not."""
    found: list[str] = []
    for name in CLAIMS:
        value = claims.get(name)
        values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        found += [each for each in values if isinstance(each, str) and 0 < len(each) <= MAX_LENGTH]
    return tuple(dict.fromkeys(each for each in found if each.isascii() and each.isprintable()))[:MOST]


class EntitlementRule(Model):
    """What one group, with one role in it, is here: a role, one of the hub's groups, or both.

    ``group`` is the path as it is written in entitlements, such as ``daas:operators``.
    """

    group: Annotated[str, Field(min_length=1, max_length=500)]
    group_role: Annotated[str, Field(min_length=1, max_length=200)] = MEMBER
    role: Role | None = None
    instruments: Annotated[tuple[Slug, ...], Field(max_length=50)] = ()
    hub_group: Slug | None = None

    @property
    def path(self) -> tuple[str | None, ...]:
        """Return the path of groups, decoded."""
        return tuple(_decoded(each) for each in self.group.split(":"))

    @model_validator(mode="after")
    def _gives_something(self) -> Self:
        if not all(self.path):
            raise ValueError("group: each part must be there, and percent-encoded as in an entitlement")
        if self.role is None and self.hub_group is None:
            raise ValueError("give a role, a hub_group, or both")
        if self.hub_group is not None and self.hub_group.startswith(GROUP_PREFIX):
            # The hub's roles hang on these: only a role leads there.
            raise ValueError(f"hub_group: names that begin with {GROUP_PREFIX!r} are for roles")
        if self.role is Role.USER:
            raise ValueError("role: everybody is a user")
        return self


class EntitlementSource(Model):
    """Whose entitlements count: of this issuer, in this namespace, by these authorities.

    ``""`` among the authorities takes those that name none.
    """

    issuer: Annotated[str, Field(min_length=1, max_length=255)]
    namespace: Annotated[str, Field(max_length=255, pattern=NAMESPACE)]
    authorities: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)]
    rules: Annotated[tuple[EntitlementRule, ...], Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _is_one_namespace(self) -> Self:
        if f":{_GROUP}:" in self.namespace + ":" or not _URN.fullmatch(self.namespace):
            raise ValueError("namespace: what stands before ':group:'")
        return self


class Entitled(NamedTuple):
    """What a person's entitlements give her."""

    roles: tuple[RoleGrant, ...] = ()
    groups: tuple[str, ...] = ()


def entitled(sources: Iterable[EntitlementSource], issuer: str, values: Iterable[str]) -> Entitled:
    """Return what these entitlements of an issuer give; one role at several instruments is one grant."""
    held = tuple(values)
    instruments: dict[Role, set[str]] = {}
    everywhere: set[Role] = set()
    groups: set[str] = set()
    for source in sources:
        if source.issuer != issuer:
            continue
        parsed = {
            (found.groups, found.role)
            for found in (parse(each, source.namespace) for each in held)
            if found is not None and found.authority in source.authorities
        }
        for rule in source.rules:
            if (rule.path, rule.group_role) not in parsed:
                continue
            if rule.hub_group is not None:
                groups.add(rule.hub_group)
            if rule.role is not None:
                instruments.setdefault(rule.role, set()).update(rule.instruments)
                if not rule.instruments:
                    everywhere.add(rule.role)
    roles = tuple(
        RoleGrant(role=role, instruments=() if role in everywhere else tuple(sorted(found)))
        for role, found in sorted(instruments.items())
    )
    return Entitled(roles, tuple(sorted(groups)))
