"""Distances in Inception's eyes, which others call FID and KID, where an operator supplied its weights.

They are told beside the other figures, and steer nothing. Whatever is wrong with the weights is a warning."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from workers.metrics import distances, inception
from workers.modalities.images.judging import FEWEST_FOR_FD, Judging, finite

VARIABLE = "MINTAGE_INCEPTION_WEIGHTS"
MOST_ON_CPU = 400  # pictures of each kind: a CPU core takes an eighth of a second for one
FD, KID = f"FD-{inception.NAME}", f"KID-{inception.NAME}"
MEANING = {
    KID: "distance of samples from held-out pictures as Inception sees both (kernel, unbiased), about 0 at"
    " best; papers often print it times 1,000",
    FD: "the Fréchet Inception distance (FID) of so few pictures: it grows as they get fewer, so compare it with its"
    " ceiling, never with figures of 10,000 or 50,000 samples",
}


@dataclass(frozen=True)
class Found:
    """What a report takes up."""

    figures: dict[str, float] = field(default_factory=dict)
    ceiling: dict[str, float] = field(default_factory=dict)
    inception: dict[str, object] = field(default_factory=dict)  # by which weights, from how many pictures
    warnings: list[str] = field(default_factory=list)


def supplied() -> Path | None:
    """The file that the operator's setting names, as the supervisor tells its child."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def found(judging: Judging, weights: Path | None) -> Found:
    """Distances of the finished network's samples, and of training pictures in their place."""
    if weights is None:
        return Found()
    try:
        network = inception.load(weights, judging.device)
        known = inception.fingerprint(weights)
    except (inception.Unfit, OSError) as error:
        return Found(warnings=[f"Without distances as Inception sees pictures: {error}"])
    most = MOST_ON_CPU if judging.device == "cpu" else len(judging.real)
    real, fake = (network.features(lot.first(most).pixels) for lot in (judging.real, judging.fake))

    def far(x: Tensor) -> dict[str, float]:
        enough = min(len(real), len(x)) >= FEWEST_FOR_FD
        return finite({KID: distances.kid(real, x), FD: distances.fd(real, x) if enough else float("nan")})

    other = judging.other
    return Found(
        far(fake),
        {} if other is None else far(network.features(other.first(most).pixels)),
        {"judged": len(real), "weights_sha256": known},
    )
