"""One piece of Mintage's work in a process of its own, for the bars of speed and memory.

python -m benchmarks.tables.models.pieces ingest|train|rows FOLDER [--preset P] [--steps N] [--rows N] [--device D]"""

import argparse
import shutil
from pathlib import Path

from benchmarks.tables.models import own
from benchmarks.tables.models.cost import Cost
from workers.modalities import modality


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("piece", choices=("ingest", "train", "rows"))
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
    else:
        with cost.phase("load"):
            sampler = modality("table").sampler(root / own.MODEL, args.device)
        with cost.phase("rows"):
            table = sampler.table(0, args.rows, 1, {})  # type: ignore[attr-defined]
        assert table.num_rows == args.rows
    cost.write(args.folder, ["mintage", "torch"])


if __name__ == "__main__":
    main()
