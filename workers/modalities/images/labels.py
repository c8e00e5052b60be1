"""Which class each picture has: by what a file or column tells of it, else by its folder."""

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from service.errors import Rejected
from workers.modalities.images import listing
from workers.modalities.images.attributes import Attributes, Column, described, natural, shown
from workers.modalities.images.sources import Listing
from workers.modalities.images.spec import ImageOptions

MAXIMUM_CLASSES = 1_000
LOOSE_SHARE = 0.10  # of pictures in no class folder, above which the folders are not taken for classes
UNTOLD_SHARE = 0.50  # of pictures that the class column says nothing of, above which it is not taken for one
USUAL = ("label", "class", "target", "category", "label_name", "class_name", "labels", "y", "fine_label")


@dataclass(frozen=True)
class Evidence:
    """What is known of the candidates' classes after the first pass; arrays are by candidate."""

    sound: NDArray[np.bool_]
    folders: list[str]
    folder: NDArray[np.int64]  # index into `folders`, below 0 where not sound
    damaged: set[str]  # folders, some of them, of pictures that cannot be read
    names: list[str]
    columns: list[Column]  # told beside the pictures
    lists: list[Listing]  # tables that lay among them


@dataclass(frozen=True)
class Labelled:
    """The decision."""

    classes: list[str] | None
    label: NDArray[np.int64]  # index into classes, -1 without classes, -2 to leave out
    attributes: Attributes | None
    told: listing.Told | None  # by a table: captions are looked up in it

    @property
    def captioned(self) -> bool:
        return self.told is not None and self.told.captions is not None

    def caption(self, candidate: int) -> str | None:
        return None if self.told is None else self.told.caption(candidate)


def labelled(evidence: Evidence, options: ImageOptions, warnings: list[str]) -> Labelled:
    """Classes and attributes. Raises Rejected where what the options ask for is not there."""
    columns, told = list(evidence.columns), None
    chosen = listing.chosen(evidence.lists)
    if chosen is not None:
        told = listing.joined(chosen, evidence.names, warnings)
        known = {column.name for column in columns}
        columns += [column for column in told.columns if column.name not in known] if told else []
    elif len(evidence.lists) > 1:
        warnings.append(
            "Several tables lie in the archive and none is named labels.csv or metadata.csv: none was read."
        )
    by_file = None
    if options.labels in (None, "file"):
        by_file = _class_column(columns, evidence, options, warnings)
    others = [column for column in columns if by_file is None or column.name != by_file.name]
    found = _by_column(by_file, evidence, options, warnings) if by_file else None
    if found is None and by_file is None and options.labels in (None, "folders"):
        found = _by_folder(evidence, options, warnings)
    classes, label = found or (None, np.where(evidence.sound, -1, -2))
    return Labelled(classes, label, described(others, label > -2, warnings), told)


def _class_column(
    columns: list[Column], evidence: Evidence, options: ImageOptions, warnings: list[str]
) -> Column | None:
    """The column that is the class: the one asked for, one of a usual name, or the only one there is."""
    by_name = {column.name: column for column in columns}
    listed = ", ".join(name[:40] for name in list(by_name)[:12]) or "none"
    if options.label_column is not None:
        if options.label_column not in by_name:
            raise Rejected(
                "invalid_options",
                f"There is no column '{options.label_column[:60]}' that tells of the pictures; there are: {listed}.",
            )
        return by_name[options.label_column]
    lower = {column.name.lower(): column for column in reversed(columns)}
    usual = next((lower[name] for name in USUAL if name in lower), None)
    only = columns[0] if len(columns) == 1 else None
    found = usual or (only if only is not None and _repeats(only, evidence.sound) else None)
    if found is None and options.labels == "file":
        raise Rejected(
            "no_labels",
            "No file or column says which class the pictures have"
            + (
                f"; name one of these as label_column: {listed}."
                if columns
                else ": add labels.csv with file and label."
            ),
        )
    if found is None and len(columns) > 1:
        warnings.append(
            f"Several attributes are known of the pictures ({listed}) and none is called label; "
            "the option label_column makes one of them the class."
        )
    return found


def _repeats(column: Column, sound: NDArray[np.bool_]) -> bool:
    """Whether the values are few enough to be classes."""
    if column.levels is None:
        return False
    levels = int((column.seen(sound) > 0).sum())
    return levels <= MAXIMUM_CLASSES and not _singular(levels, int(sound.sum()))


def _singular(classes: int, pictures: int) -> bool:
    """Whether nearly every picture would be a class of its own."""
    return classes > 10 and classes > pictures / 2


Found = tuple[list[str] | None, NDArray[np.int64]]


