"""The card of a model: where it is from, what it is for, how good and how private it is, and what it cannot do.

It has no time and no id in it: the same data, config and seed make the same bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import Any

from service.domain import figures, markdown

CARD = "card.md"
KINDS = {"table": "tabular", "images": "image"}  # of data, in the words of model hubs; another modality has its own
USES = (
    "Making samples that stand in for the training data: to develop and test software, to teach, to share where the"
    " real data may not go, and to train models, best beside real data.",
    "Augmenting the data that it was trained on, and judging whether samples look like them.",
)
NOT_FOR = (
    "Decisions about real people or things: no sample is a record of one.",
    "Official figures and rare groups: what few training samples show, samples show less well or not at all.",
    "A last test: judge what was trained on samples by real data.",
)
LIMITS = "Samples repeat what the training data hold, their errors and biases with them."
HASH_LEFT_OUT = (
    "left out: with differential privacy, a hash of the training data would let anyone who knows all but one row test"
    " that row"
)
HASH_IS = (
    "The hash is SHA-256 over the SHA-256s of the dataset's training parts, in their order, each in hexadecimal on a"
    " line of its own: `sha256sum PARTS | cut -c -64 | sha256sum`."
)


@dataclass(frozen=True)
class Provenance:
    """What a model was made of. It stays with the model when the dataset has gone."""

    dataset: str | None  # its name
    license: str | None  # as stated for it
    rows: int
    rows_of_split: dict[str, int]
    training_data_sha256: str | None  # None where telling it would cost the privacy that was asked for
    mintage: str  # version

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def provenance(dataset: Mapping[str, Any], named: Mapping[str, Any], private: bool) -> Provenance:
    """Of a dataset as a training is told of it, and its name and licence."""
    splits: dict[str, int] = {}
    for part in dataset["parts"]:
        splits[part["split"]] = splits.get(part["split"], 0) + part["rows"]
    hashed = None if private else training_hash(dataset["parts"])
    return Provenance(
        named.get("name"), named.get("license"), dataset["rows"], splits, hashed, version("mintage")
    )  # fmt: skip


def training_hash(parts: Sequence[Mapping[str, Any]]) -> str:
    lines = "".join(f"{part['sha256']}\n" for part in parts if part["split"] == "train")
    return sha256(lines.encode()).hexdigest()


def origin(told: Mapping[str, Any]) -> str:
    """The table of where the training data are from, of a provenance as the report keeps it."""
    splits = told.get("rows_of_split") or {}
    rows = [
        ("dataset", told.get("dataset") or "not named"),
        ("samples", told.get("rows")),
        *((f"of these {split}", count) for split, count in sorted(splits.items(), reverse=True)),
        ("SHA-256 of the training data", told.get("training_data_sha256") or HASH_LEFT_OUT),
        ("Mintage", told.get("mintage")),
    ]
    return markdown.table(("training data", ""), rows)


def model_card(
    modality: str, config: Mapping[str, Any], report: Mapping[str, Any], told: Provenance, files: Sequence[str]
) -> bytes:
    """Markdown. `files` are the names of those beside the card."""
    dataset = markdown.plain(told.dataset or "a dataset")
    front = {
        **markdown.license_tags(told.license),
        "library_name": "mintage",
        "tags": ["synthetic-data", "gan", KINDS.get(modality, modality)],
    }
    early = report.get("stopped_early")
    sections: dict[str, list[str | None]] = {
        "": [
            f"A generator and discriminator that Mintage {markdown.plain(told.mintage)} trained on **{dataset}**"
            f" (modality: {markdown.plain(modality)}). It makes synthetic samples."
        ],
        "Verdict": [figures.verdicts(report) or "The report gives no verdict."],
        "Figures": [
            figures.figures(report),
            "`report.json` has all figures and how they were computed." if "report.json" in files else None,
        ],
        "Privacy": [markdown.bullets(figures.privacy(report))],
        "Intended use": [markdown.bullets(USES), "Not for:", markdown.bullets(NOT_FOR)],
        "Limits": [
            markdown.bullets(
                [
                    LIMITS,
                    *([markdown.plain(early["message"], 1_000)] if isinstance(early, Mapping) else []),
                    *figures.warnings(report),
                ]
            )
        ],
        "Provenance": [
            origin(told.to_json()),
            HASH_IS if told.training_data_sha256 else None,
            figures.used(report),
            "Config, with the seed; the same data, config and seed give the same model.",
            markdown.code(config),
        ],
        "Licence": [markdown.license_sentence(told.license)],
        "Files": [", ".join(f"`{name}`" for name in sorted(files)) + ": safetensors, JSON and pictures, no pickle."],
    }
    return markdown.page(front, f"{dataset}: a generator", sections)
