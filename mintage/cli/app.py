"""Puts the commands together and turns every error into a sentence and an exit status."""

import sys
from typing import Annotated

import typer

from mintage.cli import datasets, jobs, models, stack
from mintage.cli.common import DataDir, Json, State, refusals, say

HELP = """Turn a real dataset into synthetic training data.

Begin with 'mintage up', or see the whole road on real data with 'mintage demo'."""

app = typer.Typer(
    name="mintage", help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)  # fmt: skip


def _version(value: bool) -> None:
    if value:
        from mintage import __version__

        sys.stdout.write(f"mintage {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    json: Json = False,
    data_dir: DataDir = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None: ...


stack.add_to(app)
jobs.add_to(app)
app.add_typer(datasets.app)
app.add_typer(jobs.app)
app.add_typer(models.app)


def main() -> None:
    """Exit status 0; 1 for a failed job or a refused request; 2 for wrong usage; 130 after Ctrl-C."""
    state = State()
    try:
        with refusals(state):
            app(obj=state)
    except typer.Exit as ending:  # raised outside the app's own handling
        sys.exit(ending.exit_code)
    except KeyboardInterrupt:
        say("")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        say(f"[bold red]Error:[/bold red] {error.strerror or error}: {error.filename or ''}")
        sys.exit(1)
