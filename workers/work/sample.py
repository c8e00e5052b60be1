"""Generating: shards of an output and previews, with the model kept loaded for the next request."""

import hashlib
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path, PurePosixPath
from shutil import rmtree
from typing import Any

from service.errors import Rejected
from service.storage.objects import Missing
from workers.modalities import Given, Sampler, modality
from workers.work.bench import Bench

DISCRIMINATOR = "discriminator.safetensors"
FOR_PEOPLE = ("report.json", "report.html", "neighbours.png", "film.webp")  # of a model's files, beside samples.*


class Samplers:
    """Holds the last model that was asked for, and the last file of given samples: a job's shards follow each other."""

    def __init__(self) -> None:
        self._prefix: str | None = None
        self._sampler: Sampler | None = None
        self._given: str | None = None

    def of(self, payload: dict[str, Any], bench: Bench) -> Sampler:
        prefix, judge = payload["model"]["prefix"], bench.scratch / "model" / DISCRIMINATOR
        if self._sampler is None or self._prefix != prefix:
            self._prefix, self._sampler = None, None  # the old one's memory goes before the new one comes
            start = time.monotonic()
            folder = bench.scratch / "model"
            rmtree(folder, ignore_errors=True)
            folder.mkdir()
            download(bench, prefix, folder, without=(DISCRIMINATOR,))
            self._sampler = modality(payload["modality"]).sampler(folder, bench.torch_device())
            self._prefix = prefix
            bench.line.event(f"The model was loaded in {time.monotonic() - start:.1f} s.")
        if payload.get("given") and not judge.exists():  # what is given may have to be told from what is made of it
            with suppress(Missing):
                bench.store.get_file(prefix + DISCRIMINATOR, judge)
        return self._sampler

    def given(self, payload: dict[str, Any], bench: Bench) -> Given | None:
        """The samples to complete, where the job has any; other jobs let go of those that are held. Raises Rejected."""
        wanted, path = payload.get("given"), bench.scratch / "given"
        if self._given is not None and (not wanted or self._given != wanted["key"]):
            self._given = None
            path.unlink(missing_ok=True)
        if not wanted:
            return None
        if self._given is None or not path.exists():
            try:
                bench.store.get_file(wanted["key"], path)
            except Missing as error:
                raise Rejected("given_missing", "The dataset of given rows is not in the bucket any more.") from error
            self._given = wanted["key"]
        bench.line.check()
        return Given(path, wanted["options"], wanted["copies"])


def download(bench: Bench, prefix: str, folder: Path, without: Collection[str] = ()) -> None:
    """A model's files that it takes to draw, or to judge. Raises Rejected."""
    keys = list(bench.store.keys(prefix))
    if not keys:
        raise Rejected("gone", "The model's files are not there any more.")
    for key in keys:
        name = PurePosixPath(key).name
        if name not in (*FOR_PEOPLE, *without) and not name.startswith("samples."):
            bench.store.get_file(key, folder / name)


def generate(payload: dict[str, Any], bench: Bench, samplers: Samplers) -> dict[str, Any]:
    """One shard: samples start .. start+count-1 of the seed's stream, one object."""
    sampler = samplers.of(payload, bench)
    bench.line.check()
    with bench.folder() as folder:
        path = folder / PurePosixPath(payload["key"]).name
        rows = sampler.write(
            path,
            payload["start"],
            payload["count"],
            payload["seed"],
            payload["format"],
            payload["conditions"],
            bench.line.progress,
            samplers.given(payload, bench),
            payload.get("options"),
        )
        size, sha256 = bench.store.put_file(payload["key"], path)
    return {"key": payload["key"], "rows": rows, "bytes": size, "sha256": sha256}


def preview(payload: dict[str, Any], bench: Bench, samplers: Samplers) -> dict[str, Any]:
    """A few fresh samples, as the modality shows them."""
    body = samplers.of(payload, bench).preview(payload["count"], payload["seed"])
    bench.store.put(payload["key"], body)
    sha256 = hashlib.sha256(body).hexdigest()
    return {"key": payload["key"], "rows": payload["count"], "bytes": len(body), "sha256": sha256}
