"""The hub's own database, as `configure` has the hub open it."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from jupyterhub import orm
from sqlalchemy import text
from sqlalchemy.orm import Session
from traitlets.config import Config


@contextmanager
def opened(hub_config: Config, file: Path) -> Iterator[Session]:
    """Open a file as the hub does."""
    db: Session = orm.new_session_factory(f"sqlite:///{file}", **hub_config.JupyterHub.db_kwargs)()
    try:
        yield db
    finally:
        db.close()
        db.get_bind().dispose()


def test_an_sqlite_file_is_written_ahead_and_safely(hub_config: Config, tmp_path: Path) -> None:
    with opened(hub_config, tmp_path / "hub.sqlite") as db:
        assert db.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        full = 2
        assert db.execute(text("PRAGMA synchronous")).scalar() == full


def test_what_a_killed_hub_left_is_in_the_file_at_the_next_start(hub_config: Config, tmp_path: Path) -> None:
    file, copy = tmp_path / "hub.sqlite", tmp_path / "copy.sqlite"
    with closing(sqlite3.connect(file)) as left:
        left.executescript("PRAGMA journal_mode=WAL; CREATE TABLE kept (name); INSERT INTO kept VALUES ('x')")
        assert (tmp_path / "hub.sqlite-wal").stat().st_size
        with opened(hub_config, file):
            shutil.copy(file, copy)
    with closing(sqlite3.connect(copy)) as found:
        assert found.execute("SELECT name FROM kept").fetchall() == [("x",)]


def test_what_the_site_asks_for_is_kept(hub_config: Config) -> None:
    assert hub_config.JupyterHub.db_kwargs["pool_pre_ping"] is True
