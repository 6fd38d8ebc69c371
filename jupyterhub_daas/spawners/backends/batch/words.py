"""What all batch schedulers' words come to: phases, sentences for a scientist, and our errors."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from jupyterhub_daas.errors import BackendError, DaasError, QuotaExceededError
from jupyterhub_daas.spawners.backends.batch.jobs import Phase

AWAY = "The cluster does not answer. Please try again in some minutes."
NO_ACCOUNT = (
    "Your account may not use this part of the cluster. Ask the user office or your local contact to have it "
    "added."
)
FULL_FOR_YOU = (
    "You have as many sessions and jobs on the cluster as you may. End one of them and start again."
)
NO_SUCH_PART = "This profile names a part of the cluster that is not there."
NO_SUCH_MACHINES = "This profile asks for machines that the cluster does not have."
WAITS_FOR_ROOM = "Waiting for free resources on the cluster"
TIME_OVER = "Its time on the cluster was over"
MACHINE_FAILED = "The machine that it ran on failed"
MORE_URGENT = "The cluster needed its place for something more urgent"
CANCELLED = "It was cancelled on the cluster"
PROGRAM_ENDED = "Its program ended"
GONE = "The cluster no longer has it"

# A part of what a scheduler says when it refuses, and what the person reads: none of its own text goes into
# that.
Refusal = tuple[str, type[DaasError], str]


def build_phases(*, waiting: str, running: str, ended: str) -> Mapping[str, Phase]:
    """Return the phase of each word; words stand in one text, with blanks between them."""
    phases = {Phase.WAITING: waiting, Phase.RUNNING: running, Phase.ENDED: ended}
    return {word: phase for phase, words in phases.items() for word in words.split()}


def phase_of(word: str, phases: Mapping[str, Phase], *, node: object) -> Phase:
    """Return the phase of a job; a word that we don't know says nothing of an end."""
    return phases.get(word, Phase.RUNNING if node else Phase.WAITING)


def refusal(text: str, known: Iterable[Refusal]) -> DaasError:
    """Return our error for what a scheduler said; the first part that is in it counts."""
    for part, cls, words in known:
        if part in text:
            return cls(words, scope="facility") if cls is QuotaExceededError else cls(words)
    return BackendError("The cluster refused the session. Please tell the support team.")


def waits(words: str, starts_at: float | None) -> str:
    """Say why a job waits and, if that is known, when it may start; `starts_at` in seconds of Unix time."""
    if starts_at is None:
        return f"{words}."
    moment = datetime.fromtimestamp(starts_at).astimezone()
    return f"{words}. Expected to start by {moment:%-d %B, %H:%M %Z}."


def ended(reason: str, when: str) -> str:
    """Say why a session ended."""
    return f"The session ended{' ' + when if when else ''}. {reason}. Its own log says more; see Details."
