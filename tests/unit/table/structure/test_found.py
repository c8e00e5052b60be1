"""Rules that nobody stated: those that hold are found, come back exactly and hold in rows of any generator."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.table.structure.toys import columns, dates, fitted, formulas, made, numbers, same, there_and_back
from workers.modalities.table.structure import Structure

RNG = np.random.default_rng(5)
N = 3_000
ADULT = Path(__file__).parents[4] / "examples" / "data" / "adult.parquet"


def sales(n: int = N) -> pa.Table:
    """total = net + tax + shipping; net in cents; gross margins that are of no interest."""
    net, tax = RNG.integers(100, 90_000, n), RNG.integers(0, 9_000, n)
    shipping = RNG.choice([0, 499, 999], n)
    total = net + tax + shipping
    return pa.table(
        {
            "net": net / 100,
            "tax": tax / 100,
            "shipping": shipping / 100,
            "total": total / 100,
            "rating": RNG.integers(0, 1000, n),
        }
    )


def boxes(n: int = N) -> pa.Table:
    """volume = length * width * height / 1000, rounded; the three move together."""
    size = RNG.lognormal(3, 0.5, n)
    sides = np.round(size[:, None] * RNG.lognormal(0, 0.05, (n, 3)), 2)
    return pa.table(
        dict(zip(("length", "width", "height"), sides.T, strict=True)) | {"volume": np.round(sides.prod(1) / 1000, 1)}
    )


def test_a_total_is_found_to_be_the_sum_of_its_parts() -> None:
    table = sales()
    structure = fitted(table)
    assert formulas(structure, "identity") == ["total = net + tax + shipping"]
    assert [column["name"] for column in structure.columns] == ["net", "tax", "shipping", "rating"]
    assert all(same(table, there_and_back(structure, table), name) == 1 for name in table.column_names)


def test_a_sum_holds_in_rows_of_any_generator() -> None:
    table = sales()
    rows = made(fitted(table), table)
    parts = sum(numbers(rows, name) for name in ("net", "tax", "shipping"))
    np.testing.assert_allclose(numbers(rows, "total"), parts, atol=1e-6)


def test_a_product_of_columns_that_move_together_is_found() -> None:
    table = boxes()
    structure = fitted(table)
    assert formulas(structure, "identity") == ["volume = 0.001 * length * width * height"] or set(
        formulas(structure, "identity")[0].split(" = ")[1].split(" * ")
    ) == {"0.001", "length", "width", "height"}
    back = there_and_back(structure, table)
    assert all(same(table, back, name) == 1 for name in table.column_names)


def test_a_product_is_solved_for_the_column_that_it_gets_right() -> None:
    size = RNG.lognormal(1.7, 0.2, N)
    x, y = np.round(size, 2), np.round(size * RNG.normal(1, 0.01, N), 2)
    depth = np.round(RNG.normal(61.7, 1.4, N), 1)
    z = np.round(depth * np.sqrt(x * y) / 100, 2)
    structure = fitted(pa.table({"depth": depth, "x": x, "y": y, "z": z}))
    (entry,) = [entry for entry in structure.describe() if entry["kind"] == "identity"]
    assert entry["formula"].startswith("z = 0.01 * ")
    assert set(entry["columns"]) == {"x", "y", "z", "depth"}
    assert entry["holds_in"] > 0.998


def test_another_unit_is_found_and_kept_exactly() -> None:
    celsius = np.round(RNG.normal(12, 9, N), 1)
    table = pa.table({"celsius": celsius, "fahrenheit": np.round(celsius * 1.8 + 32, 2), "other": RNG.normal(size=N)})
    structure = fitted(table)
    (formula,) = formulas(structure, "identity")
    assert "fahrenheit" in formula
    assert "celsius" in formula
    back = there_and_back(structure, table)
    assert same(table, back, "celsius") == same(table, back, "fahrenheit") == 1
    rows = made(structure, table)
    np.testing.assert_allclose(numbers(rows, "fahrenheit"), numbers(rows, "celsius") * 1.8 + 32, atol=1e-6)


def test_an_identity_with_exceptions_keeps_them_as_often() -> None:
    table = sales()
    total = numbers(table, "total") + np.where(RNG.random(N) < 0.08, RNG.integers(1, 500, N) / 100, 0)
    table = table.set_column(3, "total", pa.array(np.round(total, 2)))
    structure = fitted(table)
    (entry,) = [entry for entry in structure.describe() if entry["kind"] == "identity"]
    assert 0.9 < entry["holds_in"] < 0.94
    assert same(table, there_and_back(structure, table), "total") == 1
    rows = made(structure, table)
    off = np.abs(numbers(rows, "total") - sum(numbers(rows, name) for name in ("net", "tax", "shipping"))) > 0.005
    assert 0.06 < off.mean() < 0.1


def test_a_sum_whose_parts_may_be_missing_comes_back_with_its_gaps() -> None:
    table = sales()
    gone = RNG.random(N) < 0.2
    net = pa.array(numbers(table, "net"), mask=gone)
    lost = pa.array(numbers(table, "total"), mask=RNG.random(N) < 0.03)
    table = table.set_column(0, "net", net).set_column(3, "total", lost)
    structure = fitted(table)
    assert formulas(structure, "identity")
    back = there_and_back(structure, table)
    assert all(same(table, back, name) == 1 for name in table.column_names)


def test_an_atom_that_half_of_the_rows_share_is_no_identity() -> None:
    share = np.where(RNG.random(N) < 0.56, 100.0, np.round(RNG.uniform(40, 100, N), 1))
    table = pa.table({"share": share, "a": RNG.normal(50, 9, N).round(1), "b": RNG.integers(0, 500, N)})
    assert formulas(fitted(table)) == []


@pytest.mark.parametrize("seed", range(3))
def test_columns_that_know_nothing_of_each_other_have_no_rules(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = pa.table(
        {f"n{i}": rng.integers(0, 10 ** (1 + i % 4), 400) for i in range(8)}
        | {f"f{i}": np.round(rng.lognormal(2, 1, 400), 2) for i in range(4)}
        | {f"c{i}": pa.array(rng.choice(["x", "y", "z"], 400)) for i in range(4)}
    )
    assert formulas(fitted(table)) == []


def test_adult_has_no_numeric_rules() -> None:
    table = pq.read_table(ADULT)
    kinds = {"large_string": pa.string()}
    table = pa.table(
        [table[n].cast(kinds.get(str(table[n].type), table[n].type)) for n in table.column_names], table.column_names
    )
    assert formulas(fitted(table)) == []


def test_an_end_after_its_start_is_kept_as_the_time_between() -> None:
    start = RNG.integers(15_000, 19_000, N)
    end = start + RNG.geometric(0.1, N) - 1
    table = pa.table({"start": dates(start), "end": dates(end, RNG.random(N) < 0.1), "n": RNG.integers(0, 9, N)})
    structure = fitted(table)
    assert formulas(structure, "ordering") == ["end >= start"]
    back = there_and_back(structure, table)
    assert same(table, back, "end") == same(table, back, "start") == 1
    rows = made(structure, table)
    gap = numbers(rows, "end") - numbers(rows, "start")
    assert np.nanmin(gap) >= 0
    assert rows["end"].null_count > 0.05 * N


def test_a_chain_of_orders_is_kept() -> None:
    low = RNG.gamma(2, 10, N).round()
    middle = low + RNG.geometric(0.05, N)
    high = middle + RNG.geometric(0.03, N)
    table = pa.table(
        {name: values.astype(np.int64) for name, values in (("high", high), ("low", low), ("middle", middle))}
    )
    structure = fitted(table)
    assert formulas(structure, "ordering") == ["middle > low", "high > middle"]
    rows = made(structure, table)
    assert (numbers(rows, "low") < numbers(rows, "middle")).all()
    assert (numbers(rows, "middle") < numbers(rows, "high")).all()


def test_columns_in_order_by_accident_are_left_alone() -> None:
    table = pa.table({"age": RNG.integers(18, 90, N), "salary": RNG.integers(12_000, 200_000, N)})
    assert formulas(fitted(table)) == []


def test_a_number_that_two_categories_determine_is_looked_up() -> None:
    a, b = RNG.integers(0, 6, 6 * N), RNG.integers(0, 7, 6 * N)
    distance = RNG.permutation(9_000)[:42]
    table = pa.table(
        {
            "from": pa.array([f"a{i}" for i in range(6)]).take(pa.array(a)),
            "to": pa.array([f"b{i}" for i in range(7)]).take(pa.array(b)),
            "carrier": pa.array(["x", "y", "z"]).take(pa.array(RNG.integers(0, 3, 6 * N))),
            "distance": distance[a * 7 + b],
        }
    )
    structure = fitted(table)
    assert structure.kept == {"from", "to", "carrier"}
    assert same(table, there_and_back(structure, table), "distance") == 1
    known = set(zip(a, b, distance[a * 7 + b], strict=True))
    rows = made(structure, table)
    names = (rows["from"].to_pylist(), rows["to"].to_pylist(), rows["distance"].to_pylist())
    assert {(int(x[1]), int(y[1]), z) for x, y, z in zip(*names, strict=True)} <= known


def test_a_lookup_keeps_nothing_that_fewer_than_five_rows_share() -> None:
    a = np.concatenate([RNG.integers(0, 30, N), [30, 30, 31]])
    price = np.concatenate([RNG.permutation(900)[:30][a[:N]] + 1_000, [77_001, 77_001, 77_002]])
    table = pa.table({"item": pa.array([f"i{i}" for i in a]), "price": price})
    structure = fitted(table)
    assert formulas(structure, "lookup") == ["price follows from item"]
    assert "7700" not in str(structure.to_json()["steps"])
    assert same(table, there_and_back(structure, table), "price") >= 0.999


def test_an_age_group_follows_from_the_age() -> None:
    age = RNG.integers(18, 91, N)
    group = np.select([age < 30, age < 65], ["young", "middle"], "old")
    table = pa.table({"age": age, "group": pa.array(group), "x": RNG.normal(size=N)})
    structure = fitted(table)
    assert structure.kept == {"age", "x"}
    assert same(table, there_and_back(structure, table), "group") == 1


def test_parts_of_a_date_follow_from_it() -> None:
    days = RNG.integers(17_000, 19_500, 4_000)
    stamps = days.astype("datetime64[D]")
    names = np.array(["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"])[days % 7]
    table = pa.table(
        {
            "day": dates(days),
            "year": stamps.astype("datetime64[Y]").astype(int) + 1970,
            "weekday": pa.array(names),
            "n": RNG.integers(0, 500, 4_000),
        }
    )
    structure = fitted(table)
    assert structure.kept == {"day", "n"}
    back = there_and_back(structure, table)
    assert same(table, back, "weekday") == same(table, back, "year") == 1


def test_amounts_carried_over_are_kept_as_copies() -> None:
    before = RNG.integers(0, 100_000, N)
    after = np.where(RNG.random(N) < 0.2, before, RNG.integers(0, 100_000, N))
    table = pa.table({"before": before, "after": after})
    structure = fitted(table)
    assert len(formulas(structure, "copy")) == 1
    back = there_and_back(structure, table)
    assert same(table, back, "before") == same(table, back, "after") == 1
    rows = made(structure, table)
    assert 0.17 < (numbers(rows, "before") == numbers(rows, "after")).mean() < 0.23


def test_a_smooth_column_that_others_nearly_determine_is_kept_as_a_factor_on_its_grid() -> None:
    weight = np.round(RNG.lognormal(0, 0.6, N) + 0.05, 2)
    length = np.round(10 * np.cbrt(weight) * RNG.lognormal(0, 0.01, N), 2)
    table = pa.table({"weight": weight, "length": length})
    structure = fitted(table)
    assert len(formulas(structure, "near identity")) == 1
    back = there_and_back(structure, table)
    assert min(same(table, back, "weight"), same(table, back, "length")) >= 0.9994
    rows = made(structure, table)
    assert np.std(np.log(numbers(rows, "length") / 10 / np.cbrt(numbers(rows, "weight")))) < 0.05
    np.testing.assert_allclose(numbers(rows, "length"), np.round(numbers(rows, "length"), 2))


def test_how_long_it_took_is_found_to_be_the_end_minus_the_start() -> None:
    minute = 60_000_000
    start = 1_600_000_000_000_000 + RNG.integers(0, 500_000, N) * minute
    took = RNG.integers(1, 3_000, N) * minute
    stamps = {
        name: pa.array(us, pa.int64()).cast(pa.timestamp("us"))
        for name, us in (("start", start), ("end", start + took))
    }
    table = pa.table(stamps | {"took": took, "n": RNG.integers(0, 900, N)})
    schema = columns(table)
    schema[2] |= {"type": "duration", "arrow": "duration[us]"}
    structure = Structure.fit(schema, table, [], np.random.default_rng(0))
    assert len(formulas(structure, "identity")) == 1
    back = there_and_back(structure, table)
    assert all(same(table, back, name) == 1 for name in table.column_names)
    rows = made(structure, table)
    assert (numbers(rows, "end") == numbers(rows, "start") + numbers(rows, "took")).all()


def test_places_on_a_map_are_left_alone() -> None:
    latitude = np.round(RNG.uniform(40, 50, N), 3)
    table = pa.table({"latitude": latitude, "longitude": np.round(2 * latitude - 80, 3), "n": RNG.integers(0, 900, N)})
    schema = columns(table)
    for entry, other in ((schema[0], "longitude"), (schema[1], "latitude")):
        entry["geo"] = {"role": entry["name"], "with": other}
    assert Structure.fit(schema, table, [], np.random.default_rng(0)).columns == schema


@pytest.mark.parametrize("n", [1, 2, 5, 99, 101, 2_000])
@pytest.mark.filterwarnings("error")
def test_odd_columns_are_no_trouble(n: int) -> None:
    x, rng = RNG.normal(size=n), np.random.default_rng(n)
    table = pa.table(
        {
            "nothing": pa.nulls(n, pa.float64()),
            "no day": pa.nulls(n, pa.date32()),
            "one value": pa.array([1.5] + [None] * (n - 1), pa.float64()),
            "constant": np.full(n, 7),
            "infinite": np.where(np.arange(n) == n // 3, np.inf, x) if n > 50 else x,
            "huge": rng.integers(-(2**62), 2**62, n),
            "tiny": x * 1e-300,
            "enormous": x * 1e300,
            "far days": dates(rng.integers(-700_000, 2_900_000, n)),
            "far times": pa.array(rng.integers(-6 * 10**16, 2 * 10**17, n)).cast(pa.timestamp("us")),
            "maybe": pa.array(rng.random(n) < 0.5, mask=rng.random(n) < 0.3),
            "": rng.integers(0, 99, n),
            "none": rng.integers(0, 999, n),
            'a "quoted", \n😀': pa.array([f"😀{i}" for i in rng.integers(0, 5, n)]),
        }
    )
    structure = fitted(table)
    back = there_and_back(structure, table)
    assert {name: same(table, back, name) for name in table.column_names} == dict.fromkeys(table.column_names, 1.0)
    assert made(structure, table, 20).schema.equals(table.schema)


def test_few_rows_have_no_rules() -> None:
    table = sales(60)
    assert fitted(table).columns == columns(table)


def test_no_columns_and_no_rows_are_no_trouble() -> None:
    nothing = pa.table({"": pa.nulls(5)}).select([])
    structure = Structure.fit([], nothing, [], np.random.default_rng(0))
    assert structure.inverse(structure.forward(nothing, RNG), RNG).num_rows == 5
    table = sales()
    structure = fitted(table)
    free = structure.forward(table.slice(0, 0), RNG)
    assert structure.inverse(free, RNG).num_rows == 0


def test_the_same_rows_give_the_same_rules() -> None:
    table = sales()
    assert fitted(table).to_json() == fitted(table).to_json()
