"""A hundred pictures: does a model of so few make new ones, or copies? One line of JSON on standard output.

    python -m benchmarks.images.few [--preset draft] [--steps 5000] [--sheet few.png] [--data FOLDER]

`ratio` is the median distance of samples to the nearest training picture, over that of other pictures of the same set;
near 0 for copies, near 1 for pictures that are as new as real ones. `close` is the share of samples that come nearer
than half the median of those other pictures. Both in features of EfficientNet-Lite0, which see what people would call
alike, and in plain pixels (colour times alpha), which also see through faint noise. The pictures that the worker holds
out of the hundred count as neither."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.images.sets import read, source
from benchmarks.images.trained import config, dataset, drawn, on_threads, options, sampler, trained, unlabelled
from benchmarks.tables.running import Desk, circumstances
from workers.metrics import effnet
from workers.metrics.manifold import nearest
from workers.modalities.images import files
from workers.modalities.images.codec import Codec
from workers.modalities.images.outputs import grid

CLOSE = 0.5  # of the other pictures' median distance
SAME = 1e-5  # distances of equal features are not exactly 0
SHOWN, BESIDE = 12, 4  # samples of the sheet, training pictures beside each
Pixels = NDArray[np.uint8]


def compared(made: Tensor, known: Tensor, unseen: Tensor) -> dict[str, float | None]:
    """Of features (n, d) of samples, training pictures and others; no ratio where the others are copies themselves."""
    mine, theirs = (nearest(x, known)[0][:, 0] for x in (made, unseen))
    usual = float(theirs.median())
    return {
        "ratio": round(float(mine.median()) / usual, 4) if usual > SAME else None,
        "close": round(float((mine < CLOSE * usual).double().mean()), 4),
        "close_unseen": round(float((theirs < CLOSE * usual).double().mean()), 4),
    }


def plain(pixels: Pixels) -> Tensor:
    """(n, values): what networks are given of pictures."""
    _, height, width, channels = pixels.shape
    return Codec(height, width, channels, None, None).encode(pixels).flatten(1)


def sheet(made: Pixels, known: Pixels) -> bytes:
    """A PNG: a row for a sample, from the one nearest to a training picture to the farthest, these beside it."""
    distance, places = nearest(effnet.features(made), effnet.features(known), BESIDE)
    order = distance[:, 0].argsort().numpy()
    rows = order[np.linspace(0, len(order) - 1, SHOWN).round().astype(int)]
    shown = [np.concatenate([made[row : row + 1], known[places[row].numpy()]]) for row in rows]
    return grid(np.concatenate(shown), 1 + min(BESIDE, len(known)))


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--set", default="emoji64_google")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--unseen", type=int, default=1_000, help="other pictures to compare with, at most")
    parser.add_argument("--sheet", type=Path, help="a PNG of samples beside training pictures")
    args = parser.parse_args()
    on_threads(args.threads)
    every = read(source(args.set, args.data)).pixels
    order = np.random.default_rng(args.seed).permutation(len(every))
    chosen, others = order[: args.pictures], order[args.pictures :][: args.unseen]
    with TemporaryDirectory(prefix="mintage-bench-") as name:
        folder, wanted = Path(name), config(args.preset, args.seed, args.steps)
        told = trained(unlabelled(every[chosen]), wanted, folder, args.device)
        made, _ = drawn(sampler(folder, args.device), args.samples, args.seed + 1)
        train = files.Pictures(dataset(folder), "train")
        known = train.take(np.arange(len(train)))
    if args.sheet:
        args.sheet.parent.mkdir(parents=True, exist_ok=True)
        args.sheet.write_bytes(sheet(made, known))
    about = {"benchmark": "few", "set": args.set, "preset": args.preset, "seed": args.seed, "device": args.device}
    about |= {"trained_on": len(known), "samples": len(made), "unseen": len(others)}
    spaces = {effnet.NAME: effnet.features, "pixels": plain}
    found = {space: compared(*(eyes(some) for some in (made, known, every[others]))) for space, eyes in spaces.items()}
    where = circumstances(Desk(Path(), args.data, args.threads, 0.0))
    print(json.dumps(about | found | told | where))


if __name__ == "__main__":
    main()
