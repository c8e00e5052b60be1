"""The card of an output: what lies beside it, of which model it is, how far it may be trusted, and how to read it.

Its times are those of the manifest, so that whoever ends the job writes the same bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.domain import croissant, figures, markdown
from service.domain.model_card import HASH_IS, KINDS, LIMITS, NOT_FOR, USES, origin

CARD = "card.md"
MARKDOWN = "text/markdown; charset=utf-8"
FILES_SHOWN, COLUMNS_SHOWN, ASKED_SHOWN = 20, 200, 2_000
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LARGER = ((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))
REAL = "**Real rows are in these files.** They may be passed on only where the training data may be."
READERS = {
    "parquet": 'datasets.load_dataset("parquet", data_files="{pattern}")',
    "csv": 'datasets.load_dataset("csv", data_files="{pattern}")',
    "jsonl": 'datasets.load_dataset("json", data_files="{pattern}")',
    "webdataset": 'datasets.load_dataset("webdataset", data_files="{pattern}")',
}


@dataclass(frozen=True)
class Made:
    """The model that an output is of, as far as it is still known."""

    name: str
    modality: str
    schema: Mapping[str, Any]
    report: Mapping[str, Any]

    @property
    def provenance(self) -> Mapping[str, Any]:
        told: Mapping[str, Any] = self.report.get("provenance") or {}
        return told

    @property
    def license(self) -> str | None:
        told: str | None = self.provenance.get("license")
        return told


def title(manifest: Mapping[str, Any], made: Made) -> str:
    if "scored" in manifest:
        return f"Scores by the model {made.name}"
    return f"{made.name}, augmented" if "augmented" in manifest else f"{made.name}, synthetic"


def description(manifest: Mapping[str, Any], made: Made) -> str:
    """A sentence or two: what the samples are."""
    count, by = f"{manifest['count']:,}", f"the model {made.name} ({manifest['model_id']}), which Mintage trained"
    told = manifest.get("augmented") or {}
    if "scored" in manifest:
        return f"How real each of {count} samples looks to {by}. No synthetic data."
    if "augmented" in manifest:
        return (
            f"{told.get('real_rows', 0):,} real rows and {told.get('synthetic_rows', 0):,} synthetic ones by {by};"
            f" the column {told.get('flag')} says which is which."
        )
    if "given" in manifest:
        return f"{count} samples, what was given of each completed by {by}. What was given may be real."
    return f"{count} synthetic samples by {by}. None is a record of a real person or thing."


def data_card(manifest: Mapping[str, Any], made: Made) -> bytes:
    """Markdown, with the front matter of a dataset on a model hub."""
    names = [file["name"] for file in manifest["files"]]
    pattern = f"part-*.{names[0].rpartition('.')[2]}" if names else "part-*"
    kind = KINDS.get(made.modality, made.modality)
    front = {
        **markdown.license_tags(made.license),
        "pretty_name": title(manifest, made),
        "size_categories": [size(manifest["count"])],
        "tags": [*([] if "scored" in manifest else ["synthetic-data"]), "mintage", kind],
        "configs": [{"config_name": "default", "data_files": pattern}] if manifest["format"] in READERS else None,
    }
    real = REAL if "augmented" in manifest else None
    told = manifest.get("augmented") or manifest.get("scored") or {}
    sections: dict[str, list[str | None]] = {
        "": [markdown.plain(description(manifest, made), 1_000), real],
        "Verdict": [
            *([markdown.plain(told["verdict"], 1_000)] if isinstance(told.get("verdict"), str) else []),
            "Of the model's report:",
            figures.verdicts(made.report) or "It gives no verdict.",
        ],
        "Figures": [figures.figures(made.report)],
        "Privacy": [markdown.bullets(figures.privacy(made.report)), real],
        "Intended use": [markdown.bullets(USES), "Not for:", markdown.bullets(NOT_FOR)],
        "Limits": [markdown.bullets([LIMITS, *figures.warnings(made.report)])],
        "Provenance": [
            _made(manifest),
            _asked(manifest),
            origin(made.provenance) if made.provenance else "What the model was trained on was not noted.",
            HASH_IS if made.provenance.get("training_data_sha256") else None,
        ],
        "Licence": [markdown.license_sentence(made.license)],
        "Columns": [_columns(made.schema) if "scored" not in manifest else None],
        "Files": [_files(manifest), _reading(manifest["format"], pattern)],
    }
    return markdown.page(front, markdown.plain(title(manifest, made)), sections)


def size(count: int) -> str:
    """In the classes of model hubs."""
    return next((word for below, word in (*SIZES, *LARGER) if count < below), "n>1B")


def _made(manifest: Mapping[str, Any]) -> str:
    rows = [(word.replace("_", " "), manifest.get(word)) for word in ("model_id", "job_id", "seed", "created_at")]
    return markdown.table(("output", ""), [*rows, ("samples", manifest["count"]), ("format", manifest["format"])])


def _asked(manifest: Mapping[str, Any]) -> str | None:
    """What was asked for beside the count, unless it is too long for people."""
    asked = {name: manifest[name] for name in ("conditions", "given", "copies", "options") if manifest.get(name)}
    if not asked:
        return None
    long = len(json.dumps(asked)) > ASKED_SHOWN
    return "What was asked for is in `manifest.json`." if long else f"Asked for:\n\n{markdown.code(asked)}"


def _columns(schema: Mapping[str, Any]) -> str | None:
    columns = schema.get("columns") or []
    if not columns:
        return None
    rows = [(column["name"], column.get("type"), croissant.data_type(column)[3:]) for column in columns[:COLUMNS_SHOWN]]
    more = f"\n\nAnd {len(columns) - COLUMNS_SHOWN:,} more." if len(columns) > COLUMNS_SHOWN else ""
    return markdown.table(("column", "type", "written as"), rows) + more


def _files(manifest: Mapping[str, Any]) -> str:
    files = manifest["files"]
    rows = [(file["name"], file["rows"], file["bytes"], file["sha256"]) for file in files[:FILES_SHOWN]]
    more = f"\n\nAnd {len(files) - FILES_SHOWN:,} more; `manifest.json` has all." if len(files) > FILES_SHOWN else ""
    return markdown.table(("file", "samples", "bytes", "SHA-256"), rows) + more


def _reading(format: str, pattern: str) -> str | None:
    """How to read the files in Python."""
    if format not in READERS:
        return None
    return f"```python\n{READERS[format].format(pattern=pattern)}\n```"
