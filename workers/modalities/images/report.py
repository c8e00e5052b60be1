"""The report of a trained model of pictures: what was used, the figures beside their ceilings, and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.modalities.images import fid
from workers.modalities.images.judging import COLLAPSED, FD, KID, Judging, finite
from workers.modalities.images.neighbours import COPIES, Neighbours

COLLAPSED_COVERAGE = 0.4  # of the ceiling's
FEWEST_TO_JUDGE = 10  # held-out pictures of a class that its coverage is a share of
LISTED = 100  # classes, worst first
NAMED = 5  # classes in a sentence
UNLIKE = 5.0  # times the ceiling's Frechet distance (ours)
SUSPECT = 0.7  # of the usual distance to the nearest training picture, under which samples are worth a look
MEANING = {
    "label_accuracy": "share of samples that a small network, taught by real pictures, reads as the label asked for",
    "train_on_synthetic": "accuracy on held-out pictures of a small network taught by samples alone",
    "coverage": "share of held-out pictures that have a sample near by",
    "density": "held-out pictures that a sample is near to, over what real ones would be; over 1 means too typical",
    "precision": "share of samples that lie near a held-out picture: low means odd pictures",
    "recall": "share of held-out pictures that lie among the samples: low means that kinds are missing",
    "spread": "pixel standard deviation of samples over that of held-out pictures, within classes",
    "nearest_training_picture": "median distance to the nearest training picture, over that of pictures never seen;"
    " far under 1 would mean copies",
    "close_to_training": "share of samples that come closer to a training picture than half that median distance",
    KID: "distance of samples from held-out pictures as EfficientNet-Lite0 sees both (kernel, unbiased); about 0 at"
    " best",
    FD: "distance of normal distributions fitted to the same features; it grows as pictures get fewer, so compare it"
    " with its ceiling alone",
}
SEEN = {
    "classifier": "Coverage, density, precision and recall are as a classifier of these classes sees the pictures.",
    "EffNetLite0": "Coverage, density, precision and recall are as EfficientNet-Lite0 sees the pictures.",
}
SHOWN = {
    "samples.png": "Samples. With classes, a row is a class, and a column has the same noise.",
    "neighbours.png": "Samples (framed) beside the training pictures nearest to them: on the left those that come"
    " closest of all, on the right others, from near to far. Samples that are copies would look like their neighbours.",
    "film.webp": "The film of the training: what became of the same noise, from one evaluation to the next. It ends"
    " with the network that is kept, before its latents were widened.",
}


def report(
    judging: Judging, near: Neighbours, training: Mapping[str, object], inception: Path | None = None
) -> dict[str, object]:
    """Public and JSON. Computes the last figures, those by `inception`'s weights among them where these are given."""
    figures, ceiling = judging.figures(), judging.ceiling()
    useful = judging.usefulness()
    if useful is not None:
        figures["train_on_synthetic"], ceiling["train_on_synthetic"] = (round(value, 4) for value in useful)
    figures |= finite({"nearest_training_picture": near.ratio, "close_to_training": near.close})
    ceiling |= finite({"nearest_training_picture": 1.0, "close_to_training": near.close_unseen})
    foreign = fid.found(judging, inception)
    figures |= foreign.figures
    ceiling |= foreign.ceiling
    codec, classes = judging.codec, _by_class(judging)
    collapsed = [str(row["class"]) for row in classes if _collapsed(row)]
    found: dict[str, object] = {
        "modality": "images",
        "verdict": verdict(figures, ceiling, collapsed),
        "memorisation": memorisation(near, judging.held_out),
        "pictures": {
            "training": len(judging.train),
            "holdout": len(judging.holdout),
            "judged": len(judging.real),
            "use": _use(judging),
        },
        "size": {"height": codec.height, "width": codec.width, "channels": codec.channels},
        "classes": codec.classes,
        "training": dict(training),
        "figures": figures,
        "ceiling": {name: ceiling[name] for name in figures if name in ceiling},
        "meaning": {name: (MEANING | fid.MEANING)[name] for name in figures},
        "collapsed_classes": collapsed,
        "by_class": classes[:LISTED],
        "shown": SHOWN,
    }
    return found | {
        name: part for name, part in (("inception", foreign.inception), ("warnings", foreign.warnings)) if part
    }


