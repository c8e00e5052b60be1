"""A model's report as one self-contained page: whatever its modality put into it, as headings, tables and text."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.domain.views import ModelView

templates = Environment(loader=PackageLoader("service.api"), autoescape=True, undefined=StrictUndefined)
# Values in a report come from users' files: no script, no form, no request to anywhere, an origin of its own.
HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "Content-Disposition": "inline; filename=report.html",
}
LARGEST_PICTURE = 4 << 20  # bytes of one that the page holds; a larger one is among the model's files
WORD = 40  # characters, under which an item of a list is a name: many stand in a row
FIRST = ("verdict", "figures")  # what people look for; a database may keep a report's parts in any order
FILM = ".webp"
FIGURES, CEILING, MEANING, SHOWN = "figures", "ceiling", "meaning", "shown"


def render(model: ModelView, report: Mapping[str, Any], pictures: Sequence[tuple[str, bytes | None]] = ()) -> str:
    """`pictures` are (name, PNG or WebP, or None where it is too large to be part of a page)."""
    page = templates.get_template("report.html")
    ordered = sorted(report.items(), key=lambda part: FIRST.index(part[0]) if part[0] in FIRST else len(FIRST))
    rest = {name: value for name, value in ordered if name != SHOWN}
    return page.render(
        model=model,
        figures=_scalars(rest),
        pictures=_pictures(pictures, report.get(SHOWN) or {}),
        sections=_sections(_joined(rest)),
    )


def _pictures(pictures: Sequence[tuple[str, bytes | None]], captions: Mapping[str, str]) -> list[dict[str, str]]:
    """Each with what its model's report says about it: in the report's order, then the others, then films."""
    order = list(captions)

    def rank(one: tuple[str, bytes | None]) -> tuple[bool, int]:  # PostgreSQL keeps the shortest name first
        return one[0].endswith(FILM), order.index(one[0]) if one[0] in captions else len(order)

    ranked = sorted(pictures, key=rank)
    return [
        {"name": name, "caption": captions.get(name, name), "data": _data(name, body) if body else ""}
        for name, body in ranked
    ]


def _data(name: str, body: bytes) -> str:
    """A URL that holds the picture."""
    return f"data:image/{name.rpartition('.')[2]};base64,{b64encode(body).decode()}"


def _joined(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """Figures, what could be had at best and what each means stand in one table, where a report has all three."""
    parts = {name: report.get(name) for name in (FIGURES, CEILING, MEANING)}
    if not all(isinstance(part, dict) and part for part in parts.values()):
        return report
    figures, ceiling, meaning = (dict(parts[name] or {}) for name in (FIGURES, CEILING, MEANING))
    if any(isinstance(value, dict | list) for value in (*figures.values(), *ceiling.values(), *meaning.values())):
        return report
    rows = [
        {"": _words(name), "samples": value, "real": ceiling.get(name, ""), "meaning": meaning.get(name, "")}
        for name, value in figures.items()
    ]
    joined = {FIGURES: {row.pop(""): row for row in rows}}
    return {name: joined.get(name, value) for name, value in report.items() if name not in (CEILING, MEANING)}


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
    if all(isinstance(item, str) and len(item) < WORD for item in value):
        return {"columns": [], "rows": [[_text(value)]]}
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
