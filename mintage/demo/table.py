"""The demo on a table: census records in, 10,000 synthetic ones out, side by side with the figures on their quality."""

import random
import shutil
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from mintage.cli.reports import headline
from mintage.demo.stage import Show, data_file, save_report, session

COUNT, SEED, SHOWN = 10_000, 7, 8
COLUMNS = {"age": "age", "education": "education", "occupation": "occupation", "sex": "sex",
           "hours_per_week": "hours", "income": "income"}  # fmt: skip
MOST_TELLING = ("age", "occupation", "income", "hours_per_week", "education", "sex")
NUMBERS = {"age", "hours_per_week"}
GAP = 4  # between the two halves
README = """# What `mintage demo` made

| file | what it is |
|---|---|
| synthetic.parquet | {count:,} synthetic census records, drawn from a GAN that was trained here on adult.parquet |
| report.html | how good and how private they are: open it in a browser |
| report.json | the same for programs |

Trained for {train:.0f} s (preset draft); {count:,} rows generated in {generate:.1f} s. The real data: Becker, B. &
Kohavi, R. (1996), Adult, UCI Machine Learning Repository, https://doi.org/10.24432/C5XW20, CC BY 4.0.
"""


def run(out: Path, show: Show) -> dict[str, Any]:
    real = data_file("adult.parquet")
    out.mkdir(parents=True, exist_ok=True)
    with session(show) as client:
        with show.stage("upload", "Uploading and reading adult.parquet") as said:
            dataset = client.datasets.upload(real)
            columns = (dataset.schema or {}).get("columns", [])
            said.append(f"Uploaded and read {real.name}: {dataset.rows:,} rows, {len(columns)} columns")
        with show.stage("train", "Training a GAN, preset draft") as said:
            trained = show.done(client.train(dataset, preset="draft", seed=SEED))
            said.append(f"Trained a GAN (preset draft, {trained.progress.steps or 0:,} steps)")
        with show.stage("generate", f"Generating {COUNT:,} rows") as said:
            job = client.generate(trained, COUNT, seed=SEED).wait()
            said.append(f"Generated {COUNT:,} rows")
        with show.stage("download", "Downloading") as said:
            synthetic = _download(job.download(out / ".download"), out)
            report = save_report(client, trained.model_id or "", out)
            said.append(f"Downloaded them, checksum verified: {synthetic}")
    text = README.format(count=COUNT, train=show.seconds["train"], generate=show.seconds["generate"])
    (out / "README.md").write_text(text, encoding="utf-8")
    _print(real, synthetic, report, out, show)
    return {"report": {name: report.get(name) for name in ("shape", "trend", "c2st_auc", "dcr_share")}}


def _download(paths: list[Path], out: Path) -> Path:
    target = out / "synthetic.parquet"
    paths[0].replace(target)
    shutil.rmtree(paths[0].parent)
    return target


def _print(real: Path, synthetic: Path, report: dict[str, Any], out: Path, show: Show) -> None:
    console = show.console
    left, right = _excerpt(real), _excerpt(synthetic)
    columns = _fitting(left + right, (console.width - GAP) // 2)
    both = Table.grid(padding=(0, GAP, 0, 0))
    both.add_row(_half("Real", left, columns), _half("Synthetic", right, columns))
    console.print()
    console.print(both)
    console.print()
    console.print(headline(report))
    show.farewell(out, ["synthetic.parquet", "report.html", "report.json", "README.md"], "your.csv")


def _excerpt(path: Path) -> list[dict[str, str]]:
    """A few rows drawn at random; pyarrow comes with what the local stack needs."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=list(COLUMNS))
    rows = table.take(sorted(random.Random(SEED).sample(range(table.num_rows), SHOWN))).to_pylist()  # noqa: S311
    return [{name: "missing" if row[name] is None else str(row[name]) for name in COLUMNS} for row in rows]


def _fitting(rows: list[dict[str, str]], width: int) -> dict[str, int]:
    """The columns that fit side by side, whole, into `width`, and how wide each is; the most telling ones first."""
    found: dict[str, int] = {}
    for name in MOST_TELLING:
        wide = max(len(COLUMNS[name]), *(len(row[name]) for row in rows))
        if not found or sum(found.values()) + len(found) + wide <= width:
            found[name] = wide
    return {name: found[name] for name in COLUMNS if name in found}


def _half(title: str, rows: list[dict[str, str]], columns: dict[str, int]) -> Table:
    made = Table(title=f"[bold]{title}[/bold]", box=None, title_justify="left", padding=(0, 1, 0, 0), pad_edge=False)
    for name, width in columns.items():
        justify: Literal["left", "right"] = "right" if name in NUMBERS else "left"
        made.add_column(COLUMNS[name], justify=justify, width=width, no_wrap=True, header_style="dim")
    for row in rows:
        made.add_row(*("[dim]missing[/dim]" if row[name] == "missing" else escape(row[name]) for name in columns))
    return made
