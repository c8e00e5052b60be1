"""Distances between clouds of features whose answers are known."""

import math

import numpy as np
import torch
from scipy.linalg import sqrtm

from workers.metrics.distances import fd, kid


def cloud(n: int, k: int, seed: int, mean: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    return mean + scale * torch.randn(n, k, generator=torch.Generator().manual_seed(seed))


def test_the_frechet_distance_is_that_of_the_formula_with_more_pictures_than_features_and_with_fewer() -> None:
    for n, m in ((50, 70), (7, 5)):
        x, y = cloud(n, 10, 0).double(), cloud(m, 10, 1, 0.5, 2.0).double()
        a, b = (np.cov(z.numpy(), rowvar=False) for z in (x, y))
        means = float((x.mean(0) - y.mean(0)).square().sum())
        expected = means + float(np.trace(a + b - 2 * np.real(sqrtm(a @ b))))
        assert abs(fd(x, y) - expected) < 1e-4 * expected


def test_the_frechet_distance_of_a_cloud_from_itself_is_nothing_and_of_a_moved_one_the_move() -> None:
    x = cloud(60, 20, 0)
    assert fd(x, x) < 1e-9
    assert math.isclose(fd(x, x + 3.0), 20 * 9.0, rel_tol=1e-5)


def test_the_kernel_distance_is_unbiased_by_few_pictures_where_the_frechet_distance_is_not() -> None:
    small = [kid(cloud(20, 30, seed), cloud(20, 30, 1_000 + seed)) for seed in range(200)]
    error = float(np.std(small)) / math.sqrt(len(small))
    assert abs(float(np.mean(small))) < 3 * error
    assert min(small) < 0 < max(small)
    assert fd(cloud(20, 30, 0), cloud(20, 30, 1)) > 2 * fd(cloud(400, 30, 0), cloud(400, 30, 1))


def test_the_kernel_distance_sees_other_means_spreads_and_missing_parts() -> None:
    x = cloud(300, 8, 0)
    nothing = abs(kid(x, cloud(300, 8, 1)))
    for other in (
        cloud(300, 8, 1, mean=0.5),
        cloud(300, 8, 1, scale=1.5),
        cloud(600, 8, 1)[cloud(600, 8, 1)[:, 0] > 0],
    ):
        assert kid(x, other) > 5 * nothing


def test_blocks_give_nearly_the_same_from_pieces_and_too_few_give_no_number() -> None:
    x, y = cloud(400, 8, 0), cloud(500, 8, 1, mean=0.5)
    assert math.isclose(kid(x, y), kid(x, y, block=100), rel_tol=0.1)
    assert kid(x, y) != kid(x, y, block=100)
    assert math.isnan(kid(x[:1], y))
