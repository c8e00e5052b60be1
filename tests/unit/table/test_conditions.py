"""What rows can be asked to meet: each type's values, sets, ranges and shares, and the sentences of refusals."""

import json
import subprocess
import sys
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest

from service.errors import InvalidCondition
from workers.modalities.table.conditions import OneOf, Range, Shares, Value, assign, check_conditions, parse

SCHEMA: dict[str, Any] = {
    "columns": [
        {"name": "age", "type": "integer", "arrow": "int64", "nullable": False, "minimum": 17, "maximum": 90},
        {"name": "price", "type": "float", "arrow": "double", "nullable": True, "minimum": -1.5, "maximum": 99.95,
         "decimals": 2},
        {"name": "free", "type": "float", "arrow": "double", "nullable": False, "minimum": 0.0, "maximum": 1.0,
         "decimals": None},
        {"name": "doors", "type": "integer", "arrow": "int64", "nullable": False, "minimum": 2, "maximum": 5,
         "levels": [4, 2, 5]},
        {"name": "state", "type": "category", "arrow": "string", "nullable": True, "levels": ["CA", "NY", "TX", "7"]},
        {"name": "end", "type": "category", "arrow": "string", "nullable": False, "levels": ["min", "max"]},
        {"name": "zip", "type": "category", "arrow": "int64", "nullable": False, "levels": [10115, 80331]},
        {"name": "member", "type": "boolean", "arrow": "bool", "nullable": False, "levels": [True, False]},
        {"name": "born", "type": "date", "arrow": "date32[day]", "nullable": True, "format": "%d.%m.%Y"},
        {"name": "seen", "type": "datetime", "arrow": "timestamp[us]", "nullable": False,
         "format": "%Y-%m-%dT%H:%M:%S", "fraction": 0},
        {"name": "met", "type": "datetime", "arrow": "string", "nullable": False,
         "format": "%Y-%m-%d %H:%M+02:00", "fraction": 0},
        {"name": "opens", "type": "time", "arrow": "time32[s]", "nullable": False},
        {"name": "lasts", "type": "duration", "arrow": "duration[us]", "nullable": False, "minimum": -10**10,
         "maximum": 2 * 3_600 * 10**6 + 10**11},
        {"name": "walk", "type": "duration", "arrow": "string", "nullable": False, "form": "counted",
         "style": {"unit": " min", "fraction": 1, "padded": True}},
        {"name": "shuts", "type": "time", "arrow": "string", "nullable": False, "form": "twelve",
         "style": {"fraction": 0, "seconds": False, "padded": True}},
        {"name": "key", "type": "identifier", "arrow": "int64", "nullable": False},
        {"name": "mail", "type": "personal", "arrow": "string", "nullable": True},
        {"name": "seven", "type": "constant", "arrow": "int64", "nullable": False, "value": 7},
    ]
}  # fmt: skip
MET: list[tuple[str, Any, Any]] = [
    ("age", 30, Value(30)),
    ("age", "30", Value(30)),
    ("age", 30.0, Value(30)),
    ("age", {"in": [30, "31", 30.0]}, OneOf((30, 31))),
    ("age", {"in": [30]}, Value(30)),
    ("age", {"min": 18}, Range(18, 90)),
    ("age", {"max": 18.5}, Range(17, 18)),
    ("age", {"min": -5, "max": 500}, Range(17, 90)),
    ("age", {"above": 18, "below": "21"}, Range(19, 20)),
    ("age", {"above": 18.5}, Range(19, 90)),
    ("age", {"share": {"20": 0.25, "30": 0.75}}, Shares((20, 30), (0.25, 0.75))),
    ("price", 0.1, Value(0.1)),
    ("price", None, Value(None)),
    ("price", {"in": [None, 1]}, OneOf((None, 1.0))),
    ("price", {"min": 0.101, "max": 0.299}, Range(0.11, 0.29)),
    ("price", {"above": 0.1, "below": 0.3}, Range(0.11, 0.29)),
    ("free", {"above": 0.5}, Range(np.nextafter(0.5, 1), 1.0)),
    ("free", 0.1234567890123, Value(0.1234567890123)),
    ("doors", 2, Value(2)),
    ("doors", "5", Value(5)),
    ("doors", {"min": 3}, OneOf((4, 5))),
    ("doors", {"below": 4}, Value(2)),
    ("doors", {"4": 0.5, "2": 0.5}, Shares((4, 2), (0.5, 0.5))),
    ("state", "CA", Value("CA")),
    ("state", None, Value(None)),
    ("state", {"in": ["NY", None]}, OneOf(("NY", None))),
    ("state", {"CA": 0.5, "NY": 0.5}, Shares(("CA", "NY"), (0.5, 0.5))),
    ("state", {"share": [["CA", 0.9], [None, 0.1]]}, Shares(("CA", None), (0.9, 0.1))),
    ("state", {"share": {"CA": 1}}, Shares(("CA",), (1.0,))),
    ("end", {"min": 0.25, "max": 0.75}, Shares(("min", "max"), (0.25, 0.75))),
    ("zip", "10115", Value(10115)),
    ("zip", {"in": [10115, 80331.0]}, OneOf((10115, 80331))),
    ("member", True, Value(True)),
    ("member", "FALSE", Value(False)),
    ("member", {"true": 0.5, "false": 0.5}, Shares((True, False), (0.5, 0.5))),
    ("born", "2001-02-03", Value(date(2001, 2, 3))),
    ("born", "03.02.2001", Value(date(2001, 2, 3))),
    ("born", {"min": "2001-02-03"}, Range(date(2001, 2, 3), None)),
    ("born", {"below": "2001-01-01"}, Range(None, date(2000, 12, 31))),
    ("seen", "2024-05-01T10:00:00", Value(datetime(2024, 5, 1, 10))),
    ("seen", "2024-05-01T10:00:00+02:00", Value(datetime(2024, 5, 1, 8))),
    ("seen", {"above": "2024-05-01", "max": "2024-05-01T00:00:01.5"}, Range(*[datetime(2024, 5, 1, 0, 0, 1)] * 2)),
    ("met", "2024-05-01T10:00", Value(datetime(2024, 5, 1, 10))),
    ("met", "2024-05-01T10:00Z", Value(datetime(2024, 5, 1, 12))),
    ("opens", "08:30", Value(30_600_000_000)),
    ("opens", "8:30 pm", Value(73_800_000_000)),
    ("opens", {"min": "08:30", "below": "17:00"}, Range(30_600_000_000, 61_199_000_000)),
    ("lasts", 90.5, Value(90_500_000)),
    ("lasts", "1 day, 02:03:04.5", Value(93_784_500_000)),
    ("lasts", "PT1M30.5S", Value(90_500_000)),
    ("lasts", {"min": "-0:30", "max": "3d"}, Range(-1_800_000_000, 107_200_000_000)),
    ("walk", "0:01:30", Value(90_000_000)),
    ("walk", {"min": 90, "max": "0:02:31"}, Range(90_000_000, 150_000_000)),
    ("shuts", "22:30", Value(81_000_000_000)),
    ("mail", None, Value(None)),
    ("seven", 7, Value(7)),
]
REFUSED: list[tuple[str, Any, str]] = [
    ("nowhere", 1, "no column of this name"),
    ("age", 91, "from 17 to 90"),
    ("age", 30.5, "whole numbers"),
    ("age", "young", "'young' is none"),
    ("age", "1e999", "numbers"),
    ("age", True, "numbers"),
    ("age", None, "never missing"),
    ("age", {"min": 91}, "from 17 to 90"),
    ("age", {"min": 30, "max": 20}, "ends before it begins"),
    ("age", {"min": 18.2, "max": 18.8}, "holds no value"),
    ("age", {"min": 18, "above": 17}, "one lower"),
    ("age", {"min": None}, "left out"),
    ("age", {"in": []}, "empty"),
    ("age", {"in": [20, 200]}, "from 17 to 90"),
    ("age", {"in": [[20]]}, "plain values"),
    ("age", {"in": 20}, "Write a value"),
    ("age", {"least": 20}, "least"),
    ("age", {}, "Write a value"),
    ("age", [20], "Write a value"),
    ("age", {"share": {"20": 0.5, "30": 0.4}}, "add up to 0.9"),
    ("age", {"share": {"20": 0.5, "20.0": 0.5}}, "twice"),
    ("age", {"share": {"20": 1.5, "30": -0.5}}, "above 0"),
    ("age", {"share": {"20": True}}, "above 0"),
    ("age", {"share": {"20": 10**400, "30": 0.5}}, "add up to 1e+300"),
    ("age", 10**400, "from 17 to 90"),
    ("free", {"above": 10**400}, "beyond"),
    ("free", {"min": 10**400}, "from 0.0 to 1.0"),
    ("lasts", 10**400, "from -1 day"),
    ("age", {"share": {}}, "add up to 0"),
    ("age", {"share": [[20, 0.5, 1]]}, "Shares are"),
    ("price", 0.125, "up to 2 decimals"),
    ("price", 100, "to 99.95"),
    ("free", {"above": 1.7976931348623157e308}, "beyond"),
    ("doors", 3, "its levels are 4, 2, 5"),
    ("doors", {"min": 3, "max": 3.5}, "it has 2, 4, 5"),
    ("doors", {"min": 6}, "it has 2, 4, 5"),
    ("state", "WA", "no level 'WA'"),
    ("state", 7, "no level '7'"),
    ("state", {"min": "A"}, "no order"),
    ("state", {"in": ["CA"], "share": {}}, "Write a value"),
    ("member", 1, "no level '1'"),
    ("born", "2001-02-30", "dates such as"),
    ("born", "2001-02-03T10:00", "without a time"),
    ("born", 20010203, "dates such as"),
    ("born", {"above": "9999-12-31"}, "beyond"),
    ("seen", "2024-05-01T10:00:00.25", "whole seconds"),
    ("seen", "0001-01-01T00:00:00+10:00", "beyond"),
    ("met", "2024-05-01T10:00:30", "whole minutes"),
    ("opens", "25:00", "times of the day"),
    ("lasts", "soon", "'soon' is none"),
    ("lasts", 1e300, "from -1 day, 21:13:20 to 1 day, 5:46:40"),
    ("walk", 91, "steps of 6 seconds"),
    ("shuts", "22:30:01", "whole minutes"),
    ("key", 7, "a key"),
    ("key", None, "a key"),
    ("mail", "a@b.example", "personal data"),
    ("seven", 8, "its levels are 7"),
]


