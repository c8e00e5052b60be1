"""Makes a deployment ready: `python -m service.prepare` brings tables, bucket and first API key; `--wait` only waits.

Both wait for servers that are still starting.
"""

import argparse
import sys
import time
from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError
from sqlalchemy.exc import OperationalError

import migrations
from service.admin import bootstrap_key
from service.bootstrap import Context, bootstrap
from service.errors import Unavailable
from service.usecases.keys import ensure_key

NOT_YET = (OperationalError, BotoCoreError, ClientError, Unavailable)
PATIENCE = 300.0  # seconds; whatever started this program then starts it again
PAUSE = 2.0


def patiently(what: str, attempt: Callable[[], bool], patience: float = PATIENCE, pause: float = PAUSE) -> None:
    """Repeat until `attempt` is true and its server answers. Ends the program with a sentence when patience is over."""
    end, said = time.monotonic() + patience, ""
    while True:
        try:
            if attempt():
                return say(f"{what}: ready")
            reason = "not yet"
        except NOT_YET as error:
            reason = str(error).splitlines()[0]
        if reason != said:
            say(f"{what}: {reason}")
            said = reason
        if time.monotonic() > end:
            sys.exit(f"{what}: not ready after {patience:.0f} seconds")
        time.sleep(pause)


def say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def migrate(url: str) -> bool:
    migrations.upgrade(url)
    return True


def migrated(url: str) -> bool:
    """Has the database what this code needs?"""
    return migrations.serves(migrations.current(url))


def make_bucket(context: Context) -> bool:
    context.storage.ensure_bucket()
    return True


def prepare(context: Context, url: str, key: str | None) -> None:
    """Safe to run again, and by several at once."""
    patiently("database", lambda: migrate(url))
    patiently("bucket", lambda: make_bucket(context))
    if key:
        ensure_key(context, key)
        say("API key: ready")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m service.prepare", description="Make a deployment ready.")
    parser.add_argument("--wait", action="store_true", help="change nothing; wait until the database is migrated")
    asked = parser.parse_args()
    context = bootstrap()
    url = context.settings.database_url.get_secret_value()
    if asked.wait:
        patiently("database", lambda: migrated(url))
    else:
        prepare(context, url, bootstrap_key())


if __name__ == "__main__":
    main()
