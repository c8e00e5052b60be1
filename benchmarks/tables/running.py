"""One run: a model's program on one split of one set, timed from outside, then the judge; one line of JSON."""

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from benchmarks.tables import environments
from benchmarks.tables.sets import SETS, found, split

ROOT = Path(__file__).parents[2]
JUDGE = ROOT / "benchmarks" / "judge_table.py"
PROGRAMS = {
    "mintage": ("own", "own"),
    "ctgan": ("ctgan", "ctgan_tvae"),
    "tvae": ("ctgan", "ctgan_tvae"),
    "tabularargn": ("engine", "tabularargn"),
    "independent": ("own", "baselines"),
    "real": ("own", "baselines"),
}  # the environment and the file of models/ for what stands before the colon in a model's name
SLOW = ("ctgan", "tvae")  # what --cap-seconds stops: whole epochs by the hundred, of a known and even cost


class Failed(Exception):
    """A program ended badly; the end of what it said."""


@dataclass(frozen=True)
class Run:
    set: str
    model: str
    seed: int
    cap: float | None = None  # CPU seconds

    @property
    def key(self) -> tuple[str, str, int, float | None]:
        return self.set, self.model, self.seed, self.cap


@dataclass(frozen=True)
class Desk:
    """Where and how everything runs."""

    cache: Path
    data: Path | None
    threads: int
    limit: float  # wall seconds of one program

    def source(self, file: str) -> Path:
        """The set's Parquet file, fetched where it is not there yet."""
        for folder in (self.data, self.cache / "data"):
            if folder is not None and (path := found(file, folder)):
                return path
        fetch = [environments.python("judge", self.cache), "-m", "benchmarks.tables.fetch", file]
        subprocess.run([*fetch, str(self.cache / "data")], check=True, cwd=ROOT)
        return self.cache / "data" / f"{file}.parquet"


def execute(run: Run, desk: Desk) -> dict[str, Any]:
    """The line of this run. Raises Failed."""
    with TemporaryDirectory(prefix="mintage-bench-") as name:
        folder = Path(name)
        rows, held, columns = split(run.set, desk.source(SETS[run.set].file), folder)
        kind = run.model.split(":")[0]
        where, program = PROGRAMS[kind]
        command = [environments.python(where, desk.cache), "-m", f"benchmarks.tables.models.{program}"]
        command += ["--folder", name, "--model", run.model, "--rows", str(rows), "--seed", str(run.seed)]
        command += ["--cap", str(run.cap)] if run.cap else []
        usage = measured(command, folder / "training.log", desk.threads, desk.limit)
        without_metadata(folder / "synthetic.parquet")
        verdict = judged(run.set, folder, desk)
        cost: dict[str, Any] = json.loads((folder / "cost.json").read_text())
        made_bytes = (folder / "synthetic.parquet").stat().st_size
    cost["cpu_seconds"]["process"], cost["wall_seconds"]["process"] = usage.cpu, usage.wall
    about = {"set": run.set, "model": run.model, "seed": run.seed, "cap": run.cap}
    shape = {"rows": rows, "holdout": held, "columns": columns, "bytes": made_bytes, "peak_mib": usage.peak_mib}
    return about | shape | cost | {"judge": verdict} | circumstances(desk)


@dataclass(frozen=True)
class Usage:
    cpu: float
    wall: float
    peak_mib: float  # of the largest process


def measured(command: list[str], log: Path, threads: int, limit: float) -> Usage:
    """Run to the end, in a process group of its own that ends with us. Raises Failed."""
    start = time.monotonic()
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=surroundings(threads), stdout=out, stderr=out,
                                   start_new_session=True)  # fmt: skip
        with ended(process), alarm(process, limit) as late:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        why = f"stopped after {limit:.0f} s" if late else f"exit status {process.returncode}"
        raise Failed(f"{log.stem} {why}: {log.read_text(errors='replace')[-2000:]}")
    wall = time.monotonic() - start
    return Usage(round(usage.ru_utime + usage.ru_stime, 2), round(wall, 2), round(usage.ru_maxrss / 1024, 1))


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Whatever ends us ends the program and what it started, too."""
    try:
        yield
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def alarm(process: "subprocess.Popen[bytes]", seconds: float) -> Iterator[list[bool]]:
    """Ends the program after that time; the list is empty until then."""
    late: list[bool] = []

    def end() -> None:
        late.append(True)
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def surroundings(threads: int) -> dict[str, str]:
    """The environment of every program: as many threads as said, and no GPU, since CPU seconds are counted."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    offline = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **dict.fromkeys(names, str(threads)), **offline}


def without_metadata(path: Path) -> None:
    """pandas would bring its own extension types back from the notes that it leaves there."""
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)


def judged(name: str, folder: Path, desk: Desk) -> dict[str, Any]:
    asked = SETS[name]
    command = [environments.python("judge", desk.cache), str(JUDGE), "--target", asked.target]
    command += ["--threshold", str(asked.threshold)] if asked.threshold is not None else []
    command += [str(folder / f"{part}.parquet") for part in ("train", "holdout", "synthetic")]
    command += ["--out", str(folder / "verdict.json")]
    measured(command, folder / "judge.log", desk.threads, desk.limit)
    verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    return verdict


def circumstances(desk: Desk) -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    machine = f"{cpu()}, {os.cpu_count()} vCPUs, load {os.getloadavg()[0]:.1f}"
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {"threads": desk.threads, "machine": machine, "commit": commit.stdout.strip(), "when": when}


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


# -- the file of results ------------------------------------------------------------------------------------------


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def run_all(runs: list[Run], out: Path, desk: Desk) -> None:
    """Those that are not in the file yet, one after the other, each appended as soon as it is judged."""
    out.parent.mkdir(parents=True, exist_ok=True)
    done = {(line["set"], line["model"], line["seed"], line["cap"]) for line in lines(out)}
    for run in runs:
        if run.key in done:
            continue
        print(f"{datetime.now():%H:%M:%S} {run.model} on {run.set}, seed {run.seed}", file=sys.stderr, flush=True)
        try:
            line = execute(run, desk)
        except Failed as failed:
            print(f"failed: {failed}", file=sys.stderr, flush=True)
            continue
        with out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        verdict, cost = line["judge"], line["cpu_seconds"]
        print(f"  c2st_auc {verdict['c2st_auc']:.4f}, {cost['train']:.0f} CPU s", file=sys.stderr, flush=True)
