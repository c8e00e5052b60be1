"""python -m migrations upgrade | downgrade REVISION | current | new REVISION MESSAGE, on MINTAGE_DATABASE_URL."""

import argparse
import os
import sys
from pathlib import Path

import migrations


def _url() -> str:
    """The same variables as service.settings reads, without asking for the rest of them."""
    file = os.environ.get("MINTAGE_DATABASE_URL_FILE")
    url = os.environ.get("MINTAGE_DATABASE_URL") or (Path(file).read_text().strip() if file else None)
    if not url:
        sys.exit("Set MINTAGE_DATABASE_URL, such as sqlite:///mintage.db or postgresql+psycopg://user@host/name.")
    return url


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m migrations", description="The database's migrations.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("upgrade", help="to the newest").add_argument("revision", nargs="?", default="head")
    verbs.add_parser("downgrade", help="back to a revision; 'base' empties it").add_argument("revision")
    verbs.add_parser("current", help="print where the database is")
    new = verbs.add_parser("new", help="write a migration from what the tables in the code have more")
    new.add_argument("revision")
    new.add_argument("message")
    asked = parser.parse_args()
    if asked.verb == "upgrade":
        migrations.upgrade(_url(), asked.revision)
    elif asked.verb == "downgrade":
        migrations.downgrade(_url(), asked.revision)
    elif asked.verb == "new":
        migrations.new(_url(), asked.message, asked.revision)
    sys.stdout.write(f"{migrations.current(_url()) or 'base'}\n")


main()
