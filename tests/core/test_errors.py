"""Every error has one code, a place in the drawn tree, and a status at the services' border."""

import importlib
import inspect
import pkgutil
import re
from http import HTTPStatus

import pytest

import jupyterhub_daas
from jupyterhub_daas import errors
from jupyterhub_daas.errors import BackendError, ConfigurationError, DaasError, error_classes
from jupyterhub_daas.services.border import STATUS, error_body, status_of

CLASSES = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if issubclass(each, DaasError) and each.__module__ == errors.__name__
]
CHILDREN = [each for each in CLASSES if each is not DaasError]


def test_there_are_errors_to_look_at() -> None:
    assert len(CLASSES) > 20


def test_no_class_anywhere_shares_a_code() -> None:
    for module in pkgutil.walk_packages(jupyterhub_daas.__path__, "jupyterhub_daas."):
        last = module.name.rpartition(".")[2]
        if last.isidentifier() and last not in ("__main__", "env"):
            importlib.import_module(module.name)
    codes: dict[str, type[DaasError]] = {}
    pending = DaasError.__subclasses__()
    while pending:
        cls = pending.pop()
        assert codes.setdefault(cls.code, cls) is cls
        pending.extend(cls.__subclasses__())
    assert "hub_refusal" in codes


@pytest.mark.parametrize("cls", CLASSES)
def test_code_is_a_short_slug_of_its_own(cls: type[DaasError]) -> None:
    assert "code" in vars(cls), "an inherited code would not tell it from its parent"
    assert re.fullmatch(r"[a-z][a-z_]{2,30}", cls.code)
    assert [each for each in CLASSES if each.code == cls.code] == [cls]


@pytest.mark.parametrize("cls", CLASSES)
def test_code_leads_back_to_the_class(cls: type[DaasError]) -> None:
    assert error_classes()[cls.code] is cls


@pytest.mark.parametrize("cls", CHILDREN)
def test_class_is_named_and_drawn(cls: type[DaasError]) -> None:
    assert cls.__name__.endswith("Error")
    tree = (errors.__doc__ or "").partition("\n\n")[2]
    drawn = set(re.findall(r"\w+", tree))
    assert {cls.__name__, cls.__name__.removesuffix("Error")} & drawn
    assert inspect.getdoc(cls)


# Raised where sessions are started, and where the configuration is read: they reach no caller of an API.
ELSEWHERE = (BackendError, ConfigurationError)


@pytest.mark.parametrize("cls", CHILDREN)
def test_the_services_border_knows_it(cls: type[DaasError]) -> None:
    known = any(issubclass(cls, each) for each in STATUS)
    assert known != issubclass(cls, ELSEWHERE)
    status = status_of(cls("No."))
    assert status is HTTPStatus.INTERNAL_SERVER_ERROR if not known else 400 <= status < 600
    assert status != HTTPStatus.INTERNAL_SERVER_ERROR or not known


def test_children_stand_before_their_parents_in_the_border_table() -> None:
    classes = list(STATUS)
    for number, cls in enumerate(classes):
        assert not [each for each in classes[number + 1 :] if issubclass(each, cls)]


def test_body_carries_code_message_field_and_details() -> None:
    error = errors.QuotaExceededError("Too much.", field="cpus", limit=2, used=2, asked=1)
    assert error_body(error) == {
        "error": {
            "code": "quota_exceeded",
            "message": "Too much.",
            "field": "cpus",
            "limit": 2,
            "used": 2,
            "asked": 1,
        }
    }
    assert str(error) == "Too much."
