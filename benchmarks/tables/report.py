"""The tables of RESULTS.md out of lines of results: every set and model, then medians over the sets."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

from benchmarks.tables.sets import SETS

Line = dict[str, Any]
Figures = dict[str, float]
ORDER = ("real", "independent", "ctgan", "tvae", "tabularargn", "mintage:draft", "mintage:standard", "mintage:best")
PEERS = ("ctgan", "tvae", "tabularargn")
EACH = "| set (training rows x columns) | model | seeds | CPU s of training | shape | trend | c2st_auc | TSTR / TRTR | dcr_share | copies_x | CPU s of sampling |"  # noqa: E501
MEDIANS = "| model | sets | c2st_auc | trend, share of real | shape, share of real | TRTR - TSTR | dcr_share | copies_x | CPU s of training against CTGAN | against TabularARGN | c2st_auc below every peer's |"  # noqa: E501


def tables(lines: Iterable[Line]) -> str:
    """Markdown. Medians over the seeds first, then over the sets."""
    kept = longest(lines)
    figures = {(name, model): summary(some) for (name, model), some in kept.items()}
    models = sorted({model for _, model in figures}, key=rank)
    names = [name for name in SETS if any(name == one for one, _ in figures)]
    rows = [each(name, model, figures[name, model], kept[name, model]) for name in names for model in models
            if (name, model) in figures]  # fmt: skip
    whole = [medians(model, figures) for model in models]
    note = (
        "~ stopped after so many of its 300 epochs: CPU s are an estimate, its mean epoch times 300. Its other figures "
        "are those of that moment, not of its defaults; the medians and the last column leave them out."
    )
    return "\n".join([heading(EACH), *rows, "", note, "", heading(MEDIANS), *whole])


def longest(lines: Iterable[Line]) -> dict[tuple[str, str], list[Line]]:
    """By set and model, one line a seed: the one with the highest cap, the last written of equals."""
    best: dict[tuple[str, str, int], Line] = {}
    for line in lines:
        key = line["set"], line["model"], line["seed"]
        if key not in best or cap(line) >= cap(best[key]):
            best[key] = line
    kept = defaultdict(list)
    for (name, model, _), line in best.items():
        kept[name, model].append(line)
    return kept


def cap(line: Line) -> float:
    return float("inf") if line["cap"] is None else float(line["cap"])


def training_seconds(line: Line) -> float:
    """CPU seconds, of the whole default training where it was cut short."""
    return float(line["notes"].get("estimated_cpu_seconds") or line["cpu_seconds"]["train"])


def cut_short(line: Line) -> bool:
    return bool(line["notes"].get("capped"))


def summary(lines: list[Line]) -> Figures:
    judged = {name: median(line["judge"][name] for line in lines)
              for name in ("shape", "trend", "c2st_auc", "tstr", "trtr", "dcr_share", "copies_x")}  # fmt: skip
    gap = median(line["judge"]["trtr"] - line["judge"]["tstr"] for line in lines)
    sampling = median(line["cpu_seconds"]["sample"] for line in lines)
    cut = float(any(map(cut_short, lines)))
    return judged | {"cut": cut, "gap": gap, "train": median(map(training_seconds, lines)), "sample": sampling}


def each(name: str, model: str, own: Figures, lines: list[Line]) -> str:
    line = lines[0]
    seconds = "" if model in ("real", "independent") else f"{own['train']:,.0f}"
    if own["cut"]:
        seconds = f"~{seconds} ({median(one['notes']['epochs'] for one in lines):.0f} epochs)"
    cells = [f"{name} ({line['rows']:,} x {line['columns']})", model, str(len(lines)), seconds]
    cells += [short(own["shape"]), short(own["trend"]), short(own["c2st_auc"], 4 if own["c2st_auc"] > 0.9985 else 3)]
    cells += [f"- / {short(own['trtr'])}" if model == "real" else f"{short(own['tstr'])} / {short(own['trtr'])}"]
    cells += ["", ""] if model == "real" else [short(own["dcr_share"]), f"{own['copies_x']:.2f}"]
    cells += ["" if model in ("real", "independent") else f"{own['sample']:.1f}"]
    return row(cells)


def medians(model: str, figures: dict[tuple[str, str], Figures]) -> str:
    names = [name for name, one in figures if one == model]
    whole = [name for name in names if not figures[name, model]["cut"]]
    real, ctgan, argn = (
        {name: figures[name, other] for name in names if (name, other) in figures}
        for other in ("real", "ctgan", "tabularargn")
    )

    def over(value: Callable[[str], float], sets: Iterable[str]) -> float | None:
        found = [value(name) for name in sets]
        return median(found) if found else None

    def own(figure: str) -> Callable[[str], float]:
        return lambda name: figures[name, model][figure]

    def against(other: dict[str, Figures], figure: str, sets: list[str]) -> float | None:
        return over(lambda name: figures[name, model][figure] / other[name][figure], [s for s in sets if s in other])

    idle = model in ("real", "independent")
    cells = [model, str(len(whole)), short(over(own("c2st_auc"), whole))]
    cells += [
        short(against(real, "trend", whole), 4),
        short(against(real, "shape", whole), 4),
        "" if model == "real" else short(over(own("gap"), whole), 4),
    ]
    cells += ["", ""] if model == "real" else [short(over(own(one), whole)) for one in ("dcr_share", "copies_x")]
    cells += (
        ["", "", ""] if idle else [*(short(against(o, "train", names)) for o in (ctgan, argn)), lead(model, figures)]
    )
    return row(cells)


def lead(model: str, figures: dict[tuple[str, str], Figures]) -> str:
    """On how many sets, of those where a peer was trained to its end, the model is harder to tell from real."""
    won, met = 0, 0
    for name in SETS:
        met_here = [figures[name, peer] for peer in PEERS if peer != model and (name, peer) in figures]
        rivals = [peer["c2st_auc"] for peer in met_here if not peer["cut"]]
        if rivals and (name, model) in figures and not figures[name, model]["cut"]:
            met += 1
            won += figures[name, model]["c2st_auc"] < min(rivals)
    return f"{won} of {met}"


def rank(model: str) -> tuple[int, str]:
    return (ORDER.index(model) if model in ORDER else len(ORDER), model)


def short(value: float | None, digits: int = 3) -> str:
    """.985 rather than 0.985."""
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def heading(text: str) -> str:
    return text + "\n" + "|---" * (text.count("|") - 1) + "|"


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
