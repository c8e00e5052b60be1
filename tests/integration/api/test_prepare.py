"""A deployment is made ready from nothing, by several at once, and again; whoever waits for it is patient."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

import migrations
from service import prepare
from service.bootstrap import Context, bootstrap
from service.errors import Unavailable
from service.settings import Settings
from service.usecases import keys

KEY = "b" * 40


@pytest.fixture
def settings(empty_database_url: str, valkey_url: str, s3: dict[str, str], tmp_path: Path) -> Settings:
    """A deployment without tables, without a bucket."""
    fresh = {**s3, "s3_bucket": f"fresh-{tmp_path.name.replace('_', '-').lower()[-40:]}"}
    return Settings(database_url=empty_database_url, redis_url=valkey_url, **fresh)  # type: ignore[arg-type]


def test_several_at_once_bring_tables_bucket_and_key_and_may_do_so_again(settings: Settings) -> None:
    context, url = bootstrap(settings), settings.database_url.get_secret_value()
    assert not prepare.migrated(url)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: prepare.prepare(context, url, KEY), range(3)))
    prepare.prepare(context, url, KEY)
    assert prepare.migrated(url)
    context.storage.put("probe", b"1")
    project = keys.authenticate(context, KEY).project_id
    assert len(keys.list_keys(context, project)) == 1
    context.database.dispose()


def test_the_program_takes_the_key_from_the_file_that_its_secret_is_mounted_as(
    sqlite_context: Context, tmp_path: Path
) -> None:
    given = sqlite_context.settings
    (tmp_path / "key").write_text(f"{KEY}\n")
    environment = {
        "MINTAGE_DATABASE_URL": given.database_url.get_secret_value(),
        "MINTAGE_REDIS_URL": given.redis_url.get_secret_value(),
        "MINTAGE_S3_ENDPOINT_URL": given.s3_endpoint_url or "",
        "MINTAGE_S3_ACCESS_KEY": given.s3_access_key.get_secret_value() if given.s3_access_key else "",
        "MINTAGE_S3_SECRET_KEY": given.s3_secret_key.get_secret_value() if given.s3_secret_key else "",
        "MINTAGE_BOOTSTRAP_KEY_FILE": str(tmp_path / "key"),
    }
    command = [sys.executable, "-m", "service.prepare"]
    for extra in ([], ["--wait"]):
        done = subprocess.run([*command, *extra], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    assert keys.authenticate(sqlite_context, KEY)


def test_whoever_waits_does_so_until_the_tables_are_there_and_changes_nothing(empty_database_url: str) -> None:
    assert not prepare.migrated(empty_database_url)
    later = threading.Timer(0.5, migrations.upgrade, (empty_database_url,))
    later.start()
    prepare.patiently("database", lambda: prepare.migrated(empty_database_url), patience=30, pause=0.1)
    later.join()
    assert migrations.current(empty_database_url) == migrations.head()


def test_a_revision_that_this_code_does_not_know_is_a_newer_one(context: Context) -> None:
    with context.database.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'newer'"))
    assert prepare.migrated(context.settings.database_url.get_secret_value())


def test_a_server_that_does_not_answer_is_waited_for_and_given_up_with_a_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tries = []

    def away() -> bool:
        tries.append(1)
        raise Unavailable("It does not answer.")

    with pytest.raises(SystemExit, match="bucket: not ready after 0 seconds"):
        prepare.patiently("bucket", away, patience=0.3, pause=0.05)
    assert len(tries) > 2
    assert capsys.readouterr().err.splitlines() == ["bucket: It does not answer."]
