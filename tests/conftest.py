"""Fixtures on real servers. A test that takes `context` runs on SQLite and on PostgreSQL alike."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy
from sqlalchemy.engine import make_url

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # several test processes with a spinning team of threads each: ten times slower

from service.bootstrap import Context, bootstrap
from service.settings import Settings
from tests import servers

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="mintage-tests-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as a user of its own
        yield Path(folder)


@pytest.fixture(scope="session")
def valkey_url(server_folder: Path) -> Iterator[str]:
    with servers.valkey(server_folder) as url:
        yield url


@pytest.fixture(scope="session")
def s3(server_folder: Path) -> Iterator[dict[str, str]]:
    """The settings that reach a real bucket: s3_endpoint_url, s3_access_key, s3_secret_key, s3_bucket."""
    with servers.seaweedfs(server_folder) as settings:
        yield settings


@pytest.fixture(scope="session")
def postgres_url(server_folder: Path) -> Iterator[str]:
    with servers.postgresql(server_folder) as url:
        yield url


def sqlite_database(folder: Path) -> str:
    return f"sqlite:///{folder / 'mintage.db'}"


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """A database of its own on the real PostgreSQL, empty, dropped afterwards."""
    name = f"test_{next(_numbers)}"
    engine = sqlalchemy.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables, of each kind in turn."""
    if request.param == "sqlite":
        return sqlite_database(tmp_path)
    url: str = request.getfixturevalue("postgres_database")
    return url


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """A migrated database, of each kind in turn."""
    import migrations

    migrations.upgrade(empty_database_url)
    return empty_database_url


def _context(url: str, valkey_url: str, s3: dict[str, str], tmp_path: Path) -> Iterator[Context]:
    settings = Settings(database_url=url, redis_url=valkey_url, work_dir=tmp_path / "work", database_pool=30, **s3)  # type: ignore[arg-type]
    context = bootstrap(settings)
    yield context
    context.doorbell.app.close()
    context.database.dispose()


@pytest.fixture
def context(database_url: str, valkey_url: str, s3: dict[str, str], tmp_path: Path) -> Iterator[Context]:
    """Everything real: database of each kind in turn, bucket, broker."""
    yield from _context(database_url, valkey_url, s3, tmp_path)


@pytest.fixture
def sqlite_context(valkey_url: str, s3: dict[str, str], tmp_path: Path) -> Iterator[Context]:
    """The same on SQLite alone, for what does not depend on the database."""
    import migrations

    url = sqlite_database(tmp_path)
    migrations.upgrade(url)
    yield from _context(url, valkey_url, s3, tmp_path)
