"""Synthetic tables side by side with the peers, on the same real sets, splits and cores, by one judge.

    python -m benchmarks.tables --out results.jsonl            every set, model and seed that is not in the file yet
    python -m benchmarks.tables --table results.jsonl          the tables of RESULTS.md from it
    python -m benchmarks.tables --curve 10,40,160 --sets diamonds --out curve.jsonl     then benchmarks.tables_plot
    python -m benchmarks.tables --speed rows,job,memory,reading,wide        how fast and how large

A model is independent, real, ctgan, tvae, tabularargn, mintage:PRESET, mintage:PRESET:STEPS or
mintage:PRESET:epsilon=E."""

import argparse
import json
import signal
import sys
from pathlib import Path

from benchmarks.tables import environments
from benchmarks.tables.curve import curve
from benchmarks.tables.report import tables
from benchmarks.tables.running import PROGRAMS, SLOW, Desk, Run, lines, run_all
from benchmarks.tables.sets import SETS
from benchmarks.tables.speed import BARS

MODELS = "real,independent,mintage:draft,mintage:standard,mintage:best,tabularargn,ctgan,tvae"


def plan(sets: list[str], models: list[str], seeds: list[int], cap: float | None) -> list[Run]:
    """Model by model, so that a run that is cut short has whole rows; real rows need no more than one seed."""
    return [
        Run(name, model, seed, cap if model in SLOW else None)
        for model in models
        for seed in (seeds[:1] if model == "real" else seeds)
        for name in sets
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=Path("tables.jsonl"))
    parser.add_argument("--data", type=Path, help="a folder with the sets as Parquet files; else they are fetched")
    parser.add_argument("--cache", type=Path, default=environments.CACHE, help="for environments and fetched data")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cap-seconds", type=float, help="CPU seconds after which CTGAN and TVAE are stopped")
    parser.add_argument("--limit-seconds", type=float, default=6 * 3600, help="wall seconds after which a run fails")
    parser.add_argument("--curve", help="CPU seconds at which the peers are judged; ours at shares of a preset's steps")
    parser.add_argument("--table", type=Path, nargs="+", help="print the tables of these files, and run nothing")
    parser.add_argument("--speed", help=f"which of {', '.join(BARS)} to measure, for --models mintage:PRESET")
    args = parser.parse_args()
    sets, models, seeds = args.sets.split(","), args.models.split(","), [int(seed) for seed in args.seeds.split(",")]
    if unknown := set(sets) - set(SETS):
        parser.error(f"unknown sets: {', '.join(sorted(unknown))}")
    if unknown := {model for model in models if model.split(":")[0] not in PROGRAMS}:
        parser.error(f"unknown models: {', '.join(sorted(unknown))}")
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell in the background had one of them ignored
        signal.signal(number, lambda *_: sys.exit("stopped; what is judged is in the file"))
    desk = Desk(args.cache, args.data, args.threads, args.limit_seconds)
    if args.table:
        print(tables([line for path in args.table for line in lines(path)]))
    elif args.speed:
        preset = "standard" if args.models == MODELS else models[0].removeprefix("mintage:")
        print(json.dumps({bar: BARS[bar](desk, preset) for bar in args.speed.split(",")}, indent=1))
    elif args.curve:
        budgets = [float(budget) for budget in args.curve.split(",")]
        curve(sets, models, seeds, budgets, args.out, desk)
    else:
        run_all(plan(sets, models, seeds, args.cap_seconds), args.out, desk)


if __name__ == "__main__":
    main()
