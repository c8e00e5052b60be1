"""Trainings that end before their last step, with the best that they had: what job, model and report say of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.engine.trainer import Trainer

REPORT = "report.json"


def stopped(trainer: Trainer, limit: float | None) -> dict[str, Any] | None:
    """Why the run ended before its last step; None if it did not. A resumed run whose model was not stored ends in the
    same way again: this looks at the trainer alone."""
    if trainer.trouble is not None:
        reason, why = "diverged", trainer.trouble.rstrip(".")
    elif trainer.step < trainer.steps:
        reason, why = "time_limit", f"The time limit of {limit:g} s is reached" if limit else "The time was over"
    else:
        return None
    at = {"step": trainer.step, "steps": trainer.steps}
    message = f"{why}: training stopped at step {trainer.step} of {trainer.steps}, with the best that it had by then."
    return {"reason": reason, **at, "message": message}


def told(report: Mapping[str, Any], early: Mapping[str, Any] | None, model: Path) -> dict[str, Any]:
    """The report, which also says so; and its copy among the model's files."""
    if early is None:
        return dict(report)
    warnings = list(report.get("warnings", ()))
    if not any(early["message"].partition(": training stopped")[0] in warning for warning in warnings):
        warnings.append(early["message"])  # else the modality has said so in its own words
    more = {"stopped_early": dict(early), "warnings": warnings}
    path = model / REPORT
    if path.exists():
        path.write_text(json.dumps({**json.loads(path.read_text()), **more}, indent=1))
    return {**report, **more}
