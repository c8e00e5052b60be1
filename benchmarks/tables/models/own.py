"""Mintage as its worker runs it: the worker's own ingest, train and sampling, with a folder for its bucket.

Model names are `mintage:PRESET`, `mintage:PRESET:STEPS` or `mintage:PRESET:epsilon=E`."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from resource import RLIM_INFINITY
from typing import Any, TextIO, cast

from benchmarks.tables.models.cost import Cost, arguments
from service.settings import Settings
from service.storage.objects import ObjectStore
from workers.modalities import modality
from workers.work.bench import Bench
from workers.work.line import Line

MODEL, PARTS = "model/", "parts/"


class Folder:
    """What the work asks of a bucket, on the local disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get_file(self, key: str, path: Path) -> None:
        shutil.copyfile(self.root / key, path)

    def put_file(self, key: str, path: Path) -> tuple[int, str]:
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, self.root / key)
        with path.open("rb") as file:
            return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()

    def get(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def put(self, key: str, body: bytes, content_type: str = "") -> None:
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_bytes(body)

    def keys(self, prefix: str) -> Iterator[str]:
        return (prefix + path.name for path in sorted((self.root / prefix).glob("*")))


def bench(root: Path, device: str = "cpu", heard: TextIO | None = None) -> Bench:
    """A bench whose supervisor says nothing and does not listen, unless what the work says should be `heard`. Reading
    may take all memory: it shares the process."""
    source, self_held = os.pipe()
    line = Line(os.fdopen(source), heard or open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    assert self_held  # open for as long as the process lives: an end of file would end it
    scratch = root / "scratch"
    scratch.mkdir(exist_ok=True)
    seconds = float(Settings.model_fields["checkpoint_seconds"].default)
    return Bench(cast(ObjectStore, Folder(root)), line, scratch, device, seconds, RLIM_INFINITY)


def ingest(root: Path, file: str, kind: str = "table") -> None:
    """Parts of `root/file` below `root/parts/`, and dataset.json with what a training asks for."""
    from workers.work.ingest import ingest as work

    payload = {"modality": kind, "options": {}, "prefix": PARTS, "source": {"key": file, "filename": file}}
    found = work(payload, bench(root))
    dataset = {"schema": found["schema"], "rows": found["rows"], "parts": found["parts"]}
    (root / "dataset.json").write_text(json.dumps(dataset, default=str))


def train(
    root: Path, config: dict[str, Any], device: str = "cpu", kind: str = "table", heard: TextIO | None = None
) -> dict[str, Any]:
    """The model's files below `root/model/`; returns the result with its report."""
    from workers.work.train import train as work

    dataset = json.loads((root / "dataset.json").read_text())
    keys = {"prefix": MODEL, "checkpoint_prefix": "checkpoints/", "checkpoint": None, "checkpoint_before": None}
    keys |= {"film_prefix": "film/"}
    payload = {"modality": kind, "dataset": dataset, "config": config, "model_id": "mdl_bench", "spent_seconds": 0}
    return work(payload | keys, 1, bench(root, device, heard))


def config(model: str, seed: int) -> dict[str, Any]:
    _, preset, *more = model.split(":")
    wanted: dict[str, Any] = {"preset": preset, "seed": seed}
    for one in more:
        if one.startswith("epsilon="):
            wanted["privacy"] = {"epsilon": float(one.removeprefix("epsilon="))}
        else:
            wanted["steps"] = int(one)
    return wanted


def brief(report: dict[str, Any]) -> dict[str, Any]:
    """The report's own figures, without those of each column and pair."""
    return {name: value for name, value in report.items() if isinstance(value, int | float | str)}


def main() -> None:
    args, cost = arguments(), Cost()
    root = args.folder / "bucket"
    root.mkdir()
    shutil.copyfile(args.folder / "train.parquet", root / "upload.parquet")
    with cost.phase("ingest"):
        ingest(root, "upload.parquet")
    with cost.phase("fit"):
        result = train(root, config(args.model, args.seed))
    with cost.phase("sample"):
        sampler = modality("table").sampler(root / MODEL, "cpu")
        path = args.folder / "synthetic.parquet"
        sampler.write(path, 0, args.rows, args.seed + 1, "parquet", {}, lambda done, total: None)
    for kind in (cost.cpu, cost.wall):  # peers read the data too, as a part of their fit
        kind["train"] = round(kind["ingest"] + kind["fit"], 2)
    told = {"steps": result["steps"], "report": brief(result["report"]), "privacy": result["report"].get("privacy")}
    cost.write(args.folder, ["mintage", "torch"], **told)


if __name__ == "__main__":
    main()
