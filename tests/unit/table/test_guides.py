"""Guides: additive predictions of numbers from the codes before them."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from workers.modalities.table import guides, relations
from workers.modalities.table.codec import Codec, encoded
from workers.modalities.table.levels import Levels
from workers.modalities.table.numbers import Number
from workers.modalities.table.structure import Structure

RNG = np.random.default_rng(5)
N = 8_000
KIND = RNG.integers(0, 4, N)
FIRST = RNG.normal(size=N).round(2)
SUM = (2 * FIRST + KIND + RNG.normal(size=N) / 20).round(2)
ALONE = RNG.normal(size=N).round(2)


def codec(**columns: pa.Array) -> tuple[Codec, np.ndarray]:
    """Fields in the order given."""
    fields = []
    for name, array in columns.items():
        column = {"name": name, "nullable": array.null_count > 0, "arrow": str(array.type)}
        if pa.types.is_string(array.type):
            levels = sorted(set(array.to_pylist()))
            fields.append(Levels.fit(array, column | {"type": "category", "levels": levels}, 100))
        else:
            fields.append(Number.fit(array, column | {"type": "float", "decimals": 2}))
    return Codec([], Structure.fit([], pa.table({"": pa.nulls(1)}).select([]), [], RNG), fields, [], []), encoded(
        fields, columns
    )


def table(hole: np.ndarray | None = None) -> tuple[Codec, np.ndarray]:
    kind = pa.array([f"k{i}" for i in KIND])
    return codec(kind=kind, first=pa.array(FIRST), sum=pa.array(SUM, mask=hole), alone=pa.array(ALONE))


def test_a_number_that_follows_from_others_has_a_guide() -> None:
    model, codes = table()
    found = guides.fit(model, codes)
    assert [variable for variable, _, _ in found.coarse] == [3]  # kind, first, first, sum, sum, alone, alone
    assert [variable for variable, _, _, _ in found.fine] == [4]
    assert found.worth[0] > 0.98
    assert all(variables[-1] < 3 for variables, _ in found.terms)


def test_the_steps_of_a_guide_tell_a_numbers_codes() -> None:
    model, codes = table()
    steps = guides.fit(model, codes).at_work(model.sizes).steps(torch.from_numpy(codes.T.copy())).numpy()
    for j, least in ((3, 2.0), (4, 0.3)):
        joint = relations.joint(steps[j], codes[:, j], 64, model.sizes[j]) / N
        alone = np.outer(joint.sum(1), joint.sum(0))
        assert (joint[joint > 0] * np.log(joint[joint > 0] / alone[joint > 0])).sum() > least


def test_missing_values_do_not_hide_what_a_number_follows() -> None:
    model, codes = table(hole=RNG.random(N) < 0.4)
    found = guides.fit(model, codes)
    assert found.worth[0] > 0.97


def test_later_codes_do_not_change_a_guides_step() -> None:
    model, codes = table()
    work = guides.fit(model, codes).at_work(model.sizes)
    other = codes.copy()
    other[:, 5:] = 0
    a, b = (work.steps(torch.from_numpy(some.T.copy()))[:5] for some in (codes, other))
    assert torch.equal(a, b)


def test_wide_tables_have_the_best_guides_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = (FIRST + 2 * ALONE).round(2)
    columns = {"first": pa.array(FIRST), "alone": pa.array(ALONE), "sum": pa.array(SUM), "weak": pa.array(weak)}
    model, codes = codec(**columns)
    assert len(guides.fit(model, codes).coarse) == 2
    monkeypatch.setattr(guides, "SAID", 1)
    found = guides.fit(model, codes)
    assert [variable for variable, _, _ in found.coarse] == [6]
    assert all(said.shape[1] == 1 for _, said in found.terms)


def test_of_wide_tables_fewer_rows_are_looked_at() -> None:
    assert guides._affordable(500, 20) == guides.SAMPLE
    features, numbers = 2_000, 500
    rows = guides._affordable(features, numbers)
    assert rows * features <= guides.CELLS
    assert rows > 1_000