@pytest.mark.parametrize(("name", "given", "expected"), MET)
def test_a_condition_is_read_in_the_columns_own_units(name: str, given: Any, expected: Any) -> None:
    assert parse(SCHEMA, json.loads(json.dumps({name: given}))) == {name: expected}
    found = parse(SCHEMA, {name: given})[name]
    if isinstance(found, Value):
        assert type(found.value) is type(expected.value)


@pytest.mark.parametrize(("name", "given", "said"), REFUSED)
def test_a_condition_that_no_row_can_meet_is_refused_in_a_sentence(name: str, given: Any, said: str) -> None:
    with pytest.raises(InvalidCondition) as refused:
        check_conditions(SCHEMA, {name: given}, {})
    (error,) = refused.value.errors
    assert error["path"] == f"conditions.{name}"
    assert said in error["message"]
    assert error["message"].endswith((".", "}."))


def test_every_wrong_condition_has_an_error_of_its_own() -> None:
    with pytest.raises(InvalidCondition) as refused:
        check_conditions(SCHEMA, {"age": 200, "state": "CA", "member": "perhaps"}, {})
    assert [error["path"] for error in refused.value.errors] == ["conditions.age", "conditions.member"]


def test_a_column_without_known_bounds_takes_any_value_that_it_can_store() -> None:
    schema = {"columns": [{"name": "n", "type": "integer", "arrow": "int64", "nullable": False}]}
    assert parse(schema, {"n": {"min": 5}}) == {"n": Range(5, None)}
    assert parse(schema, {"n": 2**63 - 1}) == {"n": Value(2**63 - 1)}
    with pytest.raises(InvalidCondition, match="beyond"):
        check_conditions(schema, {"n": 2**63}, {})


