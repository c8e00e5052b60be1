"""What differential privacy costs, and what it does: quality by epsilon on one set, and attacks on models of few rows.

    python -m benchmarks.tables.privately --out privately.jsonl            whatever is not in the file yet, then tables

Quality is judged as in `benchmarks.tables`: a 20 % holdout, one judge from outside. The attacks are those of
`models/members.py`: 500 rows trained on against as many of the holdout, three draws of them."""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.tables import environments
from benchmarks.tables.report import heading, row, short
from benchmarks.tables.running import Desk, Run, circumstances, lines, measured, run_all
from benchmarks.tables.sets import SETS, split

Line = dict[str, Any]
QUALITY = (
    "| epsilon | spent, of it on statistics | c2st_auc | shape | trend | TSTR / TRTR | dcr_share | CPU s of training |"
)
ATTACKS = "| epsilon | rows | likelihood | against a reference | nearest |"


def model(epsilon: str) -> str:
    return "mintage:standard" if epsilon == "none" else f"mintage:standard:epsilon={epsilon}"


def attacks(name: str, epsilons: list[str], seed: int, desk: Desk) -> Line:
    """The line of one draw of rows. Raises Failed."""
    private = ",".join(epsilon for epsilon in epsilons if epsilon != "none")
    with TemporaryDirectory(prefix="mintage-bench-") as folder:
        split(name, desk.source(SETS[name].file), Path(folder))
        command = [sys.executable, "-m", "benchmarks.tables.models.members", "--folder", folder]
        command += ["--epsilons", private, "--seed", str(seed)]
        measured(command, Path(folder) / "members.log", desk.threads, desk.limit)
        found = json.loads((Path(folder) / "cost.json").read_text())
    return {"set": name, "model": "members", "seed": seed, "cap": None, "attacked": found} | circumstances(desk)


def tables(told: list[Line], epsilons: list[str]) -> str:
    judged = {line["model"]: line for line in told if "judge" in line}
    quality = [quality_row(epsilon, judged[model(epsilon)]) for epsilon in epsilons if model(epsilon) in judged]
    draws = [line["attacked"] for line in told if "attacked" in line]
    attacked = [attacks_row(same) for same in zip(*draws, strict=True)]
    return "\n".join([heading(QUALITY), *quality, "", heading(ATTACKS), *attacked])


def quality_row(epsilon: str, line: Line) -> str:
    own, privacy = line["judge"], line["notes"]["privacy"]
    spent = f"{privacy['epsilon_spent']:.2f}, {privacy['epsilon_of_statistics']:.2f}" if privacy else ""
    cells = [epsilon, spent, *(short(own[name]) for name in ("c2st_auc", "shape", "trend"))]
    cells += [f"{short(own['tstr'])} / {short(own['trtr'])}", short(own["dcr_share"])]
    return row([*cells, f"{line['cpu_seconds']['train']:.0f}"])


def attacks_row(same: tuple[Line, ...]) -> str:
    """The mean over the draws, and the least and the most."""
    cells = []
    for kind in same[0]["auc"]:
        found = [one["auc"][kind] for one in same]
        cells.append(f"{short(mean(found))} ({short(min(found))} to {short(max(found))})")
    return row([same[0]["epsilon"], str(same[0]["rows"]), *cells])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="adult", choices=list(SETS))
    parser.add_argument("--epsilons", default="1,3,8,none")
    parser.add_argument("--draws", type=int, default=3, help="of the rows that are attacked")
    parser.add_argument("--out", type=Path, default=Path("privately.jsonl"))
    parser.add_argument("--data", type=Path, help="a folder with the set as a Parquet file; else it is fetched")
    parser.add_argument("--cache", type=Path, default=environments.CACHE, help="for environments and fetched data")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    desk, epsilons = Desk(args.cache, args.data, args.threads, 6 * 3600), args.epsilons.split(",")
    run_all([Run(args.set, model(epsilon), 0) for epsilon in epsilons], args.out, desk)
    done = {line["seed"] for line in lines(args.out) if line["model"] == "members"}
    for seed in set(range(args.draws)) - done:
        line = attacks(args.set, epsilons, seed, desk)
        with args.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
    print(tables(lines(args.out), epsilons))


if __name__ == "__main__":
    main()
