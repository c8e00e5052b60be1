"""The real sets: zips with a folder a class, and the one split that every model gets."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SPLIT_SEED = 20261122
HELD_OUT = {"mnist_5k": 1_000, "fashion_mnist_10k": 2_000, "emoji64_google": 700}


@dataclass(frozen=True)
class Pictures:
    """pixels (n, h, w, c) uint8, labels (n,) int64 of `classes`, and their files' names in the zip."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: list[str]
    names: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "Pictures":
        return Pictures(self.pixels[rows], self.labels[rows], self.classes, [self.names[i] for i in rows])


def source(name: str, data: Path | None) -> Path:
    """The zip of that name, anywhere below `data` or among the examples. Raises SystemExit."""
    own = Path(__file__).parents[2] / "examples" / "data"
    for folder in (data, own):
        if folder is not None and (path := next(iter(sorted(folder.rglob(f"{name}.zip"))), None)):
            return path
    raise SystemExit(f"{name}.zip is not among the examples; name the folder that has it with --data.")


def read(path: Path) -> Pictures:
    """All pictures of a zip in memory: the sets are small."""
    pixels, labels, names = [], [], []
    with zipfile.ZipFile(path) as file:
        for name in sorted(one for one in file.namelist() if one.endswith(".png")):
            picture = np.asarray(Image.open(io.BytesIO(file.read(name))))
            pixels.append(picture if picture.ndim == 3 else picture[:, :, None])
            labels.append(name.split("/")[-2])
            names.append(name)
    classes = sorted(set(labels))
    return Pictures(np.stack(pixels), np.array([classes.index(one) for one in labels]), classes, names)


def split(name: str, data: Path | None) -> tuple[Pictures, Pictures]:
    """(to train on, held out), the same every time."""
    pictures = read(source(name, data))
    order = np.random.default_rng(SPLIT_SEED).permutation(len(pictures))
    cut = HELD_OUT[name]
    return pictures.take(order[cut:]), pictures.take(order[:cut])


def write(pictures: Pictures, path: Path) -> None:
    """A zip to upload."""
    with zipfile.ZipFile(path, "w") as file:
        for pixels, label, name in zip(pictures.pixels, pictures.labels, pictures.names, strict=True):
            out = io.BytesIO()
            Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(out, "PNG")
            file.writestr(f"{pictures.classes[label]}/{Path(name).name}", out.getvalue())
