"""Precision, recall, density and coverage on clouds of points whose answers are known."""

import numpy as np
import torch

from workers.metrics.manifold import nearest, overlap


def cloud(n: int, seed: int, centre: float = 0.0) -> torch.Tensor:
    return centre + torch.randn(n, 16, generator=torch.Generator().manual_seed(seed))


def test_a_perfect_model_covers_as_much_as_theory_says() -> None:
    found = overlap(cloud(1_000, 0), cloud(1_000, 1))
    assert abs(found.coverage - (1 - 2**-5)) < 0.02
    assert abs(found.density - 1.0) < 0.1
    assert found.precision > 0.8
    assert found.recall > 0.8


def test_samples_of_one_of_two_kinds_are_precise_and_cover_half() -> None:
    real = torch.cat([cloud(300, 0), cloud(300, 1, 20.0)])
    found = overlap(real, cloud(600, 2))
    assert found.precision > 0.8
    assert 0.4 < found.coverage <= 0.5
    assert 0.4 < found.recall <= 0.5


def test_samples_of_which_half_are_strange_cover_all_and_half_are_precise() -> None:
    found = overlap(cloud(300, 0), torch.cat([cloud(300, 1), cloud(300, 2, 20.0)]))
    assert 0.4 < found.precision <= 0.5
    assert found.coverage > 0.9


def test_one_sample_repeated_has_no_recall() -> None:
    found = overlap(cloud(300, 0), cloud(300, 0)[:1].repeat(300, 1))
    assert found.recall < 0.05
    assert found.coverage < 0.2


def test_coverage_of_a_class_counts_only_samples_that_were_asked_for_it() -> None:
    real, labels = torch.cat([cloud(100, 0), cloud(100, 1, 20.0)]), np.repeat([0, 1], 100)
    fake = torch.cat([cloud(100, 2), cloud(100, 3, 20.0)])
    right, swapped = (
        overlap(real, fake).coverage_by(labels, labels, 3),
        overlap(real, fake).coverage_by(labels, 1 - labels, 3),
    )
    assert right[:2].min() > 0.9
    assert swapped[:2].max() == 0.0
    assert np.isnan(right[2])


def test_equal_points_two_points_and_one_give_numbers() -> None:
    same = torch.ones(40, 1280) * 0.37
    found = overlap(same, same)
    assert (found.coverage, found.precision, found.recall) == (1.0, 1.0, 1.0)
    far = overlap(same, same + 1.0)
    assert (far.coverage, far.density, far.precision, far.recall) == (0.0, 0.0, 0.0, 0.0)
    for n in (1, 2):
        assert overlap(cloud(n, 0), cloud(3, 1)).k == 1


def test_the_nearest_are_found_in_order_and_across_pieces() -> None:
    x, to = cloud(600, 0), cloud(40, 1)
    distances, places = nearest(x, to, 3)
    expected = torch.cdist(x.double(), to.double()).sort(1)
    assert torch.allclose(distances, expected.values[:, :3])
    assert torch.equal(places, expected.indices[:, :3])
    assert nearest(x, to[:2], 3)[1].shape == (600, 2)
