"""Stacked-MNIST: three digits as red, green and blue of one picture, without labels. Which of the 1,000 combinations
does a model make, and how often? One line of JSON on standard output.

    python -m benchmarks.images.stacked [--preset standard] [--steps 20000] [--device cuda] [--data FOLDER]

A classifier taught by the single digits reads each channel. A mode is covered when it is read in at least one sample
(25,600 are usual: PacGAN, R3GAN). The divergence is KL(samples' modes || data's modes), in nats, which the literature
calls the reverse one: it stays finite where modes are missing, and those made too often weigh most. The data's modes
are those that the training pictures were drawn from: the product of the digits' shares, of which none is empty, and not
their own counts, whose chance a model should not repeat. `real` has the same figures of fresh real pictures, as many:
a perfect model's divergence is not 0, but about 999 / (2 * samples)."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.images.judge import Reader, accuracy, taught, tensors
from benchmarks.images.sets import Pictures, split
from benchmarks.images.trained import config, drawn, on_threads, options, sampler, trained, unlabelled
from benchmarks.tables.running import Desk, circumstances
from workers.modalities.images.outputs import grid

SET, DIGITS, CHANNELS = "mnist_5k", 10, 3
MODES = DIGITS**CHANNELS
SHOWN = 16  # a side of the sheet
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def stacked(digits: Pictures, n: int, seed: int) -> NDArray[np.uint8]:
    """(n, h, w, 3) of digits drawn independently."""
    rows = np.random.default_rng(seed).integers(0, len(digits), (n, CHANNELS))
    return np.moveaxis(digits.pixels[rows, :, :, 0], 1, -1)


def expected(labels: Ints) -> Floats:
    """(1000,) how often each mode occurs when digits of these labels are stacked."""
    shares = np.bincount(labels, minlength=DIGITS) / len(labels)
    return np.asarray(np.multiply.outer(np.multiply.outer(shares, shares), shares).ravel())


@torch.no_grad()
def modes(reader: Reader, pixels: NDArray[np.uint8]) -> Ints:
    """(n,) 0 to 999: what is read in the three channels."""
    single = np.moveaxis(pixels, -1, 1).reshape(-1, *pixels.shape[1:3], 1)
    pieces = (single[at : at + 1_000] for at in range(0, len(single), 1_000))
    read = np.concatenate([reader(tensors(piece)).argmax(1).numpy() for piece in pieces]).reshape(-1, CHANNELS)
    return np.asarray(read @ DIGITS ** np.arange(CHANNELS)[::-1])


def figures(found: Ints, data: Floats) -> dict[str, float]:
    """Modes covered, and KL(found || data) in nats; infinite where something is found that the data never have."""
    share = np.bincount(found, minlength=len(data)) / len(found)
    some = share > 0
    with np.errstate(divide="ignore"):
        divergence = float((share[some] * np.log(share[some] / data[some])).sum())
    return {"modes": int(some.sum()), "kl": round(divergence, 4)}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--pictures", type=int, default=20_000, help="to train on")
    parser.add_argument("--samples", type=int, default=25_600)
    parser.add_argument("--sheet", type=Path, help="a PNG of samples")
    args = parser.parse_args()
    on_threads(args.threads)
    train, held = split(SET, args.data)
    data, reader = expected(train.labels), taught(train)
    with TemporaryDirectory(prefix="mintage-bench-") as name:
        folder, wanted = Path(name), config(args.preset, args.seed, args.steps)
        told = trained(unlabelled(stacked(train, args.pictures, args.seed)), wanted, folder, args.device)
        made, _ = drawn(sampler(folder, args.device), args.samples, args.seed + 1)
    if args.sheet:
        args.sheet.parent.mkdir(parents=True, exist_ok=True)
        args.sheet.write_bytes(grid(made[: SHOWN**2], SHOWN))
    fresh = stacked(train, args.samples, args.seed + 1_000_003)
    about = {"benchmark": "stacked", "preset": args.preset, "seed": args.seed, "device": args.device}
    about |= {"pictures": args.pictures, "samples": args.samples}
    found = figures(modes(reader, made), data)
    checks = {"real": figures(modes(reader, fresh), data), "reader_accuracy": round(accuracy(reader, held), 4)}
    where = circumstances(Desk(Path(), args.data, args.threads, 0.0))
    print(json.dumps(about | found | checks | told | where))


if __name__ == "__main__":
    main()
