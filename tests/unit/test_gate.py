"""Reports held against what is required of them: planted figures, of which the answer is known."""

import math
from typing import Any

import pytest

from service import modalities
from service.domain import gate

PLACES = {"c2st_auc": ("c2st_auc",), "coverage": ("figures", "coverage")}
BAD: list[Any] = [math.nan, math.inf, None, True, "0.5", [0.5], {}]


def test_figures_within_their_bounds_pass_and_the_bounds_themselves_are_within() -> None:
    report = {"c2st_auc": 0.7, "figures": {"coverage": 0.8}}
    outcome = gate.held(report, {"c2st_auc": {"min": 0.5, "max": 0.7}, "coverage": {"min": 0.8}}, PLACES)
    assert outcome.passed
    assert (outcome.to_json()["failed"], outcome.sentences()) == ([], [])


def test_a_figure_beyond_a_bound_fails_with_its_value_and_that_bound_alone() -> None:
    require = {"c2st_auc": {"min": 0.5, "max": 0.7}, "coverage": {"min": 0.8}}
    outcome = gate.held({"c2st_auc": 0.83, "figures": {"coverage": 0}}, require, PLACES)
    assert outcome.to_json() == {
        "require": require,
        "passed": False,
        "failed": [
            {"figure": "c2st_auc", "value": 0.83, "max": 0.7},
            {"figure": "coverage", "value": 0.0, "min": 0.8},
        ],
        "missing": [],
    }
    assert outcome.sentences()[0] == ("c2st_auc", "c2st_auc is 0.83, at most 0.7 was required.")
    assert gate.read(outcome.to_json()) == outcome


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_a_figure_that_is_no_finite_number_is_missing_and_fails(bad: Any) -> None:
    outcome = gate.held({"c2st_auc": bad}, {"c2st_auc": {"max": 0.7}}, PLACES)
    assert (outcome.passed, outcome.missing, outcome.failed) == (False, ("c2st_auc",), ())


@pytest.mark.parametrize("report", [None, {}, {"figures": None}, {"figures": [1]}, {"coverage": 0.9}])
def test_a_figure_that_is_not_at_its_place_is_missing(report: dict[str, Any] | None) -> None:
    outcome = gate.held(report, {"coverage": {"min": 0.1}}, PLACES)
    assert (outcome.passed, outcome.missing) == (False, ("coverage",))
    assert "coverage" in outcome.sentences()[0][1]


def test_two_requirements_meet_in_the_narrower_bounds() -> None:
    one = {"c2st_auc": {"max": 0.7}, "coverage": {"min": 0.8}}
    other = {"c2st_auc": {"min": 0.4, "max": 0.9}, "coverage": {"min": 0.9}, "shape": {"min": 0.5}}
    expected = {"c2st_auc": {"min": 0.4, "max": 0.7}, "coverage": {"min": 0.9}, "shape": {"min": 0.5}}
    assert gate.both(one, other) == gate.both(other, one) == expected


def test_every_modality_declares_figures_and_where_they_are() -> None:
    for spec in modalities.specs():
        assert spec.figures
        assert all(place for place in spec.figures.values())
    assert {"c2st_auc", "dcr_share"} <= set(modalities.spec("table").figures)
    assert "coverage" in modalities.spec("images").figures
