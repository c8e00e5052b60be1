"""Does generation scale out? Rows a second of one worker and of two, one thread each, from one model.

python -m benchmarks.service.scaling [--rows 40000000]"""

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.service.flat import generated
from benchmarks.service.stand import stand


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000_000)
    args = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="mintage-bench-") as name, stand("servers", Path(name), slots=1) as here:
        generated(here, 1_000_000)  # samplers are warm from here on
        for workers in (2, 1):
            here.stop_workers(keep=workers)
            seconds, most = generated(here, args.rows)
            found[f"{workers} workers"] = {"rows_a_second": round(args.rows / seconds), "child_mib": round(most)}
    found["ratio"] = {"two_to_one": round(found["2 workers"]["rows_a_second"] / found["1 workers"]["rows_a_second"], 2)}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
