"""Breaks a service for some minutes and audits it; exits with 1 where anything was wrong.

python -m tests.chaos --kind embedded --minutes 30 --seeds 1
python -m tests.chaos --kind embedded,servers --minutes 5 --seeds 1,2,3
"""

import argparse
import logging
import sys

import structlog

from tests.chaos.storm import Storm, run
from tests.chaos.world import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", type=lambda text: text.split(","), default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[1])
    parser.add_argument("--every", type=float, default=6.0, help="seconds between two faults, on average")
    parser.add_argument("--clients", type=int, default=3)
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # what the audit prints
    wrong = False
    for seed in args.seeds:
        for kind in args.kind:
            outcome = run(Storm(kind, 60 * args.minutes, seed, args.every, args.clients))
            print(outcome.summary(), flush=True)
            if outcome.wrong:
                print(outcome.logs, flush=True)
                wrong = True
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
