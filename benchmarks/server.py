"""Times the whole road through a server that runs, such as the compose stack; MINTAGE_URL names it."""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pyarrow.parquet as pq

from mintage import Mintage

Result = TypeVar("Result")
TABLE = Path(__file__).parents[1] / "examples" / "data" / "adult.parquet"


def timed(what: str, work: Callable[[], Result]) -> Result:
    start = time.monotonic()
    result = work()
    print(f"{what}: {time.monotonic() - start:.1f} s", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Time upload, training, generation and download.")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--preset", default="draft")
    asked = parser.parse_args()
    with Mintage() as server, tempfile.TemporaryDirectory() as folder:
        dataset = timed("upload and ingestion", lambda: server.datasets.upload(TABLE))
        training = timed(f"training, {asked.preset}", lambda: server.train(dataset, preset=asked.preset, seed=1).wait())
        print(server.models.report(training.model_id or "")["verdict"])
        output = timed(
            f"generation of {asked.count:,} rows", lambda: server.generate(training, asked.count, seed=7).wait()
        )
        paths = timed("download, verified", lambda: output.download(folder))
        rows = sum(pq.read_metadata(path).num_rows for path in paths)
        assert rows == asked.count
        print(f"{rows:,} rows in {len(paths)} files, {sum(path.stat().st_size for path in paths) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
