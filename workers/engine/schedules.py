"""Schedules over the burn-in: a cosine from the first value to the last, constant after. Pure functions of numbers."""

import math


def cosine(start: float, end: float, step: int, burn_in: float) -> float:
    """From `start` at step 0 to `end` at step `burn_in` (R3GAN schedules lr, gamma and beta2 alike)."""
    share = min(step / burn_in, 1.0) if burn_in > 0 else 1.0
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


def warmed(value: float, step: int, warmup: int) -> float:
    """`value`, ramped up linearly over the first `warmup` steps."""
    return value * min((step + 1) / (warmup + 1), 1.0)
