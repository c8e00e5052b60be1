"""Generated pictures beside the peers', one line of JSON a run; each run is a process of its own.

    python -m benchmarks.images --sets mnist_5k --models mintage:draft,dcgan,ns_r1 --seeds 0,1,2 --out images.jsonl
    python -m benchmarks.images --table images.jsonl

A peer gets the CPU seconds that the model named by --like took on the same set with the same seed, but for its report,
which peers do not write."""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.images.sets import HELD_OUT
from benchmarks.tables.running import Desk, circumstances, surroundings

FIGURES = {
    "train_on_synthetic": "trained on synthetic", "train_on_real": "on real", "label_accuracy": "label accuracy",
    "coverage": "coverage", "coverage_real": "of real", "least_class_coverage": "worst class",
    "fd_effnetlite0": "FD-EffNetLite0", "fd_real": "of real", "kid_effnetlite0": "KID-EffNetLite0",
}  # fmt: skip
Line = dict[str, Any]


def lines(path: Path) -> list[Line]:
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def missing(args: argparse.Namespace) -> list[tuple[str, str, int]]:
    done = {(line["set"], line["model"], line["seed"]) for line in lines(args.out)}
    every = [(s, m, seed) for seed in args.seeds for s in args.sets for m in args.models]
    return [one for one in every if one not in done]


def run(args: argparse.Namespace, name: str, model: str, seed: int) -> None:
    command = [sys.executable, "-m", "benchmarks.images.run", "--set", name, "--model", model, "--seed", str(seed)]
    command += ["--threads", str(args.threads), *(["--data", str(args.data)] if args.data else [])]
    if args.sheets:
        command += ["--sheet", str(args.sheets / f"{name}-{model.replace(':', '-')}.png")] if seed == 0 else []
    if not model.startswith("mintage:"):
        like = [one for one in lines(args.out) if (one["set"], one["model"], one["seed"]) == (name, args.like, seed)]
        if not like:
            raise SystemExit(f"Run {args.like} on {name} with seed {seed} first: it sets the seconds of {model}.")
        command += ["--seconds", str(like[0]["cpu_seconds_until_report"])]
    print(f"{model} on {name}, seed {seed}", flush=True)
    done = subprocess.run(command, env=surroundings(args.threads), stdout=subprocess.PIPE, text=True, check=True)
    line = json.loads(done.stdout.splitlines()[-1]) | circumstances(Desk(Path(), args.data, args.threads, 0.0))
    with args.out.open("a") as out:
        out.write(json.dumps(line) + "\n")
    print(f"  {line['cpu_seconds']:.0f} CPU s, {line['wall_seconds']:.0f} s", line["judge"], flush=True)


def table(found: list[Line]) -> str:
    same: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in found:
        same[line["set"], line["model"]].append(line)
    rows = [["set", "model", "seeds", "CPU s", "s", *FIGURES.values()]]
    for (name, model), some in same.items():
        cells = [f"{median(line['judge'][figure] for line in some):.3f}" for figure in FIGURES]
        spent = [f"{median(line[kind] for line in some):.0f}" for kind in ("cpu_seconds", "wall_seconds")]
        rows.append([name, model, str(len(some)), *spent, *cells])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(HELD_OUT))
    parser.add_argument("--models", type=lambda text: text.split(","), default=["mintage:draft", "dcgan", "ns_r1"])
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[0])
    parser.add_argument("--like", default="mintage:draft")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, help="a folder with the sets as zips")
    parser.add_argument("--out", type=Path, default=Path("images.jsonl"))
    parser.add_argument("--sheets", type=Path, help="a folder for pictures of samples")
    parser.add_argument("--table", type=Path, help="print this file's table, and run nothing")
    args = parser.parse_args()
    if args.table:
        print(table(lines(args.table)))
        return
    for one in missing(args):
        run(args, *one)


if __name__ == "__main__":
    main()