def _use(judging: Judging) -> str:
    text = (
        "The networks saw only the training pictures; figures compare samples with the held-out ones."
        if judging.held_out
        else "Of so few pictures hardly any are held out: figures compare samples with training pictures, so a good"
        " figure may also mean copies."
    )
    return f"{text} {SEEN[judging.space]}"


def _by_class(judging: Judging) -> list[dict[str, str | float]]:
    """A row of figures for each class that has enough pictures to be judged, worst coverage first."""
    found = judging.by_class()
    if not found:
        return []
    names = judging.codec.classes or []
    enough = [int(index) for index in np.argsort(found["coverage"]) if found["judged"][index] >= FEWEST_TO_JUDGE]
    return [{"class": names[i]} | finite({name: float(values[i]) for name, values in found.items()}) for i in enough]


def _collapsed(row: Mapping[str, Any]) -> bool:
    least = COLLAPSED_COVERAGE * row.get("coverage_of_real_ones", 1.0)
    return bool(row.get("coverage", 1.0) < least or row.get("spread", 1.0) < COLLAPSED)


def verdict(figures: Mapping[str, float], ceiling: Mapping[str, float], collapsed: Sequence[str] = ()) -> str:
    """A sentence or two for people, the worst news first."""
    if figures.get("nearest_training_picture", 1.0) < COPIES:
        return "Samples lie much nearer to training pictures than pictures never seen do: they may be copies."
    least = {"coverage": COLLAPSED_COVERAGE * ceiling.get("coverage", 1.0), "spread": COLLAPSED}
    measured = {name: figures[name] for name in least if name in figures}  # of many classes there is no spread
    if any(value < least[name] for name, value in measured.items()):
        told = ", ".join(f"{name} {value:.2f}" for name, value in measured.items())
        return f"Samples show only part of what the data hold ({told}): train longer or on more pictures."
    if "coverage" not in measured:
        return "How much of the data the samples cover could not be measured."
    text = f"Samples cover {measured['coverage']:.0%} of held-out pictures"
    if "coverage" in ceiling:
        text += f" (real ones {ceiling['coverage']:.0%})"
    if "label_accuracy" in figures:
        text += f", and {figures['label_accuracy']:.1%} are read as the label asked for"
    if "train_on_synthetic" in figures:
        text += (
            f"; a classifier taught by samples alone reaches {figures['train_on_synthetic']:.1%} on held-out pictures"
            f" (by real ones {ceiling['train_on_synthetic']:.1%})"
        )
    return " ".join(part for part in (f"{text}.", _look(figures, ceiling), _classes_sentence(collapsed)) if part)


def _look(figures: Mapping[str, float], ceiling: Mapping[str, float]) -> str:
    """A sentence where photographs' network sees what a classifier may overlook: noise, blur, odd textures."""
    if FD not in figures or figures[FD] < UNLIKE * ceiling.get(FD, math.inf):
        return ""
    return f"They still look unlike real pictures ({FD} {figures[FD]:.0f}, real ones {ceiling[FD]:.0f})."


def _classes_sentence(collapsed: Sequence[str]) -> str:
    if not collapsed:
        return ""
    named = ", ".join(f"'{name}'" for name in collapsed[:NAMED])
    more = f" and {len(collapsed) - NAMED:,} more" if len(collapsed) > NAMED else ""
    noun = "the class" if len(collapsed) == 1 else "the classes"
    return f"Few kinds of pictures are made of {noun} {named}{more}: give more pictures of them, or train longer."


def memorisation(near: Neighbours, held_out: bool) -> str:
    """A sentence on copies."""
    if not math.isfinite(near.ratio):
        return "The training pictures are so alike that copies cannot be told from new pictures."
    unseen = "held-out pictures do" if held_out else "training pictures from one another"
    measured = (
        f"samples lie {near.ratio:.2f} times as far from the nearest training picture as {unseen}"
        f" (medians; {near.samples:,} samples, {near.known:,} training pictures)"
    )
    if near.ratio < COPIES:
        return f"Treat the samples as copies: {measured}."
    if near.close > 0.02 + 2.0 * (near.close_unseen if math.isfinite(near.close_unseen) else 0.0):
        return (
            f"Some samples may be copies: {near.close:.1%} come closer to a training picture than half the usual"
            f" distance (real ones: {near.close_unseen:.1%}). Look at neighbours.png before you pass samples on."
        )
    if near.ratio < SUSPECT:
        return f"Samples keep close to the training pictures: {measured}. Look at neighbours.png."
    return f"No sign of copies: {measured}."
