"""What the tests of this folder share: the paths, the settings, and an eye for images and variables."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.settings import Settings

ROOT = Path(__file__).parents[2]
SETTINGS = {f"MINTAGE_{name.upper()}" for name in Settings.model_fields}
OF_THE_ADMIN = {"MINTAGE_BOOTSTRAP_KEY"}  # read by service.admin and service.prepare: no setting of a running process


def variables(text: str) -> set[str]:
    """Every MINTAGE_... that a text names."""
    return set(re.findall(r"\bMINTAGE_[A-Z0-9_]+\b", text))


def is_pinned(image: str) -> bool:
    """Has the image a tag of its own, other than latest?"""
    tag = image.rpartition("/")[2].partition(":")[2]
    return bool(tag) and tag != "latest"


def walk(value: Any) -> Iterator[Any]:
    """The value, and all that lies within it."""
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(inner)
