"""Does memory stay flat? Peak resident memory while a large CSV is ingested and many rows are generated.

python -m benchmarks.memory [--gigabytes 1] [--rows 20000000]"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from benchmarks.stack import Peak, stack, timed


def write_csv(path: Path, size: int) -> int:
    """A CSV of about `size` bytes with mixed columns; returns its rows."""
    rng, rows = np.random.default_rng(0), 0
    words = np.array(["north", "south", "east", "west", "centre"])
    with path.open("wb") as file:
        while file.tell() < size:
            n = 200_000
            table = pa.table(
                {
                    "amount": np.round(rng.lognormal(4, 1, n), 2),
                    "count": rng.poisson(3, n),
                    "region": words[rng.integers(0, 5, n)],
                    "when": np.datetime64("2026-01-01") + rng.integers(0, 300, n).astype("timedelta64[D]"),
                    "score": np.round(rng.normal(0, 1, n), 4),
                    "flag": rng.random(n) < 0.3,
                }
            )
            pacsv.write_csv(table, file, pacsv.WriteOptions(include_header=rows == 0))
            rows += n
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--rows", type=int, default=20_000_000)
    args = parser.parse_args()
    seconds: dict[str, float] = {}
    with TemporaryDirectory() as name, stack() as service:
        path = Path(name) / "large.csv"
        rows = write_csv(path, int(args.gigabytes * 1e9))
        with Peak(service) as ingesting, timed(seconds, "upload and ingest"):
            dataset = service.run("datasets", "upload", str(path))
        path.unlink()
        with timed(seconds, "train 300 steps"):
            model = service.run("train", dataset["id"], "--steps", "300")["result"]["model_id"]
        with Peak(service) as generating, timed(seconds, "generate"):
            service.run("generate", model, "--count", str(args.rows), "--out", str(Path(name) / "out"))
    print(
        json.dumps(
            {"csv_rows": rows, "seconds": seconds, "ingest_mib": ingesting.mib, "generate_mib": generating.mib},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
