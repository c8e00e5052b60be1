"""Where the server is: named in the call, in the environment, or in the file that `mintage up` leaves behind."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from mintage.errors import NoServer

SERVER_FILE = "server.json"


@dataclass(frozen=True)
class Address:
    url: str
    api_key: str


def default_data_dir() -> Path:
    """MINTAGE_DATA_DIR, or the folder that this system keeps for a program's data."""
    named = os.environ.get("MINTAGE_DATA_DIR")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "mintage"


def find(url: str | None = None, api_key: str | None = None, data_dir: Path | None = None) -> Address:
    """The server to talk to: arguments first, then a data directory that was named, then MINTAGE_URL, then the stack
    that runs here. Raises NoServer."""
    key = api_key or os.environ.get("MINTAGE_API_KEY")
    if url is None and data_dir is None:
        url = os.environ.get("MINTAGE_URL")
    if url:
        if not key:
            raise NoServer(f"{url} wants an API key: set MINTAGE_API_KEY, or pass api_key=...")
        if not key.isascii() or not key.isprintable():
            raise NoServer("The API key holds characters that no key has; copy it anew into MINTAGE_API_KEY.")
        return Address(url.rstrip("/"), key)
    found = read(data_dir or default_data_dir())
    if found is None:
        where = data_dir or default_data_dir()
        raise NoServer(
            f"No Mintage runs from {where}. Start one with 'mintage up', or set MINTAGE_URL and MINTAGE_API_KEY."
        )
    return Address(found.url, api_key or found.api_key)


def read(data_dir: Path) -> Address | None:
    """What `mintage up` wrote when it was ready; None where nothing runs."""
    try:
        written = json.loads((data_dir / SERVER_FILE).read_text(encoding="utf-8"))
        return Address(str(written["url"]), str(written["api_key"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
