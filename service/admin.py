"""python -m service.admin: projects, keys, quotas, and what nobody owns in the bucket, for whoever runs the server.

A key is printed once."""

import argparse
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from service.bootstrap import Context, bootstrap
from service.errors import MintageError
from service.usecases import keys, orphans, quotas

QUOTAS = {"jobs": "that wait or run", "bytes": "that are kept", "gpu_units": "that run at one time"}
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
    if asked.verb == "set-quota":
        given_quotas = {f"quota_{name}": getattr(asked, name) for name in QUOTAS if getattr(asked, name) is not None}
        quotas.change(context, asked.project, {name: _quota(text) for name, text in given_quotas.items()})
        return _usage(context, asked.project)
    given = bootstrap_key()
    if not given:
        raise ValueError("set MINTAGE_BOOTSTRAP_KEY or MINTAGE_BOOTSTRAP_KEY_FILE")
    return keys.ensure_key(context, given)


def _quota(text: str) -> int | None:
    """None for `default`. Raises ValueError."""
    if text == "default":
        return None
    if not text.isdecimal():
        raise ValueError(f"a quota is a whole number or 'default', not {text!r}")
    return int(text)


def _usage(context: Context, project_id: str) -> str:
    found = quotas.usage(context, project_id)
    amounts = {"jobs": found.jobs, "bytes": found.bytes, "gpu units": found.gpu_units}
    return "\n".join(
        f"{name}: {one.used:,} of {'as many as there are' if one.limit is None else f'{one.limit:,}'}"
        for name, one in amounts.items()
    )


def list_orphans(context: Context, asked: argparse.Namespace) -> Iterator[str]:
    """A line for each object, as they are found; the last one counts them."""
    count, total = 0, 0
    for found in orphans.find(context, asked.older, delete=asked.delete):
        count, total = count + 1, total + found.bytes
        yield f"{datetime.fromtimestamp(found.written, UTC):{TIME}}  {found.bytes:>12}  {found.key}"
    yield f"{count} objects, {total} bytes{', deleted' if asked.delete and count else ''}."


def _with_id(context: Context, key: str) -> str:
    """The id to revoke it by, then the key itself."""
    return f"{keys.authenticate(context, key).key_id}\n{key}"


def _line(key: keys.KeyView) -> str:
    revoked = f"  revoked {key.revoked_at:{TIME}}" if key.revoked_at else ""
    return f"{key.id}  made {key.created_at:{TIME}}{revoked}  {key.name}"


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m service.admin", description="Projects, their API keys and quotas.")
    verbs = whole.add_subparsers(dest="verb", required=True)
    project = verbs.add_parser("create-project", help="a new project; prints its id, its first key's id, and that key")
    project.add_argument("name")
    another = verbs.add_parser("create-key", help="one more key of a project; prints its id and it")
    another.add_argument("project")
    another.add_argument("name")
    verbs.add_parser("list-keys", help="the ids and names of a project's keys").add_argument("project")
    verbs.add_parser("revoke-key", help="the key of this id opens nothing any more").add_argument("key")
    quota = verbs.add_parser("set-quota", help="what a project may have; prints what it has. Nothing named: no change")
    quota.add_argument("project")
    for name, what in QUOTAS.items():
        quota.add_argument(f"--{name.replace('_', '-')}", metavar="N", help=f"{what}, or 'default'")
    verbs.add_parser(
        "ensure-key", help="have MINTAGE_BOOTSTRAP_KEY(_FILE) open the project 'default'; safe to run again"
    )
    lost = verbs.add_parser("orphans", help="objects in the bucket that belong to nothing the database knows")
    lost.add_argument("--delete", action="store_true", help="delete them as well")
    lost.add_argument(
        "--older",
        type=float,
        metavar="SECONDS",
        default=orphans.GRACE_SECONDS,
        help="only what was written so long ago",
    )
    return whole


def main() -> None:
    asked = parser().parse_args()
    try:
        context = bootstrap()
        for line in list_orphans(context, asked) if asked.verb == "orphans" else [run(context, asked)]:
            sys.stdout.write(f"{line}\n")
    except (MintageError, ValueError) as error:
        sys.exit(f"service.admin: {error}")


if __name__ == "__main__":
    main()
