"""What codes say of each other, in large and in wide tables."""

import numpy as np
import pytest

from workers.modalities.table import relations

RNG = np.random.default_rng(2)


def related(n: int, v: int) -> tuple[np.ndarray, list[int]]:
    """Each code follows the one before it, with some noise."""
    sizes = [int(size) for size in RNG.integers(2, 40, v)]
    places = np.cumsum(RNG.normal(size=(n, v)), 1) / np.sqrt(np.arange(1, v + 1))
    return np.stack([np.clip((places[:, i] + 2) / 4 * k, 0, k - 1).astype(int) for i, k in enumerate(sizes)], 1), sizes


def test_relations_do_not_depend_on_how_many_are_worked_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, sizes = related(3_000, 30)
    whole = relations.information(codes, sizes)
    monkeypatch.setattr(relations, "SPAN", 1)
    np.testing.assert_allclose(relations.information(codes, sizes), whole, atol=1e-12)
    assert whole[3, 4] > whole[3, 20] > 0


def test_wide_tables_keep_to_the_work_they_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbouring levels count as one, and fewer rows are looked at; strong relations still show."""
    codes, sizes = related(3_000, 60)
    monkeypatch.setattr(relations, "WORK", 1e7)
    found = relations.information(codes, sizes)
    assert found[30, 31] > 3 * found[30, 2] > 0


def test_what_one_code_determines_is_found_in_more_rows_than_are_sampled() -> None:
    n = 5 * relations.SAMPLE
    city = RNG.integers(0, 30, n)
    country, noise = city // 4, RNG.integers(0, 8, n)
    codes, sizes = np.stack([city, country, noise], 1), [30, 8, 8]
    strength = relations.information(codes, sizes)
    ((i, j, never),) = relations.rules(codes, sizes, [], strength)
    assert (i, j) == (0, 1)
    np.testing.assert_array_equal(never, np.arange(30)[:, None] // 4 != np.arange(8))


def test_a_rare_exception_among_all_rows_is_allowed() -> None:
    n = 5 * relations.SAMPLE
    city = RNG.integers(0, 30, n)
    country = city // 4
    country[1] = 7 if country[1] != 7 else 6
    codes, sizes = np.stack([city, country], 1), [30, 8]
    ((_, _, never),) = relations.rules(codes, sizes, [], relations.information(codes, sizes))
    assert not never[city[1], country[1]]
