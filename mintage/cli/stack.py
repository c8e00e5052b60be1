"""`mintage up, down, status, doctor, demo`: the local stack from the command line."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from mintage.address import SERVER_FILE, Address
from mintage.cli.common import DataDir, Json, data_dir, out, put, put_json, say, state, table


def add_to(app: typer.Typer) -> None:
    for command in (up, down, status, doctor, demo):
        app.command()(command)


def up(
    ctx: typer.Context,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background; return when ready.")] = False,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Of the API; 8420 or a free one.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    json: Json = False,
    data_dir_: DataDir = None,
) -> None:
    """Start Mintage on this machine: API, workers, queue, bucket, database."""
    from mintage.stack import control

    root = data_dir(ctx)
    if detach:
        say("[dim]Starting Valkey, SeaweedFS, API and workers ...[/dim]")
        address, data = control.up_detached(root, port, workers)
        _ready(ctx, address, data.root, "Stop it with [bold]mintage down[/bold].")
        return

    def ready(address: Address, data: "object") -> None:
        _ready(ctx, address, root, "Ctrl-C stops it.")

    say("[dim]Starting Valkey, SeaweedFS, API and workers ...[/dim]")
    control.up(root, port, workers, lambda text: say(f"[dim]{escape(text)}[/dim]"), ready)


def _ready(ctx: typer.Context, address: Address, root: Path, ending: str) -> None:
    if state(ctx).json:
        put_json({"url": address.url, "api_key": address.api_key, "data_dir": str(root)})
        return
    console = out()
    console.print(
        f"\n[bold green]Mintage is ready.[/bold green] {ending}\n\n"
        f"  home       [bold]{address.url}[/bold]\n"
        f"  API        {address.url}/docs\n"
        f"  API key    {address.api_key}\n"
        f"             [dim](kept in {escape(str(root / SERVER_FILE))}, where commands and client find it)[/dim]\n\n"
        f"  next       [bold]mintage datasets upload your.csv[/bold]\n"
        f"  or         curl -H 'Authorization: Bearer {address.api_key}' {address.url}/v1/modalities\n"
    )
    sys.stdout.flush()


def down(ctx: typer.Context, json: Json = False, data_dir_: DataDir = None) -> None:
    """Stop the local stack. Its data stay."""
    from mintage.stack import control

    stopped = control.down(data_dir(ctx))
    text = f"Stopped {', '.join(stopped)}." if stopped else "Mintage was not running."
    put(ctx, {"stopped": stopped}, text)


def status(ctx: typer.Context, json: Json = False, data_dir_: DataDir = None) -> None:
    """What runs of the local stack, and where."""
    from mintage.stack import control

    found = control.status(data_dir(ctx))
    if state(ctx).json:
        put_json(found)
    elif not found["processes"]:
        out().print(f"Mintage is not running from {escape(found['data_dir'])}. Start it with: mintage up")
    else:
        rows = [(one["name"], one["state"], one["pid"], one["port"]) for one in found["processes"]]
        out().print(table(("process", "state", "pid", "port"), rows))
        out().print(f"\n{found['url'] or 'starting'}  [dim]data in {escape(found['data_dir'])}[/dim]")


def doctor(ctx: typer.Context, json: Json = False, data_dir_: DataDir = None) -> None:
    """Check this machine and the running stack, and say what to do about what is wrong."""
    from mintage.stack.doctor import examine

    found = list(examine(state(ctx).data_dir))
    if state(ctx).json:
        put_json({"checks": [vars(check) for check in found]})
    else:
        marks = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "wrong": "[bold red]wrong[/bold red]"}
        for check in found:
            gap = " " * (6 - len(check.state))
            out().print(f"{marks[check.state]}{gap}{check.name:<10} {escape(check.sentence)}")
    if any(check.state == "wrong" for check in found):
        raise typer.Exit(1)


def demo(
    ctx: typer.Context,
    what: Annotated[Literal["table", "images"], typer.Argument(help="Which of the two.")] = "table",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where all is saved; demo-output by default.")] = None,
    json: Json = False,
    data_dir_: DataDir = None,
) -> None:
    """The whole road on real data: start, upload, train, generate, download, judge, stop."""
    from mintage.demo import run

    result = run(what, out or Path("demo-output", *(["images"] if what == "images" else [])))
    if state(ctx).json:
        put_json(result)
