"""What Prometheus reads of the *bank*."""

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import Counter, Gauge

from jupyterhub_daas.core.bank import Banked, Claim, MachineState

MACHINES = Gauge("daas_bank_machines", "Machines of the bank, by state.", ["profile", "state"])
CLAIMS = Counter("daas_bank_claims", "Machines that were given to a session.", ["profile"])
MISSES = Counter("daas_bank_misses", "Starts for which no machine was ready.", ["profile"])
SAVED = Counter("daas_bank_saved_seconds", "Seconds that starts did not wait for a machine.", ["profile"])


def count_claim(profile: str, claim: Claim) -> None:
    """Count a claim: what it saved is the time that its machine took to be up."""
    machine = claim.machine
    if machine is None:
        MISSES.labels(profile).inc()
    elif claim.fresh:
        CLAIMS.labels(profile).inc()
        if machine.idle_at is not None:
            SAVED.labels(profile).inc((machine.idle_at - machine.made_at).total_seconds())


def show_machines(profiles: Iterable[str], machines: Iterable[Banked]) -> None:
    """Show how many machines there are."""
    found = Tally((each.profile, each.state) for each in machines)
    for profile in profiles:
        for state in MachineState:
            MACHINES.labels(profile, state.value).set(found[profile, state])
