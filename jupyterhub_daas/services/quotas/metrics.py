"""What Prometheus reads of *quotas*."""

from prometheus_client import Counter, Gauge

from jupyterhub_daas.core.resources import DIMENSIONS, Resources
from jupyterhub_daas.errors import DaasError, QuotaExceededError

DECISIONS = Counter(
    "daas_quota_decisions", "Requests to hold resources, by what became of them.", ["outcome"]
)
LAPSED = Counter("daas_quota_lapsed", "Reservations that lapsed because their session never came up.")
HELD = Gauge("daas_quota_held", "What all sessions hold; memory and storage in bytes.", ["dimension"])


def count_decision(outcome: bool | DaasError) -> None:
    """Count a request: true if it made a reservation, false if that stood already, or what refused it."""
    if isinstance(outcome, QuotaExceededError):
        label = f"refused_{outcome.details.get('scope')}"
    elif isinstance(outcome, DaasError):
        label = outcome.code
    else:
        label = "granted" if outcome else "repeated"
    DECISIONS.labels(label).inc()


def count_lapsed(number: int) -> None:
    """Count reservations that lapsed."""
    LAPSED.inc(number)


def show_held(held: Resources) -> None:
    """Show what the facility holds."""
    for dimension in DIMENSIONS:
        HELD.labels(dimension).set(getattr(held, dimension))
