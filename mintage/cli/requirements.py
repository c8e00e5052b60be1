"""What is required of a model's figures, as people type it: `--require 'c2st_auc<=0.7'`."""

import re
from collections.abc import Iterable

import typer

REQUIREMENT = re.compile(r"\s*(?P<name>[^<>=]+?)\s*(?P<sign><=|>=)\s*(?P<bound>[^<>=]+?)\s*")
ENDS = {">=": "min", "<=": "max"}


def requirements(given: Iterable[str]) -> dict[str, dict[str, float]]:
    """As the API takes them; two bounds of one figure go together. Raises BadParameter: wrong usage."""
    found: dict[str, dict[str, float]] = {}
    for text in given:
        match = REQUIREMENT.fullmatch(text)
        if match is None:
            raise _wrong(f"{text!r} is not of the form FIGURE<=NUMBER or FIGURE>=NUMBER")
        bounds, end = found.setdefault(match["name"], {}), ENDS[match["sign"]]
        if end in bounds:
            raise _wrong(f"{match['name']!r} has two bounds of the same kind")
        bounds[end] = _number(match["bound"])
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise _wrong(f"{text!r} is no number") from error


def _wrong(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--require")
