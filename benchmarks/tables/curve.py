"""Learning curves: the same models, each given ever more CPU seconds; every point is a run of its own.

Ours has a schedule that ends with its steps, so its points are shares of the steps that a preset takes."""

from pathlib import Path
from typing import Any

from benchmarks.tables.running import Desk, Run, lines, run_all

SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
FREE = ("real", "independent")  # nothing to learn


def curve(sets: list[str], models: list[str], seeds: list[int], budgets: list[float], out: Path, desk: Desk) -> None:
    ours = [model for model in models if model.startswith("mintage:")]
    free = [model for model in models if model in FREE]
    peers = [model for model in models if model not in ours and model not in free]
    whole = [Run(name, model, seed) for name in sets for model in (*free, *ours) for seed in seeds]
    run_all(whole, out, desk)
    run_all(shorter(lines(out), sets, ours), out, desk)
    run_all([Run(s, model, seed, cap) for cap in budgets for s in sets for model in peers for seed in seeds], out, desk)


def shorter(done: list[dict[str, Any]], sets: list[str], ours: list[str]) -> list[Run]:
    """For each whole run of ours in the file, the same with shares of its steps."""
    whole = [line for line in done if line["model"] in ours and line["set"] in sets]
    return [
        Run(line["set"], f"{line['model']}:{max(1, round(line['notes']['steps'] * share))}", line["seed"])
        for share in SHARES
        for line in whole
    ]
