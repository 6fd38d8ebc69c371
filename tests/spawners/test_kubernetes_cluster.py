"""What an API server answers that is not itself yet, or does not let us: what passes is waited for."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from jupyterhub_daas.errors import BackendUnavailableError, ConfigurationError
from jupyterhub_daas.spawners.backends.kubernetes import KubernetesBackend, cluster
from jupyterhub_daas.spawners.backends.kubernetes.cluster import Cluster, Refused
from jupyterhub_daas.spawners.backends.kubernetes.options import KubernetesOptions
from jupyterhub_daas.spawners.backends.patience import patiently
from tests.support.threaded_server import Server
from tests.support.waiting import turn_over

FORBIDDEN = 'pods is forbidden: User "hub" cannot list resource "pods" in API group "" in the namespace "a"'
QUOTA = 'pods "a" is forbidden: exceeded quota: room, requested: pods=1, used: pods=2, limited: pods=2'
Answers = list[tuple[int, str]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Callable[[Answers], Cluster]]:
    """Return a client of a server that gives these answers, one after the other, and then an empty list."""
    left: Answers = []

    async def answer(request: web.Request) -> web.Response:
        status, words = left.pop(0) if left else (200, "")
        empty = {"items": [], "metadata": {"resourceVersion": "1"}}
        return web.json_response(empty if status == 200 else {"message": words}, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    serving = await Server.of(app)
    path = tmp_path / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{serving.port}"}}],
                "users": [{"name": "u", "user": {"token": "t0ken"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    made: list[Cluster] = []

    def build(answers: Answers) -> Cluster:
        left.extend(answers)
        made.append(Cluster(KubernetesOptions(kubeconfig=str(path))))
        return made[-1]

    yield build
    for each in made:
        await each.close()
    await serving.close()


async def listed(client: Cluster) -> int:
    """Return how many pods there are."""
    found, _ = await client.list_all("list_namespaced_pod")
    return len(found)


@pytest.mark.parametrize("answer", [(401, "Unauthorized"), (429, ""), (500, ""), (503, ""), (403, FORBIDDEN)])
async def test_what_passes_is_waited_for(
    server: Callable[[Answers], Cluster], answer: tuple[int, str]
) -> None:
    client = server([answer, answer])
    assert await patiently(lambda: listed(client), 30) == 0


async def test_a_right_that_lacks_is_told_once_the_server_has_settled(
    server: Callable[[Answers], Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SETTLE_SECONDS", 0.0)
    client = server([(403, FORBIDDEN)])
    with pytest.raises(Refused):
        await listed(client)


@pytest.mark.parametrize("answer", [(403, QUOTA), (404, ""), (409, ""), (422, "")])
async def test_a_refusal_is_told_at_once(
    server: Callable[[Answers], Cluster], answer: tuple[int, str]
) -> None:
    client = server([answer])
    with pytest.raises(Refused) as caught:
        await listed(client)
    assert caught.value.status == answer[0]


async def test_patience_has_an_end(server: Callable[[Answers], Cluster]) -> None:
    client = server([(503, "")] * 50)
    begun = asyncio.get_running_loop().time()
    with pytest.raises(BackendUnavailableError):
        await patiently(lambda: listed(client), 0.5)
    assert asyncio.get_running_loop().time() - begun < 30


def test_a_kubeconfig_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        KubernetesBackend(hub_id="a", shared_account=False, options={"kubeconfig": "/nowhere"})


async def test_pods_are_made_in_the_order_in_which_sessions_were_asked_for() -> None:
    backend = KubernetesBackend(hub_id="0a1b2c3d", shared_account=False, options={})
    asked: list[str] = []
    answered = asyncio.Event()

    async def ask(_method: str, *, body: str) -> str:
        asked.append(body)
        await answered.wait()
        return body

    backend.cluster.ask = ask  # type: ignore[method-assign]
    names = ["first", "second", "third"]
    making = [asyncio.ensure_future(backend._create(None, name)) for name in names]  # type: ignore[arg-type]
    await turn_over()
    assert asked == ["first"]
    answered.set()
    await asyncio.gather(*making)
    assert asked == names
