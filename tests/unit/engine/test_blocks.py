"""Residual blocks in one, two and three dimensions."""

import pytest
import torch

from workers.engine.blocks import Space, Stage, change, precision, reset


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_new_stage_changes_nothing_and_can_be_differentiated_twice(ndim: int) -> None:
    space, rng = Space(ndim), torch.Generator().manual_seed(ndim)
    stage = Stage(space, 16, blocks=2)
    reset(stage, rng)
    x = torch.randn((2, 16, *(6,) * ndim), generator=rng)
    assert torch.equal(stage(x, torch.float32), x)
    for block in stage:
        torch.nn.init.normal_(block.shrink.weight, generator=rng)  # type: ignore[arg-type, union-attr]
    x = space.arranged(x).requires_grad_()
    (slope,) = torch.autograd.grad(stage(x, torch.float32).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in stage.parameters() if p.grad is not None)
    assert sum(p.grad is not None for p in stage.parameters()) == len(list(stage.parameters()))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_space_is_doubled_and_halved_in_every_direction(ndim: int) -> None:
    space = Space(ndim)
    x = torch.ones((2, 3, *(4,) * ndim))
    assert space.larger(x, 2).shape == (2, 3, *(8,) * ndim)
    torch.testing.assert_close(space.half(space.larger(x, 2)), x)
    assert change(space, 3, 5)(x).shape == (2, 5, *(4,) * ndim)
    assert (space.spread(torch.ones(2, 3)) * x).sum(space.axes).shape == (2, 3)


def test_half_precision_comes_near_to_full() -> None:
    rng = torch.Generator().manual_seed(0)
    stage = Stage(Space(2), 32, blocks=1)
    reset(stage, rng)
    torch.nn.init.normal_(stage[0].shrink.weight, std=0.1, generator=rng)  # type: ignore[arg-type, union-attr]
    x = torch.randn((4, 32, 7, 7), generator=rng)
    with torch.no_grad():
        full, half = stage(x, torch.float32), stage(x, torch.bfloat16)
    assert half.dtype == torch.float32
    assert 0 < float((full - half).abs().max()) < 0.05 * float((full - x).abs().max())
    assert precision("cpu") in (torch.float32, torch.bfloat16)
