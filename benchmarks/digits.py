"""Do generated digits show the label that was asked for? Trains on most of the real digits through the service, asks
for each label, and lets classifiers of real digits read them; and the reverse: trained on synthetic, read real ones.

    python -m benchmarks.digits [--preset draft] [--per-label 200]"""

import argparse
import io
import json
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.stack import stack, timed

DIGITS = Path(__file__).parent.parent / "examples" / "data" / "mnist_5k.zip"
Pictures = tuple[np.ndarray, np.ndarray]


def read(archive: Path) -> Pictures:
    """Pixels (n, 784) in 0..1 and labels (n,) of a zip with a folder a class."""
    pixels, labels = [], []
    with zipfile.ZipFile(archive) as file:
        for name in sorted(n for n in file.namelist() if n.endswith(".png")):
            pixels.append(np.asarray(Image.open(io.BytesIO(file.read(name))).convert("L")).ravel() / 255.0)
            labels.append(name.split("/")[-2])
    return np.array(pixels, dtype=np.float32), np.array(labels)


def keep(archive: Path, out: Path, wanted: set[int]) -> None:
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(out, "w") as target:
        for i, name in enumerate(sorted(n for n in source.namelist() if n.endswith(".png"))):
            if i in wanted:
                target.writestr(name, source.read(name))


def readers() -> dict[str, object]:
    return {"extra trees": ExtraTreesClassifier(300, random_state=0), "5 nearest": KNeighborsClassifier(5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--per-label", type=int, default=200)
    parser.add_argument("--share", type=float, default=0.8, help="share of the real digits that the service trains on")
    args = parser.parse_args()
    seconds: dict[str, float] = {}
    with TemporaryDirectory() as name, stack() as service:
        folder = Path(name)
        order = np.random.default_rng(0).permutation(5000)
        cut = int(5000 * args.share)
        keep(DIGITS, folder / "train.zip", set(order[:cut].tolist()))
        keep(DIGITS, folder / "test.zip", set(order[cut:].tolist()))
        with timed(seconds, "upload and ingest"):
            dataset = service.run("datasets", "upload", str(folder / "train.zip"))
        with timed(seconds, "train"):
            model = service.run("train", dataset["id"], "--preset", args.preset)["result"]["model_id"]
        drawn: list[Pictures] = []
        with timed(seconds, "generate and download"):
            for label in range(10):
                out = folder / f"out{label}"
                where = ["--where", f"label={label}", "--count", str(args.per_label), "--out", str(out)]
                service.run("generate", model, *where, "--seed", str(label))
                drawn.append(read(next(out.rglob("part-*.zip"))))
        train, test = read(folder / "train.zip"), read(folder / "test.zip")
    fake_x, fake_y = (np.concatenate(part) for part in zip(*drawn, strict=True))
    result = {}
    for who, reader in readers().items():
        real = reader.fit(*train)  # type: ignore[attr-defined]
        figures = {"real reads real": real.score(*test), "real reads synthetic": real.score(fake_x, fake_y)}
        figures["synthetic reads real"] = reader.fit(fake_x, fake_y).score(*test)  # type: ignore[attr-defined]
        result[who] = figures
    print(json.dumps({"seconds": seconds, "accuracy": result}, indent=1))


if __name__ == "__main__":
    main()
