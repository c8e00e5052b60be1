"""Does generation scale out? Rows a second of one worker and of two, one thread each, from one model.

python -m benchmarks.service.scaling [--rows 40000000]"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.service.stand import Stand, stand
from mintage import Mintage

MIB = 2**20


def timed(here: Stand, rows: int) -> tuple[float, float]:
    """Seconds from request to manifest, and the most memory of any worker's child in MiB."""
    most = 0.0
    with Mintage(here.address.url, here.address.api_key) as server:
        begin = time.monotonic()
        job = server.generate(here.model, rows, seed=1, format="parquet")
        while not server.jobs.get(job.id).ended:
            for name, pid in here.world.pids().items():
                if name.startswith("worker"):
                    for child in psutil.Process(pid).children(recursive=True):
                        try:
                            most = max(most, child.memory_info().rss / MIB)
                        except psutil.Error:
                            continue
            time.sleep(0.2)
        seconds = time.monotonic() - begin
        assert server.jobs.get(job.id).state == "succeeded"
    return seconds, most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000_000)
    args = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="mintage-bench-") as name, stand("servers", Path(name), slots=1) as here:
        timed(here, 1_000_000)  # samplers are warm from here on
        for workers in (2, 1):
            here.stop_workers(keep=workers)
            seconds, most = timed(here, args.rows)
            found[f"{workers} workers"] = {"rows_a_second": round(args.rows / seconds), "child_mib": round(most)}
    found["ratio"] = {"two_to_one": round(found["2 workers"]["rows_a_second"] / found["1 workers"]["rows_a_second"], 2)}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
