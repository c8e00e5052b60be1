"""How wide latents are drawn: generators stop short of what is rare, and a wider latent brings some of it back."""

import math
from collections.abc import Callable

from workers.modalities.images.judging import JUDGED, Judging, Sample

MOST = 1.25  # times the latent's own width
HALVINGS = 3  # of the interval that the width is looked for in
WORSE = 0.1  # share by which the distance to held-out pictures may grow
NEXT_TO_NOTHING = 0.02


def fitting(judging: Judging, wide: Callable[[float], Sample]) -> float:
    """The width, from 1 to MOST, at which samples vary within their classes as much as real pictures do, as far as that
    costs next to no distance. `wide(width)` draws samples of that width, from the same noise for the same seed."""
    n = judging.most(JUDGED)

    def short(width: float) -> bool:
        spread = judging.spread(judging.drawn(n, wide(width)))
        return math.isfinite(spread) and spread < 1.0

    if not short(1.0):
        return 1.0
    low, high = 1.0, MOST
    if short(MOST):
        low = MOST
    else:
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if short(middle) else (low, middle)
    usual = judging.distance(wide(1.0))
    while low > 1.0 + NEXT_TO_NOTHING and judging.distance(wide(low)) > usual + WORSE * abs(usual):
        low = (1.0 + low) / 2
    return low if low > 1.0 + NEXT_TO_NOTHING else 1.0
