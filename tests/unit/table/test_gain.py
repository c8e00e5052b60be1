"""What synthetic rows are worth, where that is known: rows of the truth help a rare class, noise does not."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.table.tables import no_progress
from workers.modalities.table import gain

COLUMNS: list[dict[str, Any]] = [
    {"name": "x", "type": "float", "arrow": "double", "nullable": True},
    {"name": "day", "type": "date", "arrow": "date32[day]", "nullable": True},
    {"name": "colour", "type": "category", "arrow": "string", "nullable": True, "levels": ["red", "blue", "green"]},
    {"name": "sick", "type": "category", "arrow": "string", "nullable": True, "levels": ["no", "yes"]},
    {"name": "dose", "type": "float", "arrow": "double", "nullable": True},
]
SICK, DOSE = COLUMNS[3], COLUMNS[4]


def rows(n: int, seed: int, share: float = 0.5, noise: bool = False) -> pa.Table:
    """Of the sick x is larger, by less than its spread, unless they are noise; the dose follows x and the colour."""
    rng = np.random.default_rng(seed)
    sick = rng.random(n) < share
    x = rng.normal(0, 1, n) + 1.5 * (rng.permutation(sick) if noise else sick)
    code = rng.integers(0, 3, n)
    dose = 2 * x + 3 * code + rng.normal(0, 0.5, n)
    return pa.table(
        {
            "x": pa.array(x, mask=rng.random(n) < 0.02),
            "day": pa.array(rng.integers(0, 9_000, n).astype(np.int32)).cast(pa.date32()),
            "colour": pa.array(np.array(["red", "blue", "green"])[code], mask=rng.random(n) < 0.02),
            "sick": pa.array(np.where(sick, "yes", "no"), mask=rng.random(n) < 0.02),
            "dose": pa.array(rng.permutation(dose) if noise else dose),
        }
    )


def measured(
    real: pa.Table, made: pa.Table, held: pa.Table, target: dict[str, Any] = SICK, balanced: bool = True
) -> dict[str, Any]:
    return gain.measured(real, made, held, COLUMNS, target, balanced, 3, no_progress)


def test_true_rows_of_a_rare_class_help_and_weights_are_said_to_do_so_too() -> None:
    told = measured(rows(2_000, 0, 0.05), rows(1_800, 1, 1.0), rows(2_000, 2, 0.3))
    assert told["after"]["balanced_accuracy"] > told["before"]["balanced_accuracy"] + 0.1
    assert told["after"]["recall"]["yes"] > told["before"]["recall"]["yes"] + 0.2
    assert told["change"]["balanced_accuracy"][0] > 0
    assert told["weighted"]["balanced_accuracy"] > told["before"]["balanced_accuracy"]
    assert "balanced accuracy rose from" in told["verdict"]
    assert "classes weighted alike" in told["verdict"]
    assert told["warnings"] == []


def test_noise_does_harm_or_nothing_and_the_verdict_says_so() -> None:
    told = measured(rows(2_000, 0), rows(8_000, 1, noise=True), rows(2_000, 2), balanced=False)
    assert told["change"]["roc_auc"][1] < 0.01
    assert "helped" not in told["verdict"]
    assert told["weighted"] is None


def test_no_rows_change_nothing() -> None:
    real = rows(800, 0)
    told = measured(real, real.slice(0, 0), rows(500, 2))
    assert told["before"] == told["after"]
    assert "did not help" in told["verdict"]


def test_a_number_is_scored_by_the_variance_explained() -> None:
    told = measured(rows(300, 0), rows(3_000, 1), rows(1_000, 2), DOSE)
    assert 0.7 < told["before"]["r2"] < told["after"]["r2"] < 1
    assert told["change"]["r2"][0] > 0
    assert told["after"] == {"r2": told["after"]["r2"], "trained_on": 3_300, "scored_on": 1_000}
    assert "R2 rose from" in told["verdict"]


def test_rows_without_a_target_are_left_out_and_holdouts_too_small_are_named() -> None:
    held = rows(60, 2)
    known = 60 - held["sick"].null_count
    assert measured(rows(500, 0), rows(500, 1), held)["after"]["scored_on"] == known
    few = measured(rows(500, 0), rows(500, 1), held.slice(0, 20))
    assert (few["before"], few["after"], few["change"]) == (None, None, None)
    assert "too few" in few["verdict"]
    rare = measured(rows(500, 0), rows(500, 1), rows(200, 2, share=0.01))
    assert any("yes (" in warning for warning in rare["warnings"])


def test_what_cannot_be_scored_says_why() -> None:
    real = rows(500, 0)
    sound = real["sick"].combine_chunks()
    one = real.set_column(3, "sick", pa.array(["no"] * 500))
    assert "single class" in measured(one, real, rows(100, 2))["verdict"]
    alone = gain.measured(real, real, rows(100, 2), [SICK], SICK, True, 3, no_progress)
    assert "no other column" in alone["verdict"]
    empty = real.set_column(0, "x", pa.nulls(500, pa.float64())).set_column(3, "sick", sound)
    assert measured(empty, real, rows(100, 2))["before"] is not None
    flat = rows(100, 2).set_column(4, "dose", pa.array([1.0] * 100))
    assert "nothing can be said" in measured(real, real, flat, DOSE)["verdict"]


def test_keys_texts_and_the_like_are_no_features() -> None:
    for kind in ("identifier", "text", "constant", "personal"):
        assert not gain.is_feature({"name": "a", "type": kind, "arrow": "string", "levels": ["a"]})
    assert not gain.is_feature({"name": "a", "type": "category", "arrow": "string"})
    for column in COLUMNS:
        assert gain.is_feature(column)


def test_categories_of_more_levels_than_trees_take_are_cut() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(2_000)]
    column = {"name": "word", "type": "category", "arrow": "string", "nullable": False, "levels": words}

    def wordy(n: int, seed: int) -> pa.Table:
        return rows(n, seed).append_column("word", pa.array(rng.choice(words, n)))

    told = gain.measured(wordy(3_000, 0), wordy(500, 1), wordy(300, 2), [*COLUMNS, column], SICK, True, 3, no_progress)
    assert told["before"]["roc_auc"] > 0.6


def test_wide_tables_are_scored_with_fewer_rows() -> None:
    assert gain.most_rows(15) == gain.REAL_ROWS
    assert gain.most_rows(1_000) == 5_000
    assert gain.most_rows(10**6) == 1_000


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_any_seed_is_taken(seed: int) -> None:
    told = gain.measured(rows(100, 0), rows(50, 1), rows(50, 2), COLUMNS, SICK, True, seed, no_progress)
    assert told["before"]
