"""Puts an output's cards beside its files: for people, and for programs that know Croissant.

Their bytes follow from rows that do not change any more, so it does not matter who writes them, nor how often."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from service.bootstrap import Context
from service.db.tables import Job, Model
from service.domain import croissant, data_card
from service.domain.data_card import Made

NAMES = (data_card.CARD, croissant.NAME)


def prefix(job: Job) -> str:
    """Where the output's manifest and cards are."""
    return f"projects/{job.project_id}/outputs/{job.id}/"


def keys(job: Job) -> set[str]:
    return {prefix(job) + name for name in NAMES}


def of(model: Model | None) -> Made:
    """What cards tell of the model."""
    if model is None:
        return Made("unknown", "", {}, {})
    return Made(model.name, model.modality, model.schema or {}, model.report or {})


def put(context: Context, job: Job, made: Made, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Write both; returns how the manifest names them: [{"name", "key", "bytes", "sha256"}]."""
    told = data_card.description(manifest, made)
    metadata = croissant.metadata(manifest, made.schema, data_card.title(manifest, made), told, made.license)
    written = (
        (data_card.CARD, data_card.data_card(manifest, made), data_card.MARKDOWN),
        (croissant.NAME, metadata, croissant.JSON_LD),
    )
    cards = []
    for name, body, content_type in written:
        key = prefix(job) + name
        context.storage.put(key, body, content_type)
        cards.append({"name": name, "key": key, "bytes": len(body), "sha256": sha256(body).hexdigest()})
    return cards
