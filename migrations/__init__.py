"""Database migrations: found next to this file, so that an installed wheel needs no alembic.ini and no clone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import make_url

ONE_AT_A_TIME = 7_250_981  # the advisory lock that all migrating processes take


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    """One transaction around everything, and nobody else migrating meanwhile."""
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": 60, "check_same_thread": False})
        event.listen(engine, "connect", _as_batches_need_it)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    else:
        engine = create_engine(url)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ONE_AT_A_TIME})
            yield connection
    finally:
        engine.dispose()


def _as_batches_need_it(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # DDL inside of our transaction
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA foreign_keys=OFF")  # batch mode drops tables that others point to


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to `revision`; nothing happens where it is there already. Safe from many processes at once."""
    with _connection(url) as connection:
        command.upgrade(_config(connection), revision)


def downgrade(url: str, revision: str) -> None:
    """Take migrations back down to `revision`; `base` empties the database."""
    with _connection(url) as connection:
        command.downgrade(_config(connection), revision)


def current(url: str) -> str | None:
    """The revision that the database is at, None for an empty one."""
    with _connection(url) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str | None:
    """The newest revision that this code knows."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def serves(revision: str | None) -> bool:
    """Has a database at `revision` what this code needs? A revision that this code does not know is a newer one: while
    an upgrade rolls out, old processes go on and may still start."""
    scripts = ScriptDirectory.from_config(_config())
    known = {script.revision for script in scripts.walk_revisions()}
    return revision is not None and (revision == scripts.get_current_head() or revision not in known)


def new(url: str, message: str, revision: str) -> None:
    """Write the migration that leads from this database to the tables in the code; read it before committing it."""
    with _connection(url) as connection:
        command.revision(_config(connection), message=message, autogenerate=True, rev_id=revision)
