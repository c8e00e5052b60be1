"""The benchmarks of pictures: what they count, on numbers whose answer is known."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.images import counterfeits
from benchmarks.images.counterfeits import GENUINE
from benchmarks.images.few import compared, plain
from benchmarks.images.judge import Reader
from benchmarks.images.sets import Pictures
from benchmarks.images.speed import encoded_all, in_pool, operations
from benchmarks.images.stacked import DIGITS, MODES, expected, figures, modes, stacked


class Brightness(Reader):
    """Reads a digit off a picture's top left pixel: d / 10 and a little."""

    def __init__(self) -> None:
        super().__init__(1, (28, 28), DIGITS)

    def forward(self, x: Tensor) -> Tensor:
        read = (x[:, 0, 0, 0] * 10).long()
        return torch.nn.functional.one_hot(read, DIGITS).float()


def digits() -> Pictures:
    """Two of each, as bright as Brightness reads them."""
    labels = np.arange(2 * DIGITS) % DIGITS
    pixels = np.broadcast_to((labels * 25.5 + 5).astype(np.uint8)[:, None, None, None], (len(labels), 28, 28, 1))
    return Pictures(pixels, labels, [str(d) for d in range(DIGITS)], [""] * len(labels))


def test_three_channels_are_read_as_three_digits_from_red_to_blue() -> None:
    made = np.stack([digits().pixels[[4, 9], ..., 0], digits().pixels[[0, 8], ..., 0], digits().pixels[[7, 1], ..., 0]])
    assert modes(Brightness(), np.moveaxis(made, 0, -1)).tolist() == [407, 981]


def test_stacks_are_drawn_in_the_proportions_that_they_are_held_against() -> None:
    data = expected(digits().labels)
    assert data.sum() == pytest.approx(1)
    n = 20_000
    found = figures(modes(Brightness(), stacked(digits(), n, seed=0)), data)
    assert found["modes"] == MODES
    assert found["kl"] == pytest.approx((MODES - 1) / (2 * n), rel=0.15)


def test_the_divergence_is_of_what_was_made_from_the_data_and_missing_modes_are_counted() -> None:
    data = np.array([0.5, 0.25, 0.25])
    assert figures(np.array([0, 0, 1, 2]), data) == {"modes": 3, "kl": 0.0}
    assert figures(np.array([1, 1, 1]), data) == {"modes": 1, "kl": pytest.approx(math.log(4), abs=1e-4)}
    assert figures(np.array([0, 1]), np.array([1.0, 0.0]))["kl"] == math.inf
    skewed = np.array([0] * 9 + [1] * 1)
    assert figures(skewed, np.full(MODES, 1 / MODES))["kl"] == pytest.approx(
        0.9 * math.log(900) + 0.1 * math.log(100), abs=1e-4
    )


def test_digits_of_unequal_shares_make_modes_of_unequal_shares() -> None:
    data = expected(np.array([0, 0, 1, *range(2, DIGITS)]))
    assert data[0] / data[111] == pytest.approx(8)
    assert data[12] / data[111] == pytest.approx(2)


def test_copies_are_no_distance_from_training_pictures_and_fresh_ones_as_far_as_others() -> None:
    rng = np.random.default_rng(0)
    known, unseen, fresh = (rng.integers(0, 256, (60, 8, 8, 4), np.uint8) for _ in range(3))
    copies = compared(plain(known[::-1].copy()), plain(known), plain(unseen))
    assert copies["ratio"] == pytest.approx(0, abs=1e-3)
    assert (copies["close"], copies["close_unseen"]) == (1.0, 0.0)
    new = compared(plain(fresh), plain(known), plain(unseen))
    assert new["ratio"] == pytest.approx(1, abs=0.05)
    assert new["close"] == 0.0
    assert compared(plain(fresh), plain(known), plain(known))["ratio"] is None


@pytest.mark.parametrize("groups", [1, 4])
def test_operations_of_a_convolution_and_of_its_gradients_are_counted_whatever_its_groups(groups: int) -> None:
    n, inner, side = 2, 16, 8
    layer, x = torch.nn.Conv2d(inner, inner, 3, padding=1, groups=groups), torch.rand(n, inner, side, side)
    once = 2 * n * side**2 * inner * (inner // groups) * 9

    def forward() -> Tensor:
        out: Tensor = layer(x)
        return out.sum()

    def learn() -> None:
        torch.autograd.grad(forward(), list(layer.parameters()))

    assert operations(forward) == once
    assert operations(learn) == 2 * once  # the weights'
    x.requires_grad_()
    assert operations(lambda: forward().backward()) == 3 * once  # type: ignore[no-untyped-call]

    def slope() -> Tensor:
        return torch.autograd.grad(forward(), x, create_graph=True)[0].square().sum()

    assert operations(slope) == 2 * once
    twice = operations(lambda: slope().backward())  # type: ignore[no-untyped-call]  # its gradient in the weights
    assert 3 * once <= twice <= 4 * once


def test_pictures_that_are_encoded_in_a_pool_are_all_there() -> None:
    chunks = [np.full((3, 16, 16, 3), value, np.uint8) for value in (0, 100, 200, 250)]
    with ThreadPoolExecutor(1) as pool:
        assert in_pool(iter(chunks), pool, 1) == sum(len(png) for chunk in chunks for png in encoded_all(chunk))


def test_each_kind_of_counterfeit_is_held_against_the_genuine_ones_by_its_folder() -> None:
    names = [f"{GENUINE}/3/0.png", f"{GENUINE}/4/1.png", "noise/3/0.png", "noise/7/1.png", "alike/3/0.png"]
    found = counterfeits.compared(names, np.array([0.5, 0.7, 0.01, 0.02, 0.6]), np.array([0, 0, 1, 1, 0], bool))
    assert found["noise"] == {"roc_auc": 1.0, "at_5_percent": 1.0}
    assert found["alike"] == {"roc_auc": 0.5, "at_5_percent": 0.0}
    assert found[GENUINE]["roc_auc"] == 0.5


def test_emoji_lie_on_black_and_wrong_labels_are_never_the_right_ones() -> None:
    seen = np.full((2, 64, 64, 3), 255, np.uint8)
    seen[1, 20:44, 20:44] = (30, 60, 90)
    made = counterfeits.on_black(seen, 28)
    assert made.shape == (2, 28, 28, 1)
    assert (made[:, 14, 14, 0].tolist(), made[:, 0, 0, 0].tolist()) == ([0, 195], [0, 0])
    wrong = counterfeits.under_wrong_labels(digits(), np.random.default_rng(0)).labels
    assert ((wrong != digits().labels) & (wrong >= 0) & (wrong < DIGITS)).all()
