"""The tree of errors. Each has a short code for machines and a message fit for the person.

DaasError
├─ AccessError          Unauthenticated · NotFound · NotAMember · ProposalClosed · AccountUnknown
│                       AccountBlocked · NoEntry · TooManyAttempts · ConditionsNotAccepted · ProfileNotAllowed
├─ SelectionError       UnknownProfile · UnknownEnvironment · UnknownFlavour · InvalidOption · NotOurName
├─ InvalidInputError    TooLarge   (a body, a query or a path that does not fit the contract)
├─ ConflictError        the thing exists already and is another
├─ QuotaExceededError   dimension, scope, limit, used, asked
├─ BackendError         BackendUnavailable · NoCapacity · StartTimeout · SessionLost
├─ UpstreamError        UpstreamUnavailable · UpstreamAnswer   (catalogue, hub, our services)
└─ ConfigurationError   raised at start, with the place in the file or the trait

Tokens and answers of other systems never enter a message: it is shown to people and written to logs.
"""

from typing import ClassVar


class DaasError(Exception):
    """Carry a code, a message for the person, the offending field and details for machines."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, field: str | None = None, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.details = details


class AccessError(DaasError):
    """Refuse because of who asks."""

    code = "access"


class UnauthenticatedError(AccessError):
    """Refuse because nobody is signed in or the token is not known."""

    code = "unauthenticated"


class NotFoundError(AccessError):
    """Answer for what is absent and for what is forbidden: the two must look alike."""

    code = "not_found"


class NotAMemberError(AccessError):
    """Refuse because the person is not a member of the proposal, or there is no such proposal."""

    code = "not_a_member"


class ProposalClosedError(AccessError):
    """Refuse because nothing may start for the proposal in its state."""

    code = "proposal_closed"


class AccountUnknownError(AccessError):
    """Refuse because the facility knows no person for this identity or name."""

    code = "account_unknown"


class AccountBlockedError(AccessError):
    """Refuse because staff blocked the person."""

    code = "account_blocked"


class NoEntryError(AccessError):
    """Refuse a known person who has neither a proposal nor a role beyond *user*."""

    code = "no_entry"


class TooManyAttemptsError(AccessError):
    """Refuse a password or a request so soon after others; details: retry_after in seconds."""

    code = "too_many_attempts"


class ConditionsNotAcceptedError(AccessError):
    """Refuse because the present version of the conditions of use is not accepted."""

    code = "conditions_not_accepted"


class ProfileNotAllowedError(AccessError):
    """Refuse because the profile is for other instruments or roles."""

    code = "profile_not_allowed"


class SelectionError(DaasError):
    """Refuse the options of a start."""

    code = "selection"


class UnknownProfileError(SelectionError):
    """Refuse because nothing that is offered fits."""

    code = "unknown_profile"


class UnknownEnvironmentError(SelectionError):
    """Refuse an environment that is not offered."""

    code = "unknown_environment"


class UnknownFlavourError(SelectionError):
    """Refuse a flavour that the profile lacks."""

    code = "unknown_flavour"


class InvalidOptionError(SelectionError):
    """Refuse an option that is missing, not known, or of another form."""

    code = "invalid_option"


class NotOurNameError(SelectionError):
    """Refuse a session name that the portal did not choose."""

    code = "name_not_ours"


class InvalidInputError(DaasError):
    """Refuse a body, a query or a path that does not fit the contract."""

    code = "invalid_input"


class TooLargeError(InvalidInputError):
    """Refuse a body beyond the size that the contract allows."""

    code = "too_large"


class ConflictError(DaasError):
    """Refuse because the thing exists already and is another."""

    code = "conflict"


class QuotaExceededError(DaasError):
    """Refuse because a limit would be passed; details: dimension, scope, limit, used, asked."""

    code = "quota_exceeded"


class BackendError(DaasError):
    """Report that the place where sessions run failed."""

    code = "backend"


class BackendUnavailableError(BackendError):
    """Report that the backend does not answer."""

    code = "backend_unavailable"


class NoCapacityError(BackendError):
    """Report that the backend is full."""

    code = "no_capacity"


class StartTimeoutError(BackendError):
    """Report that a session did not come up in time."""

    code = "start_timeout"


class SessionLostError(BackendError):
    """Report that a session ended without having been asked to."""

    code = "session_lost"


class UpstreamError(DaasError):
    """Report that a system we ask failed; details: service."""

    code = "upstream"


class UpstreamUnavailableError(UpstreamError):
    """Report that a system we ask does not answer."""

    code = "upstream_unavailable"


class UpstreamAnswerError(UpstreamError):
    """Report that a system we ask answered what its contract does not allow."""

    code = "upstream_answer"


class ConfigurationError(DaasError):
    """Refuse to start: the configuration is wrong at the place that `field` names."""

    code = "configuration"


def error_classes() -> dict[str, type[DaasError]]:
    """Map each code to its class, so that a client raises what the service raised."""
    found: dict[str, type[DaasError]] = {}
    pending: list[type[DaasError]] = [DaasError]
    while pending:
        cls = pending.pop()
        found[cls.code] = cls
        pending.extend(cls.__subclasses__())
    return found
