"""Tables of hundreds of columns: what makes them affordable changes nothing of what is computed."""

import torch
from torch.nn import functional as F

from workers.modalities.table.networks import Generator, Shape, running


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
