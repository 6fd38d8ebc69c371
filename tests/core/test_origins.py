"""Where a request came from: headers count as far as a proxy that we trust wrote them."""

from types import SimpleNamespace

import pytest

from jupyterhub_daas.core.origins import origin_of

ORIGINS: dict[str, tuple[str, dict[str, list[str]], tuple[str, bool]]] = {
    "through the proxy": (
        "127.0.0.1",
        {"X-Forwarded-For": ["10.0.0.7"], "X-Forwarded-Proto": ["https"]},
        ("10.0.0.7", True),
    ),
    "with a forged beginning": (
        "127.0.0.1",
        {"X-Forwarded-For": ["10.0.0.7", "10.0.0.8"], "X-Forwarded-Proto": ["https", "http"]},
        ("10.0.0.8", False),
    ),
    "through a web server that we trust": (
        "127.0.0.1",
        {"X-Forwarded-For": ["10.0.0.7,10.9.9.9"], "X-Forwarded-Proto": ["https,http"]},
        ("10.0.0.7", True),
    ),
    "past the proxy": (
        "10.0.0.8",
        {"X-Forwarded-For": ["10.0.0.7"], "X-Forwarded-Proto": ["https"]},
        ("10.0.0.8", False),
    ),
    "version 6": (
        "::1",
        {"X-Forwarded-For": ["FD00::7"], "X-Forwarded-Proto": ["https"]},
        ("fd00::7", True),
    ),
    "version 4 in 6": ("::ffff:10.0.0.8", {}, ("10.0.0.8", False)),
    "nonsense": ("127.0.0.1", {"X-Forwarded-For": ["<script>"]}, ("<script>", False)),
}


@pytest.mark.parametrize(("peer", "headers", "expected"), ORIGINS.values(), ids=ORIGINS.keys())
def test_knows_where_a_call_comes_from(
    peer: str, headers: dict[str, list[str]], expected: tuple[str, bool]
) -> None:
    context = SimpleNamespace(address=(peer, 4000), trusted_downstream={"10.9.9.9"})
    request = SimpleNamespace(
        connection=SimpleNamespace(context=context),
        headers=SimpleNamespace(get_list=lambda name: headers.get(name, [])),
    )
    assert origin_of(request) == expected
