"""Facility accounts in a file."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from jupyterhub_daas.authenticators import accounts
from jupyterhub_daas.authenticators.accounts import FileAccounts, PasswordHash, make_hash, write_entry
from jupyterhub_daas.errors import ConfigurationError, InvalidInputError

PASSWORD = " a password, with spaces around and ümlauts "


def replace(file: Path, text: str | None) -> None:
    """Write the file as somebody with an editor would, or remove it."""
    if text is None:
        file.unlink()
    else:
        file.write_text(text)


def remove_entry(file: Path, username: str) -> None:
    """Take an account out of the file."""
    entries = yaml.safe_load(file.read_text())
    del entries[username]
    replace(file, yaml.safe_dump(entries))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with one account."""
    path = tmp_path / "accounts.yaml"
    write_entry(path, "amara", PASSWORD)
    return path


async def test_the_right_password_yields_the_name(file: Path) -> None:
    assert await FileAccounts(file).check("amara", PASSWORD) == "amara"


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("amara", "wrong"),
        ("amara", PASSWORD.strip()),
        ("amara", ""),
        ("Amara", PASSWORD),
        ("amara\n", PASSWORD),
        ("аmara", PASSWORD),
        ("../amara", PASSWORD),
        ("", PASSWORD),
        ("bruno", PASSWORD),
        ("a" * 10_000, PASSWORD),
        ("amara", PASSWORD + "x" * 10_000),
        ("amara", "\ud800"),
    ],
)
async def test_anything_else_yields_nobody(file: Path, username: str, password: str) -> None:
    assert await FileAccounts(file).check(username, password) is None


async def test_an_unknown_name_costs_a_hash_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, costs = FileAccounts(file), []
    fits = PasswordHash.fits

    def counted(entry: PasswordHash, password: str) -> bool:
        costs.append((entry.n, entry.r, entry.p))
        return fits(entry, password)

    monkeypatch.setattr(PasswordHash, "fits", counted)
    await source.check("amara", "wrong")
    await source.check("nobody", "wrong")
    assert len(costs) == 2
    assert costs[0] == costs[1]


async def test_hashes_off_the_event_loop(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def noted(entry: PasswordHash, password: str) -> bool:
        seen.append(threading.current_thread().name)
        return False

    monkeypatch.setattr(PasswordHash, "fits", noted)
    await FileAccounts(file).check("amara", "wrong")
    assert seen[0].startswith("daas-accounts")
    assert seen[0] != threading.current_thread().name


async def test_takes_over_a_change_of_the_file(file: Path) -> None:
    source = FileAccounts(file)
    write_entry(file, "bruno", "another password")
    write_entry(file, "amara", "a new password")
    assert await source.check("bruno", "another password") == "bruno"
    assert await source.check("amara", PASSWORD) is None
    assert await source.exists("bruno")


async def test_an_account_that_was_removed_is_gone(file: Path) -> None:
    write_entry(file, "bruno", "another password")
    source = FileAccounts(file)
    remove_entry(file, "amara")
    assert not await source.exists("amara")
    assert await source.check("amara", PASSWORD) is None


BROKEN = {
    "no YAML": "amara: {salt: [",
    "a list": "[amara]",
    "no hash": "amara: {salt: '00'}",
    "weak": f"amara: {{salt: '{'00' * 16}', hash: '{'00' * 32}', n: 2}}",
    "costly": f"amara: {{salt: '{'00' * 16}', hash: '{'00' * 32}', n: 1073741824}}",
    "hostile name": f"../amara: {{salt: '{'00' * 16}', hash: '{'00' * 32}'}}",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
async def test_keeps_the_last_good_version(file: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    source = FileAccounts(file)
    replace(file, text)
    assert await source.check("amara", PASSWORD) == "amara"
    assert await source.check("amara", PASSWORD) == "amara"
    assert len(caplog.records) == 1  # said once, not at each login
    assert "last good version" in caplog.text


async def test_keeps_the_last_good_version_when_the_file_is_gone(file: Path) -> None:
    source = FileAccounts(file)
    replace(file, None)
    assert await source.check("amara", PASSWORD) == "amara"


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_refuses_to_start_with_a_broken_file_and_names_the_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "accounts.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as error:
        FileAccounts(path)
    assert error.value.field == "DaasAuthenticator.accounts_file"
    assert str(path) in error.value.message
    assert "00000000" not in error.value.message


def test_refuses_to_start_without_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        FileAccounts(tmp_path / "missing.yaml")


async def test_a_file_without_accounts_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "accounts.yaml"
    replace(path, "")
    assert await FileAccounts(path).check("amara", PASSWORD) is None


def test_two_hashes_of_one_password_differ() -> None:
    assert make_hash(PASSWORD).hash != make_hash(PASSWORD).hash


def test_a_new_file_is_private_and_an_old_one_keeps_its_mode(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    write_entry(file, "bruno", "x")
    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in file.parent.iterdir()] == ["accounts.yaml"]


def run_command(*arguments: Any, given: str) -> subprocess.CompletedProcess[str]:
    """Run the command that makes an entry."""
    command = [sys.executable, "-m", "jupyterhub_daas.authenticators.accounts", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, text=True, env=os.environ, check=False)


async def test_the_command_makes_an_entry(tmp_path: Path) -> None:
    path = tmp_path / "accounts.yaml"
    made = run_command(path, "amara", given=PASSWORD + "\n")
    assert (made.returncode, made.stderr) == (0, "")
    assert await FileAccounts(path).check("amara", PASSWORD) == "amara"
    assert made.stdout == ""


def test_the_command_refuses_a_name_that_nobody_may_have(tmp_path: Path) -> None:
    refused = run_command(tmp_path / "accounts.yaml", "Amara Okafor", given="x\n")
    assert refused.returncode == 1
    assert "no username" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_refuses_an_empty_password(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        write_entry(tmp_path / "accounts.yaml", "amara", "")


def test_the_issuer_names_the_source(file: Path) -> None:
    assert FileAccounts(file).issuer == "file:accounts"
    assert accounts.THREADS >= 1
