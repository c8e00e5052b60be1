"""Reading an upload: bucket to local file, the modality that it is of, parts back to the bucket."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.errors import Rejected
from service.modalities import MODALITIES, spec, specs
from service.storage.objects import Missing, ObjectStore
from service.usecases.invalid import from_validation
from workers.modalities import Split, modality
from workers.work.bench import Bench

HEAD = 512  # bytes by which a modality recognises its uploads
SEED = 0  # of the split into train and holdout: the same upload gives the same parts


class Sink:
    """Uploads each part as soon as it is written, so that the disk holds one at a time."""

    def __init__(self, store: ObjectStore, prefix: str, folder: Path) -> None:
        self.parts: list[dict[str, Any]] = []
        self._store, self._prefix, self._folder = store, prefix, folder
        self._opened = 0

    @contextmanager
    def part(self, split: Split, suffix: str) -> Iterator[Path]:
        name = f"part-{self._opened:05d}{suffix}"
        self._opened += 1
        path = self._folder / name
        try:
            yield path
            size, sha256 = self._store.put_file(self._prefix + name, path)
            described = {"key": self._prefix + name, "rows": rows_in(path), "split": split}
            self.parts.append(described | {"bytes": size, "sha256": sha256})
        finally:
            path.unlink(missing_ok=True)


def rows_in(path: Path) -> int:
    """How many samples a part holds, from its header."""
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return int(pyarrow.parquet.read_metadata(path).num_rows)
    import safetensors

    with safetensors.safe_open(path, framework="numpy") as file:
        return max(int(file.get_slice(name).get_shape()[0]) for name in file.keys())  # noqa: SIM118


def ingest(payload: dict[str, Any], bench: Bench) -> dict[str, Any]:
    """Raises Rejected for what the user can get wrong."""
    resource.setrlimit(resource.RLIMIT_AS, (bench.memory_bytes, bench.memory_bytes))
    source = payload["source"]
    with bench.folder() as folder:
        upload = folder / "upload"
        try:
            bench.store.get_file(source["key"], upload)
        except Missing as error:
            raise Rejected("upload_missing", "The upload is not in the bucket any more; send it again.") from error
        bench.line.check()
        name = payload["modality"] or recognised(upload, source["filename"])
        if name not in MODALITIES:
            raise Rejected("unknown_modality", f"There is no modality {name!r} here.")
        refuse_options(name, payload["options"])
        sink = Sink(bench.store, payload["prefix"], folder)
        found = modality(name).ingest(upload, source["filename"], payload["options"], SEED, sink, bench.line.progress)
    return {
        "modality": name,
        "rows": found.rows,
        "schema": dict(found.schema),
        "profile": dict(found.profile),
        "warnings": list(found.warnings),
        "parts": sorted(sink.parts, key=lambda part: str(part["key"])),
    }


def refuse_options(name: str, options: dict[str, Any]) -> None:
    """Raises Rejected for options that were accepted while nobody knew of which modality the upload would be."""
    try:
        spec(name).dataset_options.model_validate(options)
    except ValidationError as error:
        detail = from_validation(error, "options").detail
        raise Rejected("invalid_options", f"The upload was read as {spec(name).title.lower()}. {detail}") from None


def recognised(upload: Path, filename: str) -> str:
    """The modality that knows such a file by its first bytes. Raises Rejected."""
    with upload.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise Rejected("empty_file", "The file is empty.")
    able = [name for name in MODALITIES if spec(name).recognises(head, filename)]
    if able:
        inside = [name for name in able if (look := spec(name).looks_inside) is not None and look(upload)]
        return (inside or able)[0]
    known = "; ".join(f"{one.title.lower()} ({', '.join(one.extensions[:8])})" for one in specs())
    raise Rejected("unsupported_format", f"This file is of no kind that can be read here: {known}.")
