"""A model's report as one self-contained page: whatever its modality put into it, as headings, tables and text."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.domain.views import ModelView

templates = Environment(loader=PackageLoader("service.api"), autoescape=True, undefined=StrictUndefined)
# Values in a report come from users' files: no script, no form, no request to anywhere, an origin of its own.
HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "Content-Disposition": "inline; filename=report.html",
}


def render(model: ModelView, report: Mapping[str, Any]) -> str:
    page = templates.get_template("report.html")
    return page.render(model=model, figures=_scalars(report), sections=_sections(report))


def _scalars(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(_words(name), _text(value)) for name, value in part.items() if not isinstance(value, dict | list)]


def _sections(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name, value in report.items():
        if isinstance(value, dict) and value:
            found.append({"title": _words(name)} | _of_mapping(value))
        elif isinstance(value, list) and value:
            found.append({"title": _words(name)} | _of_list(value))
    return found


def _of_mapping(value: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping of mappings is a table with a row each; else two columns."""
    if all(isinstance(item, dict) for item in value.values()):
        return _table([{"": name} | item for name, item in value.items()])
    return {"columns": [], "rows": [[_words(name), _text(item)] for name, item in value.items()]}


def _of_list(value: list[Any]) -> dict[str, Any]:
    if all(isinstance(item, dict) for item in value):
        return _table(value)
    return {"columns": [], "rows": [[_text(item)] for item in value]}


def _table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return {
        "columns": [_words(name) for name in columns],
        "rows": [[_text(row.get(name, "")) for name in columns] for row in rows],
    }


def _words(name: str) -> str:
    return name.replace("_", " ")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{_words(str(name))} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return str(value)