def test_many_levels_and_long_sets_are_matched_quickly() -> None:
    levels = [f"level {i}" for i in range(10_000)]
    schema = {"columns": [{"name": "c", "type": "category", "arrow": "string", "nullable": False, "levels": levels}]}
    assert parse(schema, {"c": {"in": levels}}) == {"c": OneOf(tuple(levels))}


@pytest.mark.parametrize("given", [{"in": [20] * 10_001}, {"share": {str(i): 1e-4 for i in range(10_001)}}])
def test_a_condition_of_more_values_than_are_read_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidCondition, match="10000 values at most, and this one names 10001"):
        check_conditions(SCHEMA, {"age": given}, {})


def test_levels_are_put_in_order_only_where_an_order_is_asked_for() -> None:
    levels = ["no number"] * 3 + [1, 2]  # which would be refused on the way
    schema = {"columns": [SCHEMA["columns"][3] | {"levels": levels}]}
    assert parse(schema, {"doors": 2}) == {"doors": Value(2)}
    with pytest.raises(InvalidCondition):
        check_conditions(schema, {"doors": {"min": 1}}, {})


def test_the_bounds_of_a_column_are_read_once_for_all_values_of_a_set() -> None:
    class Counted(dict[str, Any]):
        reads = 0

        def get(self, key: str, default: Any = None) -> Any:
            Counted.reads += key in ("minimum", "maximum")
            return super().get(key, default)

    values = list(range(17, 91))
    assert parse({"columns": [Counted(SCHEMA["columns"][0])]}, {"age": {"in": values}}) == {"age": OneOf(tuple(values))}
    assert Counted.reads == 2


