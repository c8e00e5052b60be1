"""`mintage train`, `generate`, `augment`, `score`, `usage`, `jobs`: start work, watch it, end it, fetch it."""

from collections.abc import Callable
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
    nested,
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
from mintage.cli.conditions import conditions as read_conditions
from mintage.cli.reports import gained, gate_failed, headline, scored
from mintage.cli.requirements import requirements
from mintage.client import Mintage
from mintage.results import Amount, Job

app = group("jobs", "Work in the queue: look at it, watch it, cancel it, retry it.")
Id = Annotated[str, typer.Argument(metavar="JOB", help="Its id: job_...")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return as soon as the job is in the queue.")]
Name = Annotated[str | None, typer.Option(help="A name for people.")]
Priority = Annotated[str | None, typer.Option(help="low, normal or high: whose work goes first; normal.")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same result.")]
Preset = Annotated[str | None, typer.Option(help="draft, standard or best: from minutes to hours.")]
Steps = Annotated[int | None, typer.Option(help="Training steps, instead of the preset's.")]
TimeLimit = Annotated[int | None, typer.Option(metavar="SECONDS", help="Stop training well within so long.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the modality's own; repeatable.")
]
Require = Annotated[
    list[str] | None,
    typer.Option(metavar="FIGURE<=NUMBER", help="Of the model's report, or 'FIGURE>=NUMBER'; repeatable."),
]
Override = Annotated[bool, typer.Option("--override-gate", help="Go on with a model that is not what was required.")]
Reason = Annotated[str | None, typer.Option(help="Why the gate is overridden; kept with the job.")]
Format = Annotated[str | None, typer.Option(help="Such as parquet, csv, jsonl; the modality's first.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Where the files go; ./JOB by default.")]


def add_to(app: typer.Typer) -> None:
    app.command()(train)
    app.command()(generate)
    app.command()(augment)
    app.command()(score)
    app.command()(usage)


def train(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The id of a dataset that is ready: ds_...")],
    preset: Preset = None,
    steps: Steps = None,
    seed: Seed = None,
    name: Name = None,
    priority: Priority = None,
    time_limit: TimeLimit = None,
    set_: Settings = None,
    require: Require = None,
    no_wait: NoWait = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Train a GAN on a dataset; gives a model."""
    config = settings(set_ or []) | ({"time_limit_seconds": time_limit} if time_limit is not None else {})
    bounds = requirements(require or [])
    with connect(ctx) as client:
        job = client.train(dataset, preset, steps, seed, name, priority, bounds, **config)
        if no_wait:
            put(ctx, job.raw, _queued(job))
            return
        job = finished(ctx, job)
        if state(ctx).json:
            put_json(job.raw)
            return
        out().print(f"Model [bold]{job.model_id}[/bold] is ready.\n")
        if job.stopped_early:
            out().print(f"[yellow]{escape(job.stopped_early.message)}[/yellow]\n")
        out().print(headline(client.models.report(job.model_id or "")))
        if bounds and (failed := gate_failed(client.models.get(job.model_id or "").gate)):
            out().print(failed)
        say(f"\nNext: [bold]mintage generate {job.model_id} --count 10000 --out synthetic[/bold]")


def generate(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The id of a model: mdl_...")],
    count: Annotated[
        int | None, typer.Option(help="How many samples; if absent, all that --complete gives or an --option says.")
    ] = None,
    format: Format = None,
    seed: Seed = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="What samples must meet; repeatable. Also 'age>=18', 'state in CA,NY', 'wind is missing', "
            "'income:share=yes:0.5,no:0.5'.",
        ),
    ] = None,
    conditions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More conditions: JSON, as the API takes them.")
    ] = None,
    complete: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Rows whose empty cells are made, or pictures to project: a file, or a dataset's id."
        ),
    ] = None,
    copies: Annotated[int | None, typer.Option(min=1, help="Completions of each row of --complete.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An option of the modality's own; repeatable. Of images 'truncation=0.7', 'edit.direction=3', "
            "'interpolate.seeds=[1,2]' and more.",
        ),
    ] = None,
    require: Require = None,
    override_gate: Override = False,
    reason: Reason = None,
    name: Name = None,
    priority: Priority = None,
    out: Out = None,
    no_wait: NoWait = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Generate samples from a model and download them."""
    if count is None and complete is None and not option:
        raise typer.BadParameter("say how many, or which rows to complete", param_hint="--count")
    options = nested(option or [], "--option")
    met = read_conditions(where or [], conditions)
    gate: dict[str, Any] = {"require": requirements(require or []), "override_gate": override_gate, "reason": reason}
    with connect(ctx) as client:
        given = _uploaded(ctx, client, complete) if complete else None
        job = client.generate(model, count, seed, format, met, name, given, copies, options, priority, **gate)
        if no_wait:
            put(ctx, job.raw, f"{_queued(job)}\nFetch it with: mintage jobs download {job.id}")
            return
        _download(ctx, finished(ctx, job), out)


def _uploaded(ctx: typer.Context, client: Mintage, rows: str) -> str:
    """The id of the dataset of rows to complete, which may be a file that has to be uploaded first."""
    if rows.startswith("ds_") and not Path(rows).exists():
        return rows
    return client.datasets.upload(Path(rows), progress=not state(ctx).json).id


def augment(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The id of a dataset that is ready: ds_...")],
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="Whose classes are balanced and scored.")] = None,
    model: Annotated[str | None, typer.Option(help="A model of this dataset; one is trained first if absent.")] = None,
    method: Annotated[str | None, typer.Option(help="balance (the default) or enlarge.")] = None,
    factor: Annotated[float | None, typer.Option(help="With enlarge: all rows to real ones; 2 if absent.")] = None,
    count: Annotated[int | None, typer.Option(help="Synthetic rows in all, instead.")] = None,
    format: Format = None,
    seed: Seed = None,
    preset: Preset = None,
    steps: Steps = None,
    time_limit: TimeLimit = None,
    set_: Settings = None,
    require: Require = None,
    override_gate: Override = False,
    reason: Reason = None,
    name: Name = None,
    priority: Priority = None,
    out: Out = None,
    no_wait: NoWait = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Add synthetic rows that balance or enlarge a dataset, and say what a classifier gains."""
    chosen = {"preset": preset, "steps": steps, "time_limit_seconds": time_limit}
    config = settings(set_ or []) | {key: value for key, value in chosen.items() if value is not None}
    wish: dict[str, Any] = {
        "target": target,
        "method": method,
        "factor": factor,
        "count": count,
        "seed": seed,
        "format": format,
    }
    wish |= {"priority": priority, "override_gate": override_gate, "reason": reason}
    wish |= {"require": requirements(require or [])}
    with connect(ctx) as client:
        job = client.augment(dataset, model=model, name=name, config=config, **wish)
        if no_wait:
            put(ctx, job.raw, f"{_queued(job)}\nFetch it with: mintage jobs download {job.id}")
            return
        _download(ctx, finished(ctx, job), out)


def score(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The id of the model that judges: mdl_...")],
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="What is judged: a file, or the id of a dataset.")],
    name: Name = None,
    priority: Priority = None,
    out: Out = None,
    no_wait: NoWait = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Judge rows or pictures one by one: real-looking or counterfeit."""
    with connect(ctx) as client:
        job = client.score(model, _uploaded(ctx, client, dataset), name=name, priority=priority)
        if no_wait:
            put(ctx, job.raw, f"{_queued(job)}\nFetch it with: mintage jobs download {job.id}")
            return
        _download(ctx, finished(ctx, job), out)


def usage(ctx: typer.Context, json: Json = False, data_dir: DataDir = None) -> None:
    """What the project has, and what it may have."""
    with connect(ctx) as client:
        found = client.usage()
    rows = [
        ("jobs that wait or run", number(found.jobs.used), _limit(found.jobs, number)),
        ("stored", size(found.bytes.used), _limit(found.bytes, size)),
        ("units on GPUs", number(found.gpu_units.used), _limit(found.gpu_units, number)),
    ]
    put(ctx, found.raw, table(("", "has", "may have"), rows))


def _limit(amount: Amount, shown: Callable[[int], str]) -> str:
    return "no limit" if amount.limit is None else shown(amount.limit)


@app.command("list")
def list_(
    ctx: typer.Context,
    kind: Annotated[str | None, typer.Option(help="ingest, train, generate, augment or score.")] = None,
    state: Annotated[str | None, typer.Option(help="queued, running, succeeded, failed or cancelled.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """The newest jobs."""
    with connect(ctx) as client:
        found = list(client.jobs.list(kind, state, limit))
    rows = [(j.id, j.kind, j.state, f"{_fraction(j):.0%}", j.name, _result(j), age(j.created_at)) for j in found]
    put(
        ctx,
        {"data": [j.raw for j in found]},
        table(("id", "kind", "state", "done", "name", "result", "made"), rows) if rows else "No jobs yet.",
    )


@app.command()
def show(ctx: typer.Context, job: Id, json: Json = False, data_dir: DataDir = None) -> None:
    """One job, and what has happened to it."""
    with connect(ctx) as client:
        found = client.jobs.get(job)
        if state(ctx).json:
            put_json(found.raw)
            return
        console = out()
        console.print(_entries(found))
        events = list(found.events())
    console.print()
    console.print(table(("when", "", "what happened"), [(e.at[11:19], e.level, e.message) for e in events[-20:]]))


@app.command()
def watch(ctx: typer.Context, job: Id, json: Json = False, data_dir: DataDir = None) -> None:
    """Follow a job to its end."""
    with connect(ctx) as client:
        found = finished(ctx, client.jobs.get(job))
    put(ctx, found.raw, f"{found.id} has succeeded. {_result(found)}".rstrip())


@app.command()
def cancel(ctx: typer.Context, job: Id, json: Json = False, data_dir: DataDir = None) -> None:
    """Ask a job to stop."""
    with connect(ctx) as client:
        found = client.jobs.cancel(job)
    done = found.state if found.ended else "being cancelled"
    put(ctx, found.raw, f"{found.id} is {done}.")


@app.command()
def retry(ctx: typer.Context, job: Id, no_wait: NoWait = False, json: Json = False, data_dir: DataDir = None) -> None:
    """Have a failed job go on from where it was."""
    with connect(ctx) as client:
        found = client.jobs.retry(job)
        if no_wait:
            put(ctx, found.raw, _queued(found))
            return
        found = finished(ctx, found)
    put(ctx, found.raw, f"{found.id} has succeeded. {_result(found)}".rstrip())


@app.command()
def delete(ctx: typer.Context, job: Id, json: Json = False, data_dir: DataDir = None) -> None:
    """Delete a job that has ended, and its output; a model that it made stays."""
    with connect(ctx) as client:
        client.jobs.delete(job)
    put(ctx, {"id": job, "deleted": True}, f"{escape(job)} is deleted.")


@app.command()
def download(ctx: typer.Context, job: Id, out: Out = None, json: Json = False, data_dir: DataDir = None) -> None:
    """Download what a finished job made; goes on where an earlier download broke off."""
    with connect(ctx) as client:
        _download(ctx, finished(ctx, client.jobs.get(job)), out)


def _download(ctx: typer.Context, job: Job, directory: Path | None) -> None:
    directory = directory or Path(job.id)
    paths = job.download(directory, progress=not state(ctx).json)
    if state(ctx).json:
        put_json(job.raw)
        return
    total = sum(path.stat().st_size for path in paths)
    rows = (job.result.get("output") or {}).get("rows")
    what = f"{number(rows)} samples" if rows is not None else "The output"
    if job.kind == "augment":
        what = (
            " and ".join(f"{number(job.result.get(f'{kind}_rows'))} {kind}" for kind in ("real", "synthetic")) + " rows"
        )
    files = str(paths[0]) if len(paths) == 1 else f"{len(paths)} files in {directory}"
    out().print(f"{what}, {size(total)}, checksums verified: [bold]{escape(files)}[/bold]")
    if job.kind == "augment":
        out().print(gained(job.result))
    if job.kind == "score":
        out().print(scored(job.result))


def _queued(job: Job) -> str:
    return f"{job.id} is in the queue. Watch it with: mintage jobs watch {job.id}"


def _fraction(job: Job) -> float:
    return 1.0 if job.state == "succeeded" else job.progress.fraction


def _result(job: Job) -> str:
    if job.error:
        return f"{job.error.message} [{job.error.code}]"
    output: dict[str, Any] = job.result.get("output") or {}
    if output:
        return f"{number(output.get('rows'))} samples"
    return str(job.result.get("model_id") or job.result.get("dataset_id") or "")


def _entries(job: Job) -> Any:
    spec = job.raw.get("spec") or {}
    chosen = {**spec, **(spec.get("config") or {})}
    return entries(
        {
            "id": job.id, "kind": job.kind, "state": job.state, "priority": job.priority, "name": job.name,
            "attempt": job.attempt, "done": f"{_fraction(job):.0%}",
            "dataset": job.dataset_id, "model": job.model_id, "result": _result(job),
            "settings": ", ".join(f"{key}={value}" for key, value in chosen.items() if value and key != "config"),
            "made": age(job.created_at), "started": age(job.started_at), "ended": age(job.finished_at),
        }
    )  # fmt: skip
