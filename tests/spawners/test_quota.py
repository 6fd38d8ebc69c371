"""Many starts at once against a quota: as many sessions as fit, and a refusal that says all for the rest."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from jupyterhub_daas.core.names import ADJECTIVES, SCIENTISTS
from tests.spawners.portal import Portal, quiet_log, rows
from tests.support.waiting import wait_until

STARTS, QUOTA = 30, 5
OPTIONS = {"proposal": "20190417", "environment": "works"}


@pytest.fixture
def limited(portal: Portal) -> Iterator[Portal]:
    """The portal, with a quota of five machines for edgar."""
    path = "overrides/person/edgar"
    body = {"limits": {"machines": QUOTA}, "reason": "For a test."}
    portal.stack.call("quotas", "PUT", path, json=body).raise_for_status()
    yield portal
    portal.clean()
    portal.stack.call("quotas", "DELETE", path).raise_for_status()


def test_thirty_starts_at_once_get_the_five_that_fit(limited: Portal) -> None:
    names = [f"{adjective}-{scientist}" for adjective in ADJECTIVES[:6] for scientist in SCIENTISTS[:5]]
    assert len(names) == STARTS

    def refusals() -> int:
        return limited.stack.log().count("Refusal(reason=quota_exceeded)")

    before = refusals()
    with quiet_log(limited.stack):
        with ThreadPoolExecutor(STARTS) as pool:
            answers = list(pool.map(lambda name: limited.start(name, OPTIONS, "edgar"), names))
        # Where the machine is slow the hub answers 202 first.
        wait_until(lambda: refusals() - before == STARTS - QUOTA, 60, what="all others are refused")
    assert {answer.status_code for answer in answers} <= {201, 202, 409}
    refused = [answer for answer in answers if answer.status_code == 409]
    for answer in refused:
        assert answer.reason == "quota_exceeded"
        message = answer.json()["message"]
        assert "5" in message
        assert "Stop a session that you no longer need" in message
    assert len(limited.held("edgar")) == QUOTA
    wait_until(limited.is_settled, 60)
    wait_until(lambda: len(rows(limited)) == QUOTA, 10, what="refused starts leave no row")
    # One that is stopped makes room for one more, and for one only.
    stopped = next(name for _, name, _ in rows(limited))
    limited.stop(stopped, "edgar")
    assert limited.start("witty-young", OPTIONS, "edgar").status_code == 201
    assert limited.start(stopped, OPTIONS, "edgar").reason == "quota_exceeded"
    # A session that ran before keeps its name when its next start is refused.
    assert limited.model(stopped, "edgar")["stopped"]
