"""The command for administrators: what it prints, and the status it ends with."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import text

from jupyterhub_daas.core.audit import Actor, ActorKind, AuditEvent
from jupyterhub_daas.database.engine import create_engine, writing
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.services.accounts.audit import AuditStore
from tests.support.postgres import private_postgres

ROOT = Path(__file__).resolve().parents[1]
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
HUB = Actor(kind=ActorKind.SERVICE, name="daas-hub")


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "jupyterhub_daas.cli", "audit", *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DAAS_")}
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def fill(url: str, count: int) -> None:
    engine = create_engine(url)
    await upgrade(engine, "accounts")
    trail = AuditStore(engine)
    for number in range(count):
        event = AuditEvent.model_validate(
            {
                "time": NOW + timedelta(days=number),
                "actor": {"kind": "person", "name": "amara"},
                "action": "login",
                "object": {"kind": "portal", "key": "hub"},
                "details": {"n": str(number)},
            }
        )
        await trail.record(event, recorded_by=HUB, now=NOW)
    await engine.dispose()


async def tamper(url: str, *statements: str) -> None:
    engine = create_engine(url)
    async with writing(engine) as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder of the services, with a trail of five rows."""
    asyncio.run(fill(url_of(tmp_path), 5))
    return tmp_path


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'accounts.sqlite'}"


def test_a_whole_trail(state: Path) -> None:
    done = run("verify", "--state", str(state))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("The audit trail is whole. Its head: 5:")
    for other in (
        run("verify", "--database-url", url_of(state)),
        run("verify", DAAS_DATABASE_URL=url_of(state)),
    ):
        assert (other.returncode, other.stdout) == (0, done.stdout)


@pytest.mark.parametrize(
    ("statement", "row", "what"),
    [
        ("UPDATE daas_audit SET actor = 'bruno' WHERE number = 3", 3, "was changed"),
        ("UPDATE daas_audit SET details = 'garbage' WHERE number = 1", 1, "was changed"),
        ("UPDATE daas_audit SET time = x'00ff' WHERE number = 2", 2, "was changed"),
        ("DELETE FROM daas_audit WHERE number = 2", 2, "is missing"),
        ("DELETE FROM daas_audit WHERE number > 3", 4, "is missing"),
        ("DELETE FROM daas_audit", 1, "is missing"),
    ],
)
def test_names_the_first_broken_row(state: Path, statement: str, row: int, what: str) -> None:
    drop = [f"DROP TRIGGER daas_audit_no_{each}" for each in ("update", "delete")]
    asyncio.run(tamper(url_of(state), *drop, statement))
    done = run("verify", "--state", str(state))
    assert done.returncode == 1
    assert done.stdout.startswith(f"The audit trail is broken: row {row} {what}")
    assert done.stderr == ""


def test_a_trail_that_was_written_anew_misses_the_head_noted_before(state: Path, tmp_path: Path) -> None:
    head = run("verify", "--state", str(state)).stdout.split()[-1]
    asyncio.run(fill(url_of(state), 2))
    assert run("verify", "--state", str(state), "--expect", head).returncode == 0
    anew = tmp_path / "anew"
    anew.mkdir()
    asyncio.run(fill(url_of(anew), 7))
    assert run("verify", "--state", str(anew)).returncode == 0
    done = run("verify", "--state", str(anew), "--expect", head)
    assert done.returncode == 1
    assert "row 5 is not the one that was noted" in done.stdout


def test_exports_an_interval(state: Path) -> None:
    done = run("export", "--state", str(state), "--from", "2026-03-02", "--to", "2026-03-04T12:00:00Z")
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["details"]["n"] for line in done.stdout.splitlines()] == ["1", "2"]
    everything = run("export", "--state", str(state)).stdout.splitlines()
    assert [json.loads(line)["number"] for line in everything] == [1, 2, 3, 4, 5]


def test_says_what_is_missing(state: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    for arguments, words in (
        (["verify"], "--state or --database-url"),
        (["verify", "--state", str(tmp_path / "nowhere")], "There is no database"),
        (["verify", "--database-url", f"sqlite:///{empty}"], "There is no audit trail"),
        (["verify", "--database-url", "mysql://host/daas"], "use sqlite or postgresql"),
        (["verify", "--database-url", "secret"], "can't be read"),
        (["verify", "--state", str(state), "--expect", "5"], "as 'audit verify' prints it"),
        (["export", "--state", str(state), "--from", "yesterday"], "give a day or a moment"),
    ):
        done = run(*arguments)
        assert done.returncode == 2, arguments
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
    assert not (tmp_path / "nowhere").exists()


def test_a_trail_in_postgresql() -> None:
    with private_postgres() as server:
        url = server.create_database("trail")
        asyncio.run(fill(url, 3))
        assert run("verify", DAAS_DATABASE_URL=url).returncode == 0
        asyncio.run(
            tamper(
                url,
                "ALTER TABLE daas_audit DISABLE TRIGGER USER",
                "UPDATE daas_audit SET outcome = 'refused' WHERE number = 2",
            )
        )
        done = run("verify", DAAS_DATABASE_URL=url)
        assert (done.returncode, "row 2 was changed" in done.stdout) == (1, True)
        server.stop()
        away = run("verify", DAAS_DATABASE_URL=url)
        assert (away.returncode, "does not answer" in away.stderr) == (2, True)
        server.start()
