"""The first pass over an upload: which pictures there are, their classes, size, channels and split."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from service.errors import Rejected
from workers.modalities.images import labels, pictures
from workers.modalities.images.attributes import Gathered
from workers.modalities.images.sources import Found, Item, Source, Tick
from workers.modalities.images.spec import MAXIMUM_SIDE, MINIMUM_SIDE, ImageOptions, looks_like_picture

MINIMUM_PICTURES = 10
MINIMUM_SEEN = 4  # pixels a side that a picture must have: less is a speck or a rule
DAMAGED_SHARE = 0.05  # of the pictures, above which the upload is refused
GIVE_UP = 500  # this many pictures, most of them damaged, are enough to know
SAMPLED = 64  # pictures decoded to tell whether colour and transparency are used
NAMED = 3  # damaged pictures that are named to people
NAME_CHARACTERS = 240  # of a picture's path, its end: what tables are matched by
# Longest side that so many pictures can teach: more detail than this is only memorised. An option overrides it.
SIDES = ((1_000, 64), (5_000, 128), (20_000, 256))


@dataclass
class Survey:
    """What the first pass found, by candidate (what may be a picture), in the source's order."""

    folders: list[str] = field(default_factory=list)  # names of folders, as found
    folder: array[int] = field(default_factory=lambda: array("i"))  # index into `folders`; -2 damaged, -3 a speck
    broken: set[str] = field(default_factory=set)  # folders of damaged pictures, some of them
    names: list[str] = field(default_factory=list)  # paths in an archive, "" elsewhere
    widths: array[int] = field(default_factory=lambda: array("i"))  # of the sound ones
    heights: array[int] = field(default_factory=lambda: array("i"))
    samples: list[tuple[bool, bool]] = field(default_factory=list)  # (colour, transparency) of some
    told: Gathered = field(default_factory=Gathered)
    captions: int = 0
    found: Found = field(default_factory=Found)
    rubbish: int = 0  # named like a picture, and not one by its first bytes
    specks: int = 0
    unreadable: list[str] = field(default_factory=list)  # names of the first damaged ones
    oversized: int = 0  # of the damaged ones: those of too many pixels

    @property
    def sound(self) -> int:
        return len(self.widths)

    @property
    def damaged(self) -> int:
        return len(self.folder) - self.sound - self.specks


@dataclass(frozen=True)
class Plan:
    """What to do with each candidate in the second pass."""

    width: int
    height: int
    channels: int
    labelled: labels.Labelled
    holdout: NDArray[np.bool_]  # by candidate
    warnings: list[str]

    @property
    def classes(self) -> list[str] | None:
        return self.labelled.classes

    @property
    def label(self) -> NDArray[np.int64]:
        """By candidate: class index, -1 without classes, -2 to leave out."""
        return self.labelled.label


def survey(source: Source, tick: Tick) -> Survey:
    """Look at every picture's header. Raises Rejected."""
    found = Survey()
    index: dict[str, int] = {}
    for item in source.items(tick, found.found):
        folder = PurePosixPath(item.path).parent.as_posix()
        found.folder.append(-2)
        found.names.append(item.path[-NAME_CHARACTERS:])
        found.told.add(item.told)
        found.captions += item.caption is not None
        if _look(item, found):
            found.folder[-1] = index.setdefault(folder, len(index))
        elif found.damaged >= GIVE_UP and found.damaged > 4 * found.sound:
            break
    found.folders = list(index)
    _refuse_hopeless(found)
    return found


