"""Where a number should lie, said by an additive model of the codes drawn before it: a guide for drawing its own codes.

The prediction for a number, as a Gaussian rank, is a sum of one weight for each earlier level and of the ranks of the
earlier numbers, found by ridge regression. A network finds such sharp relations between long codes slowly."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import ndtri

from workers.modalities.table.fields import Floats, Ints
from workers.modalities.table.guiding import STEPS, Guiding

if TYPE_CHECKING:
    from workers.modalities.table.codec import Codec

SAMPLE = 40_000  # rows that the regression is fitted to
CELLS, WORK = 40_000_000, 1e11  # numbers in its matrix, and multiplications, at most: wide tables get fewer rows
RIDGE, RIDGE_RANK = 5.0, 0.5  # rows of prior belief in no effect of a level, and of a number's rank
FEATURES = 1_500  # levels that enter, of the shortest codes first
WORTH = 0.1  # share of the variance that a prediction must explain
ROUNDS = 6  # of filling holes with what is predicted for them
SAID = 4_000_000  # numbers in all terms: of more predictions than that allows, the best


@dataclass
class Guides:
    """`terms` are (variables, table (levels of them combined, predictions)): what their codes add to each prediction.

    `coarse` are (variable, prediction, edges (STEPS - 1,)); `fine` are (variable, prediction, low, width), where low
    and width (levels of the variable before it,) are the Gaussian ranks that its first code stands for."""

    terms: list[tuple[list[int], NDArray[np.float32]]] = field(default_factory=list)
    coarse: list[tuple[int, int, NDArray[np.float32]]] = field(default_factory=list)
    fine: list[tuple[int, int, NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=list)
    worth: list[float] = field(default_factory=list)  # of each prediction: the share of the variance that it explains

    def at_work(self, sizes: list[int]) -> Guiding:
        """As the generator applies them."""
        out = Guiding(
            sizes,
            [variables for variables, _ in self.terms],
            [[variable, m] for variable, m, _ in self.coarse],
            [[variable, m] for variable, m, _, _ in self.fine],
        )
        for n, (_, table) in enumerate(self.terms):
            getattr(out, f"term{n}").copy_(torch.from_numpy(table))
        for n, (_, _, edges) in enumerate(self.coarse):
            out.edges[n] = torch.from_numpy(edges)
        for n, (_, _, low, width) in enumerate(self.fine):
            out.low[n, : len(low)] = torch.from_numpy(low)
            out.reach[n, : len(width)] = torch.from_numpy(width)
        return out


Block = tuple[str, int, int]  # "rank" and a number's place, or "level" and a variable; how many features


@dataclass
class _Number:
    """A number among the variables: its codes, and the Gaussian rank in the middle of each of its cells."""

    variables: list[int]
    middle: Floats  # (levels of its codes combined,), 0 for a missing value
    edges: Floats  # (cells of its first code + 1,), Gaussian ranks
    hole: bool


def fit(codec: Codec, codes: Ints) -> Guides:
    """Guides for all numbers of which the codes before them say enough."""
    numbers, sizes = _numbers(codec), codec.sizes
    if not numbers or not len(codes):
        return Guides()
    blocks = _blocks(sizes, numbers, _entering(codec, numbers))
    ends = np.cumsum([0, *(width for _, _, width in blocks)])
    some = codes[:: max(1, len(codes) // _affordable(int(ends[-1]), len(numbers)))]
    ranks = np.stack([number.middle[_combined(some, number.variables, sizes)] for number in numbers], 1)
    valid = np.stack([some[:, number.variables[0]] < len(number.edges) - 1 for number in numbers], 1)
    weights, guess = _regressed(_design(some, blocks, ends, ranks), blocks, ends, ranks.astype(np.float32), valid)
    worth = _worth(ranks, guess, valid)
    kept = np.flatnonzero(worth >= WORTH)
    room = SAID // max(1, sum(len(number.middle) for number in numbers) + int(ends[-1]))
    kept = np.sort(kept[np.argsort(-worth[kept], kind="stable")][: max(1, room)])
    out = Guides(worth=worth[kept].tolist())
    for m, place in enumerate(kept):
        number = numbers[place]
        cuts = np.quantile(guess[:, place], np.linspace(0, 1, STEPS + 1)[1:-1]).astype(np.float32)
        out.coarse.append((number.variables[0], m, np.maximum.accumulate(cuts)))
        if len(number.variables) > 1:
            low, width = number.edges[:-1], np.maximum(np.diff(number.edges), 1e-3)
            low, width = np.append(low, [0.0] * number.hole), np.append(width, [1.0] * number.hole)
            out.fine.append((number.variables[1], m, low.astype(np.float32), width.astype(np.float32)))
    if len(kept):
        out.terms = _terms(weights[:, kept], blocks, ends, numbers, sizes)
    return out


def _affordable(features: int, numbers: int) -> int:
    """Rows of the regression."""
    work = features * (features + 2.0 * ROUNDS * numbers)
    return max(1, int(min(SAMPLE, CELLS / features, WORK / work)))


def _regressed(
    design: NDArray[np.float32],
    blocks: list[Block],
    ends: Ints,
    goal: NDArray[np.float32],
    valid: NDArray[np.bool_],
) -> tuple[Floats, NDArray[np.float32]]:
    """Ridge weights (features, numbers), zero from a number's own rank on, and what they predict (n, numbers). Holes
    take the values that are predicted for them."""
    used = np.array([ends[b] for b, (kind, _, _) in enumerate(blocks) if kind == "rank"])
    own = np.arange(ends[-1])[:, None] < used
    ridge = np.concatenate([np.full(width, RIDGE if kind == "level" else RIDGE_RANK) for kind, _, width in blocks])
    root = np.linalg.cholesky((design.T @ design).astype(np.float64) + np.diag(ridge))
    weights, guess = np.zeros(own.shape), np.zeros_like(goal)
    left = np.arange(goal.shape[1])
    for _ in range(ROUNDS):
        filled = np.where(valid[:, left], goal[:, left], guess[:, left])
        half = solve_triangular(root, (design.T @ filled).astype(np.float64), lower=True) * own[:, left]
        weights[:, left] = solve_triangular(root, half, lower=True, trans=1)
        guess[:, left] = design @ weights[:, left].astype(np.float32)
        left = left[~valid[:, left].all(0)]
        if not len(left):
            break
    return weights, guess


def _worth(ranks: Floats, guess: NDArray[np.float32], valid: NDArray[np.bool_]) -> Floats:
    """The share of each number's variance that is explained, where it has a value."""
    nan = np.where(valid, 0.0, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a number may have no value in these rows
        spread, left = np.nanvar(ranks + nan, 0), np.nanvar(ranks - guess + nan, 0)
    return np.where(spread > 1e-9, 1 - left / np.maximum(spread, 1e-9), 0.0)


def _numbers(codec: Codec) -> list[_Number]:
    out = []
    for start, one in zip(codec.starts, codec.fields, strict=True):
        for at, number in one.numbers():
            bounds = number.table.edges[number.bounds]
            middle = ndtri(np.clip((bounds[1:] + bounds[:-1]) / 2, 1e-4, 1 - 1e-4))
            full = np.zeros((number.groups, number.together))
            full.flat[: len(middle)] = middle
            full.flat[len(middle) :] = middle[-1]
            firsts = np.minimum(np.arange(number.groups + 1) * number.together, number.cells)
            edges = ndtri(np.clip(bounds[firsts], 1e-4, 1 - 1e-4))
            if number.hole:
                full = np.vstack([full, np.zeros((1, number.together))])
            variables = [start + at + i for i in range(len(number.sizes))]
            out.append(_Number(variables, full.ravel(), edges, number.hole))
    return out


def _combined(codes: Ints, variables: list[int], sizes: list[int]) -> Ints:
    out = codes[:, variables[0]]
    for i in variables[1:]:
        out = out * sizes[i] + codes[:, i]
    return out


def _entering(codec: Codec, numbers: list[_Number]) -> set[int]:
    """Variables whose levels enter one by one: all but numbers' fine codes, the shortest first."""
    fine = {number.variables[1] for number in numbers if len(number.variables) > 1}
    left, out = FEATURES, set()
    for i in sorted(set(range(len(codec.sizes))) - fine, key=lambda i: codec.sizes[i]):
        left -= codec.sizes[i]
        if left < 0:
            break
        out.add(i)
    return out


def _blocks(sizes: list[int], numbers: list[_Number], entering: set[int]) -> list[Block]:
    """Features in drawing order. A number's rank stands before its levels: it is predicted from what stands before."""
    blocks: list[Block] = []
    begins = {number.variables[0]: place for place, number in enumerate(numbers)}
    for i, size in enumerate(sizes):
        if i in begins:
            blocks.append(("rank", begins[i], 1))
        if i in entering:
            blocks.append(("level", i, size))
    return blocks


def _design(codes: Ints, blocks: list[Block], ends: Ints, ranks: Floats) -> NDArray[np.float32]:
    """(n, features)."""
    out = np.zeros((len(codes), ends[-1]), np.float32)
    rows = np.arange(len(codes))
    for (kind, i, _), begin in zip(blocks, ends, strict=False):
        if kind == "rank":
            out[:, begin] = ranks[:, i]
        else:
            out[rows, begin + codes[:, i]] = 1
    return out


def _terms(
    weights: Floats, blocks: list[Block], ends: Ints, numbers: list[_Number], sizes: list[int]
) -> list[tuple[list[int], NDArray[np.float32]]]:
    """What each variable, or each number's codes together, add to each prediction."""
    levels = {i: weights[ends[b] : ends[b + 1]] for b, (kind, i, _) in enumerate(blocks) if kind == "level"}
    slopes = {i: weights[ends[b]] for b, (kind, i, _) in enumerate(blocks) if kind == "rank"}
    terms = []
    for place, number in enumerate(numbers):
        table = number.middle[:, None] * slopes[place]
        first = levels.pop(number.variables[0], None)
        if first is not None:
            table += np.repeat(first, len(table) // len(first), 0)
        terms.append((number.variables, table))
    terms += [([i], table) for i, table in levels.items()]
    used = [(v, table.astype(np.float32)) for v, table in terms if np.abs(table).max(initial=0) > 1e-7]
    return sorted(used, key=lambda term: term[0][-1])
