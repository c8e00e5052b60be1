"""The servers that the other tests stand on."""

import sqlalchemy

from service.bootstrap import object_store
from service.settings import Settings


def test_the_bucket_takes_and_gives(valkey_url: str, s3: dict[str, str]) -> None:
    store = object_store(Settings(database_url="sqlite://", redis_url=valkey_url, **s3))  # type: ignore[arg-type]
    store.put("a/b/c", b"hello")
    assert store.get("a/b/c") == b"hello"
    assert list(store.keys("a/b")) == ["a/b/c"]
    assert store.delete("a/b/") == 1


def test_postgresql_is_a_real_one(postgres_database: str) -> None:
    engine = sqlalchemy.create_engine(postgres_database)
    with engine.connect() as connection:
        assert "PostgreSQL 18" in str(connection.scalar(sqlalchemy.text("select version()")))
    engine.dispose()
