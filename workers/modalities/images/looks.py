"""Who says what pictures look like: small networks, taught by the real ones' classes and attributes.

What they say of samples, directions are fitted to. A category of several levels has no one way to go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.modalities.images import metrics
from workers.modalities.images.directions import Reader, log_odds, opinion
from workers.modalities.images.judging import TAUGHT, Judging

FEWEST = 10  # pictures with an attribute, and without; of a number above its median, and not
FEWEST_TO_ASK = 20  # held-out pictures whose attribute is known, to ask whether it can be seen at all
SEEN = 0.3  # correlation of what is said of those with what is true, under which it cannot


def reader(judging: Judging) -> tuple[list[str], Reader]:
    """What pictures can look like, and who says how much: log-odds, or a number in its standard deviations."""
    classes, told = judging.reader, _describer(judging)
    names = list(judging.codec.classes or ()) if classes is not None else []
    named = set(names)
    others = [(place, name) for place, name in enumerate(told[0] if told else ()) if name not in named]

    def read(x: Tensor) -> Tensor:
        said = [x.new_zeros(len(x), 0)]
        if classes is not None:
            said.append(opinion(log_odds(classes(x))))
        if told is not None:
            said.append(told[1](x)[:, [place for place, _ in others]])
        return torch.cat(said, 1)

    return [*names, *(name for _, name in others)], read


def _describer(judging: Judging) -> tuple[list[str], Reader] | None:
    """The attributes that can be seen in pictures, and who sees them; None where there are none."""
    train = judging.train
    if not train.described:
        return None
    rows = np.random.default_rng(2).permutation(len(train))[:TAUGHT]
    values = train.attributes[rows]
    some = [i for i, one in enumerate(train.described) if _enough(str(one["type"]), values[:, i])]
    if not some:
        return None
    boolean = np.array([train.described[i]["type"] == "boolean" for i in some])
    mean, wide = np.nanmean(values[:, some], 0), np.nanstd(values[:, some], 0)
    mean, wide = np.where(boolean, 0.0, mean), np.where(boolean, 1.0, wide)  # truths stay 0 and 1
    truth = torch.from_numpy(((values[:, some] - mean) / wide).astype(np.float32))
    network = metrics.describer(judging.small(train, rows), truth, torch.from_numpy(boolean), seed=0)
    seen = [place for place, found in enumerate(_seen(network, judging, some)) if found]
    if not seen:
        return None
    odds = torch.from_numpy(boolean)[seen]

    def read(x: Tensor) -> Tensor:
        said = network(x)[:, seen].double()
        return torch.where(odds, opinion(said), said)

    return [str(train.described[some[place]]["name"]) for place in seen], read


def _enough(kind: str, values: NDArray[np.float32]) -> bool:
    """Whether so many pictures have the attribute, and others not, that it can be learned."""
    known = values[~np.isnan(values)]
    if kind not in ("boolean", "number") or not len(known):
        return False
    more = int((known > (0.5 if kind == "boolean" else np.median(known))).sum())
    return min(more, len(known) - more) >= FEWEST


def _seen(network: metrics.Classifier, judging: Judging, some: Sequence[int]) -> list[bool]:
    """Whether each attribute is told rightly of held-out pictures; yes, where too few of them say."""
    held = judging.holdout
    if len(held) < FEWEST_TO_ASK:
        return [True] * len(some)
    rows = np.random.default_rng(2).permutation(len(held))[:TAUGHT]
    with torch.no_grad():
        pieces = torch.split(judging.small(held, rows), 500)
        said = torch.cat([network(piece) for piece in pieces]).double().numpy()
    return [_agree(said[:, place], held.attributes[rows, index]) for place, index in enumerate(some)]


def _agree(said: NDArray[np.float64], true: NDArray[np.float32]) -> bool:
    known = ~np.isnan(true)
    said, true = said[known], true[known]
    if len(true) < FEWEST_TO_ASK or not np.ptp(true):
        return True
    return bool(np.ptp(said) > 0) and float(np.corrcoef(said, true)[0, 1]) >= SEEN
