"""python -m service.admin: projects and keys, for whoever runs the server. A key is printed once."""

import argparse
import os
import sys
from pathlib import Path

from service.bootstrap import Context, bootstrap
from service.errors import MintageError
from service.usecases import keys

TIME = "%Y-%m-%dT%H:%M:%SZ"


def bootstrap_key() -> str | None:
    """MINTAGE_BOOTSTRAP_KEY, or what the file named by MINTAGE_BOOTSTRAP_KEY_FILE holds."""
    file = os.environ.get("MINTAGE_BOOTSTRAP_KEY_FILE")
    return os.environ.get("MINTAGE_BOOTSTRAP_KEY") or (Path(file).read_text().strip() if file else None)


def run(context: Context, asked: argparse.Namespace) -> str:
    """Do what was asked for; returns what to print."""
    if asked.verb == "create-project":
        project_id, key = keys.create_project(context, asked.name)
        return f"{project_id}\n{_with_id(context, key)}"
    if asked.verb == "create-key":
        return _with_id(context, keys.create_key(context, asked.project, asked.name))
    if asked.verb == "list-keys":
        return "\n".join(map(_line, keys.list_keys(context, asked.project)))
    if asked.verb == "revoke-key":
        keys.revoke_key(context, asked.key)
        return f"{asked.key} opens nothing any more."
    given = bootstrap_key()
    if not given:
        raise ValueError("set MINTAGE_BOOTSTRAP_KEY or MINTAGE_BOOTSTRAP_KEY_FILE")
    return keys.ensure_key(context, given)


def _with_id(context: Context, key: str) -> str:
    """The id to revoke it by, then the key itself."""
    return f"{keys.authenticate(context, key).key_id}\n{key}"


def _line(key: keys.KeyView) -> str:
    revoked = f"  revoked {key.revoked_at:{TIME}}" if key.revoked_at else ""
    return f"{key.id}  made {key.created_at:{TIME}}{revoked}  {key.name}"


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m service.admin", description="Projects and their API keys.")
    verbs = whole.add_subparsers(dest="verb", required=True)
    project = verbs.add_parser("create-project", help="a new project; prints its id, its first key's id, and that key")
    project.add_argument("name")
    another = verbs.add_parser("create-key", help="one more key of a project; prints its id and it")
    another.add_argument("project")
    another.add_argument("name")
    verbs.add_parser("list-keys", help="the ids and names of a project's keys").add_argument("project")
    verbs.add_parser("revoke-key", help="the key of this id opens nothing any more").add_argument("key")
    verbs.add_parser(
        "ensure-key", help="have MINTAGE_BOOTSTRAP_KEY(_FILE) open the project 'default'; safe to run again"
    )
    return whole


def main() -> None:
    asked = parser().parse_args()
    try:
        sys.stdout.write(f"{run(bootstrap(), asked)}\n")
    except (MintageError, ValueError) as error:
        sys.exit(f"service.admin: {error}")


if __name__ == "__main__":
    main()