def test_reading_conditions_takes_neither_torch_nor_numpy() -> None:
    code = "import sys, workers.modalities.table.conditions; print({'torch', 'numpy', 'pyarrow'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )


# -- shares ---------------------------------------------------------------------------------------------------------


def shares(*values: float, place: int = 0) -> Shares:
    return Shares(tuple(range(len(values))), values, place)


@pytest.mark.parametrize("wanted", [(0.5, 0.5), (0.999, 0.001), (0.2, 0.3, 0.1, 0.4), (1 / 3, 1 / 3, 1 / 3), (1.0,)])
@pytest.mark.parametrize("place", [0, 1, 7])
@pytest.mark.parametrize("start", [0, 1_000_000, 2**40 + 17])
def test_any_stretch_of_rows_has_the_shares_nearly_exactly(wanted: tuple[float, ...], place: int, start: int) -> None:
    given = shares(*wanted, place=place)
    for n in (10, 1_000, 65_536):
        found = assign(given, np.arange(start, start + n, dtype=np.uint64), seed=3)
        counts = np.bincount(found, minlength=len(wanted))
        assert np.abs(counts - n * np.array(wanted)).max() < 1 + np.log2(n)
        assert len(counts) == len(wanted)


def test_each_row_is_assigned_alone_and_the_seed_tells_streams_apart() -> None:
    index = np.arange(5_000, dtype=np.uint64)
    whole = assign(shares(0.3, 0.7), index, seed=1)
    parts = [assign(shares(0.3, 0.7), part, seed=1) for part in np.array_split(index, 7)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert not np.array_equal(whole, assign(shares(0.3, 0.7), index, seed=2))


@pytest.mark.parametrize("places", [(0, 1), (0, 2), (3, 9), (20, 21)])
def test_the_shares_of_two_columns_are_independent(places: tuple[int, int]) -> None:
    index = np.arange(100_000, dtype=np.uint64)
    first, second = (assign(shares(0.5, 0.3, 0.2, place=place), index, seed=5) for place in places)
    joint = np.bincount(first * 3 + second, minlength=9) / len(index)
    assert np.abs(joint - np.outer([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]).ravel()).max() < 0.003


def test_share_conditions_of_two_columns_get_places_of_their_own() -> None:
    found = parse(SCHEMA, {"state": {"CA": 0.5, "NY": 0.5}, "age": 30, "member": {"true": 0.1, "false": 0.9}})
    assert [found[name].place for name in ("member", "state")] == [0, 1]  # type: ignore[union-attr]
