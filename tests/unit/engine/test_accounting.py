"""What noise is worth: the accountant against closed forms, against another, and against published figures."""

import math

import pytest
from opacus.accountants import PRVAccountant
from scipy.stats import norm

from workers.engine.accounting import Gaussian, epsilon, gaussian_epsilon, gaussian_sigma, step_sigma


def test_a_gaussian_mechanism_needs_the_noise_that_balle_and_wang_tell() -> None:
    assert gaussian_sigma(1.0, 1e-5) == pytest.approx(3.7304, abs=2e-3)


@pytest.mark.parametrize(("sigma", "times"), [(2.0, 1), (10.0, 30), (0.8, 1)])
def test_without_sampling_the_closed_form_and_the_accountant_agree(sigma: float, times: int) -> None:
    exact = gaussian_epsilon(math.sqrt(times) / sigma, 1e-5)
    tail = norm.cdf(math.sqrt(times) / (2 * sigma) - exact * sigma / math.sqrt(times))
    other = norm.cdf(-math.sqrt(times) / (2 * sigma) - exact * sigma / math.sqrt(times))
    assert tail - math.exp(exact) * other == pytest.approx(1e-5, rel=1e-4)
    numeric = PRVAccountant()
    numeric.history = [(sigma, 1.0, times)]
    assert numeric.get_epsilon(delta=1e-5, eps_error=0.01) == pytest.approx(exact, abs=0.03)
    assert epsilon([Gaussian(sigma, 1.0, times)], 1e-5) == pytest.approx(exact, rel=1e-6)


def test_sampled_steps_spend_what_the_literature_says() -> None:
    """Sixty passes over MNIST with noise 1.1: 3.0 by moments (Abadi et al. 2016, many tutorials since), 2.5 by better
    bounds (Gopi et al. 2021 and Balle et al. 2020 are that much below it)."""
    spent = epsilon([Gaussian(1.1, 256 / 60_000, 60 * 60_000 // 256)], 1e-5)
    assert 2.3 < spent < 3.0


def test_mechanisms_add_up() -> None:
    one, other = Gaussian(8.0), Gaussian(2.0, 0.05, 200)
    both = epsilon([one, other], 1e-5)
    assert max(epsilon([one], 1e-5), epsilon([other], 1e-5)) < both
    assert both < epsilon([one], 5e-6) + epsilon([other], 5e-6) + 0.02
    assert epsilon([], 1e-5) == 0
    assert epsilon([Gaussian(2.0, 0.05, 0)], 1e-5) == 0


def test_the_noise_of_steps_spends_what_is_left_and_no_more() -> None:
    before = [Gaussian(7.0), Gaussian(9.0)]
    sigma = step_sigma(2.0, 1e-5, before, 0.1, 100)
    assert 1.99 < epsilon([*before, Gaussian(sigma, 0.1, 100)], 1e-5) <= 2.0
    with pytest.raises(ValueError, match="spent"):
        step_sigma(0.1, 1e-5, before, 0.1, 100)


@pytest.mark.parametrize(
    ("whole", "sigma", "rate", "times", "delta", "other"),
    [
        (2.5, 4.0, 0.1, 300, 8e-6, 2.4756),
        (7.0, 12.0, 0.1, 300, 8e-6, 0.7519),
        (2.5, 0.8, 0.01, 600, 1e-5, 2.9931),
        (5.0, 2.0, 0.5, 100, 1e-4, 12.7452),
        (0.6, 0.5, 0.05, 50, 1e-5, 16.5843),
    ],
)
def test_another_accountant_says_the_same(
    whole: float, sigma: float, rate: float, times: int, delta: float, other: float
) -> None:
    """Google's dp_accounting 0.6 (privacy loss distributions, both directions, a row there or not)."""
    ours = epsilon([Gaussian(whole), Gaussian(sigma, rate, times)], delta)
    assert other <= ours < other + 0.02
