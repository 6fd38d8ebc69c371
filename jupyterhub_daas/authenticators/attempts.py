"""Count wrong passwords per account and per address, and say when to try again.

A name that does not exist counts like one that does, so that being slowed down tells nothing. The memory is
bounded: beyond it the records that nobody touched for longest are forgotten.
"""

import ipaddress
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from jupyterhub_daas.errors import TooManyAttemptsError

LARGEST_MEMORY = 20_000
_IPV6_NETWORK = 64


class AttemptLimit:
    """Allow `failures` within `window` seconds for one key."""

    def __init__(self, failures: int, window: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = failures
        self._window = window
        self._clock = clock
        self._records: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Return the seconds until the next attempt is allowed, 0 if it is."""
        record = self._records.get(key)
        if record is None:
            return 0.0
        self._forget_old(record)
        if not record:
            del self._records[key]
            return 0.0
        return max(0.0, record[0] + self._window - self._clock()) if len(record) >= self._failures else 0.0

    def fail(self, key: str) -> None:
        """Record a wrong password."""
        record = self._records.setdefault(key, deque(maxlen=self._failures))
        record.append(self._clock())
        self._records.move_to_end(key)
        while len(self._records) > LARGEST_MEMORY:
            self._records.popitem(last=False)

    def release(self, key: str) -> None:
        """Forget the failures of a key: after the right password, or by staff."""
        self._records.pop(key, None)

    def waiting(self) -> dict[str, float]:
        """Return the keys that have to wait now, and for how many seconds."""
        waits = {key: self.wait(key) for key in list(self._records)}
        return {key: wait for key, wait in waits.items() if wait}

    def _forget_old(self, record: deque[float]) -> None:
        oldest = self._clock() - self._window
        while record and record[0] <= oldest:
            record.popleft()


class Attempts:
    """The limits of the login form."""

    def __init__(self, per_account: AttemptLimit, per_address: AttemptLimit) -> None:
        self.per_account = per_account
        self.per_address = per_address

    def check(self, account: str, address: str) -> None:
        """Refuse an attempt that comes too soon."""
        wait = self.per_account.wait(account)
        if wait:
            raise _too_many("for this account", wait)
        wait = self.per_address.wait(network(address))
        if wait:
            raise _too_many("from your network", wait)

    def fail(self, account: str, address: str) -> None:
        """Record a wrong password."""
        self.per_account.fail(account)
        self.per_address.fail(network(address))

    def succeed(self, account: str) -> None:
        """Forget the failures of the account, but not of the address: an attacker may own one account."""
        self.per_account.release(account)


def network(address: str) -> str:
    """Return what counts as one address: of IPv6 a whole subscriber's network."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, _IPV6_NETWORK), strict=False))
    return str(found)


def _too_many(where: str, wait: float) -> TooManyAttemptsError:
    minutes = math.ceil(wait / 60)
    return TooManyAttemptsError(
        f"Too many wrong passwords {where}. "
        f"Please try again in {minutes} minute{'s' if minutes > 1 else ''}, "
        "or ask the facility's support to lift this.",
        retry_after=math.ceil(wait),
    )
