"""Our model as its worker trains it, on pictures of a benchmark's own making, and what is left behind."""

import argparse
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.images.sets import Pictures, write
from benchmarks.tables.models import own
from workers.modalities import Dataset, modality
from workers.modalities.images.modality import CHUNK, ImageSampler
from workers.work.train import download


def options(doc: str | None) -> argparse.ArgumentParser:
    """What every benchmark of a model that it trains can be told."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, help="a folder with the sets as zips")
    return parser


def on_threads(n: int) -> None:
    """Compute on so many threads; the worker's own path asks the environment."""
    os.environ["OMP_NUM_THREADS"] = str(n)
    torch.set_num_threads(n)


def config(preset: str, seed: int, steps: int | None) -> dict[str, Any]:
    return {"preset": preset, "seed": seed} | ({} if steps is None else {"steps": steps})


def unlabelled(pixels: NDArray[np.uint8]) -> Pictures:
    """All in one folder, which the worker takes for no classes."""
    return Pictures(pixels, np.zeros(len(pixels), np.int64), ["pictures"], [f"{i:06d}.png" for i in range(len(pixels))])


class UntilReport(io.StringIO):
    """Hears when the work begins to write its report."""

    at: float | None = None  # CPU seconds of the process

    def write(self, text: str, /) -> int:
        if self.at is None and '"stage": "reporting"' in text:
            self.at = time.process_time()
        return len(text)


def trained(pictures: Pictures, wanted: dict[str, Any], folder: Path, device: str = "cpu") -> dict[str, Any]:
    """Leaves the dataset and the model in `folder`; returns what the training took (all of it, and until the report was
    begun) and its report says."""
    ingested(pictures, folder)
    begin, wall, heard = time.process_time(), time.monotonic(), UntilReport()
    result = own.train(folder, wanted, device, "images", heard)
    assert heard.at is not None
    took = {
        "cpu_seconds": round(time.process_time() - begin, 1),
        "cpu_seconds_until_report": round(heard.at - begin, 1),
        "wall_seconds": round(time.monotonic() - wall, 1),
    }
    report = result["report"]
    return took | {"steps": result["steps"], "figures": report["figures"], "verdict": report["verdict"]}


def ingested(pictures: Pictures, folder: Path) -> None:
    write(pictures, folder / "upload.zip")
    own.ingest(folder, "upload.zip", "images")


def dataset(folder: Path) -> Dataset:
    """What was ingested there."""
    parts = folder / "read"
    parts.mkdir(exist_ok=True)
    return download(json.loads((folder / "dataset.json").read_text()), own.bench(folder), parts)


def sampler(folder: Path, device: str = "cpu") -> ImageSampler:
    found = modality("images").sampler(folder / own.MODEL, device)
    assert isinstance(found, ImageSampler)
    return found


def drawn(source: ImageSampler, n: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(pixels, labels as the model counts them) of n samples."""
    chunks = [source.chunk(number, min(CHUNK, n - number * CHUNK), seed, None) for number in range(-(-n // CHUNK))]
    pixels, labels = zip(*chunks, strict=True)
    return np.concatenate(pixels), np.concatenate(labels)
