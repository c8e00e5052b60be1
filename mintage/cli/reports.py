"""A model's report as a table for people: each figure beside what real data reach, and a line on what it means."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

MEANING = {
    "shape": "how alike each column's distribution is (1 = the same)",
    "trend": "how alike the ties between two columns are (1 = the same)",
    "c2st_auc": "can a classifier tell them from real rows? (0.5 = no, 1 = always)",
    "dcr_share": "share nearer to training rows than to unseen ones (0.5 = no copies)",
}


def headline(report: Mapping[str, Any]) -> RenderableType:
    """The verdict and the figures. Reports of modalities that this version does not know show what they have."""
    own, ceiling, floor, meaning = _parts(report)
    parts: list[RenderableType] = []
    if own:
        parts.append(_figures(own, ceiling, floor, meaning))
    if report.get("verdict"):
        parts.append(f"\n{escape(str(report['verdict']))}" if parts else escape(str(report["verdict"])))
    return Group(*parts)


def gate_failed(gate: Mapping[str, Any] | None) -> str:
    """Of a model that is not what was required: which figures are beyond their bounds; nothing of any other."""
    if not gate or gate.get("passed") is not False:
        return ""
    said = {"min": "at least", "max": "at most"}
    beyond = [
        f"{one['figure']} is {one['value']:.6g}, {said[end]} {one[end]:.6g} was required"
        for one in gate.get("failed") or []
        for end in said
        if one.get(end) is not None
    ]
    absent = [f"{name} is not in the report" for name in gate.get("missing") or []]
    return f"\n[bold red]The model fails its gate:[/bold red] {escape('; '.join([*beyond, *absent]))}."


def gained(result: Mapping[str, Any]) -> RenderableType:
    """Of an augmentation: each figure without and with the synthetic rows, what that means, and what to know of it."""
    before, after = _flat(result.get("before")), _flat(result.get("after"))
    weighted = _flat(result.get("weighted"))
    parts: list[RenderableType] = []
    if before:
        made = Table(box=None, header_style="bold", pad_edge=False)
        for number, column in enumerate(("on held-out rows", "real rows", "with synthetic", "real rows, weighted")):
            if number < 3 or weighted:
                made.add_column(column, no_wrap=number == 0, justify="left" if number == 0 else "right")
        for name, value in before.items():
            cells = [_cell(value), _cell(after.get(name)), *([_cell(weighted.get(name))] if weighted else [])]
            made.add_row(escape(name), *cells)
        parts += ["", made, ""]
    parts += [escape(str(result["verdict"]))] if result.get("verdict") else []
    parts += [f"[dim]{escape(str(warning))}[/dim]" for warning in result.get("warnings") or []]
    return Group(*parts)


def scored(result: Mapping[str, Any]) -> RenderableType:
    """Of a scoring: what it says of the samples, and how well it sees counterfeits that were planted."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(("counterfeits", "ROC AUC", "caught at 5%", "caught at 1%")):
        made.add_column(column, no_wrap=number == 0, justify="left" if number == 0 else "right")
    shares = _numbers(result.get("counterfeit") or {})
    ours = [_cell(_number(result.get("roc_auc"))), _cell(shares.get("at_5_percent")), _cell(shares.get("at_1_percent"))]
    made.add_row("[bold]yours[/bold]", *ours)
    for one in result.get("planted") or []:
        cells = [_cell(_number(one.get(name))) for name in ("roc_auc", "at_5_percent", "at_1_percent")]
        made.add_row(escape(str(one.get("what"))), *cells)
    parts: list[RenderableType] = ["", made, ""]
    parts += [escape(str(result["verdict"]))] if result.get("verdict") else []
    parts += [f"[dim]{escape(str(warning))}[/dim]" for warning in result.get("warnings") or []]
    return Group(*parts)


def _flat(figures: object) -> dict[str, float]:
    """Figures by name, those of each class as well; how many rows they rest on is no figure."""
    if not isinstance(figures, Mapping):
        return {}
    counts = ("trained_on", "scored_on")
    own = _numbers({name: value for name, value in figures.items() if name not in counts})
    recall = figures.get("recall")
    recalls = _numbers(recall) if isinstance(recall, Mapping) else {}
    return own | {f"recall of {name}": value for name, value in list(recalls.items())[:20]}


Parts = tuple[dict[str, float], dict[str, float], dict[str, float], Mapping[str, str]]


def _parts(report: Mapping[str, Any]) -> Parts:
    """The figures, their ceiling, their floor, and what each says."""
    if isinstance(report.get("figures"), dict):
        figures = _numbers(report["figures"])
        return figures, _numbers(report.get("ceiling") or {}), {}, report.get("meaning") or {}
    own = {name: value for name in MEANING if (value := _number(report.get(name))) is not None}
    # at best half of the rows lie nearer to the training rows: that ceiling needs no measurement
    ceiling = _numbers(report.get("real_rows") or {}) | ({"dcr_share": 0.5} if "dcr_share" in own else {})
    return own, ceiling, _numbers(report.get("independent_columns") or {}), MEANING


def _figures(
    own: Mapping[str, float], ceiling: Mapping[str, float], floor: Mapping[str, float], meaning: Mapping[str, str]
) -> Table:
    made = Table(box=None, header_style="bold", pad_edge=False)
    made.add_column("figure", no_wrap=True)
    made.add_column("synthetic", justify="right", style="bold")
    made.add_column("real rows" if floor else "real data", justify="right", style="green")
    if floor:
        made.add_column("unrelated columns", justify="right", style="red")
    made.add_column("what it says", style="dim")
    for name, value in own.items():
        cells = [name, f"{value:.3f}", _cell(ceiling.get(name))]
        cells += [_cell(floor.get(name))] if floor else []
        made.add_row(*cells, escape(str(meaning.get(name, ""))))
    return made


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): number for name, value in values.items() if (number := _number(value)) is not None}
