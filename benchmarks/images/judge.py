"""An outside judge of pictures: a small network of its own for labels, EfficientNet-Lite0 for how things look.

None of it is what the product judges itself by, but for EfficientNet-Lite0's features."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.images.sets import Pictures
from workers.metrics import distances, effnet

EPOCHS, BATCH, RATE, NEIGHBOURS, SIDE = 10, 32, 2e-3, 5, 32


class Reader(nn.Module):
    """Two convolutions, one hidden layer: reads .97 to .98 of held-out digits when taught by 4,000 real ones."""

    def __init__(self, channels: int, side: tuple[int, int], classes: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(channels, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.hidden = nn.Linear(64 * (side[0] // 4) * (side[1] // 4), 96)
        self.out = nn.Linear(96, classes)

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.one(x)), 2)
        return F.relu(self.hidden(F.max_pool2d(F.relu(self.two(x)), 2).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.features(x))
        return out


def tensors(pixels: NDArray[np.uint8]) -> Tensor:
    """(n, c, h, w) in 0..1, of at most SIDE pixels a side; colour that cannot be seen is black."""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    if x.shape[1] in (2, 4):
        x = torch.cat([x[:, :-1] * x[:, -1:], x[:, -1:]], 1)
    return F.adaptive_avg_pool2d(x, (min(SIDE, x.shape[2]), min(SIDE, x.shape[3])))


def taught(pictures: Pictures, seed: int = 0) -> Reader:
    torch.manual_seed(seed)
    x, labels = tensors(pictures.pixels), torch.from_numpy(pictures.labels)
    network = Reader(x.shape[1], (x.shape[2], x.shape[3]), len(pictures.classes))
    optimiser, steps = torch.optim.Adam(network.parameters(), RATE), EPOCHS * (len(x) // BATCH)
    for step in range(steps):
        at = step % (len(x) // BATCH)
        if at == 0:
            order = torch.randperm(len(x))
        optimiser.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / 20) * (1 - step / steps)
        rows = order[at * BATCH : (at + 1) * BATCH]
        loss = F.cross_entropy(network(x[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network.eval()


@torch.no_grad()
def accuracy(network: Reader, pictures: Pictures) -> float:
    return float((network(tensors(pictures.pixels)).argmax(1).numpy() == pictures.labels).mean())


@torch.no_grad()
def coverage(network: Reader, real: Pictures, fake: Pictures) -> tuple[float, list[float]]:
    """Naeem et al. 2020, over all and for each class, as many samples as held-out pictures."""
    a, b = network.features(tensors(real.pixels)), network.features(tensors(fake.pixels[: len(real)]))
    radius = torch.cdist(a, a).kthvalue(NEIGHBOURS + 1, dim=1).values
    near = (torch.cdist(a, b) <= radius[:, None]).any(1).numpy()
    return float(near.mean()), [float(near[real.labels == k].mean()) for k in np.unique(real.labels)]


def judged(train: Pictures, held: Pictures, made: Pictures) -> dict[str, Any]:
    """Figures of samples, as many as there are training pictures, in random order; and what real pictures reach."""
    reader = taught(train)
    covered, by_class = coverage(reader, held, made)
    real, fake = effnet.features(held.pixels), effnet.features(made.pixels[: len(held)])
    other = effnet.features(train.pixels[: len(held)])
    return {
        "train_on_synthetic": accuracy(taught(made), held),
        "train_on_real": accuracy(reader, held),
        "label_accuracy": accuracy(reader, made),
        "coverage": covered,
        "coverage_real": coverage(reader, held, train)[0],
        "least_class_coverage": min(by_class),
        "fd_effnetlite0": distances.fd(real, fake),
        "fd_real": distances.fd(real, other),
        "kid_effnetlite0": distances.kid(real, fake),
        "kid_real": distances.kid(real, other),
    }
