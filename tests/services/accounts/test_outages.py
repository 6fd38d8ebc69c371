"""A block stands whether or not the lifecycle service is there to end sessions at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.lone_service import LoneService
from tests.support.stack import Stack


@pytest.mark.parametrize("urls", ['{"lifecycle": "http://127.0.0.1:9/services/lifecycle/"}', "{}"])
def test_a_block_stands_without_lifecycle(
    fast_stack: Stack, token_of: Callable[[str], str], tmp_path: Path, urls: str
) -> None:
    accounts = LoneService(
        "accounts",
        tmp_path,
        hub_api_url=f"http://127.0.0.1:{fast_stack.hub_port}/hub/api",
        environment={"DAAS_SERVICE_URLS": urls},
    ).start()
    try:
        token = token_of("sofia")
        answer = accounts.call("PUT", "people/zoe/block", token=token, json={"reason": "Please call us."})
        assert answer.status_code == 200
        assert answer.json()["blocked"]["reason"] == "Please call us."
        assert accounts.call("GET", "blocked", token=token).json() == {"items": ["zoe"]}
        assert "Sessions of zoe go on until lifecycle's next round" in accounts.log()
        assert accounts.health() == (200, {"database": True})
        assert "Traceback" not in accounts.log()
    finally:
        accounts.end()
