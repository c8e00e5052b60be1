"""Scoring against planted counterfeits: how well does a job that scores pictures tell from real digits what is none?
One line of JSON on standard output.

    python -m benchmarks.images.counterfeits [--steps 8000] [--folder FOLDER] [--unlabelled] [--data FOLDER]

A model is trained on mnist_5k, or taken from --folder, where an earlier run left it. One upload of every kind is scored
by the worker's own code; `roc_auc` says how well its scores tell each kind from held-out digits of the same upload,
which the model never saw: .5 not at all, 1 always (.998 here: a few real ones share the lowest score). `at_5_percent`
is the share that is called counterfeit where 5 % of real ones should be. All say that they are some digit, as whoever
passes them off would; with --unlabelled the upload has no classes."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from benchmarks.images import peers
from benchmarks.images.sets import Pictures, read, source, split
from benchmarks.images.trained import config, dataset, drawn, on_threads, options, sampler, trained
from benchmarks.tables.models import own
from benchmarks.tables.running import Desk, circumstances
from workers.modalities import quiet
from workers.modalities.images.pictures import encoded
from workers.modalities.scoring import Upload, auc, judged, scoring

SET, GENUINE = "mnist_5k", "held-out digits"
Kinds = Mapping[str, Pictures]


def on_black(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """RGB on white -> grey (n, side, side, 1), inverted: digits are on black, and white paper would give all away."""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    small = F.interpolate(255 - x.mean(1, keepdim=True), (side, side), mode="bilinear", antialias=True)
    return np.asarray(small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())


def under_wrong_labels(digits: Pictures, rng: np.random.Generator) -> Pictures:
    classes = len(digits.classes)
    return replace(digits, labels=(digits.labels + rng.integers(1, classes, len(digits))) % classes)


def strangers(held: Pictures, n: int, rng: np.random.Generator, data: Path | None) -> dict[str, Pictures]:
    """Counterfeits that no network made, at most n of a kind, under digits' names at random."""
    _, height, width, channels = held.pixels.shape
    fashion, emoji = (read(source(name, data)).pixels for name in ("fashion_mnist_10k", "emoji64_google"))
    some = {
        "noise": rng.integers(0, 256, (n, height, width, channels), np.uint8),
        "fashion_mnist_10k": fashion[rng.permutation(len(fashion))[:n]],
        "emoji64_google, grey": on_black(emoji[rng.permutation(len(emoji))[:n]], height),
    }
    labels = rng.integers(0, len(held.classes), n)
    found = {kind: Pictures(pixels, labels[: len(pixels)], held.classes, []) for kind, pixels in some.items()}
    return found | {"digits under wrong labels": under_wrong_labels(held.take(np.arange(n)), rng)}


def pack(kinds: Kinds, path: Path) -> None:
    """A zip of KIND/CLASS/NUMBER.png: the worker takes the last folder for the class."""
    with ZipFile(path, "w") as out:
        for kind, some in kinds.items():
            for number, (pixels, label) in enumerate(zip(some.pixels, some.labels.tolist(), strict=True)):
                out.writestr(f"{kind}/{some.classes[label]}/{number:05d}.png", encoded(pixels))


def compared(names: list[str], scores: NDArray[np.float64], odd: NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    """By kind: ROC-AUC of low scores against the genuine ones', and the share called counterfeit."""
    kinds = np.array([name.split("/")[0] for name in names])
    genuine = np.sort(-scores[kinds == GENUINE])
    return {
        str(kind): {
            "roc_auc": round(auc(genuine, -scores[kinds == kind]), 4),
            "at_5_percent": round(float(odd[kinds == kind].mean()), 4),
        }
        for kind in dict.fromkeys(kinds.tolist())
    }


def scored(folder: Path, kinds: Kinds, labelled: bool, device: str, seed: int) -> dict[str, Any]:
    """What the worker's job finds in all of them together."""
    path, lines = folder / "kinds.zip", folder / "scores.parquet"
    pack(kinds, path)
    classes = kinds[GENUINE].classes if labelled else None
    upload = Upload(path, {}, sum(map(len, kinds.values())), {"classes": classes})
    scorer = scoring("images").scorer(dataset(folder), upload, folder / own.MODEL, device, seed)
    _, told = judged(scorer, lines, quiet)
    table = pq.read_table(lines)
    odd = np.array(table["at_5_percent"].to_pylist()) == "counterfeit"
    found = compared(table["name"].to_pylist(), table["score"].to_numpy(), odd)
    return {"found": found, "views": told["views"], "planted_by_the_job": told["planted"]}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--folder", type=Path, help="where the model is left, and taken from if it is there")
    parser.add_argument("--each", type=int, default=500, help="pictures of a kind; all held-out digits are scored")
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU seconds that the DCGAN trains")
    parser.add_argument("--unlabelled", action="store_true")
    args = parser.parse_args()
    on_threads(args.threads)
    train, held = split(SET, args.data)
    with nullcontext(args.folder) if args.folder else TemporaryDirectory(prefix="mintage-bench-") as name:
        folder = Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "trained.json"
        if not kept.exists():
            wanted = config(args.preset, args.seed, args.steps)
            kept.write_text(json.dumps(wanted | trained(train, wanted, folder, args.device)))
        told = json.loads(kept.read_text())
        ours = sampler(folder, args.device)
        pixels, labels = drawn(ours, args.each, args.seed + 1)
        names = np.array([train.classes.index(one) for one in ours.codec.classes or ()])
        theirs, _ = peers.train("dcgan", train, args.seconds, args.seed)
        kinds = {GENUINE: held} | strangers(held, args.each, np.random.default_rng(args.seed), args.data)
        kinds |= {"DCGAN's samples": theirs(args.each, args.seed + 1)}
        kinds |= {"the model's own samples": Pictures(pixels, names[labels], train.classes, [])}
        found = scored(folder, kinds, not args.unlabelled, args.device, args.seed)
    about = {"benchmark": "counterfeits", "set": SET, "seed": args.seed, "each": args.each}
    about |= {"labelled": not args.unlabelled, "dcgan_seconds": args.seconds, "trained": told}
    print(json.dumps(about | found | circumstances(Desk(Path(), args.data, args.threads, 0.0))))


if __name__ == "__main__":
    main()
