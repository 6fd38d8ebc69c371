"""What a browser has proven counts for minutes, and only if we said so."""

import time
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import Application, RequestHandler

from jupyterhub_daas.authenticators import proofs
from jupyterhub_daas.authenticators.proofs import LIFETIME, MOST, Proof
from jupyterhub_daas.core.people import Identity

BASE = "/hub/"


class Browser:
    """Somebody's cookies, over as many requests as it takes."""

    def __init__(self, secret: str = "the-secret-of-this-hub") -> None:
        self.secret = secret
        self.cookies: dict[str, str] = {}

    def request(self) -> Any:
        """Return a handler that sees the cookies."""
        text = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection: Any = type("Connection", (), {"set_close_callback": lambda *_: None})()
        headers = HTTPHeaders({"Cookie": text, "Host": "portal.example"})
        line = RequestStartLine("GET", BASE, "HTTP/1.1")
        request = HTTPServerRequest(headers=headers, connection=connection, start_line=line)
        handler: Any = RequestHandler(Application(cookie_secret=self.secret), request)
        handler.hub = type("Hub", (), {"base_url": BASE})()
        handler._set_cookie = handler.set_signed_cookie
        return handler

    def take(self, handler: Any) -> None:
        """Keep what an answer sets."""
        for name, morsel in getattr(handler, "_new_cookie", {}).items():
            if morsel.value:
                self.cookies[name] = morsel.value
            else:
                self.cookies.pop(name, None)

    def keep(self, proof: Proof) -> None:
        """Be given a proof."""
        handler = self.request()
        proofs.keep(handler, proof)
        self.take(handler)

    def shown(self) -> list[Proof]:
        """Return what counts."""
        return proofs.read(self.request())


def proof(subject: str = "amara", *, age: float = 0.0) -> Proof:
    """Return a proof."""
    identity = Identity(issuer="https://op.example", subject=subject)
    return Proof(identity=identity, fresh=True, at=time.time() - age)


def test_counts_until_it_is_too_old() -> None:
    browser = Browser()
    browser.keep(proof("young", age=LIFETIME - 60))
    browser.keep(proof("old", age=LIFETIME + 1))
    browser.keep(proof("of the future", age=-60))
    assert [each.identity.subject for each in browser.shown()] == ["young"]


def test_the_oldest_give_way() -> None:
    browser = Browser()
    for number in range(MOST + 2):
        browser.keep(proof(str(number), age=60 - number))
    assert [each.identity.subject for each in browser.shown()] == ["4", "3", "2"]
    assert len(browser.cookies) == MOST


@pytest.mark.parametrize("change", ["another hub's", "another name", "changed", "empty"])
def test_only_ours_count(change: str) -> None:
    browser = Browser("another-secret-of-another-hub" if change == "another hub's" else "the-secret")
    browser.keep(proof())
    ((name, value),) = browser.cookies.items()
    if change == "another name":
        browser.cookies = {name[:-1] + "_": value}
    elif change == "changed":
        browser.cookies = {name: value[:-3]}
    elif change == "empty":
        browser.cookies = {name: ""}
    else:
        browser.secret = "the-secret"
    assert browser.shown() == []


def test_all_are_forgotten() -> None:
    browser = Browser()
    browser.keep(proof("one"))
    browser.keep(proof("two"))
    handler = browser.request()
    proofs.forget_all(handler)
    browser.take(handler)
    assert browser.cookies == {}


def test_claims_that_cannot_be_shown_are_left_out() -> None:
    identity = Identity(issuer="https://op.example", subject="amara")
    claims = {"name": "Amara\nAdmin", "email": ["a@b.example"]}
    made = proofs.proof_of(identity, provider="umbrella", claims=claims, fresh=True)
    assert (made.name, made.email) == ("", "")
