"""Where pictures come from: archives of files, with what lies beside each, Parquet, or one alone. Knows nothing of
pixels.

A source can be gone through again and gives the same items in the same order; one item is in memory at a time.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from service.errors import Rejected
from workers.modalities.images import archive
from workers.modalities.images.spec import PICTURES

EXTENSIONS = frozenset(PICTURES)
BESIDE = {".cls", ".json", ".txt"}  # what WebDataset puts beside a picture of the same name
BESIDE_BYTES = 64 << 10  # more is no note on one picture
LISTS = {".csv", ".tsv"}
LIST_BYTES = 64 << 20
LISTS_READ = 3  # lists of labels that are held until the archive's end
CAPTIONS = ("caption", "captions", "text", "prompt", "description")
VALUE_CHARACTERS = 200  # more is no value of an attribute

Tick = Callable[[float], None]  # the fraction of the source that lies behind; raises Stop


@dataclass(frozen=True)
class Item:
    """What may be a picture. `read` gives its bytes until the next item is asked for; OSError where it cannot."""

    name: str  # for people
    read: Callable[[], bytes]
    path: str = ""  # in an archive: its folder may be the class, and tables name it
    told: Mapping[str, str] = field(default_factory=dict)  # attributes of this picture, as text
    caption: str | None = None


@dataclass(frozen=True)
class Listing:
    """A table of labels that lay among the pictures."""

    name: str
    data: bytes


@dataclass
class Found:
    """What was met on the way and is no picture."""

    others: Counter[str] = field(default_factory=Counter)  # by extension
    lists: list[Listing] = field(default_factory=list)


class Source(Protocol):
    def items(self, tick: Tick, found: Found) -> Iterator[Item]:
        """Every candidate in order; what is none goes to `found`. Raises Rejected."""


def is_candidate(name: str) -> bool:
    """Whether the file's name allows that it is a picture; names without extension are looked at too."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in EXTENSIONS or suffix == ""


def text(value: object) -> str | None:
    """A single value as text, None for a missing one and for what is no single value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if not isinstance(value, str | int | float):
        return None
    return str(value).replace("\0", "").strip() or None


class Alone:
    """One picture as it is."""

    def __init__(self, path: Path, most: int) -> None:
        self.path, self.most = path, most

    def items(self, tick: Tick, found: Found) -> Iterator[Item]:
        if self.path.stat().st_size > self.most:
            raise Rejected("image_too_large", f"The picture's file has more than {self.most >> 20} MiB; scale it.")
        tick(0.0)
        yield Item("picture", self.path.read_bytes)


class Archive:
    """The files of a zip or tar; files of a picture's name that follow it or precede it tell of it."""

    def __init__(self, path: Path, limits: archive.Limits) -> None:
        self.path, self.limits = path, limits

    def items(self, tick: Tick, found: Found) -> Iterator[Item]:
        with archive.opened(self.path, self.limits) as entries:
            yield from self._grouped(entries, tick, found)

    def _grouped(self, entries: Iterator[archive.Entry], tick: Tick, found: Found) -> Iterator[Item]:
        """A picture and the neighbours of its name are one item."""
        key, picture, beside = "", None, dict[str, archive.Entry]()
        for entry in entries:
            tick(entry.fraction)
            suffix = PurePosixPath(entry.name).suffix.lower()
            stem = entry.name.removesuffix(entry.name[len(entry.name) - len(suffix) :]) if suffix else entry.name
            candidate = is_candidate(entry.name)
            if stem != key or (candidate and picture is not None):
                yield from _together(picture, beside, found)
                key, picture, beside = stem, None, {}
            if candidate:
                picture = entry
            elif suffix in BESIDE and suffix not in beside and entry.size <= BESIDE_BYTES:
                beside[suffix] = entry
            else:
                found.others[suffix] += 1
                _list(entry, suffix, found)
        yield from _together(picture, beside, found)


def _together(picture: archive.Entry | None, beside: dict[str, archive.Entry], found: Found) -> Iterator[Item]:
    """The picture with what its neighbours tell of it; neighbours of nothing are other files."""
    if picture is None:
        found.others.update(beside.keys())
    else:
        told, caption = _read_beside(beside)
        yield Item(picture.name, picture.read, picture.name, told, caption)


def _read_beside(beside: dict[str, archive.Entry]) -> tuple[dict[str, str], str | None]:
    """(attributes, caption). What cannot be read tells nothing."""
    said: dict[str, str] = {}
    for suffix, entry in beside.items():
        try:
            said[suffix] = entry.read().decode("utf-8-sig", "replace")
        except OSError:
            continue
    told: dict[str, str] = {}
    caption = text(said.get(".txt"))
    try:
        stated = json.loads(said.get(".json", "null"))
    except (ValueError, RecursionError):
        stated = None
    for name, value in stated.items() if isinstance(stated, dict) else ():
        plain = text(value)
        if plain is not None and name.lower() in CAPTIONS:
            caption = caption or plain
        elif plain is not None and len(plain) <= VALUE_CHARACTERS:
            told[name[:VALUE_CHARACTERS]] = plain
    label = text(said.get(".cls"))
    if label is not None and len(label) <= VALUE_CHARACTERS:
        told.setdefault("label", label)  # .json names the class, .cls may number it
    return told, caption


def _list(entry: archive.Entry, suffix: str, found: Found) -> None:
    """Hold a table that lies at the top, or one folder below."""
    path = PurePosixPath(entry.name)
    if suffix not in LISTS or len(path.parts) > 2 or entry.size > LIST_BYTES or len(found.lists) >= LISTS_READ:
        return
    try:
        found.lists.append(Listing(entry.name, entry.read()))
    except OSError:
        return
