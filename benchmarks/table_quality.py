"""How good is a preset's synthetic table, judged from outside? Splits a real table 80/20, trains on the 80 through
the service, and lets judge_table.py compare with rows that the service never saw.

    python -m benchmarks.table_quality examples/data/adult.parquet --target income [--preset draft] [--judge-python P]

The judge needs pandas, scipy and lightgbm: name a Python that has them."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq

from benchmarks.stack import stack, timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--target")
    parser.add_argument("--threshold")
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--judge-python", default=sys.executable)
    args = parser.parse_args()
    seconds: dict[str, float] = {}
    with TemporaryDirectory() as name, stack() as service:
        folder = Path(name)
        table = pq.read_table(args.table)
        order = np.random.default_rng(20261122).permutation(len(table))
        cut = len(table) * 4 // 5
        pq.write_table(table.take(order[:cut]), folder / "train.parquet")
        pq.write_table(table.take(order[cut:]), folder / "holdout.parquet")
        with timed(seconds, "upload and ingest"):
            dataset = service.run("datasets", "upload", str(folder / "train.parquet"))
        with timed(seconds, "train"):
            job = service.run("train", dataset["id"], "--preset", args.preset, "--seed", args.seed)
        model, out = job["result"]["model_id"], folder / "out"
        with timed(seconds, "generate and download"):
            service.run("generate", model, "--count", str(cut), "--seed", "1", "--out", str(out))
        report = service.run("models", "report", model)
        parts = sorted(out.rglob("part-*.parquet"))
        pq.write_table(
            pq.read_table(parts[0]) if len(parts) == 1 else pq.ParquetDataset(parts).read(), folder / "s.parquet"
        )
        judge = [args.judge_python, str(Path(__file__).with_name("judge_table.py"))]
        judge += [str(folder / f) for f in ("train.parquet", "holdout.parquet", "s.parquet")]
        judge += ["--target", args.target] if args.target else []
        judge += ["--threshold", args.threshold] if args.threshold else []
        verdict = json.loads(subprocess.run(judge, stdout=subprocess.PIPE, text=True, check=True).stdout)
    print(json.dumps({"seconds": seconds, "judge": verdict, "own_report": report}, indent=1))


if __name__ == "__main__":
    main()
