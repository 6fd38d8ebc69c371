"""The hub's own database, as `configure` has the hub open it."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from jupyterhub import orm
from sqlalchemy import text
from traitlets.config import Config

from jupyterhub_daas.configure import configure


@pytest.fixture
def hub(tmp_path: Path) -> Config:
    """The configuration of a hub that asks for something of its database itself."""
    (tmp_path / "facility.yaml").write_text("people: {}\n")
    (tmp_path / "daas.yaml").write_text("facility: {name: Lumen}\n")
    config = Config()
    config.JupyterHub.db_kwargs = {"pool_pre_ping": True}
    configure(config, tmp_path / "daas.yaml", state=tmp_path / "state")
    return config


def test_an_sqlite_file_is_written_ahead_and_safely(hub: Config, tmp_path: Path) -> None:
    db = orm.new_session_factory(f"sqlite:///{tmp_path}/hub.sqlite", **hub.JupyterHub.db_kwargs)()
    assert db.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    full = 2
    assert db.execute(text("PRAGMA synchronous")).scalar() == full
    db.close()
    db.get_bind().dispose()


def test_what_a_killed_hub_left_is_in_the_file_at_the_next_start(hub: Config, tmp_path: Path) -> None:
    left = sqlite3.connect(tmp_path / "hub.sqlite")
    left.executescript("PRAGMA journal_mode=WAL; CREATE TABLE kept (name); INSERT INTO kept VALUES ('x')")
    assert (tmp_path / "hub.sqlite-wal").stat().st_size
    orm.new_session_factory(f"sqlite:///{tmp_path}/hub.sqlite", **hub.JupyterHub.db_kwargs)
    shutil.copy(tmp_path / "hub.sqlite", tmp_path / "copy.sqlite")
    left.close()
    copy = sqlite3.connect(tmp_path / "copy.sqlite")
    assert copy.execute("SELECT name FROM kept").fetchall() == [("x",)]
    copy.close()


def test_what_the_site_asks_for_is_kept(hub: Config) -> None:
    assert hub.JupyterHub.db_kwargs["pool_pre_ping"] is True
