"""How long a fresh picture of samples takes, of a warm model of 64 pixels, while nothing else is done and while the
worker trains.

    python -m benchmarks.samples [--zip pictures.zip] [--refreshes 100] [--count 16]"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.images.sets import Pictures, write
from benchmarks.stack import stack
from mintage import Mintage

SIDE = 64


def pictures(n: int) -> Pictures:
    """Spots of any colour: what is shown does not matter here."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    centre, size = rng.integers(12, 52, (n, 2, 1, 1)), rng.integers(4, 12, (n, 1, 1))
    inside = (y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2 < size**2
    pixels = (inside[..., None] * rng.integers(60, 255, (n, 1, 1, 3))).astype(np.uint8)
    return Pictures(pixels, np.zeros(n, np.int64), ["spots"], [f"{i}.png" for i in range(n)])


def milliseconds(server: Mintage, model: str, refreshes: int, count: int) -> dict[str, float]:
    taken = []
    for _ in range(refreshes):
        begin = time.perf_counter()
        server.models.samples(model, count=count)
        taken.append(1e3 * (time.perf_counter() - begin))
        time.sleep(0.2)  # as fast as anybody presses the key
    return {f"p{q}": round(float(np.percentile(taken, q)), 1) for q in (50, 95, 100)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zip", type=Path)
    parser.add_argument("--refreshes", type=int, default=100)
    parser.add_argument("--count", type=int, default=16)
    args = parser.parse_args()
    with TemporaryDirectory() as name, stack() as service:
        upload = args.zip or Path(name) / "spots.zip"
        if not args.zip:
            write(pictures(400), upload)
        dataset = service.run("datasets", "upload", str(upload))
        model = service.run("train", dataset["id"], "--preset", "draft", "--steps", "20")["result"]["model_id"]
        with Mintage(data_dir=service.folder) as server:
            server.models.samples(model, count=args.count)  # warm from here on
            found = {"idle": milliseconds(server, model, args.refreshes, args.count)}
            training = service.run("train", dataset["id"], "--preset", "standard", "--no-wait")
            while (server.jobs.get(training["id"]).progress.step or 0) < 5:
                time.sleep(0.5)
            found["while training"] = milliseconds(server, model, args.refreshes, args.count)
            service.run("jobs", "cancel", training["id"])
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