def _look(item: Item, found: Survey) -> bool:
    """Add one candidate to the survey; False for a damaged one and for a speck."""
    try:
        data = item.read()
        if not looks_like_picture(data):
            found.rubbish += 1
            raise pictures.Damaged
        header = pictures.header(data)
        if min(header.width, header.height) < MINIMUM_SEEN:
            found.specks += 1
            found.folder[-1] = -3
            return False
        # Every 1st, 2nd, 4th, 8th ... picture: spread over the source however long it turns out to be.
        stride = 1 << max(0, (found.sound // (SAMPLED // 4)).bit_length() - 1)
        if found.sound % stride == 0:
            found.samples.append(pictures.traits(data))
    except (OSError, pictures.Damaged) as error:
        found.oversized += isinstance(error, pictures.TooLarge)
        if len(found.unreadable) < NAMED:
            found.unreadable.append(item.name)
        if item.path and len(found.broken) <= labels.MAXIMUM_CLASSES:
            found.broken.add(PurePosixPath(item.path).parent.as_posix())
        return False
    found.widths.append(header.width)
    found.heights.append(header.height)
    return True


def _refuse_hopeless(found: Survey) -> None:
    if not found.sound and not found.specks and found.damaged == found.rubbish:
        kinds = ", ".join(sorted(suffix or "no extension" for suffix in found.found.others)[:8])
        raise Rejected(
            "no_images",
            "There is no PNG, JPEG, WebP, GIF or BMP picture in the upload"
            + (f", only files of type {kinds}." if kinds else "."),
        )
    refuse_damaged(found.damaged, len(found.folder), found.unreadable, found.oversized)
    if found.specks > found.sound and found.sound < MINIMUM_PICTURES:
        raise Rejected(
            "images_too_small",
            f"{found.specks:,} of {len(found.folder):,} pictures have a side of less than {MINIMUM_SEEN} pixels, which "
            f"shows nothing; pictures of {MINIMUM_SIDE} pixels a side or more train best.",
        )


def refuse_damaged(damaged: int, total: int, names: list[str], oversized: int = 0) -> None:
    """Raises Rejected where too many pictures cannot be read; `oversized` of them have too many pixels."""
    if damaged <= DAMAGED_SHARE * total:
        return
    counted = f"{damaged:,} of {total:,} pictures cannot be read (at most {DAMAGED_SHARE:.0%} may be left out): "
    if 2 * oversized > damaged:
        raise Rejected("image_too_large", f"{counted}{listed(names)}. {too_large(oversized)}")
    raise Rejected("corrupt_images", f"{counted}{listed(names)}. Check the files and upload them again.")


def too_large(count: int) -> str:
    """A sentence on pictures of too many pixels."""
    have = "picture has" if count == 1 else "pictures have"
    return f"{count:,} {have} more than {pictures.MAXIMUM_PIXELS // 1_000_000} million pixels; scale them down."


def listed(names: list[str]) -> str:
    """Some file names in a sentence, whatever characters are in them."""
    return ", ".join(name[-80:].encode("utf-8", "replace").decode() for name in names) or "all of them"


def refuse_few(count: int) -> None:
    """Raises Rejected where there is too little to learn from. One picture is enough to be projected or judged, so an
    upload may be small."""
    if count < MINIMUM_PICTURES:
        raise Rejected(
            "too_few_images", f"Training needs at least {MINIMUM_PICTURES} pictures; the dataset has {count}."
        )


def plan(found: Survey, options: ImageOptions, seed: int) -> Plan:
    """Classes, size, channels and the split of a survey; deterministic in (survey, options, seed)."""
    warnings: list[str] = []
    folder = np.array(found.folder, dtype=np.int64)
    evidence = labels.Evidence(
        folder >= 0, found.folders, folder, found.broken, found.names, found.told.columns(), found.found.lists
    )
    if found.told.left_out:
        warnings.append("More attributes are told of the pictures than are kept: the first 64 were read.")
    decided = labels.labelled(evidence, options, warnings)
    read = 0 if decided.told is None else 1
    others = sum(found.found.others.values()) - read
    if others:
        warnings.append(f"{others:,} files that are no pictures were left out.")
    if found.specks:
        warnings.append(f"{found.specks:,} pictures with a side of less than {MINIMUM_SEEN} pixels were left out.")
    _warn_of_repeated_names(found.names, warnings)
    width, height = _size(found, options, warnings)
    _warn_of_cropping(found, width, height, options, warnings)
    return Plan(width, height, _channels(found, options), decided, holdout(decided.label, seed), warnings)


def _warn_of_repeated_names(names: list[str], warnings: list[str]) -> None:
    repeated = len(names) - len(set(names)) if any(names) else 0
    if repeated:
        warnings.append(f"{repeated:,} file names occur again in the archive; each of these pictures was taken too.")


def _warn_of_cropping(found: Survey, width: int, height: int, options: ImageOptions, warnings: list[str]) -> None:
    """Pictures of a very different shape lose most of what they show."""
    ratio = np.array(found.widths) / np.array(found.heights) * (height / width)
    cut = int((np.minimum(ratio, 1 / ratio) < 0.5).sum())
    if cut and options.fit == "crop":
        warnings.append(
            f"{cut:,} pictures are of so different a shape that cutting them to {width} x {height} loses more than "
            "half of each; the option fit pads or stretches them instead."
        )


def readable(source: Source, planned: Plan, seed: int, tick: Tick) -> Plan:
    """The plan without classes of which no picture can be decoded: one of each is, by going through the source again
    up to the last class's first. Classes are numbered before pixels are written, so this has to be known by then."""
    if planned.classes is None:
        return planned
    waiting = set(range(len(planned.classes)))
    for candidate, item in _while(source.items(tick, Found()), waiting):
        label = int(planned.label[candidate])
        if label not in waiting:
            continue
        try:
            pictures.pixels(item.read(), planned.width, planned.height, planned.channels, "stretch")
        except (OSError, pictures.Damaged):
            continue
        waiting.discard(label)
    if not waiting:
        return planned
    warnings = list(planned.warnings)
    decided = labels.without(planned.labelled, waiting, warnings)
    return replace(planned, labelled=decided, holdout=holdout(decided.label, seed), warnings=warnings)


def _while(items: Iterator[Item], waiting: set[int]) -> Iterator[tuple[int, Item]]:
    """Items with their numbers, as long as any class waits."""
    for numbered in enumerate(items):
        yield numbered
        if not waiting:
            return


def _size(found: Survey, options: ImageOptions, warnings: list[str]) -> tuple[int, int]:
    """(width, height): the options', or the median's, capped by what so many pictures can teach."""
    width, height = float(np.median(found.widths)), float(np.median(found.heights))
    if options.width and options.height:
        return options.width, options.height
    if options.width:
        return options.width, _side(options.width * height / width)
    if options.height:
        return _side(options.height * width / height), options.height
    cap = next((side for count, side in SIDES if found.sound < count), MAXIMUM_SIDE)
    scale = min(1.0, cap / max(width, height))
    if scale < 1.0:
        warnings.append(
            f"The pictures were scaled down from {width:.0f} x {height:.0f}; the options width and height change that."
        )
    if scale == 1.0 and min(width, height) < MINIMUM_SIDE:
        warnings.append(
            f"The pictures are {width:.0f} x {height:.0f} pixels; sides of less than {MINIMUM_SIDE}, the least "
            "that can be trained on, were enlarged to that."
        )
    mixed = len(set(found.widths)) > 1 or len(set(found.heights)) > 1 or scale < 1.0
    # A size that all pictures share is kept; any other is free, so it is one that halves well.
    return _side(width * scale, 4 if mixed else 1), _side(height * scale, 4 if mixed else 1)


def _side(value: float, multiple: int = 1) -> int:
    return min(max(round(value / multiple) * multiple, MINIMUM_SIDE), MAXIMUM_SIDE)


def _channels(found: Survey, options: ImageOptions) -> int:
    """1 grey, 2 grey with alpha, 3 RGB, 4 RGBA: alpha where a tenth of the pictures use it, colour where some do."""
    if options.channels:
        return {"grey": 1, "grey_alpha": 2, "rgb": 3, "rgba": 4}[options.channels]
    colour = sum(colour for colour, _ in found.samples) > 0.02 * len(found.samples)
    alpha = sum(alpha for _, alpha in found.samples) > 0.1 * len(found.samples)
    return (4 if colour else 2) if alpha else (3 if colour else 1)


def holdout(label: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Which pictures are kept from training: of 100 or more, a tenth and at most 2,000, in the classes' proportions."""
    chosen = np.zeros(len(label), dtype=bool)
    usable = np.flatnonzero(label >= -1)
    if len(usable) < 100:
        return chosen
    target = min(len(usable) // 10, 2_000)
    rng = np.random.default_rng(seed)
    order = rng.permutation(usable)
    # Picture k of a class of n (in random order) has rank (k + .5) / n: the lowest of all are a stratified draw.
    order = order[np.argsort(label[order], kind="stable")]
    _, start, size = np.unique(label[order], return_index=True, return_counts=True)
    rank = (np.arange(len(order)) - np.repeat(start, size) + rng.uniform(0.3, 0.7, len(order))) / np.repeat(size, size)
    rank[np.repeat(size, size) == 1] = 2.0  # the only picture of a class is trained on
    chosen[order[np.argsort(rank, kind="stable")[:target]]] = True
    return chosen


def counts(label: NDArray[np.int64], classes: list[str]) -> Mapping[str, int]:
    """Pictures by class."""
    found = np.bincount(label[label >= 0], minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, found, strict=True)}
