"""`mintage datasets`: upload, list, show, delete."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mintage.cli.common import (
    DataDir,
    Json,
    age,
    connect,
    entries,
    finished,
    group,
    number,
    out,
    put,
    put_json,
    say,
    settings,
    size,
    state,
    table,
)  # fmt: skip
from mintage.results import Dataset

app = group("datasets", "Real data: upload it, look at what was found in it.")
Id = Annotated[str, typer.Argument(metavar="DATASET", help="Its id: ds_...")]


@app.command()
def upload(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON Lines or Parquet; zip or tar of images.")],
    name: Annotated[str | None, typer.Option(help="A name for people; the file's by default.")] = None,
    modality: Annotated[str | None, typer.Option(help="What is in it; found out by default.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the modality; repeatable.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once the bytes have arrived.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Upload a file and wait until it has been read."""
    options = settings(set_ or [])
    with connect(ctx) as client:
        made = client.datasets.upload(file, name, modality, options or None, wait=False, progress=True)
        if not no_wait:
            if made.job_id:
                finished(ctx, client.jobs.get(made.job_id), lambda: client.datasets.get(made.id).raw)
            made = client.datasets.wait(made.id)
        if state(ctx).json:
            put_json(made.raw)
            return
        _show(made)
        if made.status == "ready":
            say(f"\nNext: [bold]mintage train {made.id}[/bold]")


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """The newest datasets."""
    with connect(ctx) as client:
        found = list(client.datasets.list(limit))
    rows = [(d.id, d.name, d.status, d.modality, number(d.rows), size(d.bytes), age(d.created_at)) for d in found]
    put(
        ctx,
        {"data": [d.raw for d in found]},
        table(("id", "name", "status", "modality", "rows", "size", "made"), rows)
        if rows
        else "No datasets yet: mintage datasets upload FILE",
    )


@app.command()
def show(ctx: typer.Context, dataset: Id, json: Json = False, data_dir: DataDir = None) -> None:
    """What was found in a dataset."""
    with connect(ctx) as client:
        found = client.datasets.get(dataset)
    if state(ctx).json:
        put_json(found.raw)
    else:
        _show(found)


@app.command()
def delete(ctx: typer.Context, dataset: Id, json: Json = False, data_dir: DataDir = None) -> None:
    """Delete a dataset and its files; models trained on it stay."""
    with connect(ctx) as client:
        client.datasets.delete(dataset)
    put(ctx, {"id": dataset, "deleted": True}, f"{escape(dataset)} is deleted.")


def _show(dataset: Dataset) -> None:
    console = out()
    console.print(
        entries(
            {
                "id": dataset.id, "name": dataset.name, "status": dataset.status, "modality": dataset.modality,
                "rows": dataset.rows, "size": size(dataset.bytes), "made": age(dataset.created_at),
                "error": f"{dataset.error.message} [{dataset.error.code}]" if dataset.error else None,
            }
        )
    )  # fmt: skip
    schema = dataset.schema or {}
    if schema.get("columns"):
        console.print()
        console.print(table(("column", "type", "", "values"), [_column(column) for column in schema["columns"]]))
    elif schema.get("height"):
        classes = schema.get("classes") or []
        shape = f"{schema['width']} x {schema['height']}, {schema['channels']} channel(s)"
        console.print(entries({"images": shape, "labels": ", ".join(map(str, classes[:20])) or "none"}))
    for warning in dataset.warnings:
        text = warning.get("message", warning) if isinstance(warning, dict) else warning
        console.print(f"[yellow]![/yellow] {escape(str(text))}")


def _column(column: dict[str, Any]) -> tuple[str, str, str, str]:
    levels = column.get("levels") or []
    if levels:
        shown = ", ".join(map(str, levels[:4]))
        count = column.get("levels_count", len(levels))
        values = f"{shown}{f' and {count - 4:,} more' if count > 4 else ''}"
    elif column["type"] in ("integer", "float") and column.get("minimum") is not None:
        values = f"{column['minimum']} to {column['maximum']}"
    else:
        values = str(column.get("reason") or "")
    return str(column["name"]), str(column["type"]), "may be missing" if column.get("nullable") else "", values
