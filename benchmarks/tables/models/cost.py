"""What a model's program is told, and what its phases cost: CPU seconds of the whole process tree, and wall seconds."""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True, help="has train.parquet, gets synthetic.parquet")
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cap", type=float, help="CPU seconds after which training ends with what it has")
    return parser.parse_args()


def cpu_seconds(pid: int | None = None) -> float:
    """Of a process (this one), its living descendants, and those that they waited for."""
    total = 0.0
    for process in (own := psutil.Process(pid), *own.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:  # it ended just now
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


class Cost:
    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.wall: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        cpu, wall = cpu_seconds(), time.monotonic()
        yield
        self.cpu[name] = round(cpu_seconds() - cpu, 2)
        self.wall[name] = round(time.monotonic() - wall, 2)

    def write(self, folder: Path, packages: list[str], **notes: Any) -> None:
        versions = {package: version(package) for package in packages}
        told = {"cpu_seconds": self.cpu, "wall_seconds": self.wall, "versions": versions, "notes": notes}
        (folder / "cost.json").write_text(json.dumps(told))
