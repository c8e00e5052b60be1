"""What all commands share: the options --json and --data-dir, output for people and for programs, exit statuses."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from mintage.address import default_data_dir
from mintage.client import Mintage
from mintage.errors import ApiError, JobFailed, MintageError
from mintage.results import Job
from mintage.waiting import wait

WIDTH_IN_PIPES = 160  # of tables that no terminal limits


@dataclass
class State:
    json: bool = False
    data_dir: Path | None = None


def state(ctx: typer.Context) -> State:
    found: State = ctx.find_root().ensure_object(State)
    return found


def _note_json(ctx: typer.Context, value: bool) -> bool:
    state(ctx).json |= value
    return value


def _note_data_dir(ctx: typer.Context, value: Path | None) -> Path | None:
    state(ctx).data_dir = value or state(ctx).data_dir
    return value


Json = Annotated[
    bool,
    typer.Option("--json", help="Print the API's own object on one last line.", callback=_note_json, is_eager=True),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where the local stack keeps everything.", callback=_note_data_dir, is_eager=True),
]


def group(name: str, help: str) -> typer.Typer:
    """A group of commands; it takes --json and --data-dir itself, so that they work in any place."""
    made = typer.Typer(name=name, help=help, no_args_is_help=True)

    @made.callback()
    def options(json: Json = False, data_dir: DataDir = None) -> None: ...

    return made


def connect(ctx: typer.Context) -> Mintage:
    return Mintage(data_dir=state(ctx).data_dir)


def data_dir(ctx: typer.Context) -> Path:
    return state(ctx).data_dir or default_data_dir()


def out() -> Console:
    width = None if sys.stdout.isatty() else WIDTH_IN_PIPES
    return Console(highlight=False, width=width, soft_wrap=not sys.stdout.isatty())


def say(text: str) -> None:
    """A line about what goes on; on stderr, so that stdout holds results alone."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text)


def put(ctx: typer.Context, value: Any, table: RenderableType) -> None:
    """The answer: as JSON on one line, or for people."""
    if state(ctx).json:
        put_json(value)
    else:
        out().print(table)


def put_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str | None = None) -> Table:
    made = Table(title=title, box=None, header_style="bold", pad_edge=False, title_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, no_wrap=number == 0, overflow="fold")
    for row in rows:
        made.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    return made


def finished(ctx: typer.Context, job: Job, made: Callable[[], Any] | None = None) -> Job:
    """The job when it has succeeded, with a live bar; Ctrl-C leaves it running. A failed job ends the program, with
    --json after what `made` gives, or the job."""
    try:
        return wait(job, progress=not job.ended and (not state(ctx).json or sys.stderr.isatty()))
    except JobFailed as error:
        if state(ctx).json:
            put_json(made() if made else job.refresh().raw)
        fail(error)
    except KeyboardInterrupt:
        say(
            f"\n{job.id} goes on without you.\n"
            f"  watch it:   mintage jobs watch {job.id}\n"
            f"  cancel it:  mintage jobs cancel {job.id}"
        )
        raise typer.Exit(130) from None


def fail(error: MintageError) -> NoReturn:
    """Say what went wrong on stderr, with its code, and end with status 1."""
    hint = f" [dim]\\[{escape(error.code)}][/dim]"
    lines = [f"[bold red]Error:[/bold red] {escape(str(error))}{hint}"]
    if isinstance(error, ApiError) and error.request_id and error.status >= 500:
        lines.append(f"[dim]request {escape(error.request_id)}[/dim]")
    say("\n".join(lines))
    raise typer.Exit(1)


@contextmanager
def refusals(state: State) -> Iterator[None]:
    """Every error of the client as a sentence and exit status 1; with --json, the problem as an object as well."""
    try:
        yield
    except MintageError as error:
        if state.json and isinstance(error, ApiError):
            put_json(
                {
                    "status": error.status, "code": error.code, "detail": error.detail,
                    "request_id": error.request_id, "errors": error.errors,
                }
            )  # fmt: skip
        fail(error)


def pairs(given: Iterable[str], option: str) -> dict[str, str]:
    """NAME=VALUE, as often as it is given. Raises BadParameter: wrong usage, exit status 2."""
    found: dict[str, str] = {}
    for one in given:
        name, sign, value = one.partition("=")
        if not sign or not name:
            raise typer.BadParameter(f"{one!r} is not of the form NAME=VALUE", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=option)
        found[name] = value
    return found


def settings(given: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """KEY=VALUE: numbers, true, false, null and JSON as such, anything else as text."""

    def read(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return {name: read(value) for name, value in pairs(given, option).items()}


def nested(given: Iterable[str], option: str) -> dict[str, Any]:
    """Values as `settings` reads them; a dot in a key leads into an object: edit.direction=3. Raises BadParameter."""
    found: dict[str, Any] = {}
    for key, value in settings(given, option).items():
        *path, last = key.split(".")
        inner = found
        for part in path:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise typer.BadParameter(f"{part!r} is given a value, so {key!r} cannot be in it", param_hint=option)
        if not all([*path, last]) or last in inner:
            raise typer.BadParameter(f"{key!r} is no name, or is given twice", param_hint=option)
        inner[last] = value
    return found


def age(moment: str | None) -> str:
    """How long ago, as people say it."""
    if not moment:
        return ""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    except ValueError:
        return moment
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0, seconds):.0f} s ago"


def size(count: int) -> str:
    """Bytes as people say them."""
    value, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:,.0f} {units[0]}" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


def number(value: object) -> str:
    """A count with thousands marked, a figure with three places."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def entries(values: Mapping[str, object]) -> Table:
    """Names and values, one a line."""
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in values.items():
        if value not in (None, "", [], {}, ()):
            made.add_row(name, escape(number(value)))
    return made
