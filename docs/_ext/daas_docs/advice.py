"""What to do about each error code: the one part of the table that is no code's own words."""

from typing import NamedTuple


class Advice(NamedTuple):
    """What the person can do, and what staff can do."""

    person: str
    staff: str


_PARENT = Advice(
    "Read the message: it says more.", "A general kind: what is met has one of the more precise codes."
)

ADVICE = {
    "access": _PARENT,
    "backend": Advice(
        "Start again; if it fails again, tell the support team the code.",
        "Look for the session's id in the hub's log. On the local backend the session's own log is "
        "`~/.daas/<session>.log`.",
    ),
    "error": _PARENT,
    "selection": _PARENT,
    "upstream": _PARENT,
    "unauthenticated": Advice(
        "Sign in again, or send a token that is still valid and was made for this service.",
        "Nothing, unless everybody meets it: then the hub and the services do not agree; restart the hub.",
    ),
    "not_found": Advice(
        "Check the address. What belongs to others looks as if it were not there.",
        "Absent and forbidden answer alike on purpose. Check membership with the proposals service, or the "
        "scopes of the token.",
    ),
    "not_a_member": Advice(
        "Ask the principal investigator to have you added to the proposal at the user office.",
        "Add the person to the proposal's `members` in the facility directory; it counts at once.",
    ),
    "proposal_closed": Advice(
        "Ask your local contact to reopen the proposal.",
        "Change the proposal's `state` in the facility directory: sessions start for `accepted`, `running` "
        "and `finished`.",
    ),
    "account_unknown": Advice(
        "Give the user office the identity that the page shows, so that they can link it.",
        "Link the identity to the person in the facility directory. At a start on the local backend: the "
        "machine has no account for the person, or one with another uid, gid or groups.",
    ),
    "account_blocked": Advice(
        "Contact the user office; the message holds the reason.",
        "Lift it with `DELETE people/{username}/block` of the accounts service.",
    ),
    "no_entry": Advice(
        "Ask the principal investigator of your proposal to have you added.",
        "Put the person on a proposal, or grant a role.",
    ),
    "too_many_attempts": Advice(
        "Wait for as long as the page says.",
        "Raise `failures_per_account` or `failures_per_address`, or lower `failure_window`, of "
        "`DaasAuthenticator`. A restart of the hub forgets the failures.",
    ),
    "conditions_not_accepted": Advice(
        "Open the portal and accept the conditions of use.",
        "Nothing: it is asked of everybody when `conditions.version` changes.",
    ),
    "profile_not_allowed": Advice(
        "Choose another environment.",
        "See `instruments` and `roles` of the profile.",
    ),
    "unknown_profile": Advice(
        "Choose again in the portal: what is offered has changed.",
        "Nothing, or bring back the profile that people still ask for.",
    ),
    "unknown_environment": Advice(
        "Choose one of those that the message names.",
        "Nothing, or bring back the environment that people still ask for.",
    ),
    "unknown_flavour": Advice(
        "Choose one of those that the message names.",
        "Nothing, or add the flavour to the profile.",
    ),
    "invalid_option": Advice(
        "Correct the option that the message names.",
        "A program that starts sessions sends options that the contract does not know.",
    ),
    "name_not_ours": Advice(
        "Start sessions from the proposals page: it chooses the name.",
        "Programs that start sessions must take a name as the portal does, such as `brave-curie`. The "
        "default server of JupyterHub is not used.",
    ),
    "invalid_input": Advice(
        "Correct the field that the message names.",
        "Compare the request with the service's `openapi.yaml`.",
    ),
    "too_large": Advice("Send less.", "Compare the request with the service's `openapi.yaml`."),
    "conflict": Advice(
        "Reload the page and try again.",
        "Two requests meant the same thing with other content; the first one stands.",
    ),
    "quota_exceeded": Advice(
        "Stop a session that you no longer need, or choose a smaller flavour.",
        "See whose limit it was in the message; raise it in the settings file, or record an override.",
    ),
    "backend_unavailable": Advice(
        "Try again in a few minutes; running sessions are not touched.", "Bring the backend back."
    ),
    "no_capacity": Advice("Try again later, or choose a smaller flavour.", "Add machines, or lower quotas."),
    "start_timeout": Advice(
        "Start again; if it fails again, tell the support team.",
        "Look at the session's log; raise `start_seconds` of the backend if the machine is slow.",
    ),
    "session_lost": Advice(
        "Start it again: your files are in their places.",
        "Look at the session's log, `~/.daas/<session>.log` on the local backend, and at the machine's "
        "memory.",
    ),
    "upstream_unavailable": Advice(
        "Try again in a minute; running sessions go on.",
        "The message names the part that is away. See its `/health` and the hub's log, which holds the "
        "services' lines too. The hub starts a service again by itself.",
    ),
    "upstream_answer": Advice(
        "Try again; if it fails again, tell the support team.",
        "A service answers what its contract does not allow: compare versions, or your own service with its "
        "`openapi.yaml`.",
    ),
    "directory_invalid": Advice(
        "Nothing: you see what was there before.",
        "Correct the lines of the facility directory that the proposals service's log names.",
    ),
    "hub_refusal": Advice(
        "Read the message: it is the hub's own.",
        "The hub refused a start or a stop that the portal asked for; its log says why.",
    ),
    "configuration": Advice(
        "Nothing: the portal does not start.",
        "Correct the place that the message names: a key of a file, or a trait.",
    ),
}
