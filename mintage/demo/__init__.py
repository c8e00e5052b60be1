"""The demos."""

from pathlib import Path
from typing import Any


def run(what: str, out: Path) -> dict[str, Any]:
    return {}
