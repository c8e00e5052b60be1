"""Learning curves: how well synthetic rows can be told from real, over CPU seconds of training, ours and the peers'.

<bench environment>/bin/python -m benchmarks.tables_plot curve.jsonl [--set diamonds] [--out docs/img]

Reads what `python -m benchmarks.tables --curve` wrote. Needs matplotlib, which the judge's environment has."""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt

COLOURS = {
    "ctgan": "#b07aa1", "tvae": "#9c755f", "tabularargn": "#4e79a7",
    "mintage:draft": "#f1a340", "mintage:standard": "#e15759", "mintage:best": "#a50f15",
}  # fmt: skip
TITLES = {"ctgan": "CTGAN", "tvae": "TVAE", "tabularargn": "TabularARGN"}
Points = dict[str, list[tuple[float, float]]]


def curves(lines: list[dict[str, Any]]) -> Points:
    """By model, (CPU seconds, c2st_auc) of each budget: medians over the seeds, in the order of the seconds."""
    same = defaultdict(list)
    for line in lines:
        kind, *rest = line["model"].split(":")
        model = ":".join([kind, *rest[:1]])
        same[model, tuple(rest[1:]), line["cap"]].append(line)
    found: Points = defaultdict(list)
    for (model, *_), some in same.items():
        seconds = median(line["cpu_seconds"]["train"] for line in some)
        found[model].append((seconds, median(line["judge"]["c2st_auc"] for line in some)))
    return {model: sorted(points) for model, points in found.items()}


def draw(name: str, points: Points, out: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    levels = {"real": ("real rows that nobody trained on", ":"), "independent": ("independent columns", "--")}
    for model, (text, style) in levels.items():
        if model in points:
            axes.axhline(points[model][0][1], color="grey", linestyle=style, label=text)
    for model in (one for one in COLOURS if one in points):
        x, y = zip(*points[model], strict=True)
        title = TITLES.get(model) or "Mintage, " + model.split(":")[1]
        axes.plot(x, y, marker="o", markersize=4, color=COLOURS[model], label=title)
    axes.set(xscale="log", xlabel="CPU seconds of training", ylabel="c2st_auc (0.5: cannot be told apart)", title=name)
    axes.set_ylim(0.48, 1.01)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / f"curve-{name}.png", dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", type=Path, nargs="+")
    parser.add_argument("--set", help="only this one")
    parser.add_argument("--out", type=Path, default=Path("docs/img"))
    args = parser.parse_args()
    lines = [json.loads(text) for path in args.lines for text in path.read_text().splitlines() if text]
    for name in sorted({line["set"] for line in lines} & ({args.set} if args.set else {line["set"] for line in lines})):
        draw(name, curves([line for line in lines if line["set"] == name]), args.out)


if __name__ == "__main__":
    main()
