"""Does memory stay flat? The most that a process of the workers holds while it generates ever more rows.

python -m benchmarks.service.flat [--rows 100000,1000000,10000000]"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.service.stand import Stand, stand
from mintage import Mintage

MIB = 2**20


def generated(here: Stand, rows: int) -> tuple[float, float]:
    """Seconds from request to manifest, and the most memory of any process of the workers in MiB."""
    most = 0.0
    with Mintage(here.address.url, here.address.api_key) as server:
        begin = time.monotonic()
        job = server.generate(here.model, rows, seed=1, format="parquet")
        while not (now := server.jobs.get(job.id)).ended:
            most = max(most, largest(here))
            time.sleep(0.2)
        assert now.state == "succeeded", now.error
        seconds = time.monotonic() - begin
        server.jobs.delete(job.id)
    return seconds, most


def largest(here: Stand) -> float:
    most = 0.0
    for name, pid in here.world.pids().items():
        if name.startswith("worker"):
            for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
                try:
                    most = max(most, process.memory_info().rss / MIB)
                except psutil.Error:
                    continue
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=lambda text: [int(one) for one in text.split(",")], default=[10**5, 10**6, 10**7]
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mintage-bench-") as name, stand("servers", Path(name)) as here:
        for rows in args.rows:
            seconds, most = generated(here, rows)
            told = {"rows": rows, "seconds": round(seconds, 1), "rows_a_second": round(rows / seconds)}
            print(json.dumps(told | {"largest_process_mib": round(most)}), flush=True)


if __name__ == "__main__":
    main()
