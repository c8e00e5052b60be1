"""Tables of hundreds of columns: what makes them affordable changes nothing of what is computed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional as F

from tests.unit.table.tables import config, ingest, trained
from workers.modalities.table.networks import Generator, Shape, running
from workers.modalities.table.presets import PLANS, narrowed


def test_running_sums_and_their_gradients_are_those_of_torch() -> None:
    x = torch.randn(9, 4, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.allclose(running(x), x.cumsum(0))
    weights = torch.arange(108.0, dtype=torch.double).view(9, 4, 3)
    (mine,) = torch.autograd.grad((running(x) * weights).sum(), x)
    (theirs,) = torch.autograd.grad((x.cumsum(0) * weights).sum(), x)
    assert torch.allclose(mine, theirs)


def test_a_whole_rows_likelihood_is_that_of_its_codes_drawn_one_by_one() -> None:
    torch.manual_seed(0)
    sizes = [3, 5, 2, 4]
    network = Generator(Shape(sizes, [[0, 1], [1, 3]], width=16)).eval()
    codes = torch.stack([torch.randint(size, (20,)) for size in sizes], 1)
    fixed = (torch.rand(codes.shape) < 0.4).float()
    e = F.embedding(codes + network.offsets, network.embedding)
    drawn = [F.one_hot(codes[:, j], size).float() for j, size in enumerate(sizes)]
    for given in (None, fixed):
        found = network.likelihood(codes, given)
        for j in range(len(sizes)):
            later = e[:, j + 1 :] if given is None else e[:, j + 1 :] * given[:, j + 1 :, None]
            known = e[:, :j].sum(1) + (0 if given is None else 1) * later.sum(1)
            logits = network._logits(j, known, drawn, network.guiding.nothing(20), codes.T)
            assert torch.allclose(found[:, j], F.cross_entropy(logits, codes[:, j], reduction="none"), atol=1e-5)


def test_the_more_variables_the_narrower_the_networks_unless_they_are_told_otherwise() -> None:
    plan, free, own = PLANS["standard"], config(width=None, steps=None), config(width=48, steps=70)
    assert narrowed(plan, free, 60) == plan
    widths = [narrowed(plan, free, v).width for v in (100, 200, 450, 1_400, 4_000)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 64
    assert widths[-1] == 16
    assert narrowed(plan, free, 400).steps == plan.steps / 4
    assert narrowed(replace(plan, width=48, steps=9), own, 400) == replace(plan, width=48, steps=9)


def test_a_wide_table_is_learned_and_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(300, 4))
    numbers = {f"n{i}": hidden[:, i % 4] + rng.normal(size=300) for i in range(90)}
    levels = {f"c{i}": np.where(hidden[:, i % 4] + rng.normal(size=300) > 0, "yes", "no") for i in range(90)}
    _, dataset = ingest(tmp_path, "t.parquet", pa.table(numbers | levels))
    sampler = trained(dataset, tmp_path / "model", width=None, steps=3)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["shape"]["width"] < PLANS["draft"].width
    table = sampler.table(0, 500, 1, {})
    assert table.shape == (500, 180)
    assert set(table["c0"].to_pylist()) == {"yes", "no"}
