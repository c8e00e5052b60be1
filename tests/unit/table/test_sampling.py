"""Drawing codes fast: every short cut draws what the long way does."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from workers.modalities.table import kernels, sampling
from workers.modalities.table.guiding import Guiding
from workers.modalities.table.networks import NEVER, Generator, Rules, Shape, Start
from workers.modalities.table.numbers import Number
from workers.modalities.table.private.readers import drawn
from workers.modalities.table.sampling import FastGenerator, Plan, inner

SIZES = [3, 9, 5, 16, 2, 70, 4]
PAIRS = [[0, 1], [1, 3], [3, 5], [0, 5]]


def generator() -> Generator:
    """With weights that matter, a guide, and tables."""
    torch.manual_seed(0)
    guiding = Guiding(SIZES, [[0], [1, 2]], [[3, 0]], [])
    guiding.edges.copy_(torch.linspace(-1, 1, 63)[None])
    for n in range(2):
        getattr(guiding, f"term{n}").normal_()
    start = Start(
        [torch.full((size,), -1.0) for size in SIZES],
        [torch.randn(SIZES[i], SIZES[j]) for i, j in PAIRS],
        {3: torch.randn(64, 16)},
        guiding,
    )
    shape = Shape(SIZES, PAIRS, guiding.terms, guiding.coarse, guiding.fine, width=16)
    return Generator(shape, start).eval()


RULES = Rules([(0, 2)], [torch.tensor([[0, 0, NEVER, 0, 0], [0, 0, 0, NEVER, NEVER], [0, 0, 0, 0, 0.0]])])


def codes(plan: Plan | None = None, n: int = 9_000) -> Any:
    return FastGenerator(generator(), RULES).draw(n, np.random.default_rng(1), plan)


def fixed(n: int = 9_000) -> Any:
    out = np.full((n, len(SIZES)), -1)
    out[:, [2, 6]] = 3, 1
    return out


def mixed(n: int = 9_000) -> Any:
    out = fixed(n)
    out[::3, 0] = 2
    return out


PLANS = {
    "free": Plan(),
    "fixed in all rows": Plan(fixed()),
    "fixed in some rows": Plan(mixed()),
    "limited": Plan(None, {1: torch.linspace(-3, 0, 9)}, {4: torch.tensor([[0.0, 2 * NEVER]] * 16)}),
}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    ("name", "value"),
    [("ALIKE", -1.0), ("ALIKE", 5.0), ("FOLDED", 0), ("FOLDED", 3), ("FOLDED_BYTES", 0), ("BATCH", 700)],
)
def test_every_short_cut_draws_what_the_long_way_does(
    monkeypatch: pytest.MonkeyPatch, plan: str, name: str, value: float
) -> None:
    usual = codes(PLANS[plan])
    monkeypatch.setattr(sampling, name, value)
    other = codes(PLANS[plan])
    assert (usual == other).mean() > 0.999  # sums in another order may move a draw
    assert [len(set(column)) for column in usual.T] == [len(set(column)) for column in other.T]


def test_what_is_fixed_or_ruled_out_stays_so() -> None:
    made = codes(PLANS["fixed in some rows"])
    np.testing.assert_array_equal(made[:, [2, 6]], [[3, 1]] * len(made))
    assert (made[::3, 0] == 2).all()
    assert not (made[:, 0] == 1).any(), "its level 1 never meets level 3 of the later variable, which is fixed"
    assert (codes(PLANS["limited"])[:, 4] == 0).all()


def test_no_rows_and_one_row_are_drawn() -> None:
    assert codes(n=0).shape == (0, len(SIZES))
    assert codes(n=1).shape == (1, len(SIZES))


def test_where_all_levels_are_ruled_out_the_least_unlikely_is_drawn() -> None:
    made = codes(Plan(None, {1: torch.tensor([-500.0] * 4 + [-300.0] + [-500.0] * 4)}), 50)
    assert (made[:, 1] == 4).all()


def test_the_first_codes_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is asked for far fewer rows than are drawn."""
    asked: list[int] = []
    fast = FastGenerator(generator(), RULES)
    whole = fast.linear
    fast.linear = lambda x, weight, bias: asked.append(len(x)) or whole(x, weight, bias)  # type: ignore[func-returns-value]
    fast.draw(60_000, np.random.default_rng(0))
    assert sum(asked) < 0.4 * len(SIZES) * 60_000


