"""Augmenting: a dataset's parts and a model from the bucket, files of real and synthetic rows back to it, a score.

Each file that is written is noted in the bucket, so that another attempt goes on after it."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from service.modalities import spec
from service.storage.objects import Missing
from workers.modalities import Augmenter, augmenting
from workers.work import checked, sample
from workers.work.bench import Bench
from workers.work.train import download

WRITING = 0.8  # of the work, as progress counts it; the rest is the score


def augment(payload: dict[str, Any], attempt: int, bench: Bench) -> dict[str, Any]:
    """Raises Rejected, Stop."""
    with bench.folder() as folder:
        dataset = download(payload["dataset"], bench, folder)
        model = folder / "model"
        model.mkdir()
        sample.download(bench, payload["model"]["prefix"], model)
        bench.line.check()
        found = augmenting(payload["modality"]).augmenter(dataset, model, bench.torch_device(), payload["wish"])
        files = write(found, Notes(payload, attempt, bench), spec(payload["modality"]).shard_samples, folder)
        bench.line.event("The files are written; the score comes last.")
        told = found.judge(lambda done, total: bench.line.progress(WRITING * total + (1 - WRITING) * done, total))
    return {"files": files, "told": dict(told)}


class Notes:
    """The files that are written, as the bucket holds a list of them; and the bucket."""

    def __init__(self, payload: dict[str, Any], attempt: int, bench: Bench) -> None:
        self.payload, self.attempt, self.bench = payload, attempt, bench
        self.files: list[dict[str, Any]] = []
        if payload["checkpoint"]:
            try:
                self.files = self._read(payload["checkpoint"])
            except (Missing, ValueError):
                bench.line.event("The list of files could not be read; they are written again.", "warning")

    def _read(self, key: str) -> list[dict[str, Any]]:
        """Raises Missing; ValueError for a list that is not as it was written."""
        body = self.bench.store.get(key)
        if not checked.fits(key, checked.of_bytes(body)):
            raise ValueError(f"{key} is torn or altered")
        return list(json.loads(body))

    def add(self, path: Path, rows: int, total: int) -> None:
        key = self.key(len(self.files))
        size, sha256 = self.bench.store.put_file(key, path)
        self.files.append({"key": key, "rows": rows, "bytes": size, "sha256": sha256})
        body = json.dumps(self.files).encode()
        start = f"{self.payload['checkpoint_prefix']}a{self.attempt}-{len(self.files)}"
        note = checked.named(start, checked.of_bytes(body), "json")
        self.bench.store.put(note, body, "application/json")
        self.bench.line.send("checkpoint", key=note, step=total, seconds=None)

    def key(self, index: int) -> str:
        return str(self.payload["keys"].format(index=index))


def write(found: Augmenter, notes: Notes, size: int, folder: Path) -> list[dict[str, Any]]:
    """Every file that is not there yet, one at a time, each gone from the disk once it is in the bucket."""
    line = notes.bench.line
    for start in range(len(notes.files) * size, found.rows, size):
        count = min(size, found.rows - start)

        def far(done: float, total: float, start: int = start, count: int = count) -> None:
            line.check()
            rows = start + int(count * done / max(1, total))
            line.far(WRITING * rows / found.rows, step=rows, steps=found.rows, eta_seconds=None)

        path = folder / PurePosixPath(notes.key(len(notes.files))).name
        rows = found.write(path, start, count, notes.payload["format"], far)
        notes.add(path, rows, start + rows)
        path.unlink()
    return notes.files
