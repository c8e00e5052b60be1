"""Given pictures of an upload: read in its order, projected, edited, and written beside what was given."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from service.errors import Rejected
from workers.modalities import Given, Progress
from workers.modalities.images import archive, pictures
from workers.modalities.images.codec import Codec
from workers.modalities.images.files import source_of
from workers.modalities.images.frames import sheet
from workers.modalities.images.options import PROJECTED
from workers.modalities.images.outputs import entry
from workers.modalities.images.projection import Projector
from workers.modalities.images.sources import Found
from workers.modalities.images.spec import ImageOptions
from workers.modalities.images.tools import Tools

COLUMNS = ("sample", "given", "label", "pixel_distance", "feature_distance")


@dataclass(frozen=True)
class Made:
    """One given picture's share of the output: pictures by name, and what is told of them."""

    sample: int
    shown: dict[str, NDArray[np.uint8]]  # given, reconstruction and, with an edit, edited
    told: dict[str, object]


def opened(given: Given, codec: Codec) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """(name, pixels) of each picture that can be read, fitted to the model's size, in the upload's order."""
    fit = ImageOptions.model_validate(given.options).fit
    for item in source_of(given.path, archive.Limits()).items(lambda done: None, Found()):
        try:
            yield item.name, pictures.pixels(item.read(), codec.width, codec.height, codec.channels, fit)
        except (OSError, pictures.Damaged):
            continue


def projected(
    given: Given,
    start: int,
    count: int,
    seed: int,
    labels: Sequence[int] | None,
    projector: Projector,
    tools: Tools,
    progress: Progress,
) -> Iterator[Made]:
    """Samples start .. start+count-1, each projected from starts of its own. Raises Rejected."""
    if count > PROJECTED:
        raise Rejected("too_many_given", f"A job projects up to {PROJECTED} pictures.")
    codec, made = tools.codec, 0
    repeated = (found for found in opened(given, codec) for _ in range(given.copies))
    for sample, (name, pixels) in enumerate(islice(repeated, start, start + count), start):
        found = projector.project(
            codec.encode(pixels[None].copy()), labels, _rng(seed, sample), _beat(progress, made, count)
        )
        begun = [found.begun] + ([tools.edited(found.begun, found.condition)] if tools.options.edit else [])
        painted = tools.painted(torch.cat(begun))
        shown = dict(zip(("given", "reconstruction", "edited"), (pixels, *painted), strict=False))
        label = None if found.condition is None or codec.classes is None else codec.classes[int(found.condition)]
        far = {"pixel_distance": round(found.pixels * 127.5, 2), "feature_distance": round(found.features, 4)}
        yield Made(sample, shown, {"given": name, "label": label, **far})
        made += 1
    if made < count:
        raise Rejected("given_unreadable", f"Of the {count} given pictures, only {made} can be read.")


def _rng(seed: int, sample: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, sample]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def _beat(progress: Progress, made: int, count: int) -> Callable[[float], None]:
    return lambda share: progress(made + share, count)


def write_zip(path: Path, found: Iterator[Made]) -> None:
    """`000000123/given.png`, `reconstruction.png` and `edited.png`, and projections.csv."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    with ZipFile(path, "w") as out:
        for one in found:
            for name, pixels in one.shown.items():
                out.writestr(entry(f"{one.sample:09d}/{name}.png"), pictures.encoded(pixels))
            rows.writerow([f"{one.sample:09d}", *one.told.values()])
        out.writestr(entry("projections.csv"), text.getvalue())


def write_sheet(path: Path, found: Iterator[Made]) -> None:
    """A PNG with a row a picture: given, reconstruction, edited."""
    rows = list(found)
    names = list(rows[0].shown)
    cells = np.stack([pixels for one in rows for pixels in one.shown.values()])
    path.write_bytes(pictures.encoded(sheet(cells, len(names), names, [])))
