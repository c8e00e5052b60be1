"""The migrations on both kinds of database: up, down, from many processes at once, and in step with the tables."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import migrations
from service.db.tables import Base


def tables(url: str) -> set[str]:
    engine = sqlalchemy.create_engine(url)
    try:
        return set(sqlalchemy.inspect(engine).get_table_names()) - {"alembic_version"}
    finally:
        engine.dispose()


def test_the_migrations_lead_to_the_tables_of_the_code(empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url)
    assert migrations.current(empty_database_url) == migrations.head()
    engine = sqlalchemy.create_engine(empty_database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_down_leaves_nothing_and_up_again_works(empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url)
    full = tables(empty_database_url)
    migrations.downgrade(empty_database_url, "base")
    assert tables(empty_database_url) == set()
    assert migrations.current(empty_database_url) is None
    migrations.upgrade(empty_database_url)
    assert tables(empty_database_url) == full == set(Base.metadata.tables)


def test_six_migrating_at_once_migrate_once(empty_database_url: str) -> None:
    command = [sys.executable, "-m", "migrations", "upgrade"]
    env = {"MINTAGE_DATABASE_URL": empty_database_url}

    def upgrade(_: int) -> str:
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.strip()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(upgrade, range(6))) == {migrations.head()}


def test_the_folder_of_the_process_does_not_matter(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    command = [sys.executable, "-m", "migrations", "upgrade"]
    env = {"MINTAGE_DATABASE_URL": url}
    done = subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == migrations.head()
    assert migrations.current(url) == migrations.head()
