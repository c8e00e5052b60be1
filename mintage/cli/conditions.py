"""Conditions as people type them: `--where 'age>=30'`, and files of them. It is the server that reads numbers."""

import csv
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

FORMS = "COLUMN=VALUE, COLUMN>=VALUE (or > <= <), 'COLUMN in A,B', 'COLUMN:share=A:0.5,B:0.5' or 'COLUMN is missing'"
CONDITION = re.compile(
    r'(?P<name>"(?:[^"\\]|\\.)*"|.+?)(?:(?P<sign> in |:share=|>=|<=|=|>|<)(?P<rest>.*)|(?P<missing> is missing))',
    re.DOTALL,
)
ENDS = {">=": "min", "<=": "max", ">": "above", "<": "below"}


def conditions(where: Iterable[str], file: Path | None) -> dict[str, Any]:
    """As the API takes them; two ends of one column's range go together. Raises BadParameter: wrong usage."""
    found = _from_file(file) if file is not None else {}
    for text in where:
        name, condition = _read(text)
        if name not in found:
            found[name] = condition
        elif _is_range(found[name]) and _is_range(condition) and not found[name].keys() & condition.keys():
            found[name] = {**found[name], **condition}
        else:
            raise _wrong(f"there are two conditions on {name!r}")
    return found


def _read(text: str) -> tuple[str, Any]:
    """The operator is the first that the text holds; a column whose name holds one is put in double quotes."""
    match = CONDITION.fullmatch(text)
    if match is None:
        raise _wrong(f"{text!r} is not of the form {FORMS}")
    name, sign, rest = match["name"], match["sign"], match["rest"]
    if name.startswith('"'):
        name = _unquoted(name)
    if match["missing"]:
        return name, None
    if sign == "=":
        return name, rest
    if sign in ENDS:
        return name.rstrip(), {ENDS[sign]: rest.strip()}
    members = next(csv.reader([rest], skipinitialspace=True), [])
    if sign == " in ":
        return name, {"in": members}
    return name, {"share": dict(map(_share, members))}


def _unquoted(name: str) -> str:
    try:
        return str(json.loads(name))
    except ValueError as error:
        raise _wrong(f"{name} is no name in double quotes") from error


def _share(member: str) -> tuple[str, float]:
    value, _, share = member.rpartition(":")
    try:
        return value, float(share)
    except ValueError as error:
        raise _wrong(f"{member!r} is not of the form VALUE:SHARE") from error


def _is_range(condition: Any) -> bool:
    return isinstance(condition, dict) and condition.keys() <= set(ENDS.values())


def _from_file(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _wrong(f"{path} cannot be read as JSON: {error}", "--conditions") from error
    if not isinstance(found, dict):
        raise _wrong(f"{path} holds no JSON object of columns and their conditions", "--conditions")
    return found


def _wrong(message: str, option: str = "--where") -> typer.BadParameter:
    return typer.BadParameter(message, param_hint=option)
