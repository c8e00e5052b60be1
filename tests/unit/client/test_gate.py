"""What is required of a model's figures, from Python and from the command line, against a real HTTP server."""

from typing import Any

import pytest
import typer

from mintage.cli.reports import gate_failed
from mintage.cli.requirements import requirements
from mintage.results import Model
from tests.unit.client.test_cli import run
from tests.unit.client.web import Said, serving, talking

JOB = {"id": "job_1", "kind": "train", "state": "queued", "progress": {"fraction": 0}}
BOUNDS = {"c2st_auc": {"max": 0.7}, "coverage": {"min": 0.8}}
TYPED = ("--require", "c2st_auc<=0.7", "--require", "coverage>=0.8")


def test_bounds_are_read_as_they_are_meant() -> None:
    assert requirements(["c2st_auc <= .7", "KID-EffNetLite0<=1e-3", "c2st_auc>=0.4"]) == {
        "c2st_auc": {"max": 0.7, "min": 0.4},
        "KID-EffNetLite0": {"max": 0.001},
    }


@pytest.mark.parametrize("wrong", [["a"], ["a<0.7"], ["a=1"], ["a<=x"], ["<=1"], ["0<=a<=1"], ["a<=1", "a<=2"]])
def test_what_is_no_bound_is_wrong_usage(wrong: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        requirements(wrong)


def test_the_client_sends_requirements_and_overrides_and_nothing_that_was_not_said() -> None:
    with talking(lambda asked: Said(201, JOB)) as (web, client):
        client.train("ds_1", require=BOUNDS)
        client.generate("mdl_1", 5, require=BOUNDS, override_gate=True, reason="A demo.")
        client.augment("ds_1", "y", require=BOUNDS, override_gate=True)
        client.generate("mdl_1", 5)
    assert [asked.json for asked in web.asked] == [
        {"kind": "train", "dataset_id": "ds_1", "require": BOUNDS, "config": {}},
        {"kind": "generate", "model_id": "mdl_1", "count": 5, "require": BOUNDS}
        | {"override_gate": True, "reason": "A demo."},
        {"kind": "augment", "dataset_id": "ds_1", "target": "y", "require": BOUNDS, "override_gate": True},
        {"kind": "generate", "model_id": "mdl_1", "count": 5},
    ]


def test_options_become_the_request_that_they_say() -> None:
    with serving(lambda asked: Said(201, JOB)) as web:
        run("train", "ds_1", *TYPED, "--no-wait", url=web.url)
        run(
            "generate", "mdl_1", "--count", "5", *TYPED, "--override-gate", "--reason", "A demo.", "--no-wait",
            url=web.url,
        )  # fmt: skip
        run("augment", "ds_1", *TYPED, "--override-gate", "--no-wait", url=web.url)
    sent: list[dict[str, Any]] = [asked.json for asked in web.asked]
    assert [one["require"] for one in sent] == [BOUNDS] * 3
    assert [one.get("override_gate") for one in sent] == [None, True, True]
    assert [one.get("reason") for one in sent] == [None, "A demo.", None]


def test_a_model_that_fails_its_gate_is_said_with_its_figures() -> None:
    gate = {
        "require": {},
        "passed": False,
        "failed": [{"figure": "c2st_auc", "value": 0.83, "min": None, "max": 0.7}],
        "missing": ["dcr_share"],
    }
    said = gate_failed(Model.of({"id": "mdl_1", "gate": gate}).gate)
    assert "c2st_auc is 0.83, at most 0.7 was required; dcr_share is not in the report." in said
    for other in (None, gate | {"passed": True}, gate | {"passed": None}):
        assert gate_failed(other) == ""