def test_oneDNNs_product_is_torchs() -> None:
    x, weight, bias = torch.randn(50, 24), torch.randn(9, 24), torch.randn(9)
    expected = torch.addmm(bias, x, weight.T)
    for device in ("cpu", "meta"):  # the second has no routine of its own
        plain, rectified = kernels.linear(device)
        torch.testing.assert_close(plain(x, weight, bias), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(rectified(x, weight, bias), expected.relu(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("levels", [1, 5, 63, 64, 65, 300])
def test_levels_are_picked_as_often_as_their_shares_say(levels: int) -> None:
    shares = torch.rand(levels, generator=torch.Generator().manual_seed(levels))
    shares[levels // 2] = 0.0 if levels > 1 else 1.0
    uniform = (torch.arange(200_000) + 0.5) / 200_000
    made = kernels.picked(shares.cumsum(0).repeat(200_000, 1), uniform)
    counts = torch.bincount(made, minlength=levels) / 200_000
    torch.testing.assert_close(counts, shares / shares.sum(), atol=2e-5, rtol=1e-3)
    assert levels == 1 or counts[levels // 2] == 0


@pytest.mark.parametrize("levels", [5, 64, 65, 300])
@pytest.mark.parametrize("small", [1.0, 1e-4])
def test_a_level_of_no_probability_is_never_picked_not_at_the_ends_either(levels: int, small: float) -> None:
    """Not for the least and the largest uniform number that there is: 0 and 1 - 2**-24, moved from the ends."""
    shares = torch.rand(levels, generator=torch.Generator().manual_seed(levels)) * small
    never = torch.zeros(levels, dtype=torch.bool)
    never[[0, 1, levels - 2, levels - 1]] = True
    shares[never] = math.exp(NEVER)
    for end in (0.0, 1 - 2**-24):
        (uniform,) = inner(np.array([end], np.float32))
        assert not never[kernels.picked(shares.cumsum(0)[None], uniform[None])].any()
    shares[never] = 0.0
    assert not never[kernels.picked(shares.cumsum(0)[None], torch.zeros(1))].any()


def test_no_level_without_a_share_is_drawn_where_rounding_leaves_room() -> None:
    class Last:
        def random(self, n: int) -> np.ndarray:
            return np.full(n, np.nextafter(1.0, 0.0))

    share = np.append(np.full(10, 0.1), 0.0)  # these add up to a little less than 1
    assert set(drawn(share, 3, Last())) == {9}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "edges",
    [
        torch.linspace(-2, 3, 63),
        torch.zeros(63),
        torch.tensor([-1.0, 0.0, 0.0, 0.5, 0.5, 0.5, 7.0]),
        torch.cat([torch.linspace(0, 1e-7, 40), torch.tensor([1e6])]),
        torch.tensor([0.25]),
        torch.randn(63).sort().values,
    ],
)
def test_steps_are_those_of_bucketize(edges: torch.Tensor) -> None:
    x = torch.cat([torch.randn(5_000) * 3, edges, edges + 1e-6, edges - 1e-6, torch.tensor([-1e30, 1e30])])
    assert torch.equal(kernels.stepper(edges)(x), torch.bucketize(x, edges))


NUMBERS = {
    "a grid": np.arange(4_000) % 400,
    "spikes": np.where(np.arange(4_000) % 3, 0, np.arange(4_000)),
    "a heavy tail": np.round(np.random.default_rng(0).lognormal(3, 2, 4_000)),
    "one value": np.full(100, 7),
    "continuous": np.random.default_rng(0).normal(size=4_000),
    "decimals": np.round(np.random.default_rng(0).normal(size=4_000), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_a_cells_values_are_those_at_its_ranks(name: str) -> None:
    """Found by halving among the cell's own pieces, as by a search among all."""
    column = {"name": "x", "type": "float", "arrow": "double", "nullable": False}
    column |= {"decimals": None if name == "continuous" else 2}
    number = Number.fit(pa.array(NUMBERS[name].astype(float)), column)
    table, bounds = number.table, number.bounds
    u = np.append(np.random.default_rng(1).random(50_000), [0.0, *table.edges[:-1], np.nextafter(1, 0)])
    cell = np.searchsorted(table.edges[bounds], u, side="right") - 1
    most = int(np.diff(bounds).max())
    np.testing.assert_array_equal(table.draw(u, bounds[cell], most), table.draw(u))