def _too_many(count: int, what: str, asked: bool, warnings: list[str]) -> None:
    """Refuse what was asked for; only warn of what was guessed."""
    if asked:
        raise Rejected(
            "too_many_classes",
            f"There are {count:,} {what}; pictures can have at most {MAXIMUM_CLASSES:,} classes with several pictures "
            "in each. Merge some, or set the option labels to none.",
        )
    warnings.append(f"The {count:,} {what} are too many to be classes; the pictures are taken without labels.")


def _by_column(column: Column, evidence: Evidence, options: ImageOptions, warnings: list[str]) -> Found:
    """Classes by what the column says; pictures of which it says nothing are left out."""
    unlabelled = np.where(evidence.sound, -1, -2)
    asked = options.labels == "file" or options.label_column is not None
    count = int(evidence.sound.sum())
    seen = np.zeros(0, np.int64) if column.levels is None else column.seen(evidence.sound)
    used = np.flatnonzero(seen)
    name = column.name[:60]
    if column.levels is None or len(used) > MAXIMUM_CLASSES or _singular(len(used), count):
        _too_many(max(len(used), MAXIMUM_CLASSES + 1 if column.levels is None else 0), f"different values in '{name}'",
                  asked, warnings)  # fmt: skip
        return None, unlabelled
    untold = count - int(seen.sum())
    if len(used) < 2:
        warnings.append(f"The column '{name}' has one value only, so the pictures are taken without labels.")
        return None, unlabelled
    if untold > UNTOLD_SHARE * count and not asked:
        warnings.append(f"'{name}' says nothing of {untold:,} pictures, so the pictures are taken without labels.")
        return None, unlabelled
    if untold:
        warnings.append(f"{untold:,} pictures of which '{name}' says nothing were left out.")
    lost = np.flatnonzero((seen == 0) & (column.seen(evidence.folder == -2) > 0))
    _warn_of_lost([column.levels[index] for index in lost], warnings)
    plain = dict(zip(used.tolist(), shown([column.levels[index] for index in used]), strict=True))
    order = sorted(plain, key=lambda index: natural(plain[index]))
    place = np.full(len(column.levels) + 1, -2, np.int64)  # the last for -1: missing
    place[order] = np.arange(len(order))
    return [plain[index] for index in order], np.where(evidence.sound, place[column.codes], -2)


def _by_folder(evidence: Evidence, options: ImageOptions, warnings: list[str]) -> Found | None:
    """The class of each candidate: its immediate folder, unless the folders tell nothing."""
    asked = options.labels == "folders"
    top = _common_top(evidence.folders)
    names = ["" if path in (".", top) else PurePosixPath(path).name for path in evidence.folders]
    counts = Counter(dict.fromkeys(names, 0))
    for index, found in enumerate(np.bincount(evidence.folder[evidence.sound], minlength=len(names)).tolist()):
        counts[names[index]] += found
    loose = counts.pop("", 0)
    total = int(evidence.sound.sum())
    if len(counts) < 2:
        return None
    if len(counts) > MAXIMUM_CLASSES or _singular(len(counts), total):
        _too_many(len(counts), "folders", asked, warnings)
        return None
    if loose > LOOSE_SHARE * total and not asked:
        warnings.append(f"{loose:,} pictures lie in no class folder, so the pictures are taken without labels.")
        return None
    if loose:
        warnings.append(f"{loose:,} pictures that lie in no class folder were left out.")
    classes = sorted(counts, key=natural)
    place = {name: index for index, name in enumerate(classes)}
    _warn_of_lost(sorted({PurePosixPath(path).name for path in evidence.damaged - {top}} - {*place, ""}), warnings)
    by_folder = np.array([place.get(name, -2) for name in names], dtype=np.int64)
    return classes, np.where(evidence.sound, by_folder[np.maximum(evidence.folder, 0)], -2)


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


def _warn_of_lost(names: list[str], warnings: list[str]) -> None:
    if names:
        more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
        listed = ", ".join(f"'{name[:60]}'" for name in names[:5])
        warnings.append(f"No picture of the class {listed}{more} can be read: left out of the classes.")


def without(labelled: Labelled, dropped: set[int], warnings: list[str]) -> Labelled:
    """Without classes that have no picture that can be read; without any where fewer than two stay."""
    if labelled.classes is None or not dropped:
        return labelled
    _warn_of_lost([labelled.classes[index] for index in sorted(dropped)], warnings)
    stay = [index for index in range(len(labelled.classes)) if index not in dropped]
    place = np.full(len(labelled.classes) + 2, -2, np.int64)
    place[stay] = np.arange(len(stay))
    label = place[labelled.label]
    if len(stay) < 2:
        warnings.append("One class is left, so the pictures are taken without labels.")
        return Labelled(None, np.where(label >= 0, -1, -2), labelled.attributes, labelled.told)
    return Labelled([labelled.classes[index] for index in stay], label, labelled.attributes, labelled.told)
