"""`mintage models`: list, show, report, delete."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.markup import escape

from mintage.cli.common import DataDir, Json, age, connect, entries, group, put, put_json, state, table
from mintage.cli.reports import gate_failed, headline

app = group("models", "Trained generators: list them, read how good and how private they are.")
Id = Annotated[str, typer.Argument(metavar="MODEL", help="Its id: mdl_...")]


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """The newest models."""
    with connect(ctx) as client:
        found = list(client.models.list(limit))
    rows = [(m.id, m.name, m.status, m.modality, m.config.get("preset"), age(m.created_at)) for m in found]
    nothing = "No models yet: mintage train DATASET"
    answer = table(("id", "name", "status", "modality", "preset", "made"), rows) if rows else nothing
    put(ctx, {"data": [m.raw for m in found]}, answer)


@app.command()
def show(ctx: typer.Context, model: Id, json: Json = False, data_dir: DataDir = None) -> None:
    """One model."""
    with connect(ctx) as client:
        found = client.models.get(model)
    config = ", ".join(f"{key}={value}" for key, value in found.config.items() if value is not None)
    shown = entries(
        {
            "id": found.id, "name": found.name, "status": found.status, "modality": found.modality,
            "dataset": found.dataset_id, "job": found.job_id, "settings": config, "made": age(found.created_at),
        }
    )  # fmt: skip
    put(ctx, found.raw, Group(shown, gate_failed(found.gate)))


@app.command()
def report(
    ctx: typer.Context,
    model: Id,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Save the report as a page.")] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """How good and how private a model's samples are."""
    with connect(ctx) as client:
        found = client.models.report(model)
        if html is not None:
            html.write_text(client.models.report_html(model), encoding="utf-8")
    if state(ctx).json:
        put_json(found)
        return
    put(ctx, found, headline(found))
    if html is not None:
        put(ctx, found, f"\nThe page: {escape(str(html))}")


@app.command()
def delete(ctx: typer.Context, model: Id, json: Json = False, data_dir: DataDir = None) -> None:
    """Delete a model and its files."""
    with connect(ctx) as client:
        client.models.delete(model)
    put(ctx, {"id": model, "deleted": True}, f"{escape(model)} is deleted.")
