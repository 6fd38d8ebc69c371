"""The truth table of access: what a person is, and what she may for one proposal; one row per case.

The same rows are driven through the pure rules and through a running portal, so that they can't part.
"""

from dataclasses import dataclass

from jupyterhub_daas.core.people import Role, RoleGrant
from jupyterhub_daas.core.proposals import MemberRole

PROPOSAL, EMBARGOED, ELSEWHERE = "P-open", "P-embargoed", "P-elsewhere"
INSTRUMENT, OTHER_INSTRUMENT = "id21", "id19"

PI, MEMBER, CONTACT = MemberRole.PRINCIPAL_INVESTIGATOR, MemberRole.MEMBER, MemberRole.LOCAL_CONTACT
SCIENTIST = MemberRole.INSTRUMENT_SCIENTIST


@dataclass(frozen=True)
class May:
    """What a person may; reading raw data means that her session gets the folder."""

    log_in: bool = False
    see: bool = False
    start: bool = False
    read_raw: bool = False
    share: bool = False


NOTHING = May()
ENTER = May(log_in=True)
# By membership without the conditions, or by a role whose scopes show the proposals of everybody.
SEE = May(log_in=True, see=True)
# Nobody may share: see docs/decisions.md.
WORK = May(log_in=True, see=True, start=True, read_raw=True)


@dataclass(frozen=True)
class Case:
    """One row: the facts, and what follows from them."""

    id: str
    may: May
    linked: bool = True
    known: bool = True
    on: MemberRole | None = None
    elsewhere: bool = False
    roles: tuple[RoleGrant, ...] = ()
    blocked: bool = False
    accepted: bool = True
    embargo: bool = False

    @property
    def proposal(self) -> str:
        """Return the proposal that is asked for."""
        return EMBARGOED if self.embargo else PROPOSAL


def _role(role: Role, *instruments: str) -> tuple[RoleGrant, ...]:
    return (RoleGrant(role=role, instruments=instruments),)


CASES = (
    Case("identity-not-linked", NOTHING, linked=False),
    Case("person-not-known", NOTHING, known=False),
    Case("no-proposal-no-role", NOTHING),
    Case("principal-investigator", WORK, on=PI),
    Case("member", WORK, on=MEMBER),
    Case("local-contact", WORK, on=CONTACT),
    Case("scientist-of-the-instrument", WORK, on=SCIENTIST),
    Case("member-elsewhere", ENTER, elsewhere=True),
    Case("admin-not-on-it", SEE, roles=_role(Role.ADMIN)),
    Case("support-not-on-it", SEE, roles=_role(Role.SUPPORT)),
    Case("scientist-by-role-only", ENTER, roles=_role(Role.INSTRUMENT_SCIENTIST, OTHER_INSTRUMENT)),
    Case("admin-and-member", WORK, on=MEMBER, roles=_role(Role.ADMIN)),
    Case("member-blocked", NOTHING, on=MEMBER, blocked=True),
    Case("admin-blocked", NOTHING, roles=_role(Role.ADMIN), blocked=True),
    Case("member-conditions-not-accepted", SEE, on=MEMBER, accepted=False),
    Case("scientist-conditions-not-accepted", SEE, on=SCIENTIST, accepted=False),
    Case("admin-conditions-not-accepted", SEE, roles=_role(Role.ADMIN), accepted=False),
    Case("member-blocked-conditions-not-accepted", NOTHING, on=MEMBER, blocked=True, accepted=False),
    Case("embargo-member", WORK, on=MEMBER, embargo=True),
    Case("embargo-scientist-of-the-instrument", WORK, on=SCIENTIST, embargo=True),
    Case("embargo-member-elsewhere", ENTER, elsewhere=True, embargo=True),
    Case("embargo-admin-not-on-it", SEE, roles=_role(Role.ADMIN), embargo=True),
    Case("embargo-member-blocked", NOTHING, on=MEMBER, blocked=True, embargo=True),
    Case("embargo-member-conditions-not-accepted", SEE, on=MEMBER, accepted=False, embargo=True),
)
