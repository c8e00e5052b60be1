"""Transactions, and the one place where a query is tied to its project."""

from collections.abc import Iterator
from contextlib import contextmanager
from sqlite3 import SQLITE_FULL
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Double, Engine, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from service.db.tables import Owned
from service.errors import NotFound

Row = TypeVar("Row", bound=Owned)
DISK_FULL = "53100"  # PostgreSQL's SQLSTATE


class now(FunctionElement[float]):  # named as the SQL function that it is
    """The database's clock in seconds since 1970: leases are compared with no other."""

    type = Double()
    inherit_cache = True


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"  # unixepoch('subsec') is NULL before SQLite 3.42


class Database:
    """SQLite in WAL mode or PostgreSQL; `begin` for transactions that write, `read` for those that do not."""

    def __init__(self, url: str, pool: int = 20) -> None:
        self.engine = (
            create_sqlite(url) if make_url(url).get_backend_name() == "sqlite" else create_postgresql(url, pool)
        )
        self._reading = self.engine.execution_options(reads_only=True)

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self._reading, expire_on_commit=False) as session, session.begin():
            yield session

    def dispose(self) -> None:
        self.engine.dispose()


def create_postgresql(url: str, pool: int) -> Engine:
    """A process that freezes, or whose machine is gone, loses its locks within seconds; who waits for such a lock, or
    for a server that is gone, is told so."""
    patience = {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "tcp_user_timeout": 15_000}
    given = make_url(url).query
    mine = {name: value for name, value in patience.items() if name not in given}
    engine = create_engine(url, pool_size=pool, max_overflow=0, pool_pre_ping=True, pool_timeout=10, connect_args=mine)

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, record: Any) -> None:
        connection.autocommit = True
        for setting in ("idle_in_transaction_session_timeout = '10s'", "lock_timeout = '8s'"):
            connection.execute(f"SET {setting}")
        connection.autocommit = False

    return engine


def create_sqlite(url: str) -> Engine:
    """WAL, and BEGIN IMMEDIATE for writers: a deferred transaction that turns into a writer fails at once."""
    engine = create_engine(url, connect_args={"timeout": 15, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=15000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("reads_only")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


class Scope:
    """All that one project owns: the only way from a request to a row. Another project's rows are as if absent."""

    def __init__(self, session: Session, project_id: str) -> None:
        self.session, self.project_id = session, project_id

    def get(self, table: type[Row], id: str, lock: bool = False) -> Row:
        """The row of that id. Raises NotFound. `lock` holds it until the transaction ends."""
        query = select(table).where(table.id == id, table.project_id == self.project_id)
        row = self.session.scalars(query.with_for_update() if lock else query).one_or_none()
        if row is None:
            raise NotFound(f"There is no {table.__name__.lower()} {id!r} in this project.")
        return row

    def page(
        self, table: type[Row], *where: ColumnElement[bool], limit: int, before: str | None
    ) -> tuple[list[Row], str | None]:
        """Newest first: up to `limit` rows older than the id `before`, and the next `before` or None."""
        query = select(table).where(table.project_id == self.project_id, *where)
        if before is not None:
            query = query.where(table.id < before)
        rows = list(self.session.scalars(query.order_by(table.id.desc()).limit(limit + 1)))
        return rows[:limit], rows[limit - 1].id if len(rows) > limit else None

    def exists(self, table: type[Row], *where: ColumnElement[bool]) -> bool:
        query = select(table.id).where(table.project_id == self.project_id, *where).limit(1)
        return self.session.scalar(query) is not None


def disk_is_full(error: Exception) -> bool:
    """Whether the database refused to write for want of room; what it was doing is undone."""
    cause = getattr(error, "orig", None)
    return getattr(cause, "sqlite_errorcode", None) == SQLITE_FULL or getattr(cause, "sqlstate", None) == DISK_FULL
