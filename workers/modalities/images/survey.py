"""The first pass over an upload: which pictures there are, their classes, size, channels and split."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from service.errors import Rejected
from workers.modalities import Progress
from workers.modalities.images import archive, pictures
from workers.modalities.images.spec import MAXIMUM_SIDE, MINIMUM_SIDE, ImageOptions

EXTENSIONS = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp"}
MINIMUM_PICTURES = 10
MAXIMUM_CLASSES = 1_000
DAMAGED_SHARE = 0.10  # of the pictures, above which the upload is refused
GIVE_UP = 500  # this many pictures, most of them damaged, are enough to know
SAMPLED = 64  # pictures decoded to tell whether colour and transparency are used
# Longest side that so many pictures can teach: more detail than this is only memorised. An option overrides it.
SIDES = ((1_000, 64), (5_000, 128), (20_000, 256))


@dataclass
class Survey:
    """What the first pass found, by candidate (a file that may be a picture), in the archive's order."""

    folders: list[str] = field(default_factory=list)  # names of folders, as found
    folder: list[int] = field(default_factory=list)  # index into `folders`; -1 for none, -2 for a damaged picture
    widths: list[int] = field(default_factory=list)  # of the sound ones
    heights: list[int] = field(default_factory=list)
    samples: list[tuple[bool, bool]] = field(default_factory=list)  # (colour, transparency) of some
    others: Counter[str] = field(default_factory=Counter)  # extensions of what is no picture
    rubbish: int = 0  # named like a picture, and not one by its first bytes

    @property
    def sound(self) -> int:
        return len(self.widths)

    @property
    def damaged(self) -> int:
        return len(self.folder) - self.sound


@dataclass(frozen=True)
class Plan:
    """What to do with each candidate in the second pass."""

    width: int
    height: int
    channels: int
    classes: list[str] | None
    label: NDArray[np.int64]  # by candidate: class index, -1 without classes, -2 to leave out
    holdout: NDArray[np.bool_]  # by candidate
    warnings: list[str]


def is_candidate(name: str) -> bool:
    """Whether the file's name allows that it is a picture; names without extension are looked at too."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in EXTENSIONS or suffix == ""


def survey(source: Path, limits: archive.Limits, progress: Progress) -> Survey:
    """Look at every entry's header. Raises Rejected."""
    found = Survey()
    index: dict[str, int] = {}
    for entry in archive.entries(source, limits):
        progress(0.3 * entry.fraction, 1.0)
        if not is_candidate(entry.name):
            found.others[PurePosixPath(entry.name).suffix.lower()] += 1
            continue
        folder = PurePosixPath(entry.name).parent.as_posix()
        found.folder.append(-2)
        if _look(entry, found):
            found.folder[-1] = index.setdefault(folder, len(index))
        elif found.damaged >= GIVE_UP and found.damaged > 4 * found.sound:
            break
    found.folders = list(index)
    _refuse_hopeless(found)
    return found


def _look(entry: archive.Entry, found: Survey) -> bool:
    """Add one candidate to the survey; False for a damaged one."""
    try:
        data = entry.read()
        if not pictures.looks_like_picture(data):
            found.rubbish += 1
            return False
        header = pictures.header(data)
        # Every 1st, 2nd, 4th, 8th ... picture: spread over the archive however long it turns out to be.
        stride = 1 << max(0, (found.sound // (SAMPLED // 4)).bit_length() - 1)
        if found.sound % stride == 0:
            found.samples.append(pictures.traits(data))
    except (OSError, pictures.Damaged):
        return False
    found.widths.append(header.width)
    found.heights.append(header.height)
    return True


def _refuse_hopeless(found: Survey) -> None:
    if not found.sound and found.damaged == found.rubbish:
        kinds = ", ".join(sorted(suffix or "no extension" for suffix in found.others)[:8])
        raise Rejected(
            "no_images",
            "There is no PNG, JPEG or WebP picture in the archive"
            + (f", only files of type {kinds}." if kinds else "."),
        )
    refuse_damaged(found.damaged, len(found.folder))
    refuse_few(found.sound)


def refuse_damaged(damaged: int, total: int) -> None:
    """Raises Rejected where too many pictures cannot be read."""
    if damaged > DAMAGED_SHARE * total:
        raise Rejected(
            "corrupt_images",
            f"{damaged:,} of {total:,} pictures are damaged or cut short; check the archive and upload it again.",
        )


def refuse_few(count: int) -> None:
    """Raises Rejected where there is too little to learn from."""
    if count < MINIMUM_PICTURES:
        raise Rejected(
            "too_few_images", f"Training needs at least {MINIMUM_PICTURES} pictures; the archive has {count}."
        )


def plan(found: Survey, options: ImageOptions, seed: int) -> Plan:
    """Classes, size, channels and the split of a survey; deterministic in (survey, options, seed)."""
    warnings: list[str] = []
    if found.others:
        warnings.append(f"{sum(found.others.values()):,} files that are no pictures were left out.")
    classes, label = _labels(found, options, warnings)
    refuse_few(int((label >= -1).sum()))
    width, height = _size(found, options, warnings)
    return Plan(width, height, _channels(found, options), classes, label, holdout(label, seed), warnings)


def _labels(found: Survey, options: ImageOptions, warnings: list[str]) -> tuple[list[str] | None, NDArray[np.int64]]:
    """The class of each candidate: its immediate folder, unless the folders tell nothing."""
    folder = np.array(found.folder, dtype=np.int64)
    unlabelled = np.where(folder == -2, -2, -1)
    top = _common_top(found.folders)
    names = ["" if path in (".", top) else PurePosixPath(path).name for path in found.folders]
    counts = Counter(dict.fromkeys(names, 0))
    for index, count in zip(*np.unique(folder[folder >= 0], return_counts=True), strict=True):
        counts[names[index]] += int(count)
    loose = counts.pop("", 0)
    if options.labels == "none" or len(counts) < 2:
        return None, unlabelled
    if len(counts) > MAXIMUM_CLASSES or (len(counts) > 10 and len(counts) > found.sound / 2):
        warnings.append(
            f"The {len(counts):,} folders are too many to be classes; the pictures are taken without labels."
        )
        return None, unlabelled
    if loose > DAMAGED_SHARE * found.sound:
        warnings.append(f"{loose:,} pictures lie in no class folder, so the pictures are taken without labels.")
        return None, unlabelled
    if loose:
        warnings.append(f"{loose:,} pictures that lie in no class folder were left out.")
    classes = sorted(counts, key=_natural)
    by_folder = np.array([classes.index(name) if name else -2 for name in names], dtype=np.int64)
    return classes, np.where(folder == -2, -2, by_folder[np.maximum(folder, 0)])


def _common_top(paths: list[str]) -> str:
    """The single folder that everything lies in, however deep: in it, loose pictures have no label."""
    split = [PurePosixPath(path).parts for path in paths]
    shared = split[0] if split else ()
    for parts in split:
        shared = shared[
            : next(
                (i for i, (a, b) in enumerate(zip(shared, parts, strict=False)) if a != b), min(len(shared), len(parts))
            )
        ]
    return "/".join(shared)


def _natural(name: str) -> tuple[int, int, str]:
    """Numbers in their order, then names."""
    return (0, int(name), name) if name.isascii() and name.isdigit() and len(name) < 18 else (1, 0, name)


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
