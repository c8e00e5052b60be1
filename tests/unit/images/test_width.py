"""The width of latents, on pictures whose latent is known: where a disc is."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.unit.images.test_judging import Labels, judging
from workers.modalities.images.judging import Pixels, Sample
from workers.modalities.images.width import MOST, fitting

SIDE, WANDERS = 24, 2.0


def wandering(n: int, seed: int, width: float) -> tuple[Pixels, Labels]:
    """Discs (class 0) and squares (class 1) that lie about the middle, normally, so wide."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 2).astype(np.int64)
    y, x = np.indices((SIDE, SIDE))
    at = SIDE / 2 + WANDERS * width * rng.standard_normal((n, 2, 1, 1))
    far_y, far_x = np.abs(y - at[:, 0]), np.abs(x - at[:, 1])
    away = np.where(labels[:, None, None] == 0, np.hypot(far_y, far_x), np.maximum(far_y, far_x))
    return (255 * np.clip(6.0 - away, 0, 1))[..., None].astype(np.uint8), labels


def of(width: float) -> Sample:
    return lambda n, seed: wandering(n, seed, width)


def found(real: float, sample: Callable[[float], Sample]) -> float:
    lots = wandering(400, 1, real), wandering(400, 2, real)
    return fitting(judging(*lots, sample(1.0), ["disc", "square"]), sample)


@pytest.mark.parametrize("real", [1.0, 1.12, 2.0])
def test_latents_are_drawn_as_wide_as_real_pictures_vary_and_no_wider_than_a_limit(real: float) -> None:
    assert found(real, of) == pytest.approx(min(real, MOST), abs=0.06)


def test_a_wider_latent_that_only_makes_odd_pictures_is_not_taken() -> None:
    def odd(width: float) -> Sample:
        def drawn(n: int, seed: int) -> tuple[Pixels, Labels]:
            pixels, labels = wandering(n, seed, width)
            speckled = np.random.default_rng(seed).random(pixels.shape) < width - 1.0
            return np.where(speckled, 255 - pixels, pixels).astype(np.uint8), labels

        return drawn

    assert found(1.2, odd) < 1.06
