"""Where a number should lie, said by an additive model of the codes drawn before it: a guide for drawing its own codes.

The prediction for a number, as a Gaussian rank, is a sum of one weight for each earlier level and of the ranks of the
earlier numbers, found by ridge regression. A network finds such sharp relations between long codes slowly."""

from __future__ import annotations

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
RIDGE = 5.0  # rows of prior belief in no effect of a level
FEATURES = 1_500  # levels that enter, of the shortest codes first
WORTH = 0.1  # share of the variance that a prediction must explain


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
    some = codes[:: max(1, len(codes) // SAMPLE)]
    ranks = np.stack([number.middle[_combined(some, number.variables, sizes)] for number in numbers], 1)
    entering = _entering(codec, numbers)
    blocks, design = _design(some, sizes, numbers, ranks, entering)
    gram = design.T @ design + np.diag(
        [RIDGE if kind == "level" else 0.5 for kind, _, width in blocks for _ in range(width)]
    )
    root = np.linalg.cholesky(gram)
    ends = np.cumsum([0, *(width for _, _, width in blocks)])
    out = Guides()
    weights: list[Floats] = []
    for place, number in enumerate(numbers):
        used = int(ends[next(b for b, (kind, i, _) in enumerate(blocks) if (kind, i) == ("rank", place))])
        if not used:
            continue
        valid = some[:, number.variables[0]] < len(number.edges) - 1
        solved = _solve(np.asarray(root[:used, :used], np.float64), design[:, :used], ranks[:, place], valid)
        guess = design[:, :used] @ solved
        spread = float(np.var(ranks[valid, place])) if valid.any() else 0.0
        worth = 1 - float(np.var((ranks[:, place] - guess)[valid])) / spread if spread > 1e-9 else 0.0
        if worth < WORTH:
            continue
        m = len(weights)
        weights.append(np.concatenate([solved, np.zeros(len(gram) - used)]))
        out.worth.append(worth)
        cuts = np.quantile(guess, np.linspace(0, 1, STEPS + 1)[1:-1]).astype(np.float32)
        out.coarse.append((number.variables[0], m, np.maximum.accumulate(cuts)))
        if len(number.variables) > 1:
            low, width = number.edges[:-1], np.maximum(np.diff(number.edges), 1e-3)
            pad = [0.0] * number.hole, [1.0] * number.hole
            out.fine.append(
                (
                    number.variables[1],
                    m,
                    np.append(low, pad[0]).astype(np.float32),
                    np.append(width, pad[1]).astype(np.float32),
                )
            )
    if weights:
        out.terms = _terms(np.stack(weights, 1), blocks, ends, numbers, sizes)
    return out


def _solve(root: Floats, design: Floats, goal: Floats, valid: NDArray[np.bool_]) -> Floats:
    """Ridge weights; rows in which the number is missing count as predicted already."""
    weights = np.zeros(design.shape[1])
    for _ in range(1 if valid.all() else 6):  # holes take the values that are predicted for them
        filled = np.where(valid, goal, design @ weights)
        half = solve_triangular(root, design.T @ filled, lower=True)
        weights = solve_triangular(root, half, lower=True, trans=1)
    out: Floats = weights
    return out


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


def _design(
    codes: Ints, sizes: list[int], numbers: list[_Number], ranks: Floats, entering: set[int]
) -> tuple[list[tuple[str, int, int]], Floats]:
    """Features in drawing order: blocks of (kind, variable or number, width), and the matrix (n, features)."""
    blocks: list[tuple[str, int, int]] = []
    parts: list[NDArray[np.float32]] = []
    begins = {number.variables[0]: place for place, number in enumerate(numbers)}
    for i in range(len(sizes)):
        if i in begins:  # the rank stands before the levels: a number is predicted from what stands before its rank
            blocks.append(("rank", begins[i], 1))
            parts.append(ranks[:, begins[i], None].astype(np.float32))
        if i in entering:
            blocks.append(("level", i, sizes[i]))
            ones = np.zeros((len(codes), sizes[i]), np.float32)
            ones[np.arange(len(codes)), codes[:, i]] = 1
            parts.append(ones)
    return blocks, np.concatenate(parts, 1).astype(np.float64)


def _terms(
    weights: Floats, blocks: list[tuple[str, int, int]], ends: Ints, numbers: list[_Number], sizes: list[int]
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
