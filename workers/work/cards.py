"""The card of a trained model, and where the model is from: both go with the model's files, and say the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.domain.model_card import CARD, model_card, provenance
from workers.work.early import REPORT


def carded(
    report: Mapping[str, Any], payload: Mapping[str, Any], config: Mapping[str, Any], model: Path
) -> dict[str, Any]:
    """The report, which also says what the model was made of; the same in its copy among the model's files, and the
    card beside it. `config` has every default filled in."""
    private = config.get("privacy") is not None  # then the training data's hash would tell of single rows
    made = provenance(payload["dataset"], payload.get("named") or {}, private)
    more = {"provenance": made.to_json()}
    path = model / REPORT
    if path.exists():
        path.write_text(json.dumps({**json.loads(path.read_text()), **more}, indent=1))
    names = sorted([CARD, *(file.name for file in model.iterdir())])
    (model / CARD).write_bytes(model_card(payload["modality"], config, report, made, names))
    return {**report, **more}
