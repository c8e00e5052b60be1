"""One run: a model trained on one split, its samples judged; a line of JSON on standard output.

python -m benchmarks.images.run --set mnist_5k --model mintage:draft --seed 0 [--seconds 300] [--data FOLDER]"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.images import peers
from benchmarks.images.judge import judged
from benchmarks.images.sets import Pictures, split
from benchmarks.images.trained import config, drawn, sampler, trained
from workers.modalities.images.outputs import grid

SHOWN = 10  # columns of a picture of samples, and rows


def ours(model: str, train: Pictures, seed: int, folder: Path) -> tuple[Pictures, dict[str, Any]]:
    """As the worker trains; `model` is mintage:PRESET or mintage:PRESET:STEPS."""
    _, preset, *steps = model.split(":")
    told = trained(train, config(preset, seed, int(steps[0]) if steps else None), folder)
    source = sampler(folder)
    pixels, labels = drawn(source, len(train), seed + 1)
    names = [train.classes.index(name) for name in source.codec.classes or ()]
    return Pictures(pixels, np.array(names)[labels], train.classes, [""] * len(labels)), told


def theirs(model: str, train: Pictures, seed: int, seconds: float) -> tuple[Pictures, dict[str, Any]]:
    wall = time.monotonic()
    draw, steps = peers.train(model, train, seconds, seed)
    told = {"cpu_seconds": seconds, "wall_seconds": time.monotonic() - wall, "steps": steps}
    return draw(len(train), seed + 1), told


def sheet(made: Pictures, path: Path) -> None:
    """SHOWN of each class, or of all."""
    rows = [np.flatnonzero(made.labels == label)[:SHOWN] for label in range(min(SHOWN, len(made.classes)))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(grid(made.pixels[np.concatenate(rows)], SHOWN))
    Image.open(path).verify()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="CPU seconds that a peer may train")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sheet", type=Path, help="a PNG of samples")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train, held = split(args.set, args.data)
    with TemporaryDirectory(prefix="mintage-bench-") as name:
        if args.model.startswith("mintage:"):
            made, told = ours(args.model, train, args.seed, Path(name))
        else:
            made, told = theirs(args.model, train, args.seed, args.seconds)
    if args.sheet:
        sheet(made, args.sheet)
    about = {"set": args.set, "model": args.model, "seed": args.seed, "threads": args.threads}
    print(json.dumps(about | told | {"judge": judged(train, held, made)}))


if __name__ == "__main__":
    main()
