"""Scoring: an upload, a model and the dataset that it was trained on from the bucket; a file of scores back to it."""

from pathlib import Path, PurePosixPath
from typing import Any

from service.errors import Rejected
from service.storage.objects import Missing
from workers.modalities import Dataset
from workers.modalities.scoring import Upload, judged, scoring
from workers.work import sample
from workers.work.bench import Bench
from workers.work.train import download


def score(payload: dict[str, Any], bench: Bench) -> dict[str, Any]:
    """Raises Rejected, Stop. An attempt that is lost starts again: the file is written in one go."""
    with bench.folder() as folder:
        model, parts = folder / "model", folder / "parts"
        model.mkdir()
        parts.mkdir()
        sample.download(bench, payload["model"]["prefix"], model)
        reference = _reference(payload["reference"], bench, parts)
        source = payload["source"]
        upload = Upload(folder / "upload", source["options"], source["rows"], source["schema"])
        try:
            bench.store.get_file(source["key"], upload.path)
        except Missing as error:
            raise Rejected("upload_missing", "The upload of the samples is not in the bucket any more.") from error
        bench.line.check()
        scorer = scoring(payload["modality"]).scorer(reference, upload, model, bench.torch_device(), payload["seed"])
        path = folder / PurePosixPath(payload["key"]).name
        rows, told = judged(scorer, path, bench.line.progress)
        size, sha256 = bench.store.put_file(payload["key"], path)
    for sentence in told["warnings"]:
        bench.line.event(sentence, "warning")
    return {"files": [{"key": payload["key"], "rows": rows, "bytes": size, "sha256": sha256}], "told": told}


def _reference(dataset: dict[str, Any] | None, bench: Bench, folder: Path) -> Dataset | None:
    """None as well where the dataset was deleted or damaged meanwhile."""
    if dataset is None:
        return None
    try:
        return download(dataset, bench, folder)
    except Rejected:
        return None
