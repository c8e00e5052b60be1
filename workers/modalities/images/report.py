"""The report of a trained model of pictures: what was used, the figures beside their ceilings, and a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.modalities.images.training import ImageTraining

MEANING = {
    "label_accuracy": "share of samples that a small network, taught by real pictures, reads as the label asked for",
    "train_on_synthetic": "accuracy on held-out pictures of a small network taught by samples alone",
    "coverage": "share of held-out pictures that have a sample near by",
    "density": "held-out pictures that a sample is near to, over what real ones would be; over 1 means too typical",
    "spread": "pixel standard deviation of samples over that of held-out pictures, within classes",
    "nearest_training_picture": "median distance to the nearest training picture, over that of held-out pictures;"
    " far under 1 would mean copies",
}


def report(training: ImageTraining) -> dict[str, object]:
    """Public and JSON. Computes the last figures."""
    figures, ceiling = training.evaluate(), training.ceiling()
    useful = training.usefulness()
    if useful is not None:
        figures["train_on_synthetic"], ceiling["train_on_synthetic"] = (round(value, 4) for value in useful)
    near = training.closeness()
    if near is not None and near[1] > 0:
        figures["nearest_training_picture"], ceiling["nearest_training_picture"] = round(near[0] / near[1], 4), 1.0
    codec = training.codec
    return {
        "modality": "images",
        "verdict": verdict(figures, ceiling),
        "pictures": {
            "training": len(training.train),
            "holdout": len(training.holdout),
            "use": "The networks saw only the training pictures; figures compare samples with the held-out ones."
            if len(training.holdout)
            else "With fewer than 100 pictures none are held out: figures compare samples with training pictures.",
        },
        "size": {"height": codec.height, "width": codec.width, "channels": codec.channels},
        "classes": codec.classes,
        "training": {"preset": training.config.preset, "steps": training.trainer.step, "seed": training.config.seed},
        "figures": figures,
        "ceiling": ceiling,
        "meaning": {name: MEANING[name] for name in figures},
    }


def verdict(figures: dict[str, float], ceiling: dict[str, float]) -> str:
    """One sentence for people, the worst news first."""
    coverage, spread = figures.get("coverage", 0.0), figures.get("spread", 1.0)
    if figures.get("nearest_training_picture", 1.0) < 0.5:
        return "Samples lie much nearer to training pictures than held-out ones do: they may be copies."
    if coverage < 0.4 or spread < 0.5:
        return (
            f"Samples show only part of what the data hold (coverage {coverage:.2f}): train longer or on more pictures."
        )
    text = f"Samples cover {coverage:.0%} of held-out pictures"
    if "coverage" in ceiling:
        text += f" (real ones {ceiling['coverage']:.0%})"
    if "label_accuracy" in figures:
        text += f", and {figures['label_accuracy']:.1%} are read as the label asked for"
    if "train_on_synthetic" in figures:
        text += (
            f"; a classifier taught by samples alone reaches {figures['train_on_synthetic']:.1%} on held-out pictures"
            f" (by real ones {ceiling['train_on_synthetic']:.1%})"
        )
    return text + "."
