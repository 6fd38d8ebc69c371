"""The configuration of account sources: who may say who a person is, and what is refused at start."""

from pathlib import Path
from typing import Any

import pytest

from jupyterhub_daas.authenticators.accounts import write_entry
from jupyterhub_daas.authenticators.accounts.settings import read_sources
from jupyterhub_daas.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files with accounts, and with secrets."""
    for name in ("staff", "visitors"):
        write_entry(tmp_path / f"{name}.yaml", "amara", f"{name} password")
    (tmp_path / "secret").write_text("portal's own\n")
    (tmp_path / "empty").write_text("\n")
    return tmp_path


def file(folder: Path, name: str, **changes: Any) -> dict[str, Any]:
    """Return the configuration of a file of accounts."""
    known = {"kind": "file", "key": name, "title": name.title(), "path": str(folder / f"{name}.yaml")}
    return {**known, **changes}


def ldap(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return the configuration of a directory."""
    known = {"kind": "ldap", "key": "directory", "title": "Directory", "url": "ldaps://ldap.example"}
    account = {"bind_dn": "cn=portal,dc=example", "bind_password_file": str(folder / "secret")}
    return {**known, "base": "dc=example", **account, **changes}


def test_sources_keep_their_order_and_have_issuers_of_their_own(folder: Path) -> None:
    wanted = [file(folder, "visitors", person="link"), ldap(folder), file(folder, "staff", person="link")]
    found = read_sources(wanted, same_people=False)
    assert [(key, each.source.issuer) for key, each in found.items()] == [
        ("visitors", "file:visitors"),
        ("directory", "ldap:dc=example"),
        ("staff", "file:staff"),
    ]


def test_two_sources_may_not_both_say_who_somebody_is(folder: Path) -> None:
    wanted = [file(folder, "staff"), file(folder, "visitors")]
    with pytest.raises(ConfigurationError, match="'staff' and 'visitors' both say who a person is") as error:
        read_sources(wanted, same_people=False)
    assert "sources_name_the_same_people" in error.value.message
    assert len(read_sources(wanted, same_people=True)) == 2
    wanted[1]["person"] = "link"
    assert len(read_sources(wanted, same_people=False)) == 2


def test_two_sources_of_one_issuer_are_refused(folder: Path) -> None:
    wanted = [file(folder, "staff"), file(folder, "staff", key="again", person="link")]
    with pytest.raises(ConfigurationError, match="issuer 'file:staff'"):
        read_sources(wanted, same_people=True)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "plain LDAP": ({"url": "ldap://ldap.example"}, "url: "),
    "LDAP with a path": ({"url": "ldaps://ldap.example/dc=example"}, "url: "),
    "LDAP without a host": ({"url": "ldaps://"}, "url: "),
    "LDAP with a password in the address": ({"url": "ldaps://portal:secret@ldap.example"}, "url: "),
    "nobody's bind": ({"bind_dn": ""}, "bind_dn: "),
    "empty password": ({"bind_password_file": "empty"}, "bind_password_file: is empty"),
    "no password file": ({"bind_password_file": "nowhere"}, "bind_password_file: cannot be read"),
    "no certificates": ({"ca_file": "secret"}, "ca_file: holds no certificates"),
    "attribute that is a filter": ({"username_attribute": "uid=*)(cn"}, "username_attribute: "),
    "filter without brackets": ({"filter": "uid=*"}, "filter: "),
    "unknown field": ({"password": "secret-that-must-not-be-shown"}, "password: "),
    "unknown kind": ({"kind": "radius"}, "radius"),
    "key that is no key": ({"key": "Directory 1"}, "key: "),
    "who a person is": ({"person": "email"}, "person: "),
}


@pytest.mark.parametrize(("changes", "said"), WRONG.values(), ids=WRONG)
def test_refuses_what_does_not_fit_and_names_the_place(
    folder: Path, changes: dict[str, Any], said: str
) -> None:
    files = ("bind_password_file", "ca_file")
    given = {name: str(folder / value) if name in files else value for name, value in changes.items()}
    with pytest.raises(ConfigurationError) as error:
        read_sources([ldap(folder, **given)], same_people=False)
    assert error.value.message.startswith("DaasAuthenticator.account_sources[0]")
    assert said in error.value.message
    assert "secret-that" not in error.value.message
    assert "portal's own" not in error.value.message


def test_refuses_a_key_that_is_there_twice_and_what_is_no_mapping(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="'staff' is there twice"):
        read_sources([file(folder, "staff"), file(folder, "visitors", key="staff")], same_people=True)
    with pytest.raises(ConfigurationError, match="must be a mapping"):
        read_sources(["staff"], same_people=True)


def test_names_the_file_that_is_missing(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as error:
        read_sources([file(folder, "nobody")], same_people=False)
    assert error.value.field == "DaasAuthenticator.account_sources[0].path"
