"""The objective: relativistic pairing, zero-centred gradient penalties (R3GAN, NeurIPS 2024). Pure functions."""

import torch
from torch import Tensor
from torch.nn.functional import softplus


def pairing_loss(winner: Tensor, loser: Tensor) -> Tensor:
    """Mean softplus(-(winner - loser)) over pairs of scores (n,), after Jolicoeur-Martineau 2019.

    The discriminator passes (real, fake), the generator (fake, real)."""
    return softplus(loser - winner).mean()


def exact_penalty(scores: Tensor, x: Tensor, rows: Tensor) -> Tensor:
    """Mean squared norm of d score / d x over the chosen rows: R1 on reals, R2 on fakes (Mescheder et al. 2018).

    `x` must require grad and `scores` come from it row by row. Differentiable once more, in D's weights."""
    (gradient,) = torch.autograd.grad(scores[rows].sum(), x, create_graph=True)
    return gradient[rows].flatten(1).square().sum(1).mean()


def finite_penalty(scores: Tensor, shifted: Tensor, scale: float) -> Tensor:
    """The same by finite difference: mean ((D(x) - D(x + scale * e)) / scale)^2 with e ~ N(0, I), which needs no double
    backward. Its expectation is the squared gradient norm up to O(scale^2)."""
    return ((scores - shifted) / scale).square().mean()
