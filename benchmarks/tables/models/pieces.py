"""One piece of Mintage's work in a process of its own, for the bars of speed and memory.

python -m benchmarks.tables.models.pieces ingest|train|read|rows FOLDER [--preset P] [--steps N] [--rows N] [--device D]
"""

import argparse
import json
import shutil
from pathlib import Path

from benchmarks.tables.models import own
from benchmarks.tables.models.cost import Cost
from workers.modalities import Dataset, Part, modality
from workers.modalities.table.rows import read_rows
from workers.modalities.table.spec import TableConfig

KEPT: int = TableConfig.model_fields["max_rows"].default


def repeated(root: Path, rows: int) -> Dataset:
    """The dataset with its training parts again and again, until there are so many rows."""
    saved = json.loads((root / "dataset.json").read_text())
    parts = [Part(root / part["key"], part["rows"], "train") for part in saved["parts"] if part["split"] == "train"]
    parts *= -(-rows // sum(part.rows for part in parts))
    return Dataset(saved["schema"], sum(part.rows for part in parts), parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("piece", choices=("ingest", "train", "read", "rows"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--steps", type=int, help="speed does not depend on what was learned")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--device", default="cpu")
    args, cost = parser.parse_args(), Cost()
    root: Path = args.folder / "bucket"
    if args.piece == "ingest":
        root.mkdir()
        shutil.move(args.folder / "train.parquet", root / "upload.parquet")
        with cost.phase("ingest"):
            own.ingest(root, "upload.parquet")
    elif args.piece == "train":
        config = {"preset": args.preset, "seed": 0} | ({"steps": args.steps} if args.steps else {})
        with cost.phase("train"):
            own.train(root, config, args.device)
    elif args.piece == "read":
        dataset = repeated(root, args.rows)
        with cost.phase("read"):
            table = read_rows(dataset, "train", KEPT, list(dataset.schema["columns"]), 0)
        assert table.num_rows == KEPT
    else:
        with cost.phase("load"):
            sampler = modality("table").sampler(root / own.MODEL, args.device)
        with cost.phase("rows"):
            table = sampler.table(0, args.rows, 1, {})  # type: ignore[attr-defined]
        assert table.num_rows == args.rows
        with cost.phase("rows_again"):  # as in a worker that has made some before: the memory is there
            del table
            sampler.table(0, args.rows, 2, {})  # type: ignore[attr-defined]
    cost.write(args.folder, ["mintage", "torch"])


if __name__ == "__main__":
    main()
