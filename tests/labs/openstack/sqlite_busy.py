"""Have many threads write to one SQLite file: imported by each service before it opens its database.

A transaction that will write says so when it begins, and waits for its turn: one that begins as a reader and
writes later fails at once while another writes.
"""

from oslo_db.sqlalchemy import enginefacade
from sqlalchemy import event
from sqlalchemy.engine import Engine

factory = enginefacade._TransactionFactory
create_session = factory._create_session


@event.listens_for(Engine, "connect")
def _connect(connection, record):
    if "sqlite" in type(connection).__module__:
        connection.execute("PRAGMA busy_timeout=60000")


@event.listens_for(Engine, "begin")
def _begin(connection):
    if connection.dialect.name == "sqlite" and "in_transaction" not in connection.info:
        writes = connection.get_execution_options().get("lab_writer")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
        # oslo.db's own listener then leaves it alone.
        connection.info["in_transaction"] = True


def _create_session(self, mode, bind=None):
    if not self._started:
        self._start()
    if bind is None and mode is enginefacade._WRITER and self._writer_engine.dialect.name == "sqlite":
        bind = self._writer_engine.execution_options(lab_writer=True)
    return create_session(self, mode, bind)


factory._create_session = _create_session
